"""Feeding compiled loops: arrays held on the device, or blocks of a `tf.data` stream.

A compiled loop takes `(x, y, weights, rows, valid)`: rows (steps, batch) are positions
in x and y, and only the first valid[i] of step i count. Shapes are rounded up to a few
*buckets* and shapes already compiled are used again, so that tasks of different size
share one compiled loop.

Where rows of a batch meet, as in batch normalisation, a last partial batch is not
filled up: it is a block of its own (`exact`), compiled for its size.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import keras
import numpy as np

from keras_lifelong import backend
from keras_lifelong.streams.columns import each
from keras_lifelong.streams.columns import plain

MAX_STEPS_PER_CALL = 1024


def round_up(n: int) -> int:
    """The next integer with at most three significant bits after the first.

    At most 12.5 % larger: 1 ... 16, 18, 20, ..., 32, 36, 40, ...

    >>> [round_up(n) for n in (7, 17, 33, 1000)]
    [7, 18, 36, 1024]
    """
    unit = 1 << max(n.bit_length() - 4, 0)
    return -(-n // unit) * unit


def power_of_two(n: int, least: int = 1) -> int:
    """The next power of two, so that few shapes are compiled.

    >>> [power_of_two(n) for n in (1, 3, 4, 5)]
    [1, 4, 4, 8]
    """
    return max(least, 1 << (n - 1).bit_length())


def filled(array: np.ndarray) -> np.ndarray:
    """Rows of zeros added up to a power of two, 16 at least.

    >>> filled(np.ones((17, 3))).shape
    (32, 3)
    """
    return _pad(array, power_of_two(len(array), 16))


class Buckets:
    """Sizes handed out before, used again when they fit well enough."""

    def __init__(self):
        self._sizes: dict[object, set[int]] = {}

    def fit(self, key, n: int) -> int:
        """The size to store `n` rows at: one handed out for `key` if at most 2n."""
        known = self._sizes.setdefault(key, set())
        size = min((s for s in known if n <= s <= 2 * n), default=None)
        size = size or round_up(n + n // 16)  # room for tasks a little larger
        known.add(size)
        return size


@dataclasses.dataclass
class Block:
    """Consecutive steps for one call of a compiled loop."""

    x: object
    y: object
    weights: object  # of the rows of x, or None
    rows: np.ndarray
    valid: np.ndarray
    steps: int

    @property
    def samples(self) -> int:
        return int(self.valid[: self.steps].sum())


def aligned(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array of any values whose memory backends take as it is: from a 64th byte on.

    >>> aligned((3, 2), "float32").ctypes.data % 64
    0
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, "uint8")
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    out = aligned((size, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    out[len(array) :] = 0
    return out


def _signature(x, y):
    leaves = keras.tree.flatten((x, y))
    return tuple((a.shape[1:], str(a.dtype)) for a in leaves)


class ArrayData:
    """Arrays copied to the device once and gathered by shuffled index.

    Args:
        x, y: array, `Columns` or nested structure of arrays, of equal length.
        batch_size: rows of a step.
        buckets: shared by all data of a trainer.
        weights: of the rows in the loss, (n,), or None.
        exact: whether a last partial batch is not filled up.
    """

    def __init__(
        self,
        x,
        y,
        batch_size: int,
        buckets: Buckets,
        weights: np.ndarray | None = None,
        exact: bool = False,
    ):
        self.exact = exact
        x = plain(x)
        self.length = len(keras.tree.flatten(x)[0])
        self.batch_size = min(batch_size, self.length)
        self.steps = -(-self.length // self.batch_size)
        signature = _signature(x, y)
        size = buckets.fit(("rows", signature), self.length)

        def put(array):
            return backend.placed(_pad(np.asarray(array), size))

        self.x = keras.tree.map_structure(put, x)
        self.y = keras.tree.map_structure(put, y)
        self.weights = None if weights is None else put(weights)
        per_call = min(self.steps, MAX_STEPS_PER_CALL)
        self._block = power_of_two(per_call, 16)  # indices are cheap

    def epoch(self, seed: int | None, per_block: int | None = None) -> Iterator[Block]:
        """One shuffled pass; the last batch may be partial.

        Args:
            seed: of the order. None: as they are given.
            per_block: steps of a block. None: as many as one call takes.
        """
        draw = np.random.default_rng(seed).permutation
        order = np.arange(self.length) if seed is None else draw(self.length)
        flat = np.resize(order, self.steps * self.batch_size).astype("int32")
        rows = flat.reshape(self.steps, self.batch_size)
        valid = np.full(self.steps, self.batch_size, "int32")
        valid[-1] = self.length - (self.steps - 1) * self.batch_size
        taken = min(per_block or self._block, self._block)
        for part in _parts(valid, taken, self.exact):
            size = valid[part].max() if self.exact else self.batch_size
            yield Block(
                self.x,
                self.y,
                self.weights,
                _pad(rows[part, :size], self._block),
                _pad(valid[part], self._block),
                len(valid[part]),
            )


def _parts(sizes: np.ndarray, steps: int, exact: bool) -> Iterator[slice]:
    """Runs of at most so many steps; if `exact`, all of a run have as many rows.

    >>> list(_parts(np.array([8, 8, 8, 3]), 3, exact=True))
    [slice(0, 3, None), slice(3, 4, None)]
    >>> list(_parts(np.array([8, 3]), 2, exact=True))
    [slice(0, 1, None), slice(1, 2, None)]
    >>> list(_parts(np.array([8, 3]), 2, exact=False))
    [slice(0, 2, None)]
    """
    changes = np.flatnonzero(np.diff(sizes)) + 1 if exact else ()
    for first, end in itertools.pairwise([0, *map(int, changes), len(sizes)]):
        for start in range(first, end, steps):
            yield slice(start, min(start + steps, end))


class StreamedData:
    """Batches of a `tf.data.Dataset`, a block at a time.

    Nothing but the current block is held in memory. The order is the data set's own.

    Args:
        examples: `datasets.Examples`.
        batch_size: rows of a step.
        check: `check(x, y) -> (x, y)`, called on every block before it is trained on.
        steps_per_call: batches of a block.
        exact: whether a last partial batch is not filled up.
    """

    steps = None

    def __init__(
        self,
        examples,
        batch_size: int,
        check,
        steps_per_call: int = 64,
        exact: bool = False,
    ):
        self.exact = exact
        self.examples = examples
        self.batch_size = batch_size
        self.check = check
        self.steps_per_call = steps_per_call

    def epoch(self, seed: int | None, per_block: int | None = None) -> Iterator[Block]:
        del seed, per_block
        most = self.steps_per_call
        for x, y, weights, sizes in self.examples.stacks(self.batch_size, most):
            x, y = self.check(x, y)
            width = max(self.batch_size, int(sizes.max()))
            starts = (np.cumsum(sizes) - sizes)[:, None]
            rows = np.minimum(starts + np.arange(width), len(y) - 1).astype("int32")

            def put(array, size=most * width):
                return backend.placed(_pad(array, size))

            x = plain(each(put, x))
            y = put(y)
            weights = None if weights is None else put(weights)
            for part in _parts(sizes, len(sizes), self.exact):
                widest = sizes[part].max() if self.exact else width
                yield Block(
                    x,
                    y,
                    weights,
                    _pad(rows[part, :widest], most),
                    _pad(sizes[part], most),
                    len(sizes[part]),
                )
