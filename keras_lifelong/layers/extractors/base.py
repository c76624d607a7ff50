"""What extractors have in common, and their registry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_lifelong.registry import Registry

ROWS = 256  # images at a time

NAMED = Registry("extractor", "An")
register = NAMED.register


class Extractor:
    """A frozen map from images to features.

    Attributes:
        config: name and arguments, plain data.
        rows: images at a time.
    """

    rows = ROWS

    def __init__(self, config: dict):
        self.config = config

    def adapt(self, images: np.ndarray) -> None:
        """Takes note of the images of a new task; most have nothing to adapt.

        Features of images may change with the first task alone: those kept of earlier
        tasks are still to be compared with. What may change later is `project`.
        """

    def project(self, features: np.ndarray) -> np.ndarray:
        """Features (n, d) as they are compared, by all that is known now: linear."""
        return features

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features (n, d), float32, of images (n, height, width, channels)."""
        return by_rows(self.features, self.checked(images), self.rows)

    def checked(self, images: np.ndarray) -> np.ndarray:
        """The images as float32.

        Raises:
            ValueError: if they are no images.
        """
        images = np.asarray(images, "float32")
        if images.ndim != 4 or not len(images):
            raise ValueError(
                "`images` must be (n, height, width, channels) with n > 0. "
                f"Received: shape {images.shape}. For other data take the extractor "
                "'pca', or a function"
            )
        return images

    def features(self, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} gives its features.")

    def count_params(self) -> int:
        """Numbers that it holds; they do not count as a model's parameters."""
        return 0

    def get_state(self) -> dict[str, np.ndarray]:
        """What `adapt` found, for saving."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """The inverse of `get_state`."""


def by_rows(function: Callable, images: np.ndarray, rows: int = ROWS) -> np.ndarray:
    """`function(images)`, some rows at a time."""
    parts = range(0, len(images), rows)
    return np.concatenate([function(images[i : i + rows]) for i in parts])
