"""Augmentation as PAR's program has it: shifted crops, flips and brightness."""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.operations import pad


@keras.saving.register_keras_serializable(package="keras_lifelong")
class CropFlip(keras.layers.Layer):
    """Shifts every image by up to `padding` pixels and mirrors half of them.

    Args:
        padding: pixels of zeros around an image, from which it is cropped again.
        flip: whether images are mirrored, left to right.
        brightness: images are multiplied by a factor in [1 - b, 1 + b]. It is meant
            for images in [0, 1], which they still are afterwards.
        seed: integer.

    Call arguments:
        x: images (batch, height, width, channels).
        training: without it images stay as they are.

    >>> import numpy as np
    >>> CropFlip(seed=0)(np.ones((2, 8, 8, 3), "float32"), training=True).shape
    TensorShape([2, 8, 8, 3])
    """

    def __init__(self, padding=4, flip=True, brightness=0.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(padding, int) or padding < 0:
            raise ValueError(
                f"`padding` must be an integer of at least 0. Received: {padding!r}"
            )
        if not 0 <= brightness <= 1:
            raise ValueError(
                f"`brightness` must be in [0, 1]. Received: {brightness!r}"
            )
        self.padding, self.flip, self.brightness = padding, flip, brightness
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, x, training=False):
        if not training:
            return x
        draw = {"seed": self.seed_generator}
        batch, height, width, _ = ops.shape(x)
        if self.padding:
            offsets = keras.random.randint((2, batch), 0, 2 * self.padding + 1, **draw)
            x = pad(x, self.padding)
            rows = offsets[0][:, None] + ops.arange(height)
            columns = offsets[1][:, None] + ops.arange(width)
            x = ops.take_along_axis(x, rows[:, :, None, None], axis=1)
            x = ops.take_along_axis(x, columns[:, None, :, None], axis=2)
        if self.flip:
            mirrored = keras.random.uniform((batch, 1, 1, 1), **draw) < 0.5
            x = ops.where(mirrored, ops.flip(x, axis=2), x)
        if self.brightness:
            b = self.brightness
            factor = keras.random.uniform((batch, 1, 1, 1), 1 - b, 1 + b, **draw)
            x = ops.clip(x * factor, 0.0, 1.0)
        return x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "padding": self.padding,
            "flip": self.flip,
            "brightness": self.brightness,
            "seed": self.seed,
        }
