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
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import checks
from keras_lifelong.registry import Registry
from keras_lifelong.seeds import derive_seed

ROWS = 256  # images at a time

_NAMED = Registry("extractor", "An")
register = _NAMED.register


class Extractor:
    """A frozen map from images to features.

    Attributes:
        config: name and arguments, plain data.
    """

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
        return by_rows(self.features, self.checked(images))

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


def by_rows(function: Callable, images: np.ndarray) -> np.ndarray:
    """`function(images)`, some rows at a time."""
    parts = range(0, len(images), ROWS)
    return np.concatenate([function(images[i : i + ROWS]) for i in parts])


class Whitening:
    """Principal components of features, each divided by its standard deviation.

    Without the division the few strongest drown what tells tasks apart. Tasks count
    equally, however many examples they have.

    Args:
        components: how many; fewer if the features have fewer.
    """

    def __init__(self, components: int):
        if not isinstance(components, int) or components < 1:
            raise ValueError(
                "`components` must be an integer of at least 1. "
                f"Received: {components!r}"
            )
        self.components = components
        self.set_state({})

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a `state`: tasks so far, their mean and second moment."""
        self.state = {key: np.asarray(value) for key, value in state.items()}
        self._axes = None  # found when first needed: this is what takes time

    def add(self, features: np.ndarray) -> None:
        """Takes a task's features (n, d) in."""
        f = np.asarray(features, "float64")
        n = float(self.state.get("tasks", 0))
        mean, second = self.state.get("mean", 0), self.state.get("second", 0)
        self.set_state(
            {
                "tasks": np.array(n + 1),
                "mean": (n * mean + f.mean(0)) / (n + 1),
                "second": (n * second + f.T @ f / len(f)) / (n + 1),
            }
        )

    def __call__(self, features: np.ndarray) -> np.ndarray:
        if not self.state:
            raise ValueError("Call `adapt` with the images of a task first.")
        mean, second = self.state["mean"], self.state["second"]
        if self._axes is None:
            variance, axes = np.linalg.eigh(second - np.outer(mean, mean))
            best = np.arange(len(variance))[::-1][: self.components]
            best = best[variance[best] > 1e-10 * variance[-1]]
            self._axes = axes[:, best] / np.sqrt(variance[best])
        return (features - mean) @ self._axes

    def count_params(self) -> int:
        return sum(np.size(array) for array in self.state.values())


@register("random_convolutions")
class RandomConvolutions(Extractor):
    """Layers of random 3x3 filters with ReLU and 2x2 pooling between them.

    Features are the mean and the standard deviation of every map of every layer. They
    are compared by their principal components over all tasks so far, whitened. Random
    filters
    keep much of what tells images apart (Jarrett et al., ICCV 2009). Without whitening
    most tasks look alike: on CIFAR-100's superclasses, groups then agree far less with
    the known ones (see the README).

    Args:
        filters: of each layer.
        components: how many are compared. None: the features as they are.
        seed: of the filters.
    """

    def __init__(
        self,
        filters: Sequence[int] = (64, 128, 256),
        components: int | None = 16,
        seed: int = 0,
    ):
        super().__init__(
            {
                "name": "random_convolutions",
                "filters": list(filters),
                "components": components,
                "seed": seed,
            }
        )
        if not len(filters) or any(not isinstance(n, int) or n < 1 for n in filters):
            raise ValueError(
                f"`filters` must be positive integers. Received: {filters!r}"
            )
        self._whiten = None if components is None else Whitening(components)
        self._kernels: dict[tuple[int, int], Any] = {}

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

    def adapt(self, images):
        if self._whiten is not None:
            self._whiten.add(self(images))

    def project(self, features):
        return features if self._whiten is None else self._whiten(features)

    def count_params(self):
        kernels = sum(int(np.prod(kernel.shape)) for kernel in self._kernels.values())
        return kernels + (0 if self._whiten is None else self._whiten.count_params())

    def get_state(self):
        return {} if self._whiten is None else dict(self._whiten.state)

    def set_state(self, state):
        if self._whiten is not None:
            self._whiten.set_state(state)


@register("pca")
class PCA(Extractor):
    """The values of an example as they are, compared by whitened components.

    Components are those of all tasks so far. For data of any shape.

    Args:
        components: how many are compared; fewer if there are fewer values.
    """

    def __init__(self, components: int = 16):
        super().__init__({"name": "pca", "components": components})
        self._whiten = Whitening(components)

    def checked(self, images):
        images = np.asarray(images, "float32")
        if images.ndim < 2 or not len(images):
            raise ValueError(
                f"`images` must be (n, …) with n > 0. Received: shape {images.shape}"
            )
        return images

    def features(self, images):
        return images.reshape(len(images), -1)

    def adapt(self, images):
        self._whiten.add(self(images))

    def project(self, features):
        return self._whiten(features)

    def count_params(self):
        return self._whiten.count_params()

    def get_state(self):
        return dict(self._whiten.state)

    def set_state(self, state):
        self._whiten.set_state(state)


class Body(Extractor):
    """A network's own features: that of the first expert, once it has learned.

    Args:
        network: `keras.Model` of examples of any shape to vectors; it is not changed.
    """

    def __init__(self, network):
        super().__init__({"name": "body"})
        self.network = network

    def checked(self, images):
        return np.asarray(images, "float32")

    def features(self, images):
        return ops.convert_to_numpy(self.network(images, training=False))

    def count_params(self):
        return sum(int(np.prod(v.shape)) for v in self.network.variables)


@register("application")
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


@register("hub")
class Hub(Extractor):
    """A backbone of keras-hub, downloaded at first use; global average of its output.

    Args:
        preset: its name or address there, e.g. "resnet_18_imagenet", PAR's own.
        size: to which images are resized, side in pixels. None: as they are.

    Raises:
        ImportError: when first used, if keras-hub is not installed.
        OSError: when first used, if the preset cannot be had.
    """

    def __init__(self, preset: str = "resnet_18_imagenet", size: int | None = None):
        super().__init__({"name": "hub", "preset": preset, "size": size})
        self._network = None

    def _load(self):
        try:
            import keras_hub
        except ImportError as error:
            raise ImportError(
                "The extractor 'hub' needs keras-hub: pip install keras-hub"
            ) from error
        preset = self.config["preset"]
        try:
            self._network = keras_hub.models.Backbone.from_preset(preset)
        except Exception as error:
            raise OSError(
                f"The preset {preset!r} could not be loaded. Without a connection, "
                f"take the extractor 'random_convolutions'. ({error})"
            ) from error

    def features(self, images):
        if self._network is None:
            self._load()
        if images.shape[-1] == 1:
            images = np.repeat(images, 3, axis=-1)
        x = ops.convert_to_tensor(images)
        if self.config["size"]:
            x = ops.image.resize(x, (self.config["size"],) * 2)
        x = self._network(x, training=False)
        return ops.convert_to_numpy(ops.mean(x, axis=(1, 2)))

    def count_params(self):
        return 0 if self._network is None else self._network.count_params()


def names() -> list[str]:
    """The names that `get` knows."""
    return _NAMED.names()


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
    if extractor not in _NAMED:
        raise _NAMED.unknown(extractor, also=", or a callable without arguments")
    made = _NAMED.get(extractor)
    return made(**checks.arguments("extractor", arguments, made))
