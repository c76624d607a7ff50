"""A Conv3D layer whose filters come and go."""

from __future__ import annotations

import keras

from keras_lifelong.layers.growable.conv2d import GrowableConv2D
from keras_lifelong.layers.growable.table import grows


@grows(keras.layers.Conv3D)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableConv3D(GrowableConv2D):
    """`GrowableConv2D` over three dimensions.

    Call arguments:
        x: (batch, depth, height, width, inputs).
        stage: integer; filters born later output 0. None: what is there now.

    Returns:
        (batch, depth', height', width', capacity).
    """

    rank = 3
    plain_class = keras.layers.Conv3D
