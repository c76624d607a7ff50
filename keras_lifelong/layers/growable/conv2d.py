"""A Conv2D layer whose filters come and go."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.growable.base import Growable
from keras_lifelong.layers.growable.table import grows
from keras_lifelong.layers.growable.window import WINDOW
from keras_lifelong.layers.growable.window import by_dimension
from keras_lifelong.layers.growable.window import window_of


@grows(keras.layers.Conv2D)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableConv2D(Growable):
    """A Conv2D layer whose filters come and go.

    Args (beside those of `Growable`, where `units` are filters):
        kernel_size, strides, padding, dilation_rate: as in `keras.layers.Conv2D`.

    Call arguments:
        x: (batch, height, width, inputs).
        stage: integer; filters born later output 0. None: what is there now.

    Returns:
        (batch, height', width', capacity).
    """

    spatial = True
    groups_filters = True
    translated = ("filters", "groups", "data_format")
    rank = 2  # dimensions of the window
    plain_class: type = keras.layers.Conv2D

    def __init__(
        self,
        units,
        kernel_size=3,
        strides=1,
        padding="valid",
        dilation_rate=1,
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        self.kernel_size = by_dimension(kernel_size, self.rank)
        self.strides = by_dimension(strides, self.rank)
        self.padding = padding
        self.dilation_rate = by_dimension(dilation_rate, self.rank)

    @classmethod
    def from_plain(cls, layer, bucket):
        arguments = {**cls.shared_arguments(layer), "bucket": bucket}
        config = layer.get_config()
        if config.get("groups", 1) != 1 or config["data_format"] == "channels_first":
            raise ValueError("only ungrouped, channels-last convolutions can grow.")
        for key in WINDOW:
            arguments[key] = config[key]
        return cls.from_config({**arguments, "units": config["filters"]})

    def _kernel_shape(self, inputs, units):
        return (*self.kernel_size, inputs, units)

    def convolved(self, x):
        """What the kernel makes of x: (batch, height', width', capacity)."""
        return ops.conv(
            x,
            ops.convert_to_tensor(self.kernel),
            strides=self.strides,
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )

    def call(self, x, stage=None):
        x = self.convolved(x)
        if self.use_bias:
            x = ops.add(x, self.bias)
        return self.masked(self.activation(x), stage)

    def compute_output_shape(self, input_shape, **kwargs):
        plain = self.plain_class(self.capacity, **window_of(self))
        return plain.compute_output_shape(input_shape)

    def plain(self, inputs, units):
        """An ordinary layer of the filters `units`, and its arrays."""
        layer = self.plain_class(
            len(units),
            activation=self.activation,
            use_bias=self.use_bias,
            name=self.name,
            **window_of(self),
        )
        return layer, self.plain_weights(inputs, units)

    def get_config(self):
        return {**super().get_config(), **window_of(self)}
