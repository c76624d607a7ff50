"""What all streams made of arrays have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.streams.sampling import check_seed
from keras_lifelong.streams.sampling import hold_out
from keras_lifelong.streams.sampling import subset
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.task import Task
from keras_lifelong.streams.task import TaskSpec

SPLITS = ("train", "validation", "test")


def array_stream(
    read: Callable[[int, str], tuple[np.ndarray, np.ndarray]],
    spec: TaskSpec | Sequence[TaskSpec],
    *,
    num_tasks: int,
    transform: Callable[[int, np.ndarray], np.ndarray] | None = None,
    names: Sequence[str] | None = None,
    train_per_task: int | Sequence[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    by_split: bool = False,
    is_missing: Callable[[int, str], bool] = lambda index, split: False,
    scale_pixels: bool = True,
    check: Callable[[int], None] | None = None,
) -> TaskStream:
    """A stream whose tasks are read, one split at a time, when they are asked for.

    A split goes through: `read`; for training data, a seeded choice of
    `train_per_task` examples in proportion to the classes; `transform`; uint8 pixels
    to float32 in [0, 1]; `standardize`.

    Args:
        read: `read(index, split) -> (x, y)` with split "train", "validation", "test".
        spec: of every task, or one for each.
        num_tasks: how many.
        transform: `transform(index, x) -> x`, what sets tasks of the same images apart.
        names: of the tasks; None: task_0, task_1, ...
        train_per_task: of every task, or a number for each; None for all.
        seed: of the choice.
        standardize: subtract the mean and divide by the standard deviation of the
            task's own training data: for each channel of images, for each feature of
            vectors (that is, over all axes but the last). Features that never change
            are only centred.
        by_split: each split by its own mean and deviation instead.
        is_missing: whether task `index` has no such split.
        scale_pixels: whether uint8 are pixels.
        check: `check(index)`, of `TaskStream`.
    """
    specs = [spec] * num_tasks if isinstance(spec, TaskSpec) else list(spec)
    counts = _checked_counts(num_tasks, train_per_task, seed)
    for index, count in enumerate(counts or ()):
        _check_classes(count, index, specs[index])

    def prepare(index, split):
        x, y = read(index, split)
        if split == "train" and counts is not None:
            rows = subset(y, counts[index], seed)
            x, y = x[rows], y[rows]
        if transform is not None:
            x = transform(index, x)
        return (scaled(x) if scale_pixels else x), y

    def statistics_of(x):
        axes = tuple(range(x.ndim - 1))
        mean, std = x.mean(axes, dtype="float64"), x.std(axes, dtype="float64")
        return mean.astype("float32"), np.where(std > 0, std, 1).astype("float32")

    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def statistics(index, split, x):
        """Of the task's training data, which are read for them once at most."""
        if index not in found:
            train = x if split == "train" else prepare(index, "train")[0]
            found[index] = statistics_of(train)
        return found[index]

    def split_of(index, split):
        x, y = prepare(index, split)
        if standardize:
            if x.dtype.kind != "f":
                raise ValueError(
                    f"`standardize` needs real-valued inputs. Received: {x.dtype}"
                )
            mean, std = statistics_of(x) if by_split else statistics(index, split, x)
            x = (x - mean) / std
        return x, y

    def make(index):
        splits = {
            split: functools.partial(split_of, index, split)
            for split in SPLITS
            if not is_missing(index, split)
        }
        return Task(
            names[index] if names else f"task_{index}",
            specs[index],
            validation_split=0,  # what is to be held out, `read` holds out
            **splits,
        )

    return TaskStream(make, num_tasks=num_tasks, check=check, reads_nothing=True)


def class_tasks(
    load: Callable[[], dict[str, tuple[np.ndarray, np.ndarray]]],
    classes: Sequence[Sequence[int]],
    input_shape: tuple[int, ...],
    *,
    num_tasks: int | None = None,
    head: str = "per_task",
    one_vs_rest: bool = False,
    **common: Any,
) -> TaskStream:
    """A stream that gives every task some of a data set's classes.

    Args:
        load: returns `{split: (x, y)}`; called once, when a task is first read.
        classes: the classes of each task; the k-th one gets label k.
        input_shape: of an image.
        num_tasks: only so many of them.
        head: as in `TaskSpec`.
        one_vs_rest: labels (n, C), a yes or no to each class, instead of (n,).
        **common: `train_per_task`, `seed`, `standardize`, `by_split` as in
            `array_stream`.
    """
    num_tasks = check_count("num_tasks", num_tasks, len(classes))
    kind = "multilabel" if one_vs_rest else "categorical"
    specs = [TaskSpec(len(group), kind, input_shape, head) for group in classes]
    base = functools.cache(load)

    def read(index, split):
        x, y = base()[split]
        rows, labels = rows_of_classes(y, classes[index])
        if one_vs_rest:
            labels = np.eye(len(classes[index]), dtype="float32")[labels]
        return x[rows], labels

    return array_stream(read, specs, num_tasks=num_tasks, **common)


def rows_of_classes(
    y: np.ndarray, classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of some classes, ascending, and their labels in a task of these.

    >>> rows, labels = rows_of_classes(np.array([7, 5, 1, 7]), [7, 1])
    >>> rows.tolist(), labels.tolist()
    ([0, 2, 3], [0, 1, 0])
    """
    group = np.asarray(classes)
    rows = np.flatnonzero(np.isin(y, group))
    order = np.argsort(group)
    return rows, order[np.searchsorted(group, y[rows], sorter=order)]


def whole_tasks(
    load: Callable[[str, str], tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
    spec: TaskSpec | Sequence[TaskSpec],
    validation: float,
    *,
    seed: int,
    **common: Any,
) -> TaskStream:
    """A stream that has a whole data set for each task.

    Test data are kept once they were read, of training data those of one task.

    Args:
        load: `load(name, split) -> (x, y)` with split "train" or "test".
        names: of the tasks.
        spec: of every task, or one for each.
        validation: the part of the training data to hold out.
        seed: of the hold-out and of `train_per_task`.
        **common: `train_per_task`, `standardize`, `check` as in `array_stream`.
    """
    tested = functools.cache(lambda name: load(name, "test"))

    @functools.lru_cache(maxsize=1)
    def trained(name):
        x, y = load(name, "train")
        kept, held = hold_out(y, validation, seed)
        return {"train": (x[kept], y[kept]), "validation": (x[held], y[held])}

    def read(index, split):
        name = names[index]
        return tested(name) if split == "test" else trained(name)[split]

    return array_stream(
        read, spec, num_tasks=len(names), names=names, seed=seed, **common
    )


def scaled(x: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 in [0, 1], floats as float32, integers as they are."""
    if x.dtype == np.uint8:
        return np.divide(x, 255, dtype="float32")
    return x.astype("float32", copy=False) if x.dtype.kind == "f" else x


def check_count(
    name: str, value: int | None, most: int | None = None, least: int = 1
) -> int:
    """Returns `value`, or `most` for None; ValueError unless it is in least ... most.

    >>> check_count("people", 0, least=0)
    0
    """
    if value is None and most is not None:
        return most
    if (
        not isinstance(value, int | np.integer)
        or isinstance(value, bool)
        or value < least
        or (most is not None and value > most)
    ):
        accepted = f"of {least} or more" if most is None else f"in {least} ... {most}"
        raise ValueError(f"`{name}` must be an integer {accepted}. Received: {value!r}")
    return int(value)


def _check_classes(count: int, index: int, spec: TaskSpec) -> None:
    """ValueError if so many examples cannot be of two classes, which a head needs."""
    if count == 1 and heads.get(spec.kind).has_classes and spec.head != "shared":
        raise ValueError(
            "`train_per_task` must be 2 or more where a task learns to tell classes "
            f"apart by a head of its own. Received: 1 for task {index}"
        )


def _checked_counts(num_tasks, train_per_task, seed) -> list[int] | None:
    """`train_per_task` of each task; it may tell that of tasks that are left out."""
    check_count("num_tasks", num_tasks)
    check_seed("seed", seed)
    if train_per_task is None:
        return None
    if isinstance(train_per_task, Sequence):
        if len(train_per_task) < num_tasks:
            raise ValueError(
                "`train_per_task` must be one number, or one for each of the "
                f"{num_tasks} tasks. Received: {list(train_per_task)}"
            )
        counts = [check_count("train_per_task", count) for count in train_per_task]
        return counts[:num_tasks]
    return [check_count("train_per_task", train_per_task)] * num_tasks
