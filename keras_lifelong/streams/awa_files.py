"""The features of Animals with Attributes, as they were published."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.streams.image_files import ImageFolder
from keras_lifelong.streams.numbers import is_finite

CLASSES = 50
SITE = "cvml.ista.ac.at/AwA2"
DECAF = ("Features/decaf", "decaf")
RESNET = "Features/ResNet101/AwA2-features.txt"
ASCII: dict[str, Any] = {"encoding": "ascii", "errors": "replace"}  # of numbers
LABELS = "Features/ResNet101/AwA2-labels.txt"


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of images, of which only some are read.

    Attributes:
        width: numbers for each image.
        rows: of each class, the numbers of its images.
        read: from numbers of images (n,) to features, float64 (n, width).
    """

    width: int
    rows: Sequence[np.ndarray]
    read: Callable[[np.ndarray], np.ndarray]


def opened(path: str) -> Features:
    """The features in a folder: of DeCAF, if it has these, else of ResNet-101.

    Raises:
        FileNotFoundError: if it has neither.
        ValueError: if there are not fifty classes, or a file holds other things than
            numbers, as soon as that is seen.
    """
    folder = ImageFolder(path, "Animals with Attributes", SITE)
    if any((folder.root / name).is_dir() for name in DECAF):
        return _decaf(folder)
    return _resnet(folder)


def _decaf(folder):
    """A folder for each class, in it a file for each image."""
    places = folder.class_folders(folder.find(*DECAF), CLASSES)
    files, rows = [], []
    for place in places:
        found = folder.images(place, 1, [".txt"])
        rows.append(len(files) + np.arange(len(found)))
        files += found

    def texts(chosen):
        return [(files[i].read_text(**ASCII), str(files[i])) for i in chosen]

    width = len(_numbers(*texts([0])[0]))
    return Features(width, rows, lambda chosen: _stacked(texts(chosen), width))


def _resnet(folder):
    """A file with a line for each image, and one with their labels, 1 to 50."""
    lines, places = folder.find(RESNET), folder.find(LABELS)
    labels = _numbers(places.read_text(**ASCII), str(places))
    if {*labels.tolist()} != {*range(1, CLASSES + 1)}:
        raise ValueError(
            f"`path` must have labels 1 ... {CLASSES} in {places.name}. Received: "
            f"{sorted({*labels.tolist()})[:60]}"
        )
    with lines.open(**ASCII) as file:
        width = len(_numbers(file.readline(), f"{lines}, line 1"))

    def read(chosen):
        wanted = {*chosen.tolist()}
        with lines.open(**ASCII) as file:
            texts = {row: text for row, text in enumerate(file) if row in wanted}
        for row in chosen:
            if row not in texts:
                raise ValueError(
                    "`path` must have features for each label. "
                    f"Received: no line {row + 1} in {str(lines)!r}"
                )
        where = [f"{lines}, line {row + 1}" for row in chosen]
        return _stacked(zip([texts[row] for row in chosen], where, strict=True), width)

    rows = [np.flatnonzero(labels == label + 1) for label in range(CLASSES)]
    return Features(width, rows, read)


def _stacked(texts, width) -> np.ndarray:
    """Numbers of each text, with where it is from."""
    rows = []
    for text, where in texts:
        rows.append(_numbers(text, where))
        if len(rows[-1]) != width:
            raise ValueError(
                f"`path` must have {width} numbers for each image, as for the first. "
                f"Received: {len(rows[-1])} in {where!r}"
            )
    return np.stack(rows)


def _numbers(text: str, where: str | Path) -> np.ndarray:
    try:
        found = np.array(text.split(), "float64")
    except ValueError as error:
        raise ValueError(
            f"`path` must have files of numbers. Received: {where!r}: {error}"
        ) from error
    if not found.size or not is_finite(found):
        what = "NaN or infinity" if found.size else "none"
        raise ValueError(
            f"`path` must have files of finite numbers. Received: {where!r}: {what}"
        )
    return found
