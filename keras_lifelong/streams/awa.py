"""Animals with Attributes by its published features, one animal to a task."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from keras_lifelong.streams.arrays import SPLITS
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.awa_files import CLASSES
from keras_lifelong.streams.awa_files import opened
from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import in_order
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.sampling import subset
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec


@register("awa", source="Lampert et al. 2009, Xian et al. 2018; as in DEN, section 4")
def awa(
    path: str,
    num_tasks: int | None = None,
    features: int | None = 500,
    images_per_class: Sequence[int] = (30, 30, 30),
    train_per_task: int | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    task_order: ClassOrder = None,
) -> TaskStream:
    """Animals with Attributes: is it this animal? Fifty one-versus-rest tasks.

    Inputs are published features of the photographs, brought to 500 numbers by their
    principal components, which are those of the training data. Task c tells animal c
    (label 1) from the others (0), and all tasks see the same images: 30 of each animal
    for training, 30 for validation and 30 for testing. That is DEN's protocol,
    AWA-Class. Its paper has DeCAF features of the first version of the data set, whose
    images may no longer be passed on; the second version has features of ResNet-101. At
    their full size the first access to a task takes half a minute, the others none.

    Each task has all classes, so there is an order of tasks, but none of classes.

    Args:
        path: the folder of the data set: `Animals_with_Attributes2`, with
            `Features/ResNet101/AwA2-features.txt` and `AwA2-labels.txt`, to be had from
            cvml.ista.ac.at/AwA2; or one with `Features/decaf` (or `decaf`), in which a
            folder for each of the fifty animals holds a text file of numbers for each
            image.
        num_tasks: only the first so many tasks, 1 to 50.
        features: how many principal components, at most as many as there are features,
            and less than training images. None: the features themselves.
        images_per_class: for training, validation and testing.
        task_order: the animals in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: the data set's, alphabetical for
            DeCAF.
        train_per_task: only so many training images, 50 or more, the same in all tasks,
            the animals in equal parts.
        seed: of the choice of images.
        standardize: normalise each input by the training data's mean and standard
            deviation.
        head: "per_task" or "shared".

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if an argument is out of range, an animal has too few images, or a
            file holds other things than numbers.

    Example:

    ```python
    stream = streams.get("awa", path="data/Animals_with_Attributes2")
    ```
    """
    num_tasks = check_count("num_tasks", num_tasks, CLASSES)
    order = in_order(CLASSES, task_order, seed, "task_order", "tasks")
    if len(images_per_class) != 3:
        raise ValueError(
            "`images_per_class` must be three numbers: for training, validation and "
            f"testing. Received: {images_per_class!r}"
        )
    counts = [check_count("images_per_class", count) for count in images_per_class]
    if train_per_task is not None:
        # of fewer some animals would have none, and their tasks one class
        check_count("train_per_task", train_per_task, least=CLASSES)
    published = opened(path)
    if features is not None:
        check_count("features", features, min(published.width, 50 * counts[0] - 1))
    for animal, rows in enumerate(published.rows):
        if len(rows) < sum(counts):
            raise ValueError(
                "`images_per_class` must add up to as many images as each animal has. "
                f"Received: {counts}, and {len(rows)} of animal {animal}"
            )

    @functools.cache
    def base():
        rows, labels = zip(*_draw(published.rows, counts, seed), strict=True)
        x = published.read(np.concatenate(rows))
        if features is not None:
            mean, axes = principal_components(x[: len(rows[0])], features)
            x = (x - mean) @ axes
        inputs = np.split(x.astype("float32"), np.cumsum([len(r) for r in rows])[:-1])
        splits = dict(zip(SPLITS, zip(inputs, labels, strict=True), strict=True))
        if train_per_task is not None:
            x, y = splits["train"]
            kept = subset(y, train_per_task, seed)
            splits["train"] = x[kept], y[kept]
        return splits

    def read(index, split):
        x, y = base()[split]
        return x, (y == order[index]).astype("int32")

    return array_stream(
        read,
        TaskSpec(2, "binary", (features or published.width,), head),
        num_tasks=num_tasks,
        seed=seed,
        standardize=standardize,
    )


def principal_components(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and principal axes (d, count) of rows (n, d).

    The largest entry of an axis is positive, so that all machines find the same.

    >>> mean, axes = principal_components(np.array([[0.0, 1], [2, 1], [4, 1]]), 1)
    >>> mean.tolist(), axes.tolist()
    ([2.0, 1.0], [[1.0], [0.0]])
    """
    mean = x.mean(0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    axes = axes[:count]
    largest = np.abs(axes).argmax(1)
    signs = np.sign(axes[np.arange(len(axes)), largest])
    return mean, (axes * signs[:, None]).T + 0.0  # no -0


def _draw(rows_of, counts, seed):
    """Rows and classes of three splits, `counts` of each class, in random order."""
    rng = generator(seed, "awa images")
    rows = [rng.permutation(rows)[: sum(counts)] for rows in rows_of]
    for part in np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1]):
        y = np.repeat(np.arange(CLASSES), len(part))
        mixed = rng.permutation(len(y))
        yield np.concatenate([of[part] for of in rows])[mixed], y[mixed]
