"""What a model keeps by task, beside the network that its tasks share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import MutableMapping
from typing import Any

import numpy as np

from keras_lifelong.metrics.growth import GrowthEntry
from keras_lifelong.streams import TaskSpec

Key = tuple[Any, ...]
Form = tuple[Any, ...]
OWN_HEAD, OWN = ("head", "own"), "own"
SHARED_HEAD = ("head", "shared")
# Keys that hold the name of a task. In a form `str` stands for the name, which is any
# text, and `int` for a number.
_FORMS: tuple[Form, ...] = (
    (*OWN_HEAD, str, "kernel"),
    (*OWN_HEAD, str, "bias"),
    (OWN, str, int),
)


@dataclasses.dataclass
class TaskRecord:
    """One task, as a model keeps it.

    Arrays are never changed, only replaced, so that whoever holds one holds it for
    good; so are the values of `notes`.

    Attributes:
        spec: its `TaskSpec`.
        head: "kernel" (width, units) and "bias" (units,) of its head; empty where the
            head is shared by all tasks.
        own: its values of the model's own variables (see
            `LifelongModel.own_variables`), by their place in that list.
        arrays: what else the method keeps of it, by key without the task's name.
        notes: what the method wrote down of it: JSON.
    """

    spec: TaskSpec
    head: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    own: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    arrays: dict[Key, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def copy(self) -> TaskRecord:
        """A record of its own with the same arrays."""
        return TaskRecord(
            self.spec,
            dict(self.head),
            dict(self.own),
            dict(self.arrays),
            dict(self.notes),
        )


class TaskMemory(MutableMapping[Key, np.ndarray]):
    """Records of tasks in the order they were learned, and arrays of no single task.

    As a mapping it holds every array by an exact key, a tuple: `("own", name, 0)`,
    `("head", "own", name, "kernel")`, `("head", "shared", "kernel")`, and what a method
    adds. A key in which `forms` has a task's name belongs to that task's record. A name
    is any text: it is a part of a key, never of a pattern. To read, the text that
    files have for a key will do: `memory["own/name/0"]`.

    Args:
        task_forms: forms of a method's keys that belong to a task; its name is second:
            `("exemplars", str, "x")`.
        shared_forms: forms of keys that hold a task's name and belong to no record:
            `("node", int, str, int)`.

    Attributes:
        records: dict of `TaskRecord`s by name.
        shared: dict of the arrays that belong to no single task, by key.
        growth: list of `GrowthEntry`s: why every unit, layer or expert exists.

    Example:

    >>> memory = TaskMemory([("prototypes", str)])
    >>> memory.records["a/b"] = TaskRecord(TaskSpec(2))
    >>> memory["prototypes", "a/b"] = np.zeros((2, 3))
    >>> memory["importance", 0] = np.ones(4)
    >>> sorted(memory.to_arrays())
    ['importance/0', 'prototypes/a/b']
    >>> len(memory.records["a/b"].arrays)
    1
    """

    __hash__, __eq__ = object.__hash__, object.__eq__  # one memory is no other

    def __init__(
        self, task_forms: Iterable[Form] = (), shared_forms: Iterable[Form] = ()
    ):
        self.records: dict[str, TaskRecord] = {}
        self.shared: dict[Key, np.ndarray] = {}
        self.growth: list[GrowthEntry] = []
        self._kinds = {form[0] for form in task_forms}
        self._task_forms, self._shared_forms = tuple(task_forms), tuple(shared_forms)
        self._patterns = [
            (_pattern(form), form)
            for form in (*_FORMS, *self._task_forms, *self._shared_forms)
        ]

    def copy(self) -> TaskMemory:
        """A memory of its own with the same arrays: what is put there stays there."""
        other = TaskMemory(self._task_forms, self._shared_forms)
        other.records = {name: record.copy() for name, record in self.records.items()}
        other.shared = dict(self.shared)
        other.growth = list(self.growth)
        return other

    # As a mapping

    def _place(self, key: Key) -> tuple[dict, Any]:
        """The dict that a key belongs to, and the key in it."""
        if not isinstance(key, tuple):
            raise TypeError(
                f"A key of the memory is a tuple, such as ('own', name, 0). "
                f"Received: {key!r}."
            )
        if key[:2] == OWN_HEAD:
            return self.records[key[2]].head, key[3]
        if key[0] == OWN:
            return self.records[key[1]].own, key[2]
        if key[0] in self._kinds:
            return self.records[key[1]].arrays, (key[0], *key[2:])
        return self.shared, key

    def __getitem__(self, key: Key | str) -> np.ndarray:
        try:
            place, inner = self._place(
                self.key_of(key) if isinstance(key, str) else key
            )
            return place[inner]
        except KeyError:
            raise KeyError(key) from None

    def __setitem__(self, key: Key, value: np.ndarray) -> None:
        place, inner = self._place(key)
        # As a file gives it back: in another order of memory PyTorch sums otherwise.
        place[inner] = np.ascontiguousarray(value) if np.ndim(value) else value

    def __delitem__(self, key: Key) -> None:
        place, inner = self._place(key)
        del place[inner]

    def __iter__(self) -> Iterator[Key]:
        for name in self.records:
            yield from self.keys_of(name)
        yield from self.shared

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys_of(self, name: str) -> list[Key]:
        """The keys of all arrays of a task's record."""
        record = self.records[name]
        return [
            *((*OWN_HEAD, name, part) for part in record.head),
            *((OWN, name, i) for i in record.own),
            *((key[0], name, *key[1:]) for key in record.arrays),
        ]

    # As files have it

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All arrays by the text of their keys, as files name them."""
        return {key_text(key): array for key, array in self.items()}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `to_arrays`, of a memory that has its records already.

        Raises:
            ValueError: if an array is of a task that has no record.
        """
        for text, array in arrays.items():
            key = self.key_of(text)
            try:
                self[key] = np.asarray(array)
            except KeyError:
                raise ValueError(f"the array {text!r} is of no task listed") from None

    def key_of(self, text: str) -> Key:
        """The key whose `key_text` this is."""
        for pattern, form in self._patterns:
            found = pattern.fullmatch(text)
            if found:
                values = iter(found.groups())
                return tuple(
                    part(next(values)) if isinstance(part, type) else part
                    for part in form
                )
        parts = text.split("/")
        return tuple(int(p) if p.isascii() and p.isdigit() else p for p in parts)


def key_text(key: Key) -> str:
    """A key as files name it.

    >>> key_text(("head", "own", "site/cam", "kernel"))
    'head/own/site/cam/kernel'
    """
    return "/".join(map(str, key))


def _pattern(form: Form) -> re.Pattern:
    """What the texts of a form's keys match. At most one part is any text."""
    parts = {str: "(.*)", int: r"(\d+)"}
    return re.compile(
        "/".join(parts.get(part) or re.escape(str(part)) for part in form), re.DOTALL
    )
