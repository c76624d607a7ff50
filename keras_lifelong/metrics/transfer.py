"""What tasks gain from one another, beside a network of their own for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_lifelong.metrics import matrix as measures
from keras_lifelong.metrics.directions import sign


def forward_transfer(
    R: np.ndarray,
    single: Sequence[float | None],
    higher_is_better: bool = True,
    tasks: measures.Mask = None,
) -> float:
    """How much better tasks are when they are learned than by a network of their own.

    Mean over j >= 1 of `R[j, j] - single[j]` (as in CAT, Ke et al. 2020, section 5; the
    first task has nothing to take from). The forward transfer of GEM, on a task before
    it is learned, is of heads that are shared from the start.

    Args:
        R: accuracy matrix of shape `(T, T)`.
        single: metric of each task's own network, `(T,)`, None or NaN where unknown.
        higher_is_better: False for errors and losses, whose sign is turned.
        tasks: which tasks count, see `metrics.matrix`.

    Returns:
        A float, positive when earlier tasks helped; 0.0 for one task; NaN if unknown.

    Raises:
        ValueError: if shapes disagree.

    >>> forward_transfer([[0.9, float("nan")], [0.8, 0.75]], [0.9, 0.5])
    0.25
    """
    matrix = measures.check_matrix(R)
    own = measures.vector(single, "single", len(matrix))
    difference = sign(higher_is_better) * (matrix.diagonal() - own)
    mask = measures.counted(tasks, len(matrix))
    return measures.mean(difference[1:], mask[1:], 0.0)


def gain_by_step(
    R: np.ndarray, single: Sequence[float | None], higher_is_better: bool = True
) -> list[float]:
    """`multi_task_gain` in percent over the tasks so far, after each task.

    Args:
        R: accuracy matrix of shape `(T, T)`.
        single: metric of each task's own network, `(T,)`, None or NaN where unknown.
        higher_is_better: False for errors and losses.

    Returns:
        T floats; NaN where something is unknown, or a network of its own has 0.

    >>> gain_by_step([[0.5, float("nan")], [0.5, 0.75]], [0.5, 0.5])
    [0.0, 25.0]
    """
    matrix = measures.check_matrix(R)
    own = measures.vector(single, "single", len(matrix))
    own = np.where(own == 0.0, np.nan, own)
    return [
        measures.multi_task_gain(
            matrix[i, : i + 1].tolist(),
            own[: i + 1].tolist(),
            higher_is_better=higher_is_better,
        )
        for i in range(len(matrix))
    ]


def learning_area(curves: Sequence[Sequence[float]]) -> float:
    """Area under the learning curves: how soon tasks are learned, not only how well.

    Mean over tasks of the mean over epochs of the validation score while the task was
    learned (Chaudhry et al. 2019, A-GEM, section 3, by epochs in place of batches).

    Args:
        curves: a sequence of scores, epoch by epoch, for each task; those without
            validation data are empty and left out.

    Returns:
        A float in the range of the metric; NaN if all are empty.

    >>> learning_area([[0.5, 1.0], [0.25, 0.25], []])
    0.5
    """
    known = [float(np.mean(curve)) for curve in curves if len(curve)]
    return float(np.mean(known)) if known else float("nan")
