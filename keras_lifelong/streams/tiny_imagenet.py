"""Tiny ImageNet from its folder, in tasks of five classes."""

from __future__ import annotations

import functools
from pathlib import Path

from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import groups
from keras_lifelong.streams.image_files import ImageFolder
from keras_lifelong.streams.image_files import image_stream
from keras_lifelong.streams.image_files import part_of
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register

CLASSES, PARTS = 200, (0.9, 0.1)
SITE = "cs231n.stanford.edu/tiny-imagenet-200.zip"


@register("tiny_imagenet40", source="Le and Yang 2015; as in WSN, Kang et al. 2022")
def tiny_imagenet40(
    path: str,
    num_tasks: int | None = None,
    classes_per_task: int | list[int] = 5,
    train_per_task: int | list[int] | None = None,
    image_size: int = 64,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    first_task: int | None = None,
    class_order: ClassOrder = None,
) -> TaskStream:
    """Tiny ImageNet: forty tasks of five classes, images of 64x64.

    Classes are in alphabetical order of their WordNet ids. Of the 500 training images
    of a class a tenth is for validation; as the labels of the test images were never
    published, the 50 of the data set's own validation are for testing: a task has
    2,250, 250 and 250. Images, RGB in [0, 1] unless standardised, are read when a task
    is.

    Args:
        path: the folder `tiny-imagenet-200`, with `train/ID/images/*.JPEG`,
            `val/images/*.JPEG` and `val/val_annotations.txt`. It is to be had from
            cs231n.stanford.edu/tiny-imagenet-200.zip.
        num_tasks: only the first so many tasks, 1 to 40.
        classes_per_task: any that divides 200, 2 or more; or a number for each task.
        first_task: so many classes in the first task. None: as in the others.
        class_order: the classes in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ...
        train_per_task: only so many training images of each, or a number for each.
        image_size: to which images are resized, with anti-aliasing.
        seed: of validation images and of `train_per_task`.
        standardize: normalise each colour by the training data's mean and standard
            deviation.
        head: "per_task" or "shared".

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if there are not 200 classes, or a class has fewer than 10 training
            images, no test image or one that can't be read.

    Example:

    ```python
    stream = streams.get("tiny_imagenet40", path="data/tiny-imagenet-200")
    ```
    """
    tasks = groups(CLASSES, classes_per_task, first_task, class_order, seed)
    folder = ImageFolder(path, "Tiny ImageNet", SITE)
    places = folder.class_folders(folder.find("train"), CLASSES)
    annotations = folder.find("val/val_annotations.txt")
    pictures = folder.find("val/images")

    @functools.cache
    def tested():
        found: dict[str, list[Path]] = {place.name: [] for place in places}
        for number, line in enumerate(folder.text(annotations).splitlines(), 1):
            name, _, rest = line.partition("\t")
            of = rest.partition("\t")[0]
            if of not in found:
                raise ValueError(
                    "`path` must have the id of a class in the second column of "
                    f"{annotations.name}. Received: {of!r} in line {number} of "
                    f"{str(annotations)!r}"
                )
            found[of].append(pictures / name)
        return found

    def files(c, split):
        place = places[c]
        if split == "test":
            where = f"{annotations}, class {place.name}"
            return folder.enough(tested()[place.name], 1, where)
        images = folder.images(folder.find(f"train/{place.name}/images"), least=10)
        rng = generator(seed, f"files of {place.name}")
        return part_of(images, split, PARTS, rng)

    return image_stream(
        folder,
        files,
        tasks,
        image_size,
        num_tasks=num_tasks,
        head=head,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
    )
