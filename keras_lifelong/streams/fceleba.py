"""Tasks of CIFAR-100, which differ, among tasks of F-CelebA, which are alike."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from keras_lifelong.streams import tfds
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.arrays import rows_of_classes
from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import groups
from keras_lifelong.streams.image_files import ImageFolder
from keras_lifelong.streams.sampling import check_seed
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.sampling import hold_out
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

SIDE, VALIDATION = 32, 0.1
SITE = "github.com/TalwalkarLab/leaf (data/celeba)"


@register(
    "mixed_cifar100_fceleba",
    source="Caldas et al. 2018 (LEAF), Krizhevsky 2009; as in CAT and PAR",
)
def mixed_cifar100_fceleba(
    path: str,
    images: str | None = None,
    num_tasks: int | None = None,
    people: int = 10,
    classes_per_task: int | list[int] = 10,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    task_seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
    first_task: int | None = None,
    class_order: ClassOrder = None,
) -> TaskStream:
    """CIFAR-100 in ten tasks among ten of F-CelebA, twenty in random order.

    Does a method share between tasks that are alike, and keep others apart? A task of
    CIFAR-100 has ten classes, and 4,500 images to train, 500 for validation and 1,000
    for testing. A task of F-CelebA has the portraits of one person of LEAF's federated
    CelebA: does she smile (1) or not (0)? In its small iid division, which CAT and PAR
    take, that is 96 or 97 images, a tenth of which is for validation, and 11 for
    testing. (In that division, a person's images are drawn from all.) All are 32x32x3.

    Tasks are in an order drawn by `task_seed`, where the authors have files of orders;
    task names say which is which.

    Args:
        path: the folder `data/celeba/data` of LEAF, to be had from
            github.com/TalwalkarLab/leaf, with `train/*.json` and `test/*.json`, as
            `preprocess.sh -s iid --sf 0.05 -k 5 -t sample` leaves it.
        images: the folder with CelebA's images, 000001.jpg and so on. None:
            `raw/img_align_celeba` in `path`.
        num_tasks: only the first so many tasks.
        people: tasks of F-CelebA, of the first people in alphabetical order. 0: none.
        classes_per_task: of CIFAR-100, any that divides 100, 2 or more; or a number for
            each of its tasks.
        first_task: so many classes in the first task of CIFAR-100. None: as in the
            others.
        class_order: CIFAR-100's classes in the order that its tasks take them, each
            once, or "random": an order drawn by `seed`. None: 0, 1, ...
        train_per_task: only so many training images of each, or a number for each.
        seed: of validation images and of `train_per_task`.
        task_seed: of the order of tasks.
        standardize: normalise each colour by the training data's mean and standard
            deviation, each task by its own; PAR's program takes CIFAR's for all.
        head: "per_task" or "shared".
        data_dir: where TFDS has `cifar100`; None: `TFDS_DATA_DIR`.

    Raises:
        FileNotFoundError: if a folder, a file or an image is missing.
        ValueError: if an argument is out of range, or the lists are not LEAF's or have
            less people.

    Example:

    ```python
    stream = streams.get("mixed_cifar100_fceleba", path="leaf/data/celeba/data")
    ```
    """
    classes = groups(100, classes_per_task, first_task, class_order, seed)
    check_seed("task_seed", task_seed)
    check_count("people", people, least=0)
    folder = ImageFolder(path, "LEAF's CelebA", SITE)
    lists = {part: _lists(folder, part) for part in ("train", "test")}
    known = sorted(set(lists["train"]) & set(lists["test"]))
    if len(known) < people:
        raise ValueError(
            f"`people` must be at most as many as `path` has in train and test, "
            f"{len(known)}. Received: {people}"
        )
    portraits = ImageFolder(
        images or folder.find("raw/img_align_celeba"),
        "CelebA",
        "mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "images" if images else "path",
    )
    for person in known[:people]:
        _check_person(person, *(lists[part][person][1] for part in ("train", "test")))
    number = len(classes) + people
    order = generator(task_seed, "mixed_cifar100_fceleba").permutation(number)
    order = order[: check_count("num_tasks", num_tasks, number)]
    names = [f"cifar100_{i}" for i in range(len(classes))]
    names += [f"fceleba_{person}" for person in known[:people]]
    sizes = [*map(len, classes), *[2] * people]
    base = functools.cache(
        functools.partial(tfds.load_splits, "cifar100", VALIDATION, seed, data_dir)
    )

    def read(index, split):
        task = order[index]
        if task < len(classes):
            x, y = base()[split]
            rows, labels = rows_of_classes(y, classes[task])
            return x[rows], labels
        person = known[task - len(classes)]
        files, y = lists["test" if split == "test" else "train"][person]
        if split != "test":
            kept, held = hold_out(y, VALIDATION, seed)
            rows = kept if split == "train" else held
            files, y = [files[i] for i in rows], y[rows]
        return portraits.read([portraits.root / file for file in files], SIDE), y

    def check(index):
        task = order[index]
        if task < len(classes):
            tfds.check("cifar100", data_dir)
            return
        for part in ("train", "test"):
            files, _ = lists[part][known[task - len(classes)]]
            portraits.check(portraits.root / file for file in files)

    shape = (SIDE, SIDE, 3)
    return array_stream(
        read,
        [TaskSpec(sizes[task], "categorical", shape, head) for task in order],
        num_tasks=len(order),
        names=[names[task] for task in order],
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
        check=check,
    )


def _lists(folder, part) -> dict[str, tuple[list[str], np.ndarray]]:
    """Of each person of a part, the images and whether they smile."""
    found = {}
    place = folder.find(part)
    for file in folder.images(place, 0, [".json"]):
        try:
            people = json.loads(folder.text(file))["user_data"]
            for person, data in people.items():
                found[person] = _checked(data["x"], data["y"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                "`path` must have lists as LEAF writes them: user_data, of each person "
                "x, names of images, and y, 0 or 1 for each. "
                f"Received: {str(file)!r}: {error!r}"
            ) from error
    if not found:
        raise FileNotFoundError(
            f"`path` has no list of images in {part!r}; it must be that of "
            f"{folder.name}, to be had from {SITE}. Received: {str(folder.root)!r}"
        )
    return found


def _checked(files, y):
    labels = np.array(y, "float64")
    if labels.shape != (len(files),) or not np.isin(labels, (0, 1)).all():
        raise ValueError("not a 0 or 1 for each image")
    for file in files:
        if Path(file).name != file or not isinstance(files, list):
            raise ValueError(f"{file!r} is not the name of an image")
    return files, labels.astype("int32")


def _check_person(person, trained, tested):
    """A person's images can be divided, so that both kinds are trained."""
    counts = np.bincount(trained, minlength=2)
    if counts.min() < 1 or counts.sum() < 3 or not len(tested):
        raise ValueError(
            "`path` must have three images or more in 'train' of each person, smiling "
            "and not, and one or more in 'test'; take fewer `people`. Received: "
            f"{counts[1]} smiling, {counts[0]} not and {len(tested)} in 'test' of "
            f"{person!r}"
        )
