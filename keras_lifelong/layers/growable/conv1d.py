"""A Conv1D layer whose filters come and go."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.growable.conv2d import GrowableConv2D
from keras_lifelong.layers.growable.table import grows


@grows(keras.layers.Conv1D)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableConv1D(GrowableConv2D):
    """`GrowableConv2D` over one dimension; `padding` may be "causal", too.

    Call arguments:
        x: (batch, steps, inputs).
        stage: integer; filters born later output 0. None: what is there now.

    Returns:
        (batch, steps', capacity).
    """

    rank = 1
    plain_class = keras.layers.Conv1D

    def call(self, x, stage=None):
        causal = self.padding == "causal"
        if causal:
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            x = ops.pad(x, ((0, 0), (before, 0), (0, 0)))
        x = ops.conv(
            x,
            ops.convert_to_tensor(self.kernel),
            strides=self.strides,
            padding="valid" if causal else self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )
        if self.use_bias:
            x = ops.add(x, self.bias)
        return self.masked(self.activation(x), stage)
