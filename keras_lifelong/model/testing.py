"""Which tasks are tested after each task of a stream.

Testing all after each is what an accuracy matrix is made of, and takes time that grows
with the square of the number of tasks. A long stream may be tested by samples.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from keras_lifelong import checks


@dataclasses.dataclass(frozen=True)
class Testing:
    """All tasks after every k-th and the last, the newest n in between.

    What is not tested is NaN in the matrices, and so is a measure that needs it:
    forgetting needs all, ACC the last row alone, and BWT the diagonal as well.

    Args:
        every: k, at least 1; 1 tests all after each.
        last: n, 0 or more; 1 tests the task that was just learned.

    Raises:
        ValueError: if one is no whole number, or too small.
    """

    every: Annotated[int, checks.AtLeast(1)] = 1
    last: Annotated[int, checks.AtLeast(0)] = 1

    def __post_init__(self):
        checks.check("evaluate_every", self.every, Annotated[int, checks.AtLeast(1)])
        checks.check("evaluate_last", self.last, Annotated[int, checks.AtLeast(0)])

    def first(self, learned: int) -> int:
        """The index of the first task that is tested once `learned` are.

        >>> [Testing(every=3, last=1).first(n) for n in (1, 2, 3, 4)]
        [0, 1, 0, 3]
        """
        return 0 if learned % self.every == 0 else max(0, learned - self.last)
