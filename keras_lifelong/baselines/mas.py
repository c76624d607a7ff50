"""MAS: Memory Aware Synapses: Learning what (not) to forget.

Aljundi et al., ECCV 2018: the penalty λ Σ_ij Ω_ij (θ_ij - θ*_ij)² (Eq. 3), with
Ω = 1/N Σ_k |∂‖F(x_k)‖² / ∂θ| (Eq. 2 and section 4.1): no labels are needed for it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.importance import examples_of
from keras_lifelong.training.importance import kept
from keras_lifelong.training.importance import quadratic
from keras_lifelong.training.importance import values_of


@register
class MAS(LifelongModel):
    """Holds weights by how much the outputs change with them.

    The mean is of the magnitudes of the gradients of *single* examples. F(x) are the
    outputs of the task's head before its activation. Ω is summed over the tasks, and
    the centre θ* is the weights after the last one.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        strength: λ, at least 0; the paper's is 1.
        samples: how many training examples Ω is estimated on, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    carries_inputs = True
    carries_sequences = True

    def __init__(
        self,
        backbone,
        strength: Annotated[float, AtLeast(0)] = 1.0,
        samples: Annotated[int, AtLeast(1)] = 1000,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(MAS, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def learn(self, task):
        shared = self.network.trainable_variables
        omega = kept(self.memory, ("mas",), shared)
        arguments = {
            "strength": np.float32(2 * self.options.strength),
            "importance": omega,
            "anchor": values_of(shared),
        }
        yield self.phase("training", shared, penalty=quadratic, arguments=arguments)

        for i, found in enumerate(self.sensitivity(task)):
            self.memory["mas", i] = omega[i] + found

    def sensitivity(self, task) -> list[np.ndarray]:
        """Ω of one task: an array for each trainable variable of the network."""
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "sensitivity"))
        x, y = examples_of(task, self.options.samples, rng)
        shared = self.network.trainable_variables
        return self.trainer.mean_of_gradients(ops.abs, self.norm, x, y, shared)

    def norm(self, features, y, weight):
        """‖F(x)‖² of examples by their features (n, …, width), a sum."""
        del y
        outputs = ops.reshape(self.head(features), (features.shape[0], -1))
        return ops.sum(weight[:, None] * ops.square(outputs))
