"""Forgetting on request: a task is taken out, the others stay as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras


@dataclasses.dataclass(frozen=True)
class Removal:
    """What became of a removed task.

    Attributes:
        task: its name.
        parameters: trainable parameters that were freed.
        numbers: numbers that were freed in all: statistics, examples, optimizers of the
            method's own, and the parameters that the model keeps by task.
        stays: what it used that others use as well, and so is kept: part of the model
            -> names of the tasks that use it. What it did to that part while it was
            learned is not undone.
    """

    task: str
    parameters: int
    numbers: int
    stays: dict[str, list[str]]

    def __str__(self):
        lines = [
            f"Task {self.task!r} is removed: {self.parameters:,} parameters and "
            f"{self.numbers:,} numbers kept by task are freed."
        ]
        for part, users in self.stays.items():
            named = ", ".join(users) if len(users) <= 5 else f"{len(users)} tasks"
            lines.append(f"  {part} stays: used by {named}.")
        return "\n".join(lines)


class RemovalMixin(keras.Model):
    """`remove_task` of a `LifelongModel`, and what its subclasses say for it."""

    def remove_task(self, name: str) -> Removal:
        """Removes a task: what only it used is freed, the others predict as before.

        Their predictions are the same to the last bit. What the task shared with them
        stays, with what it did there: that is part of what they are now. The log of
        growth stays as well, since it explains the units that do.

        Args:
            name: of a learned task.

        Returns:
            A `Removal`, which says what was freed and what stays, for whom.

        Raises:
            ValueError: if there is no such task.

        Example:

        ```python
        print(model.remove_task("task_1"))
        ```
        """
        self._record(name)
        self.activate(None)
        before = self.get_state()
        try:
            stays = self.shared_with(name)
            parameters = self.count_params()
            numbers = self.drop_task(name)
            parameters -= self.count_params()
        except BaseException:
            self.set_state(*before)
            raise
        return Removal(name, parameters, numbers, stays)

    def drop_task(self, name: str) -> int:
        """As `remove_task`, of a task that is not active and may be loaded in part.

        Returns:
            How many numbers in memory were freed.
        """
        numbers = self._drop(name)
        self.tidy()
        return numbers

    def drop_tasks(self, names: Sequence[str]) -> None:
        """As `drop_task` of each, in time that grows with their number alone."""
        for name in names:
            self._drop(name)
        if names:
            self.tidy()

    def _drop(self, name: str) -> int:
        # What lies in its record is its alone. For the rest others are asked, until
        # nothing is left to ask for: of many tasks each would ask all others.
        own = set(self.memory.keys_of(name))
        shared = self.task_keys(name) - own
        for other in self.memory.records:
            if not shared:
                break
            if other != name:
                shared -= self.task_keys(other)
        freed = own | shared
        numbers = sum(self.memory[key].size for key in freed if key in self.memory)
        for key in freed:  # first, for what stays may then move to these keys
            self.memory.shared.pop(key, None)
        self.release(name)
        del self.memory.records[name]
        self._session.fitted.pop(name, None)
        self.seen.pop(name, None)
        self._reader.forget(name)
        return numbers

    def task_keys(self, name: str) -> set[tuple]:
        """Keys in `memory` of the arrays that a task needs; others may as well."""
        head = self.head_key(name)
        shared = {(*head, "kernel"), (*head, "bias")} & self.memory.shared.keys()
        return {*self.memory.keys_of(name), *shared}

    def release(self, name: str) -> None:
        """Lets go of a task that is about to be removed, arrays in memory apart."""

    def tidy(self) -> None:
        """Called once tasks were removed: what they alone used is free again."""

    def shared_with(self, name: str) -> dict[str, list[str]]:
        """Parts of the model that a task uses and others use too, with their names."""
        others = [other for other in self.task_names if other != name]
        own = {id(v) for v in self.own_variables()}
        found = {}
        if others and any(id(v) not in own for v in self.network.trainable_variables):
            found["the network"] = others
        same = [o for o in others if self.head_key(o) == self.head_key(name)]
        if same:
            found["the head"] = same
        return found
