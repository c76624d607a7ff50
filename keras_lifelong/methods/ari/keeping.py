"""Which sets of parameters are worth keeping: line 8 of ARI's Algorithm 1."""

from __future__ import annotations

import numpy as np


def worth_keeping(rates, learned, budget: int, keep: str) -> list[int]:
    """Which sets to keep.

    Args:
        rates: predicted, (sets, tasks).
        learned: (sets, tasks), whether a set was last trained on a task: of each task,
            those come first.
        budget: B, the most that are kept.
        keep: see `ARI`.

    Example: the first set serves the second task, too, so that there is room for the
    third task's.

    >>> rates = np.array([[0.9, 0.8, 0.2], [0.5, 0.9, 0.1], [0.1, 0.2, 0.9]])
    >>> worth_keeping(rates, np.eye(3, dtype=bool), budget=2, keep="one")
    [0, 2]
    """
    if keep == "sum":
        return [int(i) for i in np.argsort(-rates.sum(1), kind="stable")[:budget]]
    orders = np.lexsort((-rates, ~learned), axis=0).T  # of each task, the best first
    kept = [int(i) for i in dict.fromkeys(orders[:, 0])]
    while len(kept) > budget:  # without which do tasks lose least?
        left = [rates[[i for i in kept if i != out]].max(0).sum() for out in kept]
        kept.pop(int(np.argmax(left)))
    budget = min(budget, len(rates)) if keep == "each" else 0
    while len(kept) < budget:
        for order in orders:
            nearest = next((int(i) for i in order if i not in kept), None)
            if nearest is not None and len(kept) < budget:
                kept.append(nearest)
    return kept
