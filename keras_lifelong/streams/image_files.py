"""Images that lie in a folder, read when a task is."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.streams.arrays import SPLITS
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.task import TaskSpec

ENDINGS = (".jpg", ".jpeg", ".png")


class ImageFolder:
    """The folder of a data set, that a user has got.

    Args:
        path: as it was given, by the argument `path`.
        name: of the data set, for messages.
        site: where it is to be had.
        argument: under which the folder was given.
    """

    def __init__(self, path: str | Path, name: str, site: str, argument: str = "path"):
        self.root, self.name, self.site = Path(path), name, site
        self.argument = argument

    def find(self, *names: str) -> Path:
        """The first of these folders or files that is there.

        Raises:
            FileNotFoundError: if none is, saying where the data set is to be had.
        """
        for name in names:
            if (self.root / name).exists():
                return self.root / name
        lack = f"has no {' or '.join(map(repr, names))}"
        raise FileNotFoundError(
            f"`{self.argument}` {lack if self.root.is_dir() else 'is no folder'}; it "
            f"must be that of {self.name}, to be had from {self.site}. "
            f"Received: {str(self.root)!r}"
        )

    def class_folders(self, within: Path, count: int) -> list[Path]:
        """The folders of classes in alphabetical order.

        Raises:
            ValueError: unless there are so many.
        """
        folders = [found for found in self.shown(within) if found.is_dir()]
        if len(folders) != count:
            raise ValueError(
                f"`{self.argument}` must have {count} folders in {within.name!r}, one "
                f"for each class of {self.name} ({self.site}). "
                f"Received: {len(folders)} in {str(within)!r}"
            )
        return folders

    def shown(self, within: Path) -> list[Path]:
        """What is in a folder, by name, but what is hidden: `.DS_Store`, `._1.jpg`.

        Raises:
            FileNotFoundError: if it is no folder.
        """
        if not within.is_dir():
            raise FileNotFoundError(
                f"`{self.argument}` must have a folder {within.name!r}, as that of "
                f"{self.name} has, to be had from {self.site}. "
                f"Received: no folder {str(within)!r}"
            )
        found = (place for place in within.iterdir() if place.name[:1] != ".")
        return sorted(found, key=lambda place: place.name)

    def images(
        self, folder: Path, least: int = 1, endings: Sequence[str] = ENDINGS
    ) -> list[Path]:
        """The images in a folder, in alphabetical order; or files of other endings.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: if there are less than `least`.
        """
        files = [f for f in self.shown(folder) if f.suffix.lower() in endings]
        files = [f for f in files if not f.is_dir()]
        return self.enough(files, least, folder, endings)

    def text(self, file: Path) -> str:
        """What a file says in UTF-8, with a mark of byte order or without.

        Raises:
            ValueError: if it is something else.
        """
        try:
            return file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"`{self.argument}` must have lists in UTF-8. "
                f"Received: {str(file)!r}: {error}"
            ) from error

    def check(self, files: Iterable[Path]) -> None:
        """FileNotFoundError unless all of these files are there."""
        for file in files:
            if not file.exists():
                raise self._missing(file)

    def _missing(self, file):
        return FileNotFoundError(
            f"`{self.argument}` lacks an image of {self.name}, to be had from "
            f"{self.site}. Received: no file {str(file)!r}"
        )

    def enough(
        self,
        files: list[Path],
        least: int,
        where: Path | str,
        endings: Sequence[str] = ENDINGS,
    ) -> list[Path]:
        """The files of a class, if there are `least` of them.

        Raises:
            ValueError: if there are less.
        """
        if len(files) < least:
            raise ValueError(
                f"`{self.argument}` must have {least} files or more of each class "
                f"({', '.join(endings)}), to be divided. "
                f"Received: {len(files)} in {str(where)!r}"
            )
        return files

    def read(self, files: Iterable[Path | str], size: int) -> np.ndarray:
        """Images, uint8 (n, size, size, 3): RGB, resized with anti-aliasing.

        They stand as their EXIF orientation says.

        Raises:
            FileNotFoundError: if one is missing.
            ValueError: if one can't be read.
        """
        return np.stack([self._image(str(file), size) for file in files])

    def _image(self, file, size):
        from PIL import Image
        from PIL import ImageOps

        try:
            with Image.open(file) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
                image = image.resize((size, size), Image.Resampling.BILINEAR)
                return np.asarray(image)
        except FileNotFoundError as error:
            raise self._missing(file) from error
        # what Pillow raises for broken files, and for those of too many pixels
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"`{self.argument}` must have images that Pillow can read; get this "
                f"one again from {self.site}. "
                f"Received: {str(file)!r}, which cannot be read: {error}"
            ) from error


def part_of(
    files: Sequence[Path],
    split: str,
    parts: Sequence[float],
    rng: np.random.Generator,
) -> list[Path]:
    """The files of a class that belong to a split.

    Args:
        files: of the class, in an order that is always the same.
        split: "train", "validation" or "test".
        parts: that each of these has, all rounded down; of fewer, the first ones.
        rng: of the division, the same for every split.
    """
    ends = np.cumsum([int(part * len(files)) for part in parts])
    part = np.split(rng.permutation(len(files)), ends)[SPLITS.index(split)]
    return [files[i] for i in sorted(part)]


def image_stream(
    folder: ImageFolder,
    files: Callable[[int, str], Sequence[Path]],
    groups: Sequence[Sequence[int]],
    image_size: int,
    *,
    num_tasks: int | None = None,
    head: str = "per_task",
    **common: Any,
) -> TaskStream:
    """A stream of images in files, of which only those that are used are read.

    Args:
        folder: that they lie in.
        files: `files(c, split)` gives those of class c.
        groups: the classes of each task; the k-th one gets label k.
        image_size: to which images are resized.
        num_tasks: only so many of them.
        head: as in `TaskSpec`.
        **common: `train_per_task`, `seed`, `standardize`, `by_split` as in
            `array_stream`.
    """
    check_count("image_size", image_size)
    shape = (image_size, image_size, 3)

    def read(index, split):
        classes = [files(c, split) for c in groups[index]]
        labels = np.repeat(np.arange(len(classes)), [len(found) for found in classes])
        names = [str(file) for found in classes for file in found]
        return np.array(names), labels.astype("int32")

    def check(index):
        for c in groups[index]:
            for split in SPLITS:
                folder.check(files(c, split))

    return array_stream(
        read,
        [TaskSpec(len(group), "categorical", shape, head) for group in groups],
        num_tasks=check_count("num_tasks", num_tasks, len(groups)),
        transform=lambda _, names: folder.read(names, image_size),
        check=check,
        **common,
    )
