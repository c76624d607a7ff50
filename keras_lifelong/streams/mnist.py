"""Streams made of MNIST's handwritten digits."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from keras_lifelong.streams import tfds
from keras_lifelong.streams.arrays import SPLITS
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.arrays import class_tasks
from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import groups
from keras_lifelong.streams.grouping import in_order
from keras_lifelong.streams.rotation import rotate
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.sampling import subset
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

SHAPE = (28, 28, 1)
VALIDATION = 5000  # of the 60,000 training images, as in the papers' 55k/5k/10k


@register("split_mnist", source="MNIST, LeCun et al. 1998; Zenke et al. 2017 (SI)")
def split_mnist(
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
    """MNIST, two digits to a task, in order: 0 or 1, 2 or 3, ...

    A tenth of the training images is for validation.

    Args:
        num_tasks: only the first so many tasks, 1 to 5.
        classes_per_task: 2, 5 or 10; or a number for each task, as [4, 2, 2, 2].
        first_task: so many classes in the first task. None: as in the others.
        class_order: the classes in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ...
        train_per_task: only so many training images of each, or a number for each.
        seed: of validation images and of `train_per_task`.
        standardize: normalise by the training data's mean and standard deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `mnist`; None: `TFDS_DATA_DIR`.

    Example:

    ```python
    task = streams.get("split_mnist")[4]  # 8 or 9
    ```
    """
    return class_tasks(
        functools.partial(tfds.load_splits, "mnist", 0.1, seed, data_dir),
        groups(10, classes_per_task, first_task, class_order, seed),
        SHAPE,
        num_tasks=num_tasks,
        head=head,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )


@register("permuted_mnist", source="Goodfellow et al. 2013; as in DEN, section 4")
def permuted_mnist(
    num_tasks: int = 10,
    permute_first: bool = True,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
) -> TaskStream:
    """MNIST's ten digits, with the pixels of all images in another order in each task.

    55,000 images for training, 5,000 for validation, 10,000 for testing, the same in
    all tasks but for the order of their pixels.

    Each task has all digits: there is no order of classes.

    Args:
        num_tasks: 1 or more; tasks cost nothing until they are read.
        permute_first: whether task 0 is permuted too.
        train_per_task: only so many training images (the same in all tasks), or a
            number for each task.
        seed: of the permutations, validation images and `train_per_task`.
        standardize: normalise by the training data's mean and standard deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `mnist`; None: `TFDS_DATA_DIR`.

    Example:

    ```python
    stream = streams.get("permuted_mnist", num_tasks=50, head="shared")
    ```
    """

    def transform(index, x):
        return permute(x, seed, index, permute_first)

    return _whole_mnist(
        transform,
        data_dir,
        head,
        num_tasks=num_tasks,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )


@register("rotated_mnist", source="Lopez-Paz and Ranzato 2017 (GEM)")
def rotated_mnist(
    num_tasks: int | None = None,
    angles: list[float] | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
) -> TaskStream:
    """MNIST's ten digits, with all images at another angle in each task.

    55,000 images for training, 5,000 for validation, 10,000 for testing, the same in
    all tasks, rotated about their centre with bilinear interpolation.

    Each task has all digits: there is no order of classes, and `angles` says that of
    tasks.

    Args:
        num_tasks: 1 or more; None: as many as there are angles, or 10.
        angles: in degrees, counter-clockwise, one for each task; None: evenly from 0
            towards 180, as 0, 18, ..., 162 for ten tasks.
        train_per_task: only so many training images (the same in all tasks), or a
            number for each task.
        seed: of validation images and `train_per_task`.
        standardize: normalise by the training data's mean and standard deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `mnist`; None: `TFDS_DATA_DIR`.

    Raises:
        ValueError: if there are fewer angles than tasks, or an angle is not finite.

    Example:

    ```python
    stream = streams.get("rotated_mnist", angles=[0, 45, 90])
    ```
    """
    turns: Sequence[float] | np.ndarray
    if angles is None:
        num_tasks = 10 if num_tasks is None else check_count("num_tasks", num_tasks)
        turns = np.arange(num_tasks) * 180 / num_tasks
    elif not len(angles) or not np.isfinite(angles).all():
        raise ValueError(
            f"`angles` must be finite numbers, one or more. Received: {angles!r}"
        )
    else:
        turns = angles
    return _whole_mnist(
        lambda index, x: np.minimum(rotate(x, turns[index]) / np.float32(255), 1),
        data_dir,
        head,
        num_tasks=check_count("num_tasks", num_tasks, len(turns)),
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )


@register("mnist_variation", source="DEN, section 4; Larochelle et al. 2007")
def mnist_variation(
    num_tasks: int = 10,
    noise: float = 1.0,
    images_per_class: Sequence[int] = (1000, 200, 5000),
    train_per_task: int | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
    task_order: ClassOrder = None,
) -> TaskStream:
    """Rotated MNIST digits on noise: is it this digit? Ten one-versus-rest tasks.

    Every image is rotated by an angle of its own, uniform in [0, 360) degrees, and lies
    on a background of its own: each pixel becomes `max(digit, u)`, u uniform in
    [0, noise]. Task c tells digit c (label 1) from the others (0), and all tasks see
    the same images: 1,000 of each digit for training, 200 for validation and 5,000 for
    testing, drawn from all of MNIST. That is DEN's protocol; the images of its paper
    seem to be Larochelle's set with photographs as background, which isn't available.

    The images are made once, at the first access to any task, and kept as uint8.

    Each task has all digits, so there is an order of tasks, but none of classes.

    Args:
        num_tasks: only the first so many digits, 1 to 10.
        noise: the background's brightest, in [0, 1].
        images_per_class: for training, validation and testing.
        task_order: the digits in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ..., 9.
        train_per_task: only so many training images, the same in all tasks, the digits
            in equal parts.
        seed: of the choice of images, angles and backgrounds.
        standardize: normalise by the training data's mean and standard deviation.
        head: "per_task" or "shared".
        data_dir: where TFDS has `mnist`; None: `TFDS_DATA_DIR`.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    ```python
    task = streams.get("mnist_variation")[3]  # labels: is it a three?
    ```
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"`noise` must be in [0, 1]. Received: {noise!r}")
    if len(images_per_class) != 3:
        raise ValueError(
            "`images_per_class` must be three numbers: for training, validation and "
            f"testing. Received: {images_per_class!r}"
        )
    counts = [check_count("images_per_class", count) for count in images_per_class]
    if train_per_task is not None:
        check_count("train_per_task", train_per_task)

    order = in_order(10, task_order, seed, "task_order", "tasks")

    @functools.cache
    def base():
        parts = [tfds.load("mnist", split, data_dir) for split in ("train", "test")]
        x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        splits = dict(zip(SPLITS, _draw(y, counts, seed), strict=True))
        if train_per_task is not None:
            rows = splits["train"]
            splits["train"] = rows[subset(y[rows], train_per_task, seed)]
        rows = np.concatenate(list(splits.values()))
        x, y = _on_noise(x[rows], noise, seed), y[rows]
        ends = np.cumsum([len(rows) for rows in splits.values()])[:-1]
        pairs = zip(np.split(x, ends), np.split(y, ends), strict=True)
        return dict(zip(splits, pairs, strict=True))

    def read(index, split):
        x, y = base()[split]
        return x, (y == order[index]).astype("int32")

    return array_stream(
        read,
        TaskSpec(2, "binary", SHAPE, head),
        num_tasks=check_count("num_tasks", num_tasks, 10),
        seed=seed,
        standardize=standardize,
    )


def permute(x: np.ndarray, seed: int, index: int, permute_first: bool) -> np.ndarray:
    """Puts the values of every example into the order of task `index`."""
    flat = x.reshape(len(x), -1)
    if index == 0 and not permute_first:
        return x
    order = generator(seed, "permutation", index).permutation(flat.shape[1])
    return flat[:, order].reshape(x.shape)


def _whole_mnist(transform, data_dir, head, *, seed, **common):
    """Tasks that all have MNIST's images, transformed."""
    load = functools.partial(tfds.load_splits, "mnist", VALIDATION, seed, data_dir)
    base = functools.cache(load)
    return array_stream(
        lambda index, split: base()[split],
        TaskSpec(10, "categorical", SHAPE, head),
        transform=transform,
        seed=seed,
        **common,
    )


def _draw(y, counts, seed):
    """Rows of three splits with `counts` rows of each digit, in random order."""
    rng = generator(seed, "mnist_variation images")
    rows = [rng.permutation(np.flatnonzero(y == digit)) for digit in range(10)]
    least = min(len(group) for group in rows)
    if sum(counts) > least:
        raise ValueError(
            f"`images_per_class` must add up to {least} at most, which is what MNIST "
            f"has of its rarest digit. Received: {counts}"
        )
    cuts = np.cumsum(counts)
    parts = zip(*(np.split(group, cuts)[:3] for group in rows), strict=True)
    return [rng.permutation(np.concatenate(part)) for part in parts]


def _on_noise(x, noise, seed):
    """Images at random angles on random backgrounds, uint8."""
    angles = generator(seed, "mnist_variation angles").uniform(0, 360, len(x))
    brightest = round(255 * noise)
    background = generator(seed, "mnist_variation noise").integers(
        0, brightest, x.shape, "uint8", endpoint=True
    )
    return np.maximum(np.rint(rotate(x, angles)).astype("uint8"), background)
