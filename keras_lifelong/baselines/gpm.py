"""GPM: Gradient Projection Memory for Continual Learning.

Saha, Garg, Roy, ICLR 2021: steps are taken at a right angle to the inputs that layers
had in earlier tasks, W ← W - α (I - M Mᵀ) ∇_W L (Eq. 6 and 7, Algorithm 1).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.importance import some_examples
from keras_lifelong.training.projection import ProjectedLayers
from keras_lifelong.training.projection import at_right_angle
from keras_lifelong.training.projection import grown_basis


@register
class GPM(LifelongModel):
    """Changes nothing of what layers compute of the directions that mattered before.

    After each task, M_l of every dense and convolutional layer grows by the directions
    of its inputs that are missing to a share ε of their squared lengths. While later
    tasks are learned, the part of each step that lies in M_l is taken out. The whole
    step is projected, momentum and adaptive rates included; of plain SGD that is the
    gradient's projection. Biases, which the paper's networks have not, are the weights
    of one more input, always 1. Normalisation layers are each task's own, where the
    paper trains them on the first task alone; layers with other weights are refused.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        threshold: ε of the first task, in [0, 1].
        increase: by how much ε is larger with each task, at least 0; it ends at 1.
        samples: how many training examples the inputs are taken from, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if there is a
            trained layer that is neither dense, convolutional nor normalisation.
    """

    def __init__(
        self,
        backbone,
        threshold: Annotated[float, In(0, 1)] = 0.95,
        increase: Annotated[float, AtLeast(0)] = 0.003,
        samples: Annotated[int, AtLeast(1)] = 300,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(GPM, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        self._projected = ProjectedLayers(backbone, type(self).__name__)
        return backbone

    def own_variables(self):
        return self._projected.own

    def learn(self, task):
        shared, bases = self.network.trainable_variables, self.bases()
        if any(m.shape[1] for m in bases):
            yield self.phase(
                "training at a right angle",
                shared,
                after_step=self.project,
                arguments={"projectors": [m @ m.T for m in bases]},
            )
        else:
            yield self.phase("training", shared)
        self.grow(task, bases)

    def bases(self) -> list[np.ndarray]:
        """M of each layer, (d, directions), none at first."""
        found = []
        for i, layer in enumerate(self._projected.layers.values()):
            size = int(np.prod(layer.kernel.shape[:-1])) + layer.use_bias
            found.append(self.memory.get(("gpm", i), np.zeros((size, 0), "float32")))
        return found

    def project(self, before, weights, arguments, learning_rate):
        """W ← W - (I - M Mᵀ) ΔW of each layer, its bias included."""
        del learning_rate
        after = [ops.convert_to_tensor(w) for w in weights]
        place = {id(v): i for i, v in enumerate(weights)}
        layers = self._projected.layers.values()
        for layer, projector in zip(layers, arguments["projectors"], strict=True):
            mine = [place[id(v)] for v in layer.trainable_variables]
            steps = at_right_angle([after[i] - before[i] for i in mine], projector)
            for i, step in zip(mine, steps, strict=True):
                after[i] = before[i] + step
        return after

    def grow(self, task, bases) -> None:
        """Adds what the inputs of a learned task need to every M."""
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "inputs"))
        x, _ = some_examples(task.train, self.options.samples, rng)
        share = self.options.threshold + self.options.increase * (
            self.task_index(task.name)
        )
        moments = self._projected.moments(x)
        for i, (path, basis) in enumerate(zip(moments, bases, strict=True)):
            self.memory["gpm", i] = grown_basis(basis, moments[path], min(share, 1.0))
