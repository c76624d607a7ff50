"""mini-ImageNet from its folder, in twenty tasks of five classes."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import groups
from keras_lifelong.streams.image_files import ImageFolder
from keras_lifelong.streams.image_files import image_stream
from keras_lifelong.streams.image_files import part_of
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register

PARTS = (0.8, 0.1, 0.1)
LISTS = {"train": 64, "val": 16, "test": 20}  # the classes of the few-shot splits
SITE = "github.com/yaoyao-liu/mini-imagenet-tools"


@register("mini_imagenet20", source="Vinyals et al. 2016; as in PAR, section 4")
def mini_imagenet20(
    path: str,
    num_tasks: int | None = None,
    classes_per_task: int | list[int] = 5,
    train_per_task: int | list[int] | None = None,
    image_size: int = 84,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    first_task: int | None = None,
    class_order: ClassOrder = "random",
) -> TaskStream:
    """mini-ImageNet: twenty tasks of five classes, images of 84x84.

    The classes of its three parts, made for few-shot learning, are put together and
    drawn in random order, as in PAR's program. Of each class 0.8 of the images are for
    training, 0.1 for validation and 0.1 for testing, all rounded down: of its 600
    images 480, 60 and 60, drawn by `seed` (the program takes them in the order of its
    file). Images, RGB in [0, 1] unless standardised, are read when a task is.

    Args:
        path: a folder with `images/*.jpg` and `train.csv`, `val.csv` and `test.csv` of
            columns `filename` and `label`; or with `train`, `val` and `test` of 64, 16
            and 20 folders, each with the images of a class. ImageNet's images may not
            be passed on; github.com/yaoyao-liu/mini-imagenet-tools makes it of them.
        num_tasks: only the first so many tasks, 1 to 20.
        classes_per_task: any that divides 100, 2 or more; or a number for each task.
        first_task: so many classes in the first task. None: as in the others.
        class_order: the classes in the order that tasks take them, each once, or
            "random": an order drawn by `seed`. None: 0, 1, ..., first those of `train`,
            then of `val`, then of `test`, each in alphabetical order.
        train_per_task: only so many training images of each, or a number for each.
        image_size: to which images are resized, with anti-aliasing.
        seed: of the order of classes, the division and `train_per_task`.
        standardize: normalise each colour by the training data's mean and standard
            deviation; PAR's program does so by ImageNet's.
        head: "per_task" or "shared".

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if there are not so many classes, a list lacks a column, or a class
            has fewer than 10 images or one that can't be read.

    Example:

    ```python
    stream = streams.get("mini_imagenet20", path="data/mini-imagenet")
    ```
    """
    tasks = groups(100, classes_per_task, first_task, class_order, seed)
    folder = ImageFolder(path, "mini-ImageNet", SITE)
    is_listed = (folder.root / "train.csv").is_file()
    names: dict[str, list[str] | None] = {}  # of each class's images, where listed
    places: dict[str, Path] = {}
    for part, count in LISTS.items():
        if is_listed:
            found = _listed(folder, part, count)
            names |= {of: sorted(found[of]) for of in sorted(found)}
            places |= dict.fromkeys(found, folder.find("images"))
        else:
            within = folder.class_folders(folder.find(part), count)
            names |= dict.fromkeys(place.name for place in within)
            places |= {place.name: place for place in within}
    classes = list(names)
    if len(classes) != sum(LISTS.values()):
        raise ValueError(
            f"`path` must have each class of {folder.name} in one part only. "
            f"Received: {len(classes)} different ones in {str(folder.root)!r}"
        )

    def files(c, split):
        of = classes[c]
        listed, place = names[of], places[of]
        if listed is None:
            images = folder.images(place, least=10)
        else:
            images = folder.enough([place / n for n in listed], 10, folder.root / of)
        return part_of(images, split, PARTS, generator(seed, f"files of {of}"))

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


def _listed(folder, part, count) -> dict[str, list[str]]:
    """The images of each class of a part, by its list."""
    path = folder.find(f"{part}.csv")
    found: dict[str, list[str]] = {}
    rows = csv.DictReader(folder.text(path).splitlines())
    lacking = {"filename", "label"} - {*(rows.fieldnames or ())}
    if lacking:
        raise ValueError(
            f"`path` must have the columns filename and label in {path.name}. "
            f"Received: no {', '.join(sorted(lacking))} in {str(path)!r}"
        )
    for row in rows:
        if not row["filename"] or not row["label"]:
            raise ValueError(
                f"`path` must have a filename and a label in each line of {path.name}. "
                f"Received: {row['filename']!r} and {row['label']!r} in line "
                f"{rows.line_num} of {str(path)!r}"
            )
        found.setdefault(row["label"], []).append(row["filename"])
    names = Counter(name for of_class in found.values() for name in of_class)
    if names and names.most_common(1)[0][1] > 1:  # it would be trained and tested
        raise ValueError(
            f"`path` must have each image once in {path.name}. Received: "
            f"{names.most_common(1)[0][0]!r} again in {str(path)!r}"
        )
    if len(found) != count:
        raise ValueError(
            f"`path` must have {count} classes of {folder.name} in {path.name}. "
            f"Received: {len(found)} in {str(path)!r}"
        )
    return found
