"""Tiny networks of every form that people bring, and examples for them.

Each function gives a built `keras.Model` whose output is features, (batch, width).
`NETWORKS` holds them by name.
"""

import keras
import numpy as np
from keras import layers

from keras_lifelong.backbones import pooled
from keras_lifelong.graph import Graph

IMAGE = (8, 8, 2)


def mlp():
    """Dense layers in a row."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu"),
            layers.Dense(5, activation="relu"),
        ]
    )


def cnn():
    """Convolutions and dense layers in a row."""
    return keras.Sequential(
        [
            keras.Input(IMAGE),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(5, activation="relu"),
        ]
    )


def vgg_bn():
    """Convolutions with batch normalisation and dropout, in a row."""
    parts = []
    for filters in (4, 6):
        parts += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    parts += [layers.Flatten(), layers.Dropout(0.2), layers.Dense(5, "relu")]
    return keras.Sequential([keras.Input(IMAGE), *parts])


def resnet_light():
    """Residual blocks: an identity shortcut, and one with a convolution."""
    x = keras.Input(IMAGE)
    y = _conv_bn(x, 4)
    for filters, strides in ((4, 1), (6, 2)):
        z = _conv_bn(y, filters, strides=strides)
        z = _conv_bn(z, filters, activation=None)
        if strides > 1:
            y = _conv_bn(y, filters, size=1, strides=strides, activation=None)
        y = layers.ReLU()(layers.Add()([y, z]))
    return keras.Model(x, layers.GlobalAveragePooling2D()(y))


def mobilenet_like():
    """Inverted residuals: depthwise convolutions, ReLU6, narrow shortcuts."""
    x = keras.Input(IMAGE)
    y = _conv_bn(x, 4, strides=2, activation="relu6")
    for _ in range(2):
        z = _conv_bn(y, 8, size=1, activation="relu6")
        z = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(z)
        z = layers.ReLU(6.0)(layers.BatchNormalization()(z))
        y = layers.Add()([y, _conv_bn(z, 4, size=1, activation=None)])
    return keras.Model(x, layers.GlobalAveragePooling2D()(y))


def squeeze_excite():
    """Channels weighed by what all of the image says; a separable convolution."""
    x = keras.Input(IMAGE)
    y = layers.SeparableConv2D(4, 3, padding="same", activation="swish")(x)
    z = layers.GlobalAveragePooling2D(keepdims=True)(y)
    z = layers.Conv2D(2, 1, activation="swish")(z)
    z = layers.Conv2D(4, 1, activation="sigmoid")(z)
    y = layers.Multiply()([y, z])
    return keras.Model(x, layers.Dense(5, "relu")(layers.Flatten()(y)))


def two_branch_shared():
    """Two branches that share a layer, merged by sum, product and concatenation."""
    x = keras.Input((6,))
    shared = layers.Dense(4, activation="relu", name="shared")
    a = shared(layers.Dense(4, activation="relu")(x))
    b = shared(layers.Dense(4, activation="tanh")(x))
    y = layers.Concatenate()([a + b, a * b])
    return keras.Model(x, layers.Dense(5, activation="relu")(y))


def conv1d():
    """Convolutions over time with layer normalisation."""
    x = keras.Input((8, 2))
    y = layers.Conv1D(4, 3, activation="relu")(x)
    y = layers.LayerNormalization()(y)
    y = layers.Conv1D(4, 3, activation="relu", padding="causal")(y)
    return keras.Model(x, layers.GlobalMaxPooling1D()(y))


def embedding_lstm():
    """Words, of which some are none, and a recurrent layer."""
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True)(x)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(y)
    return keras.Model(x, layers.GlobalAveragePooling1D()(y))


def vit_small():
    """Patches, attention, layer normalisation, a block of dense layers."""
    x = keras.Input(IMAGE)
    y = layers.Conv2D(4, 4, strides=4)(x)
    y = layers.Reshape((4, 4))(y)
    z = layers.LayerNormalization()(y)
    y = layers.Add()([y, layers.MultiHeadAttention(2, 2)(z, z)])
    z = layers.LayerNormalization()(y)
    z = layers.Dense(4)(layers.Dense(8, activation="gelu")(z))
    y = layers.LayerNormalization()(layers.Add()([y, z]))
    return keras.Model(x, layers.GlobalAveragePooling1D()(y))


def nested():
    """A model in a model, its first layer frozen, as transfer learning is written."""
    x = keras.Input(IMAGE)
    frozen = layers.Conv2D(4, 3, activation="relu", trainable=False)
    y = layers.BatchNormalization()(frozen(x))
    inner = keras.Model(x, layers.Conv2D(4, 3, activation="relu")(y), name="inner")
    x = keras.Input(IMAGE)
    y = inner(layers.Rescaling(0.5)(x), training=False)
    y = layers.GroupNormalization(2)(layers.GlobalAveragePooling2D()(y))
    return keras.Model(x, layers.Dense(5, activation="relu")(y))


def two_inputs():
    """A dict of an image and a few numbers."""
    image = keras.Input(IMAGE, name="image")
    numbers = keras.Input((3,), name="numbers")
    y = layers.Conv2D(4, 3, activation="relu")(image)
    y = layers.Concatenate()([layers.GlobalAveragePooling2D()(y), numbers])
    y = layers.Dense(5, activation="relu")(y)
    return keras.Model({"image": image, "numbers": numbers}, y)


def _conv_bn(x, filters, size=3, strides=1, activation="relu"):
    conv = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)
    y = layers.BatchNormalization()(conv(x))
    return y if activation is None else layers.Activation(activation)(y)


NETWORKS = {
    function.__name__: function
    for function in (
        *(mlp, cnn, vgg_bn, resnet_light, mobilenet_like, squeeze_excite),
        *(two_branch_shared, conv1d, embedding_lstm, vit_small, nested, two_inputs),
    )
}


def hub_vgg():
    """A backbone of keras-hub, of random weights, pooled."""
    import keras_hub

    backbone = keras_hub.models.VGGBackbone([1, 1], [4, 6], image_shape=IMAGE)
    return pooled(backbone)


FROM_HUB = {"hub_vgg": hub_vgg}  # they need keras-hub


def examples(network, rows=24, seed=0):
    """Inputs for a network, in the structure that it takes: numbers, or words."""
    draw = np.random.default_rng(seed)

    def array(x):
        shape = (rows, *x.shape[1:])
        if "int" in x.dtype:
            words = draw.integers(1, 9, shape).astype(x.dtype)
            words[: rows // 2, -2:] = 0  # the end of a short text
            return words
        return draw.normal(size=shape).astype(x.dtype)

    return keras.tree.map_structure(array, Graph(network).inputs)


def labels(rows=24, seed=0):
    """Ids of two classes, both of them there."""
    return np.random.default_rng(seed).permutation(np.arange(rows) % 2).astype("int32")
