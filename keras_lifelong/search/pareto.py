"""Pareto fronts of points to be minimised, and their hypervolume.

>>> points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0]])
>>> non_dominated(points).tolist()
[True, True, False]
>>> hypervolume(points, (4.0, 4.0))
5.0
"""

from __future__ import annotations

import numpy as np


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which points no other point beats: bool (n,).

    A point is beaten by another that is nowhere worse and somewhere better. Equal
    points do not beat each other.

    Args:
        points: (n, objectives), each to be minimised.
    """
    points = np.asarray(points, float)
    worse = (points[:, None] >= points[None]).all(-1)
    better = (points[:, None] > points[None]).any(-1)
    return ~np.any(worse & better, axis=1)


def ranks(points: np.ndarray) -> np.ndarray:
    """The front of each point, 0 the best: fronts are taken away one by one."""
    points = np.asarray(points, float)
    found, left, rank = np.zeros(len(points), int), np.arange(len(points)), 0
    while len(left):
        best = non_dominated(points[left])
        found[left[best]] = rank
        left, rank = left[~best], rank + 1
    return found


def staircase(points: np.ndarray, reference) -> np.ndarray:
    """The front of two objectives within a reference: (k, 2), by the first, ascending.

    Args:
        points: (n, 2).
        reference: the worst of each that counts.
    """
    points = np.asarray(points, float).reshape(-1, 2)
    points = points[(points < np.asarray(reference)).all(1)]
    front = np.unique(points[non_dominated(points)], axis=0)
    return front[np.argsort(front[:, 0])]


def hypervolume(points: np.ndarray, reference) -> float:
    """The area between the front of two objectives and a reference point.

    Args:
        points: (n, 2), to be minimised; those beyond the reference count nothing.
        reference: (2,).
    """
    front = staircase(points, reference)
    if not len(front):
        return 0.0
    ends = np.append(front[1:, 0], reference[0])
    return float(((ends - front[:, 0]) * (reference[1] - front[:, 1])).sum())


def beyond(points: np.ndarray) -> np.ndarray:
    """A reference for `hypervolume`: a tenth of the range beyond the worst of each.

    Args:
        points: (n, objectives), to be minimised; one or more.
    """
    spread = np.ptp(points, axis=0)
    return points.max(0) + 0.1 * np.where(spread > 0, spread, 1)


def contributions(points: np.ndarray, reference) -> np.ndarray:
    """How much hypervolume each point adds to that of the others: (n,)."""
    points = np.asarray(points, float).reshape(-1, 2)
    whole = hypervolume(points, reference)
    others = [np.delete(points, i, axis=0) for i in range(len(points))]
    return np.array([whole - hypervolume(rest, reference) for rest in others])
