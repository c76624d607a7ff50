"""A network of cells as a graph of Keras' own layers, to load without this package."""

from __future__ import annotations

import keras

from keras_lifelong.layers import operations
from keras_lifelong.layers.plain import copied

K = keras.layers


def plain_cells(network, input_shape) -> keras.Model:
    """The graph of a built `CellNetwork`, with its weights.

    Args:
        network: a built `CellNetwork`.
        input_shape: (height, width, channels).
    """
    images = keras.Input(input_shape)
    x = copied(network.stem, K.ZeroPadding2D(1)(images))
    x = copied(network.stem_norm, x)
    before = last = x
    for cell in network.cells:
        before, last = last, _cell(cell, before, last)
    return keras.Model(images, K.GlobalAveragePooling2D()(last), name=network.name)


def _cell(cell, before, last):
    nodes = [
        _apply(layer, x) for layer, x in zip(cell.adapt, (before, last), strict=True)
    ]
    for i in range(0, len(cell.edges), 2):
        pair = [_apply(cell.operations[k], nodes[cell.edges[k][1]]) for k in (i, i + 1)]
        nodes.append(K.Add()(pair))
    return K.Concatenate()(nodes[2:])


def _apply(layer, x):
    """One operation of a cell."""
    if isinstance(layer, operations.Skip):
        return x
    if isinstance(layer, operations.Zero):
        return K.Rescaling(0.0)(_every(layer.strides, x))
    if isinstance(layer, operations.Pool):
        # pooling at every place, then every second: the windows of symmetric padding
        kind = K.MaxPooling2D if layer.mode == "max" else K.AveragePooling2D
        x = _every(layer.strides, kind(3, strides=1, padding="same")(x))
        return x if layer.norm is None else copied(layer.norm, x)
    if isinstance(layer, operations.FactorizedReduce):
        x = K.ReLU()(x)
        shifted = K.Cropping2D(((1, 0), (1, 0)))(x)
        shifted = K.ZeroPadding2D(((0, 1), (0, 1)))(shifted)
        return K.Concatenate()([copied(layer.first, x), copied(layer.second, shifted)])
    if isinstance(layer, operations.ReluConvNorm):
        return copied(layer.norm, copied(layer.convolution, K.ReLU()(x)))
    if isinstance(layer, operations.SeparableNorm):
        x = K.ZeroPadding2D(layer.dilation)(K.ReLU()(x))
        x = copied(layer.depthwise, x)
        if layer.dilation > 1:
            x = _every(layer.strides, x)
        return copied(layer.norm, copied(layer.pointwise, x))
    if isinstance(layer, operations.TwiceSeparable):
        return _apply(layer.second, _apply(layer.first, x))
    raise TypeError(f"{type(layer).__name__} is no operation of a cell.")


def _every(strides, x):
    """Every so many rows and columns."""
    return x if strides == 1 else K.MaxPooling2D(1, strides=strides)(x)
