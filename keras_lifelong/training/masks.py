"""Masks over weights: which a task uses, kept as bits, and how they are found.

A *kernel* is a trained variable of two or more axes that is no bias: of any layer, also
recurrent ones and embeddings. All *others* (biases, normalisation, with its statistics)
are few, and each task has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.seeds import without_seed_states

HALVINGS = 24  # of the interval in which a threshold lies


class Kernels:
    """The variables of a network, by what masks do with them.

    Args:
        network: a built network, with the values from which a first task begins.

    Attributes:
        kernels: list of the variables that are masked.
        others: list of those that each task has for itself.
        first: copies of the values of both.
        shared: all others: frozen layers, random states.
    """

    def __init__(self, network: keras.Model):
        trained = {
            id(v)
            for layer in network._flatten_layers()
            if layer.trainable_weights
            for v in layer.variables
        }
        found = [v for v in network.variables if id(v) in trained]
        found = without_seed_states(_once(found))
        frozen = _frozen(network)
        found = [v for v in found if id(v) not in frozen]
        self.kernels = [v for v in found if v.trainable and is_kernel(v)]
        mine = {id(v) for v in self.kernels}
        self.others = [v for v in found if id(v) not in mine]
        self.first = [
            ops.convert_to_numpy(v).copy() for v in (*self.kernels, *self.others)
        ]
        mine = {id(v) for v in found}
        self.shared = [v for v in network.variables if id(v) not in mine]


def _once(variables) -> list:
    return list({id(v): v for v in variables}.values())


def _frozen(network) -> set[int]:
    """Variables of layers that train nothing, statistics included."""
    leaves = [x for x in network._flatten_layers() if not x._layers]
    still = [x for x in leaves if x.variables and not x.trainable_weights]
    return {id(v) for layer in still for v in layer.variables}


def is_kernel(variable) -> bool:
    """Whether a variable is masked: of two or more axes, and no bias."""
    return len(variable.shape) > 1 and "bias" not in variable.name


class Products:
    """What is made of kept arrays, once, and kept while they are the same ones."""

    def __init__(self):
        self._kept: dict = {}

    def get(self, key: tuple, parts: Sequence[np.ndarray], make: Callable):
        """`make(*parts)`: the same array each time.

        Args:
            key: the task's name, and what else tells its products apart.
            parts: arrays.
            make: a function of them.
        """
        kept = self._kept.get(key)
        if kept is None or any(a is not b for a, b in zip(kept[0], parts, strict=True)):
            kept = (tuple(parts), make(*parts))
            self._kept[key] = kept
        return kept[1]

    def forget(self, name: str) -> None:
        """Lets go of those of a task, whose keys begin with its name."""
        for key in [key for key in self._kept if key[0] == name]:
            del self._kept[key]


def product(weights: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Weights (…) where the mask `packed` is 1, else 0."""
    kept = np.where(unpack(packed, weights.shape), weights, 0)
    return kept.astype(weights.dtype)


def pack(mask: np.ndarray) -> np.ndarray:
    """A mask as bits, (bytes,) of uint8.

    >>> pack(np.array([[1, 0], [1, 1]], bool)).tolist()
    [176]
    """
    return np.packbits(mask.reshape(-1))


def unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `pack`: bool, of a shape."""
    return np.unpackbits(packed, count=math.prod(shape)).reshape(shape).astype(bool)


def packed_size(shape: tuple[int, ...]) -> int:
    """How many bytes `pack` gives for a mask of a shape.

    >>> packed_size((3, 3))
    2
    """
    return -(-math.prod(shape) // 8)


def largest(values: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """The `count` values of the largest magnitude among some; of equals the first.

    Args:
        values: (…).
        among: bool (…): those that may be chosen.
        count: how many, at most as many as there are.

    Returns:
        bool (…).

    >>> largest(np.array([3.0, -4.0, 9.0]), np.array([True, True, False]), 1).tolist()
    [False, True, False]
    """
    size = np.where(among, np.abs(values), -1.0).reshape(-1)
    mask = np.zeros(size.shape, bool)
    mask[np.argsort(-size, kind="stable")[:count]] = True
    return mask.reshape(values.shape) & among


def drawn_scores(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Scores of edges to begin with: uniform in ±1/√fan_in, as of a kernel (…)."""
    bound = 1 / math.sqrt(max(math.prod(shape[:-1]), 1))
    return rng.uniform(-bound, bound, shape).astype("float32")


def dealt_by_size(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The magnitudes of scores, dealt out so that larger weights have larger ones.

    >>> dealt_by_size(np.array([0.1, -0.3, 0.2]), np.array([5.0, -1.0, 9.0])).tolist()
    [0.2, 0.1, 0.3]
    """
    found = np.empty(scores.size, scores.dtype)
    found[np.argsort(np.abs(weights), axis=None, kind="stable")] = np.sort(
        np.abs(scores), axis=None
    )
    return found.reshape(scores.shape)


def chosen(scores, share: float):
    """1 where the magnitude of a score is among the largest share of all, else 0.

    The threshold is found by halving, which is fast in a compiled step: as many are
    chosen as the share says, or fewer where scores are equal to seven digits.

    Args:
        scores: tensor (…).
        share: of the scores, above 0 and at most 1.

    >>> ops.convert_to_numpy(chosen(ops.array([0.1, -0.4, 0.3]), 0.67)).tolist()
    [0.0, 1.0, 1.0]
    """
    size = ops.abs(ops.stop_gradient(ops.convert_to_tensor(scores)))
    count = max(round(share * math.prod(size.shape)), 1)
    if count == math.prod(size.shape):
        return ops.ones(size.shape, "float32")
    low, high = ops.zeros((), "float32"), ops.max(size)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = ops.sum(ops.cast(size >= middle, "float32"))
        low = ops.where(above > count, middle, low)
        high = ops.where(above > count, high, middle)
    return ops.cast(size >= high, "float32")


def straight_through(mask, scores):
    """A mask of scores, whose gradient goes to their magnitudes as it is."""
    size = ops.abs(ops.convert_to_tensor(scores))
    return ops.convert_to_tensor(mask) + size - ops.stop_gradient(size)


def call_with(network, replaced: Mapping[int, object], x, training: bool = False):
    """Features of a network with other values in some trained variables.

    What layers update (statistics, random states) is assigned.

    Args:
        network: a Keras model.
        replaced: values by id of a trainable variable.
        x: (batch, …).
        training: as everywhere in Keras.
    """
    if not training:
        return _called_with(network, replaced, x, False)
    return backend.by_rows(lambda rows: _called_with(network, replaced, rows, True), x)


def _called_with(network, replaced, x, training):
    trained = [
        replaced.get(id(v), ops.convert_to_tensor(v))
        for v in network.trainable_variables
    ]
    others = network.non_trainable_variables
    values = [ops.convert_to_tensor(v) for v in others]
    features, updated = network.stateless_call(trained, values, x, training=training)
    if training:
        for variable, value in zip(others, updated, strict=True):
            variable.assign(value)
    return features
