"""Frozen feature extractors: images -> vectors, by which tasks are compared.

Any callable `(n, height, width, channels) -> (n, d)` will do where one is asked for;
those here are known by name. `random_convolutions` and `pca` need no download.

    >>> images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    >>> get("random_convolutions", filters=[8, 16])(images).shape
    (4, 48)
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.random import derive_seed

ROWS = 256  # images at a time


class Extractor:
    """A frozen map from images to features.

    Attributes:
        config: name and arguments, plain data.
    """

    def __init__(self, config: dict):
        self.config = config

    def fit(self, images: np.ndarray) -> None:
        """Adapts to the images of the first task, once; most have nothing to adapt."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features (n, d), float32, of images (n, height, width, channels)."""
        images = np.asarray(images, "float32")
        if images.ndim != 4 or not len(images):
            raise ValueError(
                "`images` must be (n, height, width, channels) with n > 0. "
                f"Received: shape {images.shape}"
            )
        parts = range(0, len(images), ROWS)
        return np.concatenate([self.features(images[i : i + ROWS]) for i in parts])

    def features(self, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} gives its features.")

    def count_params(self) -> int:
        """Numbers that it holds; they do not count as a model's parameters."""
        return 0

    def get_state(self) -> dict[str, np.ndarray]:
        """What `fit` found, for saving."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """The inverse of `get_state`."""


class RandomConvolutions(Extractor):
    """Layers of random 3x3 filters with ReLU and 2x2 pooling between them.

    Features are the mean and the standard deviation of every map of every layer.

    Random filters keep much of what tells images apart (Jarrett et al., ICCV 2009), and
    need no data at all.

    Args:
        filters: of each layer.
        seed: of the filters.
    """

    def __init__(self, filters: Sequence[int] = (64, 128, 256), seed: int = 0):
        super().__init__(
            {"name": "random_convolutions", "filters": list(filters), "seed": seed}
        )
        if not len(filters) or any(not isinstance(n, int) or n < 1 for n in filters):
            raise ValueError(
                f"`filters` must be positive integers. Received: {filters!r}"
            )
        self._kernels = {}

    def _kernel(self, index: int, inputs: int):
        if (index, inputs) not in self._kernels:
            units, seed = self.config["filters"][index], self.config["seed"]
            init = keras.initializers.HeNormal(derive_seed(seed, "random", index))
            self._kernels[index, inputs] = init((3, 3, inputs, units))
        return self._kernels[index, inputs]

    def features(self, images):
        x, found = ops.convert_to_tensor(images), []
        for index in range(len(self.config["filters"])):
            if index and min(x.shape[1:3]) > 1:
                x = ops.max_pool(x, 2, 2, padding="same")
            x = ops.relu(ops.conv(x, self._kernel(index, x.shape[-1]), padding="same"))
            found += [ops.mean(x, axis=(1, 2)), ops.std(x, axis=(1, 2))]
        return ops.convert_to_numpy(ops.concatenate(found, axis=-1))

    def count_params(self):
        return sum(int(np.prod(kernel.shape)) for kernel in self._kernels.values())


class PCA(Extractor):
    """Projection on the principal components of the first task's pixels, whitened.

    Args:
        components: d; fewer if there are fewer pixels or images.
    """

    def __init__(self, components: int = 64):
        super().__init__({"name": "pca", "components": components})
        if not isinstance(components, int) or components < 1:
            raise ValueError(
                "`components` must be an integer of at least 1. "
                f"Received: {components!r}"
            )
        self._state = {}

    def fit(self, images):
        flat = np.asarray(images, "float64").reshape(len(images), -1)
        mean = flat.mean(0)
        _, scale, axes = np.linalg.svd(flat - mean, full_matrices=False)
        keep = min(self.config["components"], int((scale > 1e-6 * scale[0]).sum()))
        deviation = scale[:keep] / np.sqrt(len(flat))
        self._state = {
            "mean": mean.astype("float32"),
            "axes": (axes[:keep].T / deviation).astype("float32"),
        }

    def features(self, images):
        if not self._state:
            raise ValueError("Call `fit` with the images of a task first.")
        flat = images.reshape(len(images), -1)
        return (flat - self._state["mean"]) @ self._state["axes"]

    def count_params(self):
        return sum(array.size for array in self._state.values())

    def get_state(self):
        return dict(self._state)

    def set_state(self, state):
        self._state = {key: np.asarray(value) for key, value in state.items()}


class Body(Extractor):
    """A network's own features: that of the first expert, once it has learned.

    Args:
        network: `keras.Model` of images to vectors; it is not changed.
    """

    def __init__(self, network):
        super().__init__({"name": "body"})
        self.network = network

    def features(self, images):
        return ops.convert_to_numpy(self.network(images, training=False))

    def count_params(self):
        return sum(int(np.prod(v.shape)) for v in self.network.variables)


class Application(Extractor):
    """A network of `keras.applications` with ImageNet weights, downloaded at first use.

    Args:
        model: its name there, e.g. "ResNet50V2" or "MobileNetV2".
        weights: "imagenet", a path to a file of weights, or None for random ones.
        size: to which images are resized, side in pixels. None: as they are.

    Raises:
        ValueError: for an unknown name.
        OSError: when first used, if the weights cannot be had.
    """

    def __init__(
        self,
        model: str = "ResNet50V2",
        weights: str | None = "imagenet",
        size: int | None = None,
    ):
        super().__init__(
            {"name": "application", "model": model, "weights": weights, "size": size}
        )
        if not callable(getattr(keras.applications, model, None)):
            known = [n for n in dir(keras.applications) if n[0].isupper()]
            raise ValueError(f"`model` must be one of {known}. Received: {model!r}")
        self._network = None

    def _load(self, shape):
        make = getattr(keras.applications, self.config["model"])
        weights = self.config["weights"]
        try:
            self._network = make(
                include_top=False, weights=weights, input_shape=shape, pooling="avg"
            )
        except Exception as error:
            if weights != "imagenet" or isinstance(error, ValueError):
                raise
            raise OSError(
                f"The ImageNet weights of {self.config['model']} could not be "
                "downloaded. Pass `weights=` a file that you have, or take the "
                f"extractor 'random_convolutions'. ({error})"
            ) from error

    def features(self, images):
        if images.shape[-1] == 1:
            images = np.repeat(images, 3, axis=-1)
        x = ops.convert_to_tensor(images)
        if self.config["size"]:
            x = ops.image.resize(x, (self.config["size"],) * 2)
        if self._network is None:
            self._load(tuple(x.shape[1:]))
        return ops.convert_to_numpy(self._network(x * 2 - 1, training=False))

    def count_params(self):
        return 0 if self._network is None else self._network.count_params()


_NAMED: dict[str, Callable[..., Extractor]] = {
    "random_convolutions": RandomConvolutions,
    "pca": PCA,
    "application": Application,
}


def names() -> list[str]:
    """The names that `get` knows."""
    return sorted(_NAMED)


def get(extractor, **arguments) -> Callable:
    """An extractor by name, by configuration, or the callable itself.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(extractor, dict):
        arguments = {**extractor, **arguments}
        extractor = arguments.pop("name", None)
    if isinstance(extractor, str) and extractor in _NAMED:
        return _NAMED[extractor](**arguments)
    if callable(extractor) and not arguments:
        return extractor
    raise ValueError(
        f"An extractor is one of {names()} or a callable. Received: {extractor!r}"
    )
