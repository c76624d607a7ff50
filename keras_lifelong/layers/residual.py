"""Residual blocks (He et al., CVPR 2016) as single layers.

They stay so that presets and files that hold them can be read. `backbones.get` makes
the same networks of Keras' own layers, inside which methods can grow and share; a block
that is one layer grows, and is shared, as a whole or not at all.

Padding and constants are PyTorch's.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.operations import LOWEST
from keras_lifelong.layers.operations import pad
from keras_lifelong.layers.operations import padded_shape
from keras_lifelong.layers.plain import copied
from keras_lifelong.seeds import draw_kernels

K = keras.layers


class _Seeded(keras.layers.Layer):
    """A layer of several convolutions, each drawn from its own part of one seed."""

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed

    def _convolution(self, filters: int, kernel: int, strides: int = 1):
        """A convolution of this layer's policy, without bias."""
        return K.Conv2D(
            filters, kernel, strides, use_bias=False, dtype=self.dtype_policy
        )

    def _norm(self):
        return K.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy)

    def redraw(self, input_shape):
        """Draws every kernel anew, by He's rule, if there is a seed."""
        self._built_on = tuple(input_shape[1:])
        if self.seed is not None:
            draw_kernels(self.variables, keras.initializers.HeNormal, self.seed)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}

    def plain(self) -> keras.Model:
        """The same of Keras' own layers, with the same weights."""
        x = keras.Input(self._built_on)
        return keras.Model(x, self.plain_graph(x), name=self.name)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class Stem(_Seeded):
    """3x3 convolution, normalisation, ReLU, and 3x3 max pooling of stride 2 if asked.

    Args:
        filters: of the convolution.
        pool: whether it is pooled.
        seed: of the initial weights; None: they are not repeatable.
    """

    def __init__(self, filters: int, pool: bool = False, seed=None, **kwargs):
        super().__init__(seed, **kwargs)
        self.filters, self.pool = filters, pool
        self.convolution = self._convolution(filters, 3)
        self.norm = self._norm()

    def build(self, input_shape):
        self.convolution.build(padded_shape(input_shape, 1))
        self.norm.build((*input_shape[:-1], self.filters))
        self.redraw(input_shape)

    def call(self, x, training=False):
        x = ops.relu(self.norm(self.convolution(pad(x, 1)), training=training))
        return ops.max_pool(pad(x, 1, LOWEST), 3, 2, "valid") if self.pool else x

    def plain_graph(self, x):
        x = copied(self.convolution, K.ZeroPadding2D(1)(x))
        x = K.ReLU()(copied(self.norm, x))
        if self.pool:
            x = K.MaxPooling2D(3, strides=1, padding="same")(x)
            x = K.MaxPooling2D(1, strides=2)(x)
        return x

    def compute_output_shape(self, input_shape):
        s = 2 if self.pool else 1
        batch, height, width, _ = input_shape
        return (batch, -(-height // s), -(-width // s), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "pool": self.pool}


@keras.saving.register_keras_serializable(package="keras_lifelong")
class ResidualBlock(_Seeded):
    """Two 3x3 convolutions, each normalised, added to the input; ReLU.

    Where the shape changes, the input goes through a 1x1 convolution and a norm, or is
    thinned out and filled up with zeros, which takes no parameters (He's option A).

    Args:
        filters: of both convolutions.
        strides: of the first, and of the input's.
        projection: whether it is a convolution where the shape changes.
        seed: of the initial weights; None: they are not repeatable.

    Call arguments:
        x: (batch, height, width, channels).
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        seed=None,
        projection: bool = True,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        self.filters, self.strides, self.projection = filters, strides, projection
        self.first = self._convolution(filters, 3, strides)
        self.first_norm = self._norm()
        self.second = self._convolution(filters, 3)
        self.second_norm = self._norm()
        self.shortcut = None

    def build(self, input_shape):
        inside = self.compute_output_shape(input_shape)
        self.first.build(padded_shape(input_shape, 1))
        self.second.build(padded_shape(inside, 1))
        for norm in (self.first_norm, self.second_norm):
            norm.build(inside)
        changes = self.strides > 1 or input_shape[-1] != self.filters
        if changes and not self.projection and input_shape[-1] > self.filters:
            raise ValueError(
                "Without `projection` a block has no fewer filters than its input has "
                f"channels, {input_shape[-1]}. Received: filters={self.filters}"
            )
        if changes and self.projection:
            self.shortcut = self._convolution(self.filters, 1, self.strides)
            self.shortcut.build(input_shape)
            self.shortcut_norm = self._norm()
            self.shortcut_norm.build(inside)
        self.redraw(input_shape)

    def call(self, x, training=False):
        y = self.first_norm(self.first(pad(x, 1)), training=training)
        y = self.second_norm(self.second(pad(ops.relu(y), 1)), training=training)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), training=training)
        elif not self.projection:
            x = self.thinned(x)
        return ops.relu(x + y)

    def thinned(self, x):
        """Every `strides`-th pixel, with channels of zeros added."""
        x = x[:, :: self.strides, :: self.strides]
        missing = self.filters - x.shape[-1]
        return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, missing]]) if missing else x

    def plain_graph(self, x):
        y = copied(self.first_norm, copied(self.first, K.ZeroPadding2D(1)(x)))
        y = copied(self.second, K.ZeroPadding2D(1)(K.ReLU()(y)))
        y = copied(self.second_norm, y)
        if self.shortcut is not None:
            x = copied(self.shortcut_norm, copied(self.shortcut, x))
        elif not self.projection:
            x = self.thinned(x)
        return K.ReLU()(K.Add()([x, y]))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        s = self.strides
        return (batch, -(-height // s), -(-width // s), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "projection": self.projection,
        }
