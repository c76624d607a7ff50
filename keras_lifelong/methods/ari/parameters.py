"""Sets of parameters, and the form they are sets of: a network and a head."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers import head as heads
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.data import filled
from keras_lifelong.training.distillation import features_with
from keras_lifelong.training.layer_losses import terms

DRAWN = "drawn"  # the source of a set that was newly drawn


@dataclasses.dataclass
class Parameters:
    """A set of parameters θ: of the network and of a head.

    Attributes:
        values: the network's trainable weights, the head's kernel (width, outputs),
            and its bias (outputs,) if it has one.
        statistics: what else the network holds: of batch normalisation.
        embeddings: with which the hypernetwork generates it, or is to begin to.
        source: where it came from, for the log.
    """

    values: list[np.ndarray]
    statistics: list[np.ndarray]
    embeddings: list[np.ndarray]
    source: str


@dataclasses.dataclass
class Candidate:
    """A set of parameters that may be trained on a task.

    Attributes:
        parameters: the set.
        signature: of it, (width,).
        predicted: its adaptation rate on the task, by the estimator.
        task: on which it was last trained; None if it was drawn.
    """

    parameters: Parameters
    signature: np.ndarray
    predicted: float | None = None
    task: str | None = None


class Form:
    """What sets of parameters are sets of: a network and, on its features, a head.

    It answers under any set, and assigns no variable.

    Args:
        network: a built `keras.Sequential` of hidden layers.
        head_bias: whether sets have a bias for the head.

    Raises:
        ValueError: if a layer has a regularizer or constraint.

    Attributes:
        trained: the network's variables that a set has values of.
        statistics: its variables that follow what it sees: of normalisation.

    Example:

    >>> layers = [keras.Input((3,)), keras.layers.Dense(4, use_bias=False)]
    >>> form = Form(keras.Sequential(layers), head_bias=True)
    >>> form.shapes(outputs=2)
    [(3, 4), (4, 2), (2,)]
    """

    def __init__(self, network: keras.Sequential, head_bias: bool):
        check_terms(network)
        self.network, self.head_bias = network, head_bias
        self.trained = list(network.trainable_variables)
        self.statistics = without_seed_states(network.non_trainable_variables)

    @property
    def width(self) -> int:
        """Features that a head is given."""
        return int(self.network.output_shape[-1])

    def shapes(self, outputs: int | None) -> list[tuple[int, ...]]:
        """Of the values of a set whose head has so many outputs.

        Raises:
            ValueError: if that is not known.
        """
        if outputs is None:
            raise ValueError("The outputs of a set are known with the first task.")
        bias = [(outputs,)] if self.head_bias else []
        return [*(tuple(v.shape) for v in self.trained), (self.width, outputs), *bias]

    def offsets(self) -> list[float]:
        """About what the values of each tensor lie: scales of normalisation about 1."""
        of_head = [0.0] * (1 + bool(self.head_bias))
        return [*(float(v.name == "gamma") for v in self.trained), *of_head]

    def fresh_statistics(self) -> list[np.ndarray]:
        """A mean of 0, a variance of 1."""
        return [
            np.full(v.shape, "variance" in v.name, "float32") for v in self.statistics
        ]

    def head_of(self, parameters: Parameters) -> list[np.ndarray]:
        """Of a set, the head's kernel (width, outputs), and its bias if it has one."""
        return parameters.values[len(self.trained) :]

    def answers(self, parameters: Parameters, x) -> np.ndarray:
        """Outputs (n, outputs) of a set on inputs (n, …), whatever is in use."""
        rows = ops.convert_to_tensor(filled(np.asarray(x, "float32")))
        logits = self.outputs(parameters.values, parameters.statistics, rows)
        return ops.convert_to_numpy(logits)[: len(x)]

    def loss(self, parameters: Parameters, x, y, units: int, kind: Any) -> float:
        """Mean loss of a set on data of a task.

        Args:
            parameters: the set.
            x, y: inputs (n, …) and labels.
            units: outputs of the task, the first of the set's.
            kind: of the loss; see `layers.head.per_sample_loss`.
        """
        weight = filled(np.ones(len(y), "float32"))
        logits = self.answers(parameters, filled(x))[:, :units]
        batch = map(ops.convert_to_tensor, (filled(y), logits, weight))
        return float(heads.mean_loss(kind, *batch))

    def outputs(self, values, statistics, x, training: bool = False):
        """Outputs (batch, outputs) of the network and head that these tensors are."""
        count = len(self.trained)
        of = dict(zip(map(id, self.trained), values[:count], strict=True))
        of |= dict(zip(map(id, self.statistics), statistics, strict=True))
        ordered = [of.get(id(v), v) for v in self.network.variables]
        features = features_with(self.network, ordered, x, training)
        return self.head_outputs(features, values[count:])

    def head_outputs(self, features, head):
        """Outputs of a head that is a kernel and, if sets have one, a bias."""
        logits = ops.matmul(features, ops.convert_to_tensor(head[0]))
        return logits + head[1] if self.head_bias else logits

    def twin(self) -> Form:
        """A form of the same layers, with variables of its own."""
        network = type(self.network).from_config(self.network.get_config())
        return Form(network, self.head_bias)


def accuracy(logits, y) -> float:
    """Part of the answers (n, units) that are right; of one output, above 0 is 1."""
    y = np.asarray(y).reshape(-1)
    if logits.shape[-1] == 1:
        return float(((logits[:, 0] > 0) == (y > 0.5)).mean())
    return float((logits.argmax(-1) == y).mean())


def check_terms(backbone) -> None:
    """Raises a ValueError if a layer has a regularizer or constraint.

    The weights that it would act on are generated.
    """
    for layer in backbone.layers:
        if asked := terms(layer):
            raise ValueError(
                f"ARI cannot carry the layer {layer.name!r} of `backbone`: its weights "
                f"are generated, and its {asked[0]} would act on none. Decay is ARI's "
                "own: `weight_decay`."
            )
