"""By what groups of its examples a task is described, where it has no classes.

PAR's distance (section 3.1) is a sum over the classes of a task, and ARI describes a
task by them. What labels say of the inputs is asked of other tasks, too: of several yes
or no, each is a class, and an example is of all that it is a yes to; of numbers to
predict, classes are ranges of the target.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.heads.comparing import YES_NO
from keras_lifelong.heads.comparing import comparison

RANGES = 4  # of numbers to predict, of as many examples each


def groups_of(y: np.ndarray, spec: Any) -> tuple[np.ndarray, np.ndarray]:
    """The groups of a task's examples.

    Args:
        y: labels in standard form.
        spec: the task's `TaskSpec`.

    Returns:
        Rows and groups (m,): example `rows[i]` is of group `groups[i]`. Of a task with
        classes these are they, 0 ... C-1; of one without, groups are numbered from 0,
        and each has an example.

    Example: the first is a yes to both, the last to none, which is a group, too.

    >>> from keras_lifelong.streams import TaskSpec
    >>> y = np.array([[1, 1], [0, 1], [0, 0]])
    >>> rows, groups = groups_of(y, TaskSpec(2, "multilabel"))
    >>> rows.tolist(), groups.tolist()
    ([0, 0, 1, 2], [0, 1, 1, 2])
    """
    y = np.asarray(y)
    if heads.get(spec.kind).has_classes:
        return np.arange(len(y)), y.reshape(-1).astype("int64")
    y = y.reshape(len(y), -1)
    if comparison(spec.kind) == YES_NO:
        none = (y <= 0.5).all(1, keepdims=True)
        rows, found = np.nonzero(np.concatenate([y > 0.5, none], axis=1))
    else:
        rows, found = np.arange(len(y)), ranges(y)
    return rows, np.unique(found, return_inverse=True)[1].reshape(-1)


def ranges(y: np.ndarray) -> np.ndarray:
    """The quarter (n,) in which each target lies.

    Of several numbers, the quarter of their first principal component, each divided by
    its standard deviation.

    Args:
        y: (n, C).

    >>> ranges(np.array([[0.0], [5.0], [5.0], [7.0], [9.0]])).tolist()
    [0, 2, 2, 3, 3]
    """
    y = np.asarray(y, "float64")
    if y.shape[1] > 1:
        y = (y - y.mean(0)) / np.maximum(y.std(0), 1e-12)
        y = y @ np.linalg.svd(y, full_matrices=False)[2][:1].T
    cuts = np.quantile(y[:, 0], np.arange(1, RANGES) / RANGES)
    return np.searchsorted(cuts, y[:, 0], side="right")
