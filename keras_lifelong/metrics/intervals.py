"""Means over repeated runs, and how well they are known: Student's t."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: of the values; NaN if one of them is.
        half: the interval is mean - half to mean + half; NaN of fewer than two values.
        count: how many values there were.
    """

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval is on one side of 0; False if unknown."""
        return abs(self.mean) > self.half


def interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> Interval:
    """The mean of independent values with its interval by Student's t.

    The half width is t s / sqrt(n), where s² is the variance with n - 1 below and t the
    quantile (1 + level) / 2 of Student's distribution with n - 1 degrees of freedom. It
    holds for values that are about normal; for differences of pairs give these.

    Args:
        values: `(n,)`, n >= 1; a value that is unknown (NaN) makes the mean unknown.
        level: of confidence, between 0 and 1.

    Raises:
        ValueError: if there is no value, or `level` is out of range.

    >>> round(interval([1.0, 2.0, 3.0]).half, 3)  # 4.303 / sqrt(3)
    2.484
    """
    given = np.array(values, dtype="float64")
    if given.ndim != 1 or not given.size:
        raise ValueError(f"`values` must be one or more numbers. Received: {values!r}")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1. Received: {level!r}")
    count, mean = len(given), float(given.mean())
    if count == 1 or not math.isfinite(mean):
        return Interval(mean, math.nan, count)
    from scipy.special import stdtrit

    t = float(stdtrit(count - 1, (1 + level) / 2))
    return Interval(mean, t * float(given.std(ddof=1)) / math.sqrt(count), count)
