"""Depthwise convolutions of channels that come and go."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.growable.table import PerUnit
from keras_lifelong.layers.growable.table import grows
from keras_lifelong.layers.growable.table import masked
from keras_lifelong.layers.growable.window import WINDOW
from keras_lifelong.layers.growable.window import by_dimension
from keras_lifelong.layers.growable.window import window_of
from keras_lifelong.seeds import reseeded

_KEPT = (
    "name",
    "dtype",
    *WINDOW,
    "activation",
    "use_bias",
    "depthwise_initializer",
    "bias_initializer",
)


@grows(keras.layers.DepthwiseConv2D)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableDepthwiseConv2D(PerUnit):
    """A depthwise convolution over the channels of the growable layer before it.

    It is built at as many channels as its input has, all drawn; a growing network draws
    those that exist. Its kernel is stored (height, width, 1, channels).

    Args:
        kernel_size, strides, padding, dilation_rate, activation, use_bias,
            depthwise_initializer, bias_initializer: as in
            `keras.layers.DepthwiseConv2D`; there is one filter for each channel.

    Call arguments:
        x: (batch, height, width, channels).
        alive: mask that broadcasts to the outputs, or None.
    """

    rank = 2
    plain_class: type = keras.layers.DepthwiseConv2D
    translated = ("depth_multiplier", "data_format")

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding="valid",
        dilation_rate=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = by_dimension(kernel_size, self.rank)
        self.strides = by_dimension(strides, self.rank)
        self.padding = padding
        self.dilation_rate = by_dimension(dilation_rate, self.rank)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.depthwise_initializer = keras.initializers.get(depthwise_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    @classmethod
    def from_plain(cls, layer, bucket):
        del bucket
        config: dict[str, Any] = layer.get_config()
        if config["depth_multiplier"] != 1:
            raise ValueError("a channel may have one filter (`depth_multiplier=1`).")
        return cls.from_config({key: config[key] for key in _KEPT})

    def build(self, input_shape):
        channels = int(input_shape[-1])
        self.add_storage(channels)
        self.draw(np.arange(channels), channels)

    def add_storage(self, channels):
        shape = (*self.kernel_size, 1, channels)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="zeros")
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(channels,), initializer="zeros"
            )

    def draw(self, channels, count, seed=None):
        def drawn(initializer, shape):
            given = initializer if seed is None else reseeded(initializer, seed)
            return ops.convert_to_numpy(given(shape, "float32"))

        new = np.asarray(channels, int)[-count:]
        shape = (*self.kernel_size, len(channels), 1)  # as Keras has it, for its fans
        values = np.swapaxes(drawn(self.depthwise_initializer, shape), -1, -2)
        kernel = np.array(ops.convert_to_numpy(self.kernel))
        kernel[..., new] = values[..., -count:]
        self.kernel.assign(kernel)
        if self.use_bias:
            bias = np.array(ops.convert_to_numpy(self.bias))
            bias[new] = drawn(self.bias_initializer, (count,))
            self.bias.assign(bias)

    def call(self, x, alive=None):
        x = ops.depthwise_conv(
            x,
            ops.swapaxes(ops.convert_to_tensor(self.kernel), -1, -2),
            strides=self.strides if self.rank > 1 else self.strides[0],
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate
            if self.rank > 1
            else self.dilation_rate[0],
        )
        if self.use_bias:
            x = ops.add(x, self.bias)
        return masked(self.activation(x), alive)

    def compute_output_shape(self, input_shape, **kwargs):
        return self.plain_class(**window_of(self)).compute_output_shape(input_shape)

    def plain(self, channels):
        layer = self.plain_class(
            activation=self.activation,
            use_bias=self.use_bias,
            name=self.name,
            **window_of(self),
        )
        arrays = [np.swapaxes(ops.convert_to_numpy(self.kernel), -1, -2)]
        arrays = [arrays[0][..., channels, :]]
        if self.use_bias:
            arrays.append(ops.convert_to_numpy(self.bias)[channels])
        return layer, arrays

    def take(self, arrays, channels):
        kernel = np.array(ops.convert_to_numpy(self.kernel))
        kernel[..., channels] = np.swapaxes(arrays[0], -1, -2)
        self.kernel.assign(kernel)
        if self.use_bias:
            bias = np.array(ops.convert_to_numpy(self.bias))
            bias[channels] = arrays[1]
            self.bias.assign(bias)

    def get_config(self):
        return {
            **super().get_config(),
            **window_of(self),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "depthwise_initializer": keras.initializers.serialize(
                self.depthwise_initializer
            ),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


@grows(keras.layers.DepthwiseConv1D)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableDepthwiseConv1D(GrowableDepthwiseConv2D):
    """`GrowableDepthwiseConv2D` over one dimension: x is (batch, steps, channels)."""

    rank = 1
    plain_class = keras.layers.DepthwiseConv1D
