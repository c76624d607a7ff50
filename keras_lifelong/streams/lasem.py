"""The streams of LASEM (Lee, Behpour, Eaton: ICML 2021, section 5 and its code).

As in the authors' code each split of a CIFAR-100 task is standardised by its own mean
and deviation; Office-Home is left in [0, 1] and STL-10 in [-0.5, 0.5].
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from keras_lifelong.streams import tfds
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.arrays import class_tasks
from keras_lifelong.streams.arrays import scaled
from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import in_order
from keras_lifelong.streams.sampling import check_seed
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

# One class of each of ten superclasses, by task; the label is the position.
CIFAR100_TASKS = (
    (4, 1, 54, 9, 0, 5, 6, 3, 12, 8),
    (30, 32, 62, 10, 51, 20, 7, 42, 17, 13),
    (55, 67, 70, 16, 53, 25, 14, 43, 37, 48),
    (72, 73, 82, 28, 57, 84, 18, 88, 68, 58),
    (95, 91, 92, 61, 83, 94, 24, 97, 76, 90),
    (22, 23, 15, 34, 26, 2, 27, 36, 47, 41),
    (39, 33, 19, 63, 45, 11, 29, 50, 52, 69),
    (40, 49, 21, 64, 77, 35, 44, 65, 56, 81),
    (86, 60, 31, 66, 79, 46, 78, 74, 59, 85),
    (87, 71, 38, 75, 99, 98, 93, 80, 96, 89),
)
NOISE_MEANS, NOISE_DEVIATIONS = (-0.05, -0.025, 0.0, 0.025), (0.0, 0.025)


@register("lasem_cifar100", source="CIFAR-100, Krizhevsky 2009; as in LASEM, section 5")
def lasem_cifar100(
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = True,
    head: str = "per_task",
    data_dir: str | None = None,
    task_order: ClassOrder = None,
) -> TaskStream:
    """CIFAR-100 with 4 % of its images: ten ten-way tasks of 170, 30 and 1,000 images.

    Each class has 17 images to train, 3 for validation (5.6 to 1) and its 100 test
    images. Which classes make a task is the authors' table, so there are words for the
    order of tasks, but none for their classes.

    Args:
        num_tasks: only the first so many tasks, 1 to 10.
        task_order: the tasks in another order, each of 0 ... 9 once, or "random": an
            order drawn by `seed`. None: the authors'.
        train_per_task: only so many training images of each, or a number for each.
        seed: of the choice of images.
        standardize: normalise each colour of each split of a task by its own mean and
            standard deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `cifar100`; None: `TFDS_DATA_DIR`.

    Example:

    ```python
    stream = streams.get("lasem_cifar100", num_tasks=3)
    ```
    """
    order = in_order(len(CIFAR100_TASKS), task_order, seed, "task_order", "tasks")
    return class_tasks(
        functools.partial(_few_cifar100, seed, data_dir),
        [CIFAR100_TASKS[i] for i in order],
        (32, 32, 3),
        num_tasks=num_tasks,
        head=head,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
        by_split=True,
    )


@register("stl10_noisy", source="STL-10, Coates et al. 2011; as in LASEM, section 5")
def stl10_noisy(
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    task_seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
) -> TaskStream:
    """STL-10 in twenty three-way tasks, each with noise and an order of colours.

    A task has three of the ten classes, no two tasks the same three; Gaussian noise of
    mean -0.05, -0.025, 0 or 0.025 and deviation 0 or 0.025 on images moved to
    [-0.5, 0.5], where they are clipped (the authors' code; their paper says 10 % and
    5 % of the range); and a permutation of the colours. It has 318 images to train and
    57 for validation, drawn for each task anew, and 2,400 for testing, all as noisy.

    A class may be in any number of tasks: there is no order of classes.

    Args:
        num_tasks: only the first so many tasks, 1 to 20.
        train_per_task: only so many training images of each, or a number for each.
        seed: of the choice of images.
        task_seed: of the tasks: classes, noise and orders of colours.
        standardize: as in `lasem_cifar100`, which the authors did not: it takes the
            noise's mean away but for the clipping. Else images are in [-0.5, 0.5].
        head: "per_task" or "shared".
        data_dir: where TFDS has `stl10`; None: `TFDS_DATA_DIR`.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    ```python
    stream = streams.get("stl10_noisy", num_tasks=5)
    ```
    """
    return _noisy(
        STL10Tasks("stl10_noisy", 20, 3, 106, 19),
        num_tasks,
        seed,
        task_seed,
        data_dir,
        head,
        train_per_task=train_per_task,
        standardize=standardize,
    )


@register("stl10_noisy15", source="STL-10, Coates et al. 2011; LASEM, appendix E")
def stl10_noisy15(
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    task_seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
) -> TaskStream:
    """STL-10 in fifteen five-way tasks, each with noise and an order of colours.

    The stream on which groups of layers are searched together. A tenth of the training
    images is used, half of it for validation: a task has 125 images to train and 125
    for validation, drawn for each task anew, and 4,000 for testing, all as noisy as in
    `stl10_noisy`.

    A class may be in any number of tasks: there is no order of classes.

    Args:
        num_tasks: only the first so many tasks, 1 to 15.
        train_per_task: only so many training images of each, or a number for each.
        seed: of the choice of images.
        task_seed: of the tasks: classes, noise and orders of colours.
        standardize: as in `stl10_noisy`.
        head: "per_task" or "shared".
        data_dir: where TFDS has `stl10`; None: `TFDS_DATA_DIR`.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    ```python
    stream = streams.get("stl10_noisy15", num_tasks=5)
    ```
    """
    return _noisy(
        STL10Tasks("stl10_noisy15", 15, 5, 25, 25),
        num_tasks,
        seed,
        task_seed,
        data_dir,
        head,
        train_per_task=train_per_task,
        standardize=standardize,
    )


@dataclasses.dataclass(frozen=True)
class STL10Tasks:
    """Tasks of STL-10: how many, their classes, and images of each class.

    Attributes:
        name: of the stream, from which seeds are made.
        number: of tasks.
        classes: of each.
        train: images of a class.
        validation: others of it.
    """

    name: str
    number: int
    classes: int
    train: int
    validation: int


def _noisy(plan, num_tasks, seed, task_seed, data_dir, head, **common):
    """Tasks of STL-10 that differ in classes, noise and colours."""
    check_seed("task_seed", task_seed)
    num_tasks = check_count("num_tasks", num_tasks, plan.number)
    rng = generator(task_seed, f"classes of {plan.name}")
    classes: list[list[int]] = []
    while len(classes) < plan.number:
        group = sorted(rng.choice(10, plan.classes, replace=False).tolist())
        if group not in classes:
            classes.append(group)
    base = functools.cache(lambda split: tfds.load("stl10", split, data_dir))

    def read(index, split):
        x, y = base("test" if split == "test" else "train")
        rows = [np.flatnonzero(y == label) for label in classes[index]]
        if split != "test":
            rng = generator(seed, f"images of {plan.name}", index)
            sizes = plan.train, plan.validation
            rows = [_few(of_class, *sizes, rng)[split] for of_class in rows]
        labels = np.repeat(np.arange(plan.classes), [len(found) for found in rows])
        x = scaled(x[np.concatenate(rows)])
        rng = generator(task_seed, f"noise of {plan.name}", index)
        # Python's floats: NumPy's would make float64 of the noise.
        mean, deviation = (
            float(rng.choice(values)) for values in (NOISE_MEANS, NOISE_DEVIATIONS)
        )
        order = rng.permutation(3)
        rng = generator(task_seed, f"{split} noise of {plan.name}", index)
        x += mean - 0.5 + deviation * rng.standard_normal(x.shape, "float32")
        return np.clip(x, -0.5, 0.5)[..., order], labels

    return array_stream(
        read,
        TaskSpec(plan.classes, "categorical", (96, 96, 3), head),
        num_tasks=num_tasks,
        seed=seed,
        by_split=True,
        **common,
    )


def _few_cifar100(seed, data_dir):
    """17 images of each class to train, 3 for validation, and the whole test set."""
    x, y = tfds.load("cifar100", "train", data_dir)
    rng = generator(seed, "few images of cifar100")
    found = [_few(np.flatnonzero(y == label), 17, 3, rng) for label in np.unique(y)]
    splits = {"test": tfds.load("cifar100", "test", data_dir)}
    for split in ("train", "validation"):
        rows = np.sort(np.concatenate([of_class[split] for of_class in found]))
        splits[split] = x[rows], y[rows]
    return splits


def _few(rows, train, validation, rng):
    """So many of a class's rows to train, and so many others for validation."""
    chosen = rng.permutation(rows)[: train + validation]
    return {"train": chosen[:train], "validation": chosen[train:]}
