"""A Conv2DTranspose layer whose filters come and go."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.growable.conv2d import GrowableConv2D
from keras_lifelong.layers.growable.table import grows


@grows(keras.layers.Conv2DTranspose)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableConv2DTranspose(GrowableConv2D):
    """`GrowableConv2D` the other way round, as `keras.layers.Conv2DTranspose`.

    The kernel is stored (height, width, inputs, filters) as of all growable layers;
    Keras has it (height, width, filters, inputs), and its initializer is asked so.
    """

    plain_class = keras.layers.Conv2DTranspose

    @classmethod
    def from_plain(cls, layer, bucket):
        if layer.get_config().get("output_padding") is not None:
            raise ValueError("its `output_padding` is not carried.")
        return super().from_plain(layer, bucket)

    def _draw(self, initializer, shape):
        if len(shape) == 1:
            return super()._draw(initializer, shape)
        turned = (*shape[:-2], shape[-1], shape[-2])
        return np.swapaxes(super()._draw(initializer, turned), -1, -2)

    def convolved(self, x):
        return ops.conv_transpose(
            x,
            ops.swapaxes(ops.convert_to_tensor(self.kernel), -1, -2),
            strides=self.strides,
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )

    def plain_weights(self, inputs, units):
        kernel, *bias = super().plain_weights(inputs, units)
        return [np.swapaxes(kernel, -1, -2), *bias]

    def take(self, arrays, inputs, units):
        super().take([np.swapaxes(arrays[0], -1, -2), *arrays[1:]], inputs, units)
