"""What PAR does with a task, by its distances to the groups of tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

TINY = 25  # examples of a task that the authors' program treats apart


class Deciding:
    """The decision by α and β of a model that has `options` and `experts`."""

    options: Any
    experts: Any

    def decide(self, groups: list[float], size: int) -> tuple[str, int | None]:
        """What to do with a task, and the expert that it is done with.

        Args:
            groups: the task's distance to the group of each expert; s is the smallest.
            size: training examples of the task.

        Returns:
            "share", "reused" (its cells), "searched" (new cells) or "given" (those of
            the backbone), and the number of an expert, None without one.
        """
        o, fresh = self.options, "searched" if self.options.search else "given"
        if not groups:
            return fresh, None
        if 0 < size <= self.tiny:
            able = [k for k, e in enumerate(self.experts) if e["largest"] >= 10 * size]
            if able:
                return "share", min(able, key=lambda k: groups[k])
        s, k = min(groups), int(np.argmin(groups))
        if s <= o.alpha and o.alpha > 0:
            return "share", k
        if s <= o.beta and o.beta > 0 and o.search:
            return "reused", k
        return fresh, k

    @property
    def freeze_ratio(self) -> float:
        """Part of a group's largest task: for smaller ones its expert is frozen."""
        given, code = self.options.freeze_ratio, self.options.reference == "code"
        return (0.5 if code else 0.1) if given is None else given

    @property
    def tiny(self) -> int:
        """Examples of a task that takes an expert whatever the distance."""
        given, code = self.options.tiny, self.options.reference == "code"
        return (TINY if code else 0) if given is None else given
