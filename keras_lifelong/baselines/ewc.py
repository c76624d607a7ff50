"""EWC: Overcoming catastrophic forgetting in neural networks.

Kirkpatrick et al., PNAS 2017: the penalty λ/2 Σ_t Σ_i F_t,i (θ_i - θ*_t,i)².
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.task import is_dataset


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

    def learn(self, task):
        shared = self.network.trainable_variables
        zeros = [np.zeros(v.shape, "float32") for v in shared]
        curvature = [self.memory.get(("ewc", "f", i), z) for i, z in enumerate(zeros)]
        pull = [self.memory.get(("ewc", "f_theta", i), z) for i, z in enumerate(zeros)]
        centre = [
            np.divide(p, f, out=np.zeros_like(p), where=f > 0)
            for p, f in zip(pull, curvature, strict=True)
        ]
        arguments = {
            "strength": np.float32(self.options.strength),
            "curvature": curvature,
            "centre": centre,
        }
        yield self.phase("training", shared, penalty=self.penalty, arguments=arguments)

        for i, (v, f) in enumerate(zip(shared, self.fisher(task), strict=True)):
            self.memory["ewc", "f", i] = curvature[i] + f
            self.memory["ewc", "f_theta", i] = pull[i] + f * ops.convert_to_numpy(v)

    def penalty(self, weights, arguments):
        triples = zip(
            weights, arguments["curvature"], arguments["centre"], strict=False
        )  # not the head
        cost = sum(ops.sum(f * ops.square(w - centre)) for w, f, centre in triples)
        return 0.5 * arguments["strength"] * cost

    def fisher(self, task) -> list[np.ndarray]:
        """Diagonal Fisher information of the shared weights on a task's training data.

        Returns:
            An array for each trainable variable of the network.
        """
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "fisher"))
        x, y = self._samples(task, rng)
        if self.options.fisher == "sampled":
            y = self._sample_labels(x, rng)
        variables = self.network.trainable_variables
        run = backend.compile_loop(
            self._squared_gradient, self.active_variables(), self.trainer.xla, _ignore
        )
        zeros = [ops.zeros(v.shape, "float32") for v in variables]
        total = run(
            ops.convert_to_tensor(len(x), "int32"),
            zeros,
            ops.convert_to_tensor(x),
            ops.convert_to_tensor(y),
        )
        return [ops.convert_to_numpy(t) / len(x) for t in total]

    def _squared_gradient(self, gradients_of, i, carry, x, y):
        one = ops.ones((1,), "float32")

        def objective():
            logits = self.logits(ops.expand_dims(x[i], 0))
            loss = self.head_loss(ops.expand_dims(y[i], 0), logits, one)
            kind, units = self.loss_key()
            # the log-likelihood sums over outputs, where the sigmoid loss averages
            outputs = {"softmax": 1.0, "sigmoid": units, "squared": units / 2}[kind]
            return loss * outputs, loss

        _, gradients = gradients_of(objective, self.network.trainable_variables)
        return [c + ops.square(g) for c, g in zip(carry, gradients, strict=True)]

    def _samples(self, task, rng):
        n = self.options.fisher_samples
        if is_dataset(task.train):
            return next(task.train.batch(n).as_numpy_iterator())
        x, y = task.train
        rows = rng.permutation(len(x))[:n]
        return x[rows], y[rows]

    def _sample_labels(self, x, rng):
        logits = self.trainer.forward(self.logits, x)
        kind = self.loss_key()[0]
        if kind == "softmax":
            return np.argmax(logits + rng.gumbel(size=logits.shape), 1).astype("int32")
        if kind == "sigmoid":
            chance = 1 / (1 + np.exp(-logits))
            return (rng.random(logits.shape) < chance).astype("float32")
        return (logits + rng.normal(size=logits.shape)).astype("float32")


def _ignore():
    """Fisher loops are not training functions."""
