"""Sets of parameters, and the form they are sets of: a network and a head."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.heads.comparing import CLASSES
from keras_lifelong.heads.comparing import YES_NO
from keras_lifelong.heads.comparing import comparison
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.ari.tensors import Tensor
from keras_lifelong.methods.ari.tensors import tensors_of
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.data import filled
from keras_lifelong.training.distillation import features_with
from keras_lifelong.training.layer_losses import terms

DRAWN = "drawn"  # the source of a set that was newly drawn
GIVEN = "given"  # and of one that has the backbone's own weights
MOST, LEAST = 2**23, 1024  # numbers that are answered at once, of more inputs than that


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
        network: a built Keras model of hidden layers, of one input.
        head_bias: whether sets have a bias for the head.

    Raises:
        ValueError: if a layer has a regularizer or constraint, or there are several
            inputs.

    Attributes:
        trained: the network's variables that a set has values of.
        statistics: its variables that follow what it sees: of normalisation.
        frozen: those of layers that are not trained: the same for all sets.
        words: how many words an input is made of, where it is embedded; else None.

    Example:

    >>> layers = [keras.Input((3,)), keras.layers.Dense(4, use_bias=False)]
    >>> form = Form(keras.Sequential(layers), head_bias=True)
    >>> form.shapes(outputs=2)
    [(3, 4), (4, 2), (2,)]
    """

    def __init__(self, network: keras.Model, head_bias: bool):
        check_terms(network)
        self.network, self.head_bias = network, head_bias
        self.trained = list(network.trainable_variables)
        rest = without_seed_states(network.non_trainable_variables)
        still = _frozen(network)
        self.statistics = [v for v in rest if id(v) not in still]
        self.frozen = [v for v in rest if id(v) in still]
        self.words = _words(network)
        self._fresh = [ops.convert_to_numpy(v).copy() for v in self.statistics]

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

    def tensors(self) -> list[Tensor]:
        """What is known of each tensor of a set, in the order of `shapes`."""
        bias = [Tensor(0)] if self.head_bias else []
        return [*tensors_of(self.network), Tensor(self.width), *bias]

    def fresh_statistics(self) -> list[np.ndarray]:
        """As the network had them at first: a mean of 0, a variance of 1, or given."""
        return [value.copy() for value in self._fresh]

    def head_of(self, parameters: Parameters) -> list[np.ndarray]:
        """Of a set, the head's kernel (width, outputs), and its bias if it has one."""
        return parameters.values[len(self.trained) :]

    def answers(self, parameters: Parameters, x) -> np.ndarray:
        """Outputs (n, outputs) of a set on inputs (n, …), whatever is in use."""
        x, found = np.asarray(x, "float32"), []
        most = MOST // max(int(np.prod(x.shape[1:])), 1)
        most = len(x) if most >= LEAST else max(16, 1 << most.bit_length() - 1)
        for start in range(0, len(x), max(most, 1)):
            part = x[start : start + most]
            rows = ops.convert_to_tensor(filled(part))
            logits = self.outputs(parameters.values, parameters.statistics, rows)
            found.append(ops.convert_to_numpy(logits)[: len(part)])
        return found[0] if len(found) == 1 else np.concatenate(found)

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
        form = Form(networks.from_config(self.network.get_config()), self.head_bias)
        for own, variable in zip(form.frozen, self.frozen, strict=True):
            own.assign(variable)
        return form


def score(logits, y, kind: str) -> float:
    """How right answers are, in [0, 1]: what stands for an accuracy.

    Args:
        logits: (n, units).
        y: labels in standard form.
        kind: of the task. Of several yes or no, the part of all that is right; of
            numbers, the part of their variance that is explained, 0 at least, the mean
            over the outputs.

    >>> score(np.array([[1.0], [2.0], [4.0]]), np.array([[1], [2], [3]]), "regression")
    0.5
    """
    how = comparison(kind)
    if how == CLASSES:
        return accuracy(logits, y)
    y = np.asarray(y, "float64").reshape(len(y), -1)
    if how == YES_NO:
        return float(((logits > 0) == (y > 0.5)).mean())
    error = np.square(logits - y).mean(0)
    explained = 1 - error / np.maximum(y.var(0), 1e-12)
    return float(np.clip(explained, 0, 1).mean())


def accuracy(logits, y) -> float:
    """Part of the answers (n, units) that are right; of one output, above 0 is 1."""
    y = np.asarray(y).reshape(-1)
    if logits.shape[-1] == 1:
        return float(((logits[:, 0] > 0) == (y > 0.5)).mean())
    return float((logits.argmax(-1) == y).mean())


def check_terms(backbone) -> None:
    """Raises a ValueError if ARI cannot carry a network.

    Weights are generated: a regularizer or constraint would act on none.
    """
    if len(backbone.inputs) > 1:
        names = [tensor.name for tensor in backbone.inputs]
        raise ValueError(
            "ARI carries a `backbone` of one input, since probes are made of its "
            f"values. Received: {backbone.name!r} with {names}. Concatenate them."
        )
    for path, layer in Graph(backbone).layers.items():
        asked = terms(layer) if isinstance(layer, keras.Layer) else []
        if asked:
            raise ValueError(
                f"ARI cannot carry the layer {path!r} of `backbone`: its weights "
                f"are generated, and its {asked[0]} would act on none. Decay is ARI's "
                "own: `weight_decay`."
            )


def _frozen(network) -> set[int]:
    """The ids of the variables of layers that are not trained."""
    still = [layer for layer in network._flatten_layers() if not layer.trainable]
    return {id(v) for layer in still for v in layer.variables}


def _words(network) -> int | None:
    graph = Graph(network)
    (given,) = keras.tree.flatten(graph.inputs)
    readers = [step.layer for step in graph.readers(given)]
    found = [r.input_dim for r in readers if isinstance(r, keras.layers.Embedding)]
    return min(found, default=None)
