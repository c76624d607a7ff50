"""Office-Home from a folder of images, as in LASEM."""

from __future__ import annotations

from pathlib import Path

from keras_lifelong.streams.image_files import ImageFolder
from keras_lifelong.streams.image_files import image_stream
from keras_lifelong.streams.image_files import part_of
from keras_lifelong.streams.sampling import generator
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register

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
    unless standardised, are read when the task is. Which classes make a task is the
    authors' table: there is no order of classes.

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
    folder = ImageFolder(path, "Office-Home", SITE)
    product, real = (_domain(folder, names) for names in DOMAINS)
    differing = {place.name for place in product} ^ {place.name for place in real}
    if differing:
        raise ValueError(
            "`path` must have the same classes in both domains. Received: "
            f"{sorted(differing)} in only one of them, in {str(path)!r}"
        )
    places = product + real

    def files(c, split):
        rng = generator(seed, f"files of {places[c].name}")
        return part_of(folder.images(places[c], least=10), split, PARTS, rng)

    return image_stream(
        folder,
        files,
        [[first + c for c in group] for first in (0, CLASSES) for group in GROUPS],
        image_size,
        num_tasks=num_tasks,
        head=head,
        train_per_task=train_per_task,
        seed=seed,
        standardize=standardize,
        by_split=True,
    )


def _domain(folder: ImageFolder, names: tuple[str, ...]) -> list[Path]:
    """The folders of a domain's classes in alphabetical order, case aside."""
    places = folder.class_folders(folder.find(*names), CLASSES)
    return sorted(places, key=lambda place: place.name.lower())
