"""EWC: Overcoming catastrophic forgetting in neural networks.

Kirkpatrick et al., PNAS 2017: the penalty λ/2 Σ_t Σ_i F_t,i (θ_i - θ*_t,i)².
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.layers.keras_loss import loss_of
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.importance import drawn_labels
from keras_lifelong.training.importance import examples_of
from keras_lifelong.training.importance import kept
from keras_lifelong.training.importance import log_likelihood_scale
from keras_lifelong.training.importance import quadratic


@register
class EWC(LifelongModel):
    """Elastic weight consolidation with the Fisher information of every past task.

    The sum of the tasks' quadratic penalties is one quadratic: its curvature is
    ΣF_t and its centre ΣF_t θ*_t / ΣF_t. So memory does not grow with the tasks, and
    the gradient is that of the sum.

    The Fisher diagonal is the mean of squared gradients of *single* samples (squares
    of a batch's mean gradient are another, much smaller quantity), with labels drawn
    from the model's own predictions as the definition asks, or the true ones
    ("empirical").

    Args:
        backbone: `keras.Sequential` of hidden layers.
        strength: λ, at least 0.
        fisher: "sampled" or "empirical".
        fisher_samples: how many training samples it is estimated on, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    carries_inputs = True
    carries_sequences = True
    penalty = staticmethod(quadratic)

    def __init__(
        self,
        backbone,
        strength: Annotated[float, AtLeast(0)] = 100.0,
        fisher: Literal["sampled", "empirical"] = "sampled",
        fisher_samples: Annotated[int, AtLeast(1)] = 1000,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(EWC, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def check_spec(self, name, spec, others):
        super().check_spec(name, spec, others)
        loss = loss_of(spec.kind, self._loss)
        if not isinstance(loss, str):
            raise ValueError(
                "`loss` must be one whose likelihood is known, for EWC's Fisher "
                f"information: None, 'softmax' or 'sigmoid'. Received: {loss.loss!r}."
            )

    def learn(self, task):
        shared = self.network.trainable_variables
        curvature = kept(self.memory, ("ewc", "f"), shared)
        pull = kept(self.memory, ("ewc", "f_theta"), shared)
        centre = [
            np.divide(p, f, out=np.zeros_like(p), where=f > 0)
            for p, f in zip(pull, curvature, strict=True)
        ]
        arguments = {
            "strength": np.float32(self.options.strength),
            "importance": curvature,
            "anchor": centre,
        }
        yield self.phase("training", shared, penalty=self.penalty, arguments=arguments)

        for i, (v, f) in enumerate(zip(shared, self.fisher(task), strict=True)):
            self.memory["ewc", "f", i] = curvature[i] + f
            self.memory["ewc", "f_theta", i] = pull[i] + f * ops.convert_to_numpy(v)

    def fisher(self, task) -> list[np.ndarray]:
        """F: diagonal Fisher information of the shared weights on training data.

        Returns:
            An array for each trainable variable of the network.
        """
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "fisher"))
        x, y = examples_of(task, self.options.fisher_samples, rng)
        if self.options.fisher == "sampled":
            logits = self.trainer.forward(self.logits, x)
            y = drawn_labels(logits, self.loss_key()[0], rng)
        shared = self.network.trainable_variables
        return self.trainer.mean_of_gradients(ops.square, self.surprise, x, y, shared)

    def surprise(self, features, y, weight):
        """-log p(y | x) of examples by their features (n, width), a sum."""
        mean = self.head_loss(y, self.head(features), weight)
        return mean * ops.sum(weight) * log_likelihood_scale(*self.loss_key())
