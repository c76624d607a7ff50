"""Frozen feature extractors: images -> vectors, by which tasks are compared.

Any callable `(n, height, width, channels) -> (n, d)` will do where one is asked for;
those here are known by name. `random_convolutions` and `pca` need no download.

    >>> images = np.random.default_rng(0).random((40, 8, 8, 3), "float32")
    >>> extractor = get("random_convolutions", filters=[8, 16], components=12)
    >>> extractor.adapt(images)
    >>> extractor.project(extractor(images)).shape
    (40, 12)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np  # noqa: F401 - of the example

from keras_lifelong import checks
from keras_lifelong.layers.extractors.base import NAMED
from keras_lifelong.layers.extractors.base import Extractor
from keras_lifelong.layers.extractors.base import by_rows
from keras_lifelong.layers.extractors.base import register
from keras_lifelong.layers.extractors.pretrained import Application
from keras_lifelong.layers.extractors.pretrained import EfficientNetLite0
from keras_lifelong.layers.extractors.pretrained import Hub
from keras_lifelong.layers.extractors.untrained import PCA
from keras_lifelong.layers.extractors.untrained import Body
from keras_lifelong.layers.extractors.untrained import RandomConvolutions
from keras_lifelong.layers.extractors.whitening import Whitening

__all__ = [
    "PCA",
    "Application",
    "Body",
    "EfficientNetLite0",
    "Extractor",
    "Hub",
    "RandomConvolutions",
    "Whitening",
    "by_rows",
    "get",
    "names",
    "register",
]


def names() -> list[str]:
    """The names that `get` knows."""
    return NAMED.names()


def get(extractor, **arguments) -> Callable:
    """An extractor by name, by configuration, or the callable itself.

    Raises:
        ValueError: if it is none of these, with the nearest ones, or an argument is
            unknown or of another type.
    """
    if isinstance(extractor, dict):
        arguments = {**extractor, **arguments}
        extractor = arguments.pop("name", None)
    if callable(extractor) and not arguments:
        return extractor
    if extractor not in NAMED:
        raise NAMED.unknown(extractor, also=", or a callable without arguments")
    made = NAMED.get(extractor)
    return made(**checks.arguments("extractor", arguments, made))
