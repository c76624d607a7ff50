"""Five data sets of ten classes each, one after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_lifelong.streams import tfds
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.arrays import whole_tasks
from keras_lifelong.streams.grouping import ClassOrder
from keras_lifelong.streams.grouping import in_order
from keras_lifelong.streams.image_files import ImageFolder
from keras_lifelong.streams.sampling import hold_out
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

# Names of tasks, and of their data sets in TFDS.
DATA = {
    "cifar10": "cifar10",
    "mnist": "mnist",
    "svhn": "svhn_cropped",
    "fashion_mnist": "fashion_mnist",
    "notmnist": None,
}
SIDE, VALIDATION, LETTERS = 32, 0.05, "ABCDEFGHIJ"
SITE = "yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz"


@register("five_datasets", source="Ebrahimi et al. 2020 (ACL); as in GPM, WSN, TRGP")
def five_datasets(
    path: str | None = None,
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
    data_dir: str | None = None,
    task_order: ClassOrder = None,
) -> TaskStream:
    """CIFAR-10, MNIST, SVHN, Fashion-MNIST and notMNIST: five tasks of ten classes.

    Grey images of 28x28 get a black margin of two pixels and three equal colours, so
    that all are 32x32x3. A twentieth of the training images is for validation. Of
    notMNIST the small set is taken, letters A to J, a tenth of it for testing: the same
    images for every seed. A data set is read when its task is.

    The classes of a data set stay together: there is no order of classes.

    Args:
        path: the folder `notMNIST_small`, with a folder of images for each letter. It
            is to be had from yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz. Its
            empty files, of which there are two, are left out. None: without notMNIST,
            which `num_tasks` must then leave out.
        num_tasks: only the first so many tasks, 1 to 5.
        task_order: the tasks in another order, as [4, 3, 2, 1, 0], or "random": an
            order drawn by `seed`. None: as above.
        train_per_task: only so many training images of each, or a number for each.
        seed: of validation images and of `train_per_task`.
        standardize: normalise each colour by the training data's mean and standard
            deviation, each data set by its own, as in the papers' programs.
        head: "per_task" or "shared".
        data_dir: where TFDS has the other four; None: `TFDS_DATA_DIR`.

    Raises:
        FileNotFoundError: if the folder of a letter or a data set is missing.
        ValueError: if `path` is needed and not given, or a file can't be read.

    Example:

    ```python
    stream = streams.get("five_datasets", path="data/notMNIST_small", standardize=True)
    ```
    """
    num_tasks = check_count("num_tasks", num_tasks, len(DATA))
    order = in_order(len(DATA), task_order, seed, "task_order", "tasks")
    names = [list(DATA)[i] for i in order[:num_tasks]]
    if "notmnist" in names and path is None:
        raise ValueError(
            "`path` must be the folder of notMNIST_small, to be had from "
            f"{SITE}; or leave notMNIST out by `num_tasks`. Received: path=None, "
            f"num_tasks={num_tasks}, task_order={task_order!r}"
        )
    letters = ImageFolder(path, "notMNIST", SITE) if path is not None else None
    if "notmnist" in names and letters is not None:
        for letter in LETTERS:
            letters.find(letter)

    def check(index):
        if names[index] != "notmnist":
            tfds.check(DATA[names[index]], data_dir)
        elif letters is not None:
            for letter in LETTERS:
                _images(letters, letter)

    def load(name, split):
        if name == "notmnist" and letters is not None:
            x, y = _not_mnist(letters, split)
        else:
            x, y = tfds.load(DATA[name], split, data_dir)
        return padded(x), y

    return whole_tasks(
        load,
        names,
        TaskSpec(len(LETTERS), "categorical", (SIDE, SIDE, 3), head),
        VALIDATION,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
        check=check,
    )


def padded(x: np.ndarray) -> np.ndarray:
    """Images (n, side, side, 1 or 3), uint8, as (n, 32, 32, 3) with a black margin."""
    margin = (SIDE - x.shape[1]) // 2
    x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return np.broadcast_to(x, (*x.shape[:3], 3))


def _images(folder, letter):
    """The images of a letter, but the empty files."""
    images = folder.images(folder.find(letter), least=10)
    folder.check(images)
    found = [file for file in images if file.stat().st_size]
    return folder.enough(found, 10, folder.root / letter)


def _not_mnist(folder, split):
    """Grey images of letters and their labels: nine tenths, or the others to test."""
    files: list[Path] = []
    labels: list[int] = []
    for label, letter in enumerate(LETTERS):
        found = _images(folder, letter)
        files += found
        labels += [label] * len(found)
    y = np.array(labels)
    rest, test = hold_out(y, 0.1, seed=0, purpose="notMNIST test")
    rows = test if split == "test" else rest
    return folder.read([files[i] for i in rows], 28)[..., :1], y[rows]
