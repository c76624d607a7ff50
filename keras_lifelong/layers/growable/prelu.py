"""A rectifier whose channels, each with a slope, come and go."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.growable.table import ByChannel
from keras_lifelong.layers.growable.table import grows
from keras_lifelong.layers.growable.table import masked


@grows(keras.layers.PReLU)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowablePReLU(ByChannel):
    """`keras.layers.PReLU` with one slope for each channel, by task.

    Args:
        alpha_initializer: of the slopes.

    Call arguments:
        x: (batch, ..., channels).
        alive: mask that broadcasts to it, or None.
        training: has no effect.
    """

    params_by_channel = 1
    translated = ("shared_axes",)

    def __init__(self, alpha_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.alpha_initializer = keras.initializers.get(alpha_initializer)

    @classmethod
    def from_plain(cls, layer, bucket):
        del bucket
        if any(n != 1 for n in layer.alpha.shape[:-1]):
            raise ValueError(
                "each channel may have one slope: give `shared_axes` all axes but the "
                "batch's and the channels'."
            )
        config = layer.get_config()
        keys = ("name", "dtype", "alpha_initializer")
        return cls.from_config({key: config[key] for key in keys})

    def build(self, input_shape):
        self.places = len(input_shape) - 2 if len(input_shape) > 1 else self.places
        self.alpha = self.add_weight(
            name="alpha",
            shape=(int(input_shape[-1]),),
            initializer=self.alpha_initializer,
        )

    def call(self, x, alive=None, training=False):
        del training
        negative = ops.multiply(-self.alpha, ops.relu(-x))
        return masked(ops.relu(x) + negative, alive)

    def compute_output_shape(self, input_shape, **kwargs):
        return tuple(input_shape)

    def take(self, arrays, channels):
        super().take([a.reshape(-1) for a in arrays], channels)

    def plain(self, channels):
        shared = list(range(1, self.places + 1))
        layer = keras.layers.PReLU(shared_axes=shared or None, name=self.name)
        alpha = ops.convert_to_numpy(self.alpha)
        alpha = alpha if channels is None else alpha[channels]
        return layer, [alpha.reshape((1,) * self.places + (-1,))]

    def get_config(self):
        serialized = keras.initializers.serialize(self.alpha_initializer)
        return {**super().get_config(), "alpha_initializer": serialized}
