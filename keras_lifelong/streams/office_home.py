"""Office-Home from a folder of images, as in LASEM."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_lifelong.streams.arrays import SPLITS
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import TaskSpec

# Five groups of classes by their place in alphabetical order, first as pictures of
# products, then as photographs.
GROUPS = (
    (63, 54, 55, 59, 47, 8, 5, 56, 18, 50, 3, 57, 13),
    (62, 19, 21, 35, 64, 46, 27, 10, 39, 17, 22, 34, 30),
    (48, 15, 51, 6, 40, 31, 4, 36, 45, 41, 16, 14, 11),
    (9, 29, 1, 44, 33, 26, 25, 32, 53, 12, 43, 38, 60),
    (28, 2, 49, 37, 20, 23, 58, 24, 52, 61, 7, 0, 42),
)
DOMAINS = (("Product",), ("Real World", "RealWorld"))
CLASSES, PARTS = 65, (0.6, 0.1, 0.3)
SITE = "hemanthdv.org/officeHomeDataset.html"
ENDINGS = (".jpg", ".jpeg", ".png")


@register("office_home", source="Venkateswara et al. 2017; as in LASEM, section 5")
def office_home(
    path: str,
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    image_size: int = 128,
    seed: int = 0,
    standardize: bool = False,
    head: str = "per_task",
) -> TaskStream:
    """Office-Home: ten 13-way tasks, five of product pictures, then of photographs.

    Tasks 5 to 9 have the classes of tasks 0 to 4 in the other domain. The tasks'
    classes are the authors', who number folders alphabetically whatever their case
    (`Trash_Can` before `TV`). Of each class 0.6 of the images are for training, 0.1 for
    validation and 0.3 for testing, all rounded down. A task's images, RGB in [0, 1]
    unless standardised, are read when the task is.

    Args:
        path: the folder of the data set, with folders `Product` and `Real World` (or
            `RealWorld`), each with a folder of images for every class. It is to be had
            from hemanthdv.org/officeHomeDataset.html.
        num_tasks: only the first so many tasks, 1 to 10.
        train_per_task: only so many training images of each, or a number for each.
        image_size: to which images are resized, with anti-aliasing.
        seed: of the division into training, validation and test data.
        standardize: normalise each colour of each split of a task by its own mean and
            standard deviation. The authors' code did not.
        head: "per_task" or "shared".

    Raises:
        FileNotFoundError: if a folder is missing.
        ValueError: if a domain has not 65 classes, or not those of the other, or if a
            class has fewer than 10 images or one that cannot be read.

    Example:

    ```python
    stream = streams.get("office_home", path="data/OfficeHomeDataset_10072016")
    ```
    """
    check_count("image_size", image_size)
    num_tasks = check_count("num_tasks", num_tasks, 2 * len(GROUPS))
    folders = [_domain(Path(path), names) for names in DOMAINS]
    product, real = ({folder.name for folder in domain} for domain in folders)
    if product != real:
        raise ValueError(
            "`path` must have the same classes in both domains. Received: "
            f"{sorted(product ^ real)} in only one of them, in {str(path)!r}"
        )

    def read(index, split):
        domain, group = divmod(index, len(GROUPS))
        images, labels = [], []
        for label, place in enumerate(GROUPS[group]):
            folder = folders[domain][place]
            files = _files(folder, split, generator(seed, f"files of {folder.name}"))
            images += [_image(file, image_size) for file in files]
            labels += [label] * len(files)
        return np.stack(images), np.array(labels, "int32")

    return array_stream(
        read,
        TaskSpec(len(GROUPS[0]), "categorical", (image_size, image_size, 3), head),
        num_tasks=num_tasks,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
        by_split=True,
    )


def _domain(root: Path, names: tuple[str, ...]) -> list[Path]:
    """The folders of a domain's classes in alphabetical order, case aside."""
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        lack = f"has no folder {' or '.join(map(repr, names))}"
        raise FileNotFoundError(
            f"`path` {lack if root.is_dir() else 'is no folder'}; it must be that of "
            f"Office-Home, to be had from {SITE}. Received: {str(root)!r}"
        )
    folders = [folder for folder in found.iterdir() if folder.is_dir()]
    if len(folders) != CLASSES:
        raise ValueError(
            f"`path` must have {CLASSES} folders in each domain, one for each class of "
            f"Office-Home ({SITE}). Received: {len(folders)} in {str(found)!r}"
        )
    return sorted(folders, key=lambda folder: folder.name.lower())


def _files(folder: Path, split: str, rng: np.random.Generator) -> list[Path]:
    """The files of a class that belong to a split."""
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in ENDINGS)
    if len(files) < 10:
        raise ValueError(
            f"`path` must have 10 images or more of each class ({', '.join(ENDINGS)}), "
            f"to be divided. Received: {len(files)} in {str(folder)!r}"
        )
    ends = np.cumsum([int(part * len(files)) for part in PARTS])
    part = np.split(rng.permutation(len(files)), ends)[SPLITS.index(split)]
    return [files[i] for i in sorted(part)]


def _image(file: Path, size: int) -> np.ndarray:
    """An image as uint8 (size, size, 3)."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
            image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (OSError, SyntaxError) as error:  # what Pillow raises for broken files
        raise ValueError(
            "`path` must have images that Pillow can read; get this one again from "
            f"{SITE}. Received: {str(file)!r}, which cannot be read: {error}"
        ) from error
