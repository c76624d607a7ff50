"""Measures of a stream, from its accuracy matrix.

`R[i, j]` is the test metric on task j after learning task i (0-based); entries
that were not measured (usually those above the diagonal) are NaN. T is the
number of tasks. The definitions are those of section 2 of the design:

| measure            | definition                                         | best |
|--------------------|----------------------------------------------------|------|
| `acc`, `ap`        | mean of the last row                               | 1    |
| `bwt`              | mean over j < T-1 of R[T-1, j] - R[j, j]           | > 0  |
| `forgetting`       | mean over j < T-1 of max_l<T-1 R[l, j] - R[T-1, j] | <= 0 |
| `af`               | mean over all j of R[T-1, j] - R[j, j]             | > 0  |
| `forgetting_ratio` | mean over j < T-1 of R[T-1, j] / peak_j            | 1    |
| `multi_task_gain`  | mean over j of (R[T-1, j] - S_j) / S_j, in percent | > 0  |

Two conventions hold for all of them. With **one task** there is nothing to
forget: `bwt`, `forgetting` and `af` are 0.0 and `forgetting_ratio` is 1.0. When
an entry that a measure **needs was not measured**, the measure is NaN: unknown
is said to be unknown, never averaged over the rest.

They are differences of the metric itself: for errors (mse) read the signs of `bwt`
and `af` the other way round. `forgetting` takes the direction: the best of an error is
its least, and what was lost since is positive for all.

`tasks` restricts a measure to the tasks that a metric is for, as in a stream of tasks
of several kinds: a mask of bools (T,), True for those that count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_lifelong.metrics.directions import sign


def check_matrix(R: np.ndarray, name: str = "R") -> np.ndarray:
    """Returns `R` as a float64 array of shape `(T, T)`, T >= 1.

    Raises:
        ValueError: if it is not a square matrix of numbers.
    """
    try:
        matrix = np.array(R, dtype="float64")  # a copy; None becomes NaN
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a square matrix of numbers (NaN where not "
            f"measured). Received: {R!r}"
        ) from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"`{name}` must have shape (T, T) with T >= 1: row i after learning "
            f"task i, column j tested on task j. Received shape: {matrix.shape}"
        )
    return matrix


def vector(
    values: Sequence[float | None] | np.ndarray, name: str, length: int
) -> np.ndarray:
    """One number for each task, float64 `(length,)`; None becomes NaN."""
    found = np.array(values, dtype="float64")
    if found.shape != (length,):
        raise ValueError(
            f"`{name}` must hold one number for each of the {length} tasks. "
            f"Received shape: {found.shape}"
        )
    return found


Mask = Sequence[bool] | np.ndarray | None


def counted(tasks: Mask, length: int) -> np.ndarray:
    """`tasks` as a mask of bools (T,), by default of all."""
    mask = np.ones(length, bool) if tasks is None else np.array(tasks)
    if mask.shape != (length,) or mask.dtype != bool:
        raise ValueError(
            f"`tasks` must hold a bool for each of the {length} tasks. "
            f"Received: {tasks!r}"
        )
    return mask


def mean(values: np.ndarray, mask: np.ndarray, of_none: float) -> float:
    """The mean of those that count; `of_none` if none do."""
    return float(values[mask].mean()) if mask.any() else of_none


def acc(R: np.ndarray, tasks: Mask = None) -> float:
    """Mean of the last row: how good the model is on all tasks in the end.

    Lopez-Paz and Ranzato 2017 (GEM), section 2.

    Args:
        R: accuracy matrix of shape `(T, T)`.
        tasks: which tasks count, see the module.

    Returns:
        A float in the range of the metric ([0, 1] for accuracy and AUROC).

    Raises:
        ValueError: if `R` is not square.

    >>> acc([[0.9, float("nan")], [0.7, 0.8]])
    0.75
    """
    matrix = check_matrix(R)
    return mean(matrix[-1], counted(tasks, len(matrix)), np.nan)


def ap(R: np.ndarray, tasks: Mask = None) -> float:
    """Average performance: another name of `acc`, used by ARI and PAR."""
    return acc(R, tasks)


def bwt(R: np.ndarray, tasks: Mask = None) -> float:
    """Backward transfer: what later tasks did to the earlier ones.

    Mean over j < T-1 of `R[T-1, j] - R[j, j]` (Lopez-Paz and Ranzato 2017).
    Negative means forgetting, positive that later tasks helped.

    Args:
        R: accuracy matrix of shape `(T, T)`.
        tasks: which tasks count, see the module.

    Returns:
        A float in [-1, 1] for metrics in [0, 1]; 0.0 for one task.

    Raises:
        ValueError: if `R` is not square.

    >>> bwt([[0.5, float("nan")], [0.25, 0.8]])
    -0.25
    """
    matrix = check_matrix(R)
    mask = counted(tasks, len(matrix))[:-1]
    return mean((matrix[-1] - matrix.diagonal())[:-1], mask, 0.0)


def forgetting(
    R: np.ndarray, higher_is_better: bool = True, tasks: Mask = None
) -> float:
    """What was lost between the best ever measured and the end.

    Mean over j < T-1 of `max_l R[l, j] - R[T-1, j]`, l < T-1 (Chaudhry et al.
    2018, "Riemannian Walk", section 3). Not clipped: when the last task made
    the earlier ones better than ever it is negative. Of an error the best is the
    least: `R[T-1, j] - min_l R[l, j]`.

    Args:
        R: accuracy matrix of shape `(T, T)`.
        higher_is_better: False for errors and losses.
        tasks: which tasks count, see the module.

    Returns:
        A float in [-1, 1] for metrics in [0, 1]; 0.0 for one task.

    Raises:
        ValueError: if `R` is not square.

    >>> forgetting([[0.75, float("nan")], [0.5, 0.8]])
    0.25
    >>> forgetting([[0.25, float("nan")], [0.5, 0.1]], higher_is_better=False)
    0.25
    """
    matrix = check_matrix(R)
    mask = counted(tasks, len(matrix))[:-1]
    if not mask.any():
        return 0.0
    signed = sign(higher_is_better) * matrix
    # fmax passes over NaN: before a task came. What was not tested since is unknown.
    best = np.fmax.reduce(signed[:-1, :-1], axis=0)
    untested = np.tril(np.isnan(matrix[:-1, :-1])).any(axis=0)
    best = np.where(untested, np.nan, best)
    return mean(best - signed[-1, :-1], mask, 0.0)


def af(R: np.ndarray, tasks: Mask = None) -> float:
    """Average forgetting of ARI and PAR: mean over **all** j of
    `R[T-1, j] - R[j, j]` (negative = forgotten).

    The last task counts, with its 0, so it is `bwt * (T - 1) / T`.

    Args:
        R: accuracy matrix of shape `(T, T)`.
        tasks: which tasks count, see the module.

    Returns:
        A float in [-1, 1] for metrics in [0, 1]; 0.0 for one task.

    Raises:
        ValueError: if `R` is not square.

    >>> af([[0.5, float("nan")], [0.25, 0.8]])
    -0.125
    """
    matrix = check_matrix(R)
    if len(matrix) == 1:
        return 0.0
    mask = counted(tasks, len(matrix))
    return mean(matrix[-1] - matrix.diagonal(), mask, 0.0)


def forgetting_ratio(
    R: np.ndarray, peaks: Sequence[float | None] | None, tasks: Mask = None
) -> float:
    """Share of each earlier task's peak that is left in the end (LASEM, table 1).

    Mean over j < T-1 of `R[T-1, j] / peaks[j]`; 1 is no forgetting, and what was
    forgotten is below 1, of an error above it.

    Args:
        R: accuracy matrix of shape `(T, T)`.
        peaks: for each task its test metric at the epoch of best validation
            metric while it was being learned, `(T,)`; or None if unknown.
        tasks: which tasks count, see the module.

    Returns:
        A float >= 0; 1.0 for one task; NaN if `peaks` is None, or a peak that
        is needed is None, NaN or 0 (no share of nothing).

    Raises:
        ValueError: if `R` is not square or `peaks` has not one entry a task.

    >>> forgetting_ratio([[0.8, float("nan")], [0.4, 0.9]], [0.8, 0.9])
    0.5
    """
    matrix = check_matrix(R)
    if peaks is None:
        return float("nan")
    known = vector(peaks, "peaks", len(matrix))[:-1]
    mask = counted(tasks, len(matrix))[:-1]
    known = np.where(known == 0.0, np.nan, known)
    return mean(matrix[-1, :-1] / known, mask, 1.0)


def multi_task_gain(
    R_last: Sequence[float],
    single: Sequence[float],
    points: bool = False,
    higher_is_better: bool = True,
) -> float:
    """Gain over single-task networks in percent, positive when better than they.

    `100/T * sum_j (R_last[j] - single[j]) / single[j]`, with the sign turned for
    errors (Maninis et al. 2019, section 5; the BindAndGrow paper writes it
    without 1/T and positive when worse).

    Args:
        R_last: metric of the model on each task, `(T,)`, such as `R[-1]`.
        single: metric of each task's own network, `(T,)`.
        points: differences in percentage points, not relative to `single`.
        higher_is_better: False for errors and losses.

    Returns:
        A float in percent (0 = as good as single-task networks).

    Raises:
        ValueError: if the lengths differ, there is no task, or (unless `points`)
            an entry of `single` is 0.

    >>> multi_task_gain([0.75, 0.75], [0.5, 1.0])
    12.5
    """
    ours = np.atleast_1d(np.array(R_last, dtype="float64"))
    if ours.ndim != 1 or not ours.size:
        raise ValueError(
            f"`R_last` must hold one number per task. Received shape: {ours.shape}"
        )
    theirs = vector(np.atleast_1d(single), "single", len(ours))
    difference = ours - theirs
    if not points:
        if np.any(theirs == 0.0):
            raise ValueError(
                "`single` must not hold 0 for a gain relative to it; use "
                f"`points=True`. Received: single={theirs.tolist()}"
            )
        difference = difference / theirs
    return float(100.0 * difference.mean()) * sign(higher_is_better)
