"""Batch normalisation of channels that come and go."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.growable.table import ByChannel
from keras_lifelong.layers.growable.table import grows
from keras_lifelong.layers.growable.table import masked


@grows(keras.layers.BatchNormalization)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableBatchNormalization(ByChannel):
    """Batch normalisation over the channels of the growable layer before it.

    Args:
        momentum, epsilon, center, scale: as in `keras.layers.BatchNormalization`.

    Call arguments:
        x: (..., channels).
        alive: mask (channels,), or None: all channels take part, as where it stands
            alone.
        training: whether to use the batch's statistics and move the averages.
    """

    mixes_rows = True

    def __init__(self, momentum=0.99, epsilon=1e-3, center=True, scale=True, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale

    @classmethod
    def from_plain(cls, layer, bucket):
        del bucket
        keys = ("name", "momentum", "epsilon", "center", "scale")
        config = layer.get_config()
        return cls(**{key: config[key] for key in keys})

    @property
    def params_by_channel(self):
        return self.center + self.scale

    def build(self, input_shape):
        shape = (int(input_shape[-1]),)

        def weight(name, initializer, trainable):
            return self.add_weight(
                name=name, shape=shape, initializer=initializer, trainable=trainable
            )

        self.gamma = weight("gamma", "ones", True) if self.scale else None
        self.beta = weight("beta", "zeros", True) if self.center else None
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(self, x, alive=None, training=False):
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
        return masked(x, alive)

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
        }
