"""Examples of earlier tasks within one budget, and which of them are kept.

They lie in a model's memory, task by task, so that they are saved with it and go with
their task. Each has a *rank*, lower for those that are kept rather. A buffer that is
full drops those of the highest ranks: of all examples (`reservoir`), or of each class
of each task, so that all classes have as many (`balanced`).

- `reservoir` and `balanced` draw the ranks at random. Of n examples that came by, those
  of the k lowest of n random numbers are any k of them, with equal chances: that is
  reservoir sampling (Vitter 1985), and needs no count of what came by.
- `herding` (Welling 2009; as in iCaRL, Algorithm 4) ranks the examples of a class so
  that the mean features of the first k are close to the mean of all, for every k.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import MutableMapping
from typing import Literal

import numpy as np

Policy = Literal["reservoir", "balanced", "herding"]
KEY = "buffer"
X, Y, RANK, LOGITS, WEIGHT = PARTS = "x", "y", "rank", "logits", "weight"
FORMS = tuple((KEY, str, part) for part in PARTS)
"""Forms of the keys under which a buffer keeps a task's examples: `task_forms`."""


class Buffer:
    """One budget for the examples of all tasks.

    Args:
        budget: how many examples at most, at least 1.
        max_bytes: how many bytes at most their arrays take together, ranks included;
            None: any number. The smaller of the two holds.
        policy: "reservoir", "balanced" or "herding".

    Example:

    >>> from keras_lifelong.model.task_memory import TaskMemory, TaskRecord
    >>> memory, buffer = TaskMemory(FORMS), Buffer(4, policy="balanced")
    >>> for name in ("a", "b"):
    ...     memory.records[name] = TaskRecord(None)
    ...     x, y = np.arange(6.0), np.array([0, 0, 0, 1, 1, 1])
    ...     buffer.add(memory, name, {"x": x, "y": y, "rank": x})
    >>> memory["buffer", "a", "x"].tolist(), buffer.count(memory)
    ([0.0, 3.0], 4)
    """

    def __init__(
        self, budget: int, max_bytes: int | None = None, policy: Policy = "reservoir"
    ):
        self.budget, self.max_bytes, self.policy = budget, max_bytes, policy

    def room(self, columns: Mapping[str, np.ndarray]) -> int:
        """How many examples such as these the budget is for.

        Args:
            columns: arrays of as many rows, at least one.

        Raises:
            ValueError: if `max_bytes` is less than one example takes.
        """
        if self.max_bytes is None:
            return self.budget
        one = sum(array[:1].nbytes for array in columns.values())
        if self.max_bytes < one:
            raise ValueError(
                f"`max_bytes` must be at least what one example takes, {one} bytes. "
                f"Received: {self.max_bytes}."
            )
        return min(self.budget, self.max_bytes // one)

    def add(
        self, memory: MutableMapping, name: str, columns: Mapping[str, np.ndarray]
    ) -> None:
        """Adds examples of a task; what then is over the budget goes, of any task.

        Args:
            memory: a `TaskMemory` with the task, and with `FORMS`.
            name: of the task. Examples that it has there already go first.
            columns: arrays of as many rows, by name: "x", "y" and "rank" (floats, lower
                for those that are kept rather), and what else is kept of an example.
        """
        room = self.room(columns)
        found = {other: self.of(memory, other) for other in self.names(memory)}
        found[name] = dict(columns)
        for part in PARTS:  # a task that comes back may have no weights any more
            if part not in columns:
                memory.pop((KEY, name, part), None)
        rows = self._kept({k: (c[Y], c[RANK]) for k, c in found.items()}, room)
        for task, parts in found.items():
            for part, array in parts.items():
                memory[KEY, task, part] = array[rows[task]].copy()

    def first(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The rows that would stay if there were no others."""
        labels = {"": (columns[Y], columns[RANK])}
        return self._kept(labels, self.room(columns))[""]

    def most_of_a_class(self, columns: Mapping[str, np.ndarray]) -> int:
        """How many examples of one class would stay if there were no other tasks."""
        places, count = groups_of(columns[Y])
        sizes = np.bincount(places, minlength=count).tolist()
        return max(shares(self.room(columns), sizes))

    def _kept(self, labels, room) -> dict[str, np.ndarray]:
        """The rows of each task that stay, in their order."""
        if self.policy == "reservoir":
            ranks = [(rank, np.zeros(len(rank), int)) for _, rank in labels.values()]
            return dict(zip(labels, lowest(ranks, [room]), strict=True))
        groups: list[tuple] = []
        sizes: list[int] = []
        for y, rank in labels.values():
            places, count = groups_of(y)
            groups.append((rank, places + len(sizes)))
            sizes += np.bincount(places, minlength=count).tolist()
        return dict(zip(labels, lowest(groups, shares(room, sizes)), strict=True))

    @staticmethod
    def names(memory: Mapping) -> list[str]:
        """The tasks of which a memory has examples, in the order of its records."""
        records = memory.records  # type: ignore[attr-defined]
        return [name for name in records if len(memory.get((KEY, name, Y), ()))]

    @staticmethod
    def of(memory: Mapping, name: str) -> dict[str, np.ndarray]:
        """The examples of a task: arrays of as many rows, by column."""
        return {p: memory[KEY, name, p] for p in PARTS if (KEY, name, p) in memory}

    def count(self, memory: Mapping) -> int:
        """How many examples a memory has."""
        return sum(len(memory[KEY, name, Y]) for name in self.names(memory))

    def bytes(self, memory: Mapping) -> int:
        """How many bytes they take."""
        return sum(
            array.nbytes
            for name in self.names(memory)
            for array in self.of(memory, name).values()
        )


def groups_of(y: np.ndarray) -> tuple[np.ndarray, int]:
    """The class of each label, numbered from 0, and how many there are.

    Labels that are no class ids (multilabel, regression) are of one class all.

    >>> groups_of(np.array([7, 2, 7]))[0].tolist(), groups_of(np.ones((2, 3)))[1]
    ([1, 0, 1], 1)
    """
    if y.ndim > 1 or y.dtype.kind not in "iub":
        return np.zeros(len(y), int), 1
    classes, places = np.unique(y, return_inverse=True)
    return places, len(classes)


def shares(room: int, sizes: list[int]) -> list[int]:
    """A budget in equal shares; what a group cannot fill goes to the others.

    Args:
        room: how many examples are kept in all.
        sizes: how many each group has.

    Returns:
        How many of each are kept; the first ones one more, if it does not divide.

    >>> shares(7, [9, 9, 9]), shares(7, [1, 9, 9])
    ([3, 2, 2], [1, 3, 3])
    """
    found = [0] * len(sizes)
    wanting = [i for i, size in enumerate(sizes) if size]
    while room and wanting:
        each = max(room // len(wanting), 1)
        for i in wanting[:room]:
            more = min(each, sizes[i] - found[i])
            found[i], room = found[i] + more, room - more
        wanting = [i for i in wanting if found[i] < sizes[i]]
    return found


def lowest(tasks: list[tuple], sizes: list[int]) -> list[np.ndarray]:
    """The rows of the lowest ranks in each group, over all tasks.

    Args:
        tasks: of each a pair of ranks (n,) and groups (n,), numbered from 0.
        sizes: how many of each group are kept.

    Returns:
        For each task the rows that are kept, in their order.

    >>> ranks = [(np.array([3.0, 1.0]), np.array([0, 0])), (np.array([2.0]), [0])]
    >>> [rows.tolist() for rows in lowest(ranks, [2])]
    [[1], [0]]
    """
    rank = np.concatenate([np.asarray(r, "float64") for r, _ in tasks])
    group = np.concatenate([np.asarray(g, int) for _, g in tasks])
    order = np.lexsort((np.arange(len(rank)), rank, group))
    starts = np.searchsorted(group[order], np.arange(len(sizes)))
    place = np.empty(len(rank), int)  # within its group, by rank
    place[order] = np.arange(len(rank)) - starts[group[order]]
    stays = place < np.asarray(sizes)[group]
    ends = np.cumsum([len(r) for r, _ in tasks])[:-1]
    return [np.flatnonzero(part) for part in np.split(stays, ends)]


def drawn_ranks(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random ranks (n,): which examples are kept is left to chance."""
    return rng.random(n)


def herded_ranks(
    features: np.ndarray, y: np.ndarray, most: int | None = None
) -> np.ndarray:
    """Ranks by herding, each class by itself.

    The next example is the one with which the mean of those chosen comes closest to
    the mean μ of its class: p_k = argmin ‖μ - (φ(x) + Σ_{j<k} φ(p_j)) / k‖. Times k and
    squared that is ‖φ(x)‖² + 2 φ(x)·(Σ_{j<k} φ(p_j) - k μ), but for what is alike for
    all x.

    Args:
        features: (n, width), φ; iCaRL's are of length 1.
        y: labels (n,).
        most: how many of a class are chosen at most, at least 1; None: all. The others
            are of rank inf.

    Returns:
        Floats (n,): 0 for the first of its class, 1 for the next, …

    >>> herded_ranks(np.array([[0.0], [1.0], [5.0]]), np.zeros(3, int)).tolist()
    [2.0, 0.0, 1.0]
    """
    places, count = groups_of(y)
    ranks = np.full(len(features), np.inf)
    for group in range(count):
        rows = np.flatnonzero(places == group)
        phi = features[rows].astype("float64")
        mean, total = phi.mean(0), np.zeros(phi.shape[1])
        left = np.square(phi).sum(1)  # inf for those that were chosen
        for k in range(len(rows) if most is None else min(most, len(rows))):
            chosen = int(np.argmin(left + 2 * phi @ (total - (k + 1) * mean)))
            left[chosen], total = np.inf, total + phi[chosen]
            ranks[rows[chosen]] = k
    return ranks
