"""Which of Keras' layers a growing network carries, and what it makes of each.

A layer that grows, or has weights for each channel of one that does, is a class
decorated with `@grows`. A layer that has nothing to grow is carried as it is, if it
acts on each channel by itself: a free unit, which gives 0, then stays free. So a new
kind of layer is one file that says here, by `@grows` or `carries`, what it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

K = keras.layers

_GROWN: dict[type, type[Any]] = {}  # the growable class by Keras' own
_CARRIED: dict[type, Facts] = {}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a network must know of a layer that it carries as it is.

    Args:
        pointwise: each value by itself, so that what is constant stays so.
        moves_zero: what it makes of 0 may be something else.
        random: it takes `training`, and does something in training alone.
        flattens: it lays out the places of each channel side by side.
    """

    pointwise: bool = False
    moves_zero: bool = False
    random: bool = False
    flattens: bool = False


class ByChannel(keras.layers.Layer):
    """A layer with weights for each channel of the growable layer before it.

    All its variables are (channels,), and each task has its own. Call arguments are x
    (…, channels), alive (channels,) or None, and training. Decorate it with `@grows`.

    Attributes:
        params_by_channel: how many of its numbers a channel is trained with.
    """

    params_by_channel: int = 0

    @classmethod
    def from_plain(cls, layer: keras.layers.Layer, bucket: int) -> ByChannel:
        """The counterpart of one of Keras' layers, as `Growable.from_plain`."""
        raise NotImplementedError(f"{cls.__name__} says what it makes of a layer.")

    def plain(self, channels) -> tuple[keras.layers.Layer, list[np.ndarray]]:
        """An ordinary layer of some channels (None: all), and its arrays."""
        raise NotImplementedError(f"{type(self).__name__} says what it was made of.")

    def set_channels(self, channels: int) -> None:
        """Makes storage anew for `channels`; existing ones keep their place."""
        raise NotImplementedError(f"{type(self).__name__} makes its storage.")


def grows(plain: type) -> Callable[[type], type]:
    """Class decorator: makes a class what growing networks make of a layer of Keras.

    Args:
        plain: the layer's class; classes derived from it are not meant.

    Example:

    ```python
    @grows(keras.layers.Conv1D)
    @keras.saving.register_keras_serializable(package="mine")
    class GrowableConv1D(Growable):
        ...
    ```
    """

    def decorate(cls: type) -> type:
        _GROWN[plain] = cls
        return cls

    return decorate


def carries(*classes: type, **facts: bool) -> None:
    """Says that growing networks carry layers of these classes as they are.

    Args:
        classes: of layers that act on each channel by itself and have no weights.
        facts: see `Facts`.
    """
    _CARRIED.update(dict.fromkeys(classes, Facts(**facts)))


carries(K.ReLU, K.LeakyReLU, K.ELU, pointwise=True)
carries(K.Activation, K.Rescaling, pointwise=True, moves_zero=True)
carries(K.Dropout, K.SpatialDropout2D, K.GaussianDropout, K.GaussianNoise, random=True)
carries(K.MaxPooling2D, K.AveragePooling2D, K.ZeroPadding2D)
carries(K.GlobalMaxPooling2D, K.GlobalAveragePooling2D)
carries(K.Flatten, flattens=True)


def plain_classes(kind: type = keras.layers.Layer) -> list[type]:
    """Keras' classes that have a growable counterpart derived from `kind`."""
    return [plain for plain, cls in _GROWN.items() if issubclass(cls, kind)]


def facts(layer: keras.layers.Layer) -> Facts:
    """What is known of a layer of a growing network; no fact of one that grows."""
    return _CARRIED.get(type(layer), Facts())


def grown(
    layer: keras.layers.Layer, bucket: int, method: str, below: bool = False
) -> keras.layers.Layer:
    """What a growing network makes of a backbone's layer.

    Args:
        layer: of the backbone; it is not changed.
        bucket: capacities are multiples of this.
        method: named in refusals.
        below: whether a layer before it grows. Layers that are not trainable are
            carried as they are before the first that grows, and refused after it.

    Raises:
        ValueError: if it cannot be carried, with its name and the reason.

    >>> from keras_lifelong.layers import growable
    >>> type(grown(keras.layers.Dense(3), 4, "DEN")).__name__
    'GrowableDense'
    """
    try:
        if isinstance(layer, K.Softmax) or getattr(layer, "activation", None) in (
            keras.activations.softmax,
            keras.activations.log_softmax,
        ):
            raise ValueError("softmax mixes the units, which come and go.")
        if type(layer) in _GROWN and not layer.trainable:
            if below:
                raise ValueError(
                    "it is not trainable, and a layer before it grows: there would be "
                    "no weights for new units. Freeze only layers before the first "
                    "trainable one."
                )
            return type(layer).from_config(layer.get_config())
        if type(layer) in _GROWN:
            return _GROWN[type(layer)].from_plain(layer, bucket)
        if type(layer) not in _CARRIED:
            known = ", ".join(c.__name__ for c in [*_GROWN, *_CARRIED])
            raise ValueError(f"growing networks are made of {known}.")
    except ValueError as error:
        raise ValueError(
            f"{method} cannot carry the layer {layer.name!r} "
            f"({type(layer).__name__}) of `backbone`: {error}"
        ) from error
    return type(layer).from_config(layer.get_config())
