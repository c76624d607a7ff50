"""Tasks in order, and the streams known by name."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_lifelong import checks
from keras_lifelong.registry import Registry
from keras_lifelong.streams.task import Task


class TaskStream:
    """Tasks in order, each made when it is asked for.

    Args:
        tasks: a list of `Task`; any other iterable of them, which is read as the tasks
            are needed (a generator only once); or a function `index -> Task`.
        name: of the stream.
        config: JSON-able arguments from which `get(**config)` makes this stream again;
            None if nothing does.
        num_tasks: with a function: how many tasks there are. None: unknown, the stream
            goes on until the function raises IndexError.
        check: `check(index)` raises an error if something that a task will read is not
            there, as far as that can be told without reading it.
        reads_nothing: whether the function makes tasks without reading their data, so
            that all may be looked at beforehand.

    Raises:
        ValueError: if something in it is no `Task` or has the name of an earlier one,
            as soon as that is seen: at once for a list, else on the way.

    Example:

    >>> def make(index):
    ...     return Task(f"task_{index}", train=lambda: load(index))  # not called yet
    >>> stream = TaskStream(make, num_tasks=50)
    >>> len(stream), stream[7].name
    (50, 'task_7')
    """

    def __init__(
        self,
        tasks: Iterable[Task] | Callable[[int], Task],
        name: str = "custom",
        config: dict[str, Any] | None = None,
        num_tasks: int | None = None,
        check: Callable[[int], None] | None = None,
        reads_nothing: bool = False,
    ):
        is_function = callable(tasks) and not isinstance(tasks, Iterable)
        if not is_function and not isinstance(tasks, Iterable):
            raise ValueError(
                "`tasks` must be an iterable of Task or a function index -> Task. "
                f"Received: {tasks!r}"
            )
        if not is_function and num_tasks is not None:
            raise ValueError(
                "`num_tasks` goes with a function `tasks`; an iterable has its length. "
                f"Received: num_tasks={num_tasks!r}"
            )
        if isinstance(tasks, list | tuple):
            tasks = list(self._checked(tasks))
            num_tasks = len(tasks)
        self.name = name
        self.config = config
        self.num_tasks = num_tasks
        self._tasks: Any = tasks  # `_is_function` says what it is
        self._is_function = is_function
        self._was_read = False
        self._check_task = check
        self._reads_nothing = reads_nothing or isinstance(tasks, list)

    def check(self) -> None:
        """Looks whether what the tasks will read is there, as far as the stream can.

        `fit_stream` does so before anything is learned: else a folder that the last
        task lacks would be missed after all others were.

        Raises:
            FileNotFoundError, ValueError: saying what is missing.
        """
        if self._check_task is not None:
            for index in range(len(self)):
                self._check_task(index)

    def checked(self) -> TaskStream:
        """This stream after `check`, of which nobody needs to ask that again.

        Raises:
            FileNotFoundError, ValueError: as `check`.
        """
        self.check()
        found = copy.copy(self)
        found._check_task = None
        return found

    def foreseen(self) -> Iterator[Task]:
        """The tasks, where all can be had without reading data; else none."""
        if self._reads_nothing and self.is_sized:
            yield from (self[index] for index in range(len(self)))

    @property
    def is_sized(self) -> bool:
        """Whether the number of tasks is known."""
        return self.num_tasks is not None

    def __len__(self) -> int:
        if self.num_tasks is None:
            raise TypeError(f"The stream {self.name!r} has an unknown number of tasks.")
        return self.num_tasks

    @classmethod
    def of(
        cls, tasks: TaskStream | Iterable[Task] | Callable[[int], Task]
    ) -> TaskStream:
        """`tasks`, if they are a stream; otherwise a stream of them."""
        return tasks if isinstance(tasks, cls) else cls(tasks)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, by the first task."""
        task = self[0]
        if task.spec.input_shape is not None:
            return task.spec.input_shape
        return tuple(task.train[0].shape[1:])

    def __iter__(self) -> Iterator[Task]:
        if isinstance(self._tasks, Iterator):
            if self._was_read:
                raise ValueError(
                    f"The stream {self.name!r} was made of an iterator, which can be "
                    "read once; pass a list or a function to read it again. "
                    f"Received: {self._tasks!r}"
                )
            self._was_read = True
        return self._checked(self._made() if self._is_function else self._tasks)

    def __getitem__(self, index: int) -> Task:
        if not self._is_function and not isinstance(self._tasks, list):
            raise TypeError(
                f"The stream {self.name!r} can only be iterated over: it was made of "
                f"{type(self._tasks).__name__}."
            )
        if not isinstance(index, int | np.integer):
            raise TypeError(f"A task's index is an integer. Received: {index!r}")
        if self.num_tasks is not None:
            index = range(self.num_tasks)[index]  # negative ones too; or IndexError
        elif index < 0:
            raise IndexError(f"A stream of unknown length has no task {index}.")
        return self._tasks(index) if self._is_function else self._tasks[index]

    def _made(self):
        index = 0
        while self.num_tasks is None or index < self.num_tasks:
            try:
                task = self._tasks(index)
            except IndexError:
                return
            yield task
            index += 1

    @staticmethod
    def _checked(tasks):
        seen = set()
        for index, task in enumerate(tasks):
            if not isinstance(task, Task):
                raise ValueError(
                    f"A stream consists of Task objects. Received: {task!r} at {index}"
                )
            if task.name in seen:
                raise ValueError(
                    f"Every task of a stream needs a name of its own. Received: "
                    f"{task.name!r} again at {index}"
                )
            seen.add(task.name)
            yield task

    def __repr__(self):
        tasks = self.num_tasks if self.is_sized else "an unknown number of"
        return f"<TaskStream {self.name!r}: {tasks} tasks>"


_STREAMS = Registry("stream")  # of functions that return one
_SOURCES: dict[str, str] = {}


def register(name: str, source: str = "") -> Callable:
    """Decorator: makes a function that returns a `TaskStream` known by a name.

    Args:
        name: for `get` and `stream: {name: ...}` of a configuration, whose keys and
            types are checked against the function's signature.
        source: where the data or the protocol is from, for `describe`.

    Raises:
        ValueError: if the name is taken.

    Example:

    ```python
    @streams.register("my_stream")
    def my_stream(num_tasks: int = 3, seed: int = 0) -> TaskStream:
        \"\"\"One line that says what it is.\"\"\"
        return TaskStream([Task(...), ...])
    ```
    """

    def decorate(factory):
        _STREAMS.register(name)(factory)
        _SOURCES[name] = source
        return factory

    return decorate


def get(name: str, **arguments: Any) -> TaskStream:
    """Makes a stream by name.

    Args:
        name: one of `names()`.
        **arguments: of that stream's function, plain data (numbers, strings, lists).

    Returns:
        The stream. Its `config` holds the name and every argument.

    Raises:
        ValueError: if the name or an argument is unknown, with the nearest valid one,
            or an argument is of the wrong type or out of range.

    Example:

    >>> len(get("permuted_mnist", num_tasks=50))
    50
    """
    make = factory(name)
    arguments = checks.arguments(name, _plain(arguments), make)
    stream = make(**arguments)
    stream.name = name
    stream.config = {"name": name, **arguments}
    return stream


def factory(name: str) -> Callable[..., TaskStream]:
    """The function that makes a stream; its signature says what `get` takes.

    Raises:
        ValueError: if there is none of that name, with the nearest ones.
    """
    return _STREAMS.get(name)


def names() -> list[str]:
    """Names of all streams."""
    return _STREAMS.names()


def describe(name: str) -> str:
    """What a stream is and where it is from, in a line.

    >>> describe("digits").startswith("Real 8x8 digits")
    True
    """
    summary = (inspect.getdoc(factory(name)) or "").partition("\n")[0]
    source = _SOURCES[name]
    return f"{summary} Source: {source}." if source else summary


def _plain(arguments):
    """Paths and NumPy values as the plain data of a configuration."""

    def convert(value):
        return value.tolist() if hasattr(value, "tolist") else str(value)

    return json.loads(json.dumps(arguments, default=convert))
