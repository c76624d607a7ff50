"""Examples D of the tasks: some training data of each, in a memory."""

from __future__ import annotations

import numpy as np

from keras_lifelong.metrics.target_groups import groups_of
from keras_lifelong.seeds import derive_seed

PARTS = ("x", "y")
FORMS = tuple(("exemplars", str, part) for part in PARTS)  # see `TaskMemory`


def keep(memory, name: str, x, y, budget: int, seed: int) -> None:
    """Keeps some training examples of a task, and fewer of the others than before.

    The budget is one for all tasks; each has the same part of it, its classes in
    turn, or what stands for them: see `metrics.target_groups`.

    Args:
        memory: a `TaskMemory` that has the task.
        name: of the task.
        x, y: its training data (n, …) and labels.
        budget: examples of all tasks.
        seed: from which the choice is derived, with the task's name.
    """
    x, y = np.asarray(x, "float32"), np.asarray(y)
    rng = np.random.default_rng(derive_seed(seed, "exemplars", name))
    rows, found = groups_of(y, memory.records[name].spec)
    labels = found[np.unique(rows, return_index=True)[1]]  # of several, the first
    groups = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    place = np.concatenate([np.arange(len(g)) for g in groups])
    order = np.concatenate(groups)[np.argsort(place, kind="stable")]
    memory["exemplars", name, "x"] = x[order]
    memory["exemplars", name, "y"] = y[order]
    names = [n for n in memory.records if kept(memory, n)]
    each = max(budget // len(names), 1)
    for other in names:
        for part in PARTS:
            key = ("exemplars", other, part)
            memory[key] = memory[key][:each].copy()


def kept(memory, name: str) -> bool:
    """Whether there are any of a task: it was learned, and not only added."""
    return ("exemplars", name, "x") in memory


def of(memory, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The examples of a task: inputs (n, …) and labels."""
    return memory["exemplars", name, "x"], memory["exemplars", name, "y"]


def check(memory, name: str, shape: tuple[int, ...]) -> None:
    """Raises a ValueError if a task's examples are not of such inputs."""
    x, y = of(memory, name)
    if x.shape[1:] != shape or len(x) != len(y):
        raise ValueError(
            f"examples of task {name!r} have shapes {x.shape} and {y.shape}"
        )
