"""Streams made of the CIFAR images."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from keras_lifelong.streams import tfds
from keras_lifelong.streams.arrays import class_tasks
from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import groups
from keras_lifelong.streams.grouping import in_order
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register

SHAPE = (32, 32, 3)

# The superclass, in alphabetical order, of each of CIFAR-100's classes.
SUPERCLASS = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11),
    *(6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5),
    *(5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17),
    *(10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13),
    *(16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)


@register("split_cifar10", source="CIFAR-10, Krizhevsky 2009")
def split_cifar10(
    num_tasks: int | None = None,
    classes_per_task: int | list[int] = 2,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
    first_task: int | None = None,
    class_order: ClassOrder = None,
) -> TaskStream:
    """CIFAR-10, two classes to a task, in order.

    A tenth of the training images is for validation.

    Args:
        num_tasks: only the first so many tasks, 1 to 5.
        classes_per_task: 2, 5 or 10; or a number for each task, as [4, 2, 2, 2].
        first_task: so many classes in the first task. None: as in the others.
        class_order: the classes in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ...
        train_per_task: only so many training images of each, or a number for each.
        seed: of validation images and of `train_per_task`.
        standardize: normalise each colour by the training data's mean and standard
            deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `cifar10`; None: `TFDS_DATA_DIR`.

    Example:

    ```python
    stream = streams.get("split_cifar10", standardize=True)
    ```
    """
    return class_tasks(
        functools.partial(tfds.load_splits, "cifar10", 0.1, seed, data_dir),
        groups(10, classes_per_task, first_task, class_order, seed),
        SHAPE,
        num_tasks=num_tasks,
        head=head,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )


@register("split_cifar100", source="CIFAR-100, Krizhevsky 2009; as in DEN, section 4")
def split_cifar100(
    num_tasks: int | None = None,
    classes_per_task: int | list[int] = 10,
    labels: Literal["categorical", "one_vs_rest"] = "categorical",
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
    first_task: int | None = None,
    class_order: ClassOrder = None,
) -> TaskStream:
    """CIFAR-100, ten classes to a task, in order.

    A tenth of the training images is for validation: a task has 4,500, 500 and 1,000.

    Args:
        num_tasks: only the first so many tasks.
        classes_per_task: any that divides 100, 2 or more; or a number for each task.
        first_task: so many classes in the first task. None: as in the others.
        class_order: the classes in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ...
        labels: "categorical": which of the task's classes? "one_vs_rest": a yes or no
            for each of them against the task's others, labels (n, classes), as in DEN.
        train_per_task: only so many training images of each, or a number for each.
        seed: of validation images and of `train_per_task`.
        standardize: normalise each colour by the training data's mean and standard
            deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `cifar100`; None: `TFDS_DATA_DIR`.

    Example:

    ```python
    stream = streams.get("split_cifar100", labels="one_vs_rest")
    ```
    """
    if labels not in ("categorical", "one_vs_rest"):
        raise ValueError(
            f"`labels` must be 'categorical' or 'one_vs_rest'. Received: {labels!r}"
        )
    return class_tasks(
        functools.partial(tfds.load_splits, "cifar100", 0.1, seed, data_dir),
        groups(100, classes_per_task, first_task, class_order, seed),
        SHAPE,
        num_tasks=num_tasks,
        head=head,
        one_vs_rest=labels == "one_vs_rest",
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )


@register("cifar100_superclass", source="CIFAR-100, Krizhevsky 2009; as in APD")
def cifar100_superclass(
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
    task_order: ClassOrder = None,
) -> TaskStream:
    """CIFAR-100 by superclass: twenty tasks, each to tell five related classes apart.

    Superclasses come in alphabetical order, from aquatic mammals to vehicles 2. A tenth
    of the training images is for validation: a task has 2,250, 250 and 500.

    A superclass is a task, so there are words for the order of tasks, but none for
    their classes.

    Args:
        num_tasks: only the first so many tasks, 1 to 20.
        task_order: the superclasses in the order that they come in, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ..., 19.
        train_per_task: only so many training images of each, or a number for each.
        seed: of validation images and of `train_per_task`.
        standardize: normalise each colour by the training data's mean and standard
            deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `cifar100`; None: `TFDS_DATA_DIR`.

    Example:

    ```python
    task = streams.get("cifar100_superclass")[0]  # beaver, dolphin, otter, seal, whale
    ```
    """
    order = in_order(20, task_order, seed, "task_order", "tasks")
    superclasses = [np.flatnonzero(np.equal(SUPERCLASS, i)).tolist() for i in range(20)]
    return class_tasks(
        functools.partial(tfds.load_splits, "cifar100", 0.1, seed, data_dir),
        [superclasses[i] for i in order],
        SHAPE,
        num_tasks=num_tasks,
        head=head,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )
