"""A Dense layer that grows."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.growable.base import Growable
from keras_lifelong.layers.growable.table import grows


@grows(keras.layers.Dense)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableDense(Growable):
    """A Dense layer that grows.

    Call arguments:
        x: (batch, ..., inputs).
        stage: integer; units born later output 0. None: what is there now.

    Returns:
        (batch, ..., capacity).

    Example:

    >>> import numpy as np
    >>> layer = GrowableDense(3, activation="relu", bucket=4)
    >>> x = np.ones((1, 2), "float32")
    >>> before = np.array(layer(x, stage=1))
    >>> new = layer.add_units(1, stage=2)
    >>> bool((np.array(layer(x, stage=1)) == before).all())
    True
    """

    @classmethod
    def from_plain(cls, layer, bucket):
        arguments = {**cls.shared_arguments(layer), "bucket": bucket}
        return cls.from_config({**arguments, "units": layer.units})

    def _kernel_shape(self, inputs, units):
        return (inputs, units)

    def call(self, x, stage=None):
        x = ops.matmul(x, self.kernel)
        if self.use_bias:
            x = ops.add(x, self.bias)
        return self.masked(self.activation(x), stage)

    def compute_output_shape(self, input_shape, **kwargs):
        return (*input_shape[:-1], self.capacity)

    def plain(self, inputs, units) -> keras.layers.Dense:
        """An ordinary Dense layer of `units`, and the arrays to give it."""
        layer = keras.layers.Dense(
            len(units), self.activation, use_bias=self.use_bias, name=self.name
        )
        return layer, self.plain_weights(inputs, units)
