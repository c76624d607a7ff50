"""Probes of large inputs: made when they are needed, of what they are made from.

Held as they are, a thousand images of 224 x 224 for each of twenty sets would take 12
GB. What is held instead is a few examples, and for each probe some numbers: which
example it is, how it is shifted, or what part of its values is of others. A compiled
step makes the probes that it sees. They are alike to those of `probes`, and not the
same: which values are of others is read from one table of random numbers, each probe
from a place of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.seeds import derive_seed

TABLE = 2**20  # random numbers
POOL = 2**23  # numbers of the newest task's examples that are held
NUMBERS = ("base", "first", "count", "offset", "part", "moves")  # of each probe


@dataclasses.dataclass
class Made:
    """The probes of a set.

    Attributes:
        pool: the examples (k, …) that they are made of.
        base: (m,), which example each of them is.
        part: (m,), of its values that are of any example.
        offset: (m,), where its random numbers begin.
        moves: (m, 3), by how much an image is shifted down and across, and whether it
            is mirrored.
        margin: the most by which it is shifted, either way.
    """

    pool: np.ndarray
    base: np.ndarray
    part: np.ndarray
    offset: np.ndarray
    moves: np.ndarray
    margin: int = 0

    def __len__(self) -> int:
        return len(self.base)

    def inputs(self, places) -> np.ndarray:
        """The probes (n, …) at these places."""
        found = made(arguments([self]), ops.convert_to_tensor(places), self.shape)
        return ops.convert_to_numpy(found)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a probe."""
        return tuple(self.pool.shape[1:])


def plain(pool: np.ndarray, base: np.ndarray) -> Made:
    """Probes that are examples as they are."""
    nothing = np.zeros(len(base))
    return Made(pool, base, nothing, nothing, np.zeros((len(base), 3)))


def arguments(sets: Sequence[Made]) -> dict[str, Any]:
    """What `made` is given for the probes of several sets, one set after the other."""
    pools: dict[int, np.ndarray] = {id(s.pool): s.pool for s in sets}
    starts = dict(zip(pools, np.cumsum([0, *map(len, pools.values())]), strict=False))
    columns = [
        [
            s.base + starts[id(s.pool)],
            np.full(len(s), starts[id(s.pool)]),
            np.full(len(s), len(s.pool)),
            s.offset,
            s.part,
            s.moves,
        ]
        for s in sets
    ]
    found: dict[str, Any] = {
        name: np.concatenate(parts).astype("float32" if name == "part" else "int32")
        for name, parts in zip(NUMBERS, zip(*columns, strict=True), strict=True)
    }
    flat = [np.asarray(p, "float32").reshape(len(p), -1) for p in pools.values()]
    found["pool"] = np.concatenate(flat)
    if found["part"].any():
        seed = derive_seed("probes", "table")
        found["table"] = np.random.default_rng(seed).random(TABLE).astype("float32")
    margin = max(s.margin for s in sets)
    if margin:
        found["margin"] = np.zeros(margin, "float32")  # by its length
    return found


def made(of: dict[str, Any], places, shape: Sequence[int]):
    """Probes (n, *shape), as tensors.

    Args:
        of: `arguments(...)`.
        places: (n,), among the probes of all sets.
        shape: of an input.
    """
    size, pool = math.prod(shape), ops.convert_to_tensor(of["pool"])

    def take(name):
        return ops.take(ops.convert_to_tensor(of[name]), places, axis=0)

    x = ops.take(pool, take("base"), axis=0)
    if "table" in of:
        table, values = ops.convert_to_tensor(of["table"]), ops.arange(size)[None]
        at = ops.mod(take("offset")[:, None] + values, TABLE)
        draw = ops.take(table, ops.mod(at + TABLE // 2, TABLE))
        count = take("count")[:, None]
        other = ops.cast(ops.floor(draw * ops.cast(count, "float32")), "int32")
        other = take("first")[:, None] + ops.minimum(other, count - 1)
        others = ops.take(ops.reshape(pool, (-1,)), other * size + values)
        x = ops.where(ops.take(table, at) < take("part")[:, None], others, x)
    x = ops.reshape(x, (-1, *shape))
    return _moved(x, take("moves"), of["margin"].shape[0]) if "margin" in of else x


def _moved(x, moves, margin: int):
    """Images (n, height, width, channels), shifted and mirrored; zeros come in."""
    height, width, channels = x.shape[1:]
    sides = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
    wide = width + 2 * margin
    down, across, mirrored = (moves[:, k, None] for k in range(3))
    rows = ops.arange(height)[None] + margin + down
    columns = ops.arange(width)[None]
    columns = ops.where(mirrored > 0, width - 1 - columns, columns) + margin + across
    every = (height + 2 * margin) * wide
    places = (rows * wide)[:, :, None] + columns[:, None]
    places = places + (ops.arange(x.shape[0]) * every)[:, None, None]
    flat = ops.reshape(ops.pad(x, sides), (-1, channels))
    return ops.take(flat, places, axis=0)
