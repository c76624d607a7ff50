"""Which blocks of data an epoch takes, and in what parts they are trained."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_lifelong.training.data import Block


def parts(block: Block, steps: int | None) -> Iterator[Block]:
    """A block in parts of so many steps, of the same shapes, so nothing is compiled.

    Args:
        block: the block.
        steps: of a part. None: it stays whole.
    """
    if steps is None or block.steps <= steps:
        yield block
        return
    for start in range(0, block.steps, steps):
        yield _cut(block, start, min(steps, block.steps - start))


def _cut(block: Block, start: int, steps: int) -> Block:
    """`steps` steps of a block from `start` on."""
    rows = np.roll(block.rows, -start, axis=0)
    valid = np.roll(block.valid, -start, axis=0)
    return dataclasses.replace(block, rows=rows, valid=valid, steps=steps)


_USED_UP = (
    "The data ended before the epoch: `steps_per_epoch` is {}, of which {} were left. "
    "The next epoch begins the data anew. A tf.data.Dataset can `repeat()`."
)


class Feed:
    """The blocks of each epoch of a phase.

    Without `steps_per_epoch` an epoch is one pass over the data. With it an epoch is
    so many steps, and the next one goes on where it ended. As in Keras, an epoch ends
    with the data, with a warning if steps are left; the next begins it anew, in another
    order.

    Args:
        data: `ArrayData` or `StreamedData`.
        settings: `Settings`.
        seed_of: the seed of the order of a pass, by its number.

    Attributes:
        steps: of an epoch, or None if unknown.
    """

    def __init__(self, data: Any, settings: Any, seed_of: Callable[[int], int]):
        self._data, self._limit = data, settings.steps_per_epoch
        self._shuffle, self._seed_of = settings.shuffle, seed_of
        self._rest: Iterator[Block] = iter(())
        self._left: Block | None = None
        self._pass = settings.initial_epoch

    @property
    def steps(self) -> int | None:
        return self._limit or self._data.steps

    def _blocks(self, number, every) -> Iterator[Block]:
        seed = self._seed_of(number) if self._shuffle else None
        return self._data.epoch(seed, every)

    def epoch(self, number: int, every: int | None) -> Iterator[Block]:
        """The blocks of an epoch.

        Args:
            number: of the epoch.
            every: steps of a block. None: as many as one call takes.
        """
        if self._limit is None:
            yield from self._blocks(number, every)
            return
        wanted = self._limit
        while wanted:
            block = self._next(every, anew=wanted == self._limit)
            if block is None:
                if wanted < self._limit:
                    warnings.warn(_USED_UP.format(self._limit, wanted), stacklevel=2)
                return
            taken = min(wanted, block.steps)
            if taken < block.steps:
                self._left = _cut(block, taken, block.steps - taken)
                block = _cut(block, 0, taken)
            wanted -= taken
            yield block

    def _next(self, every, anew: bool) -> Block | None:
        """The next block of this pass, or, if `anew`, of the next; None: no more."""
        block, self._left = self._left, None
        block = block or next(self._rest, None)
        if block is None and anew:
            self._rest = self._blocks(self._pass, every)
            self._pass += 1
            block = next(self._rest, None)
        return block
