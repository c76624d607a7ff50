"""Batch normalisation of channels that come and go."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lifelong.layers.growable.table import ByChannel
from keras_lifelong.layers.growable.table import grows
from keras_lifelong.layers.growable.table import masked

_INITIAL = (
    "beta_initializer",
    "gamma_initializer",
    "moving_mean_initializer",
    "moving_variance_initializer",
)


def check_axis(layer: keras.layers.Layer) -> None:
    """Refuses a normalisation over another axis than that of the channels.

    Raises:
        ValueError: if the layer's axis is not its inputs' last; the reason alone.
    """
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    shape = (layer.get_build_config() or {}).get("input_shape") or ()
    if list(axes) not in ([-1], [len(shape) - 1]):
        raise ValueError(
            "units come and go on the last axis, which must be its `axis`. "
            f"Received: axis={layer.axis!r}."
        )


def serialized_initializers(layer: ByChannel) -> dict[str, Any]:
    """The initializers of a normalisation, as of its configuration."""
    serialize = keras.initializers.serialize
    return {f"{k}_initializer": serialize(v) for k, v in layer.initializers.items()}


@grows(keras.layers.BatchNormalization)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableBatchNormalization(ByChannel):
    """Batch normalisation over the channels of the growable layer before it.

    It computes in float32, whatever it is given.

    Args:
        momentum, epsilon, center, scale: as in `keras.layers.BatchNormalization`; so
            are the initializers, also those of channels that are new.

    Call arguments:
        x: (..., channels).
        alive: mask (channels,), or None: all channels take part, as where it stands
            alone.
        training: whether to use the batch's statistics and move the averages.
    """

    mixes_rows = True
    translated = ("axis",)

    def __init__(
        self,
        momentum=0.99,
        epsilon=1e-3,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        moving_mean_initializer="zeros",
        moving_variance_initializer="ones",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.initializers = {
            "beta": keras.initializers.get(beta_initializer),
            "gamma": keras.initializers.get(gamma_initializer),
            "moving_mean": keras.initializers.get(moving_mean_initializer),
            "moving_variance": keras.initializers.get(moving_variance_initializer),
        }

    @classmethod
    def from_plain(cls, layer, bucket):
        del bucket
        check_axis(layer)
        keys = ("name", "dtype", "momentum", "epsilon", "center", "scale", *_INITIAL)
        config = layer.get_config()
        return cls.from_config({key: config[key] for key in keys})

    @property
    def params_by_channel(self):
        return self.center + self.scale

    def build(self, input_shape):
        shape = (int(input_shape[-1]),)

        def weight(name, trainable):
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=self.initializers[name],
                trainable=trainable,
                autocast=False,
            )

        self.gamma = weight("gamma", True) if self.scale else None
        self.beta = weight("beta", True) if self.center else None
        self.moving_mean = weight("moving_mean", False)
        self.moving_variance = weight("moving_variance", False)

    def call(self, x, alive=None, training=False):
        dtype = x.dtype
        x = ops.cast(x, "float32")
        if training:
            mean, variance = ops.moments(x, axes=list(range(len(x.shape) - 1)))
            for moving, now in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        x = (x - mean) * ops.rsqrt(variance + self.epsilon)
        if self.scale:
            x = x * self.gamma
        if self.center:
            x = x + self.beta
        return masked(ops.cast(x, dtype), alive)

    def compute_output_shape(self, input_shape, **kwargs):
        return tuple(input_shape)

    def plain(self, channels) -> tuple:
        """An ordinary BatchNormalization of `channels` (None: all), and its arrays."""
        layer = keras.layers.BatchNormalization(
            momentum=self.momentum,
            epsilon=self.epsilon,
            center=self.center,
            scale=self.scale,
            name=self.name,
        )
        arrays = [self.gamma, self.beta, self.moving_mean, self.moving_variance]
        arrays = [ops.convert_to_numpy(v) for v in arrays if v is not None]
        return layer, arrays if channels is None else [a[channels] for a in arrays]

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            **serialized_initializers(self),
        }
