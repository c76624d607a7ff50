"""Small networks that are no chain of layers, for methods that carry any."""

import keras
import numpy as np
from keras import layers

import keras_lifelong as kl

ROWS = 40


def residual(names=""):
    """Two convolutions beside a shortcut, with normalisation: (6, 6, 2) -> 4."""
    x = given = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name=names + "one")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    y = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(momentum=0.8, name=names + "norm")(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(given, layers.GlobalAveragePooling2D()(x))


def branches(names=""):
    """A layer that two branches share, one of them scaled: (6,) -> 8."""
    given = keras.Input((6,))
    shared = layers.Dense(4, activation="tanh", name=names + "shared")
    a = shared(given)
    b = shared(layers.Dense(6, name=names + "turn")(given)) * 0.5
    return keras.Model(given, layers.Concatenate()([a, b]))


def recurrent(names=""):
    """Words to a recurrent layer: (5,) of 12 words -> 4."""
    given = keras.Input((5,))
    x = layers.Embedding(12, 3, name=names + "words")(given)
    return keras.Model(given, layers.GRU(4, name=names + "gru")(x))


def transformer(names=""):
    """Four patches of an image, one block of attention: (4, 4, 1) -> 6."""
    given = keras.Input((4, 4, 1))
    x = layers.Conv2D(6, 2, strides=2, name=names + "patches")(given)
    x = layers.Reshape((4, 6))(x)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 3, name=names + "attention")(y, y)
    y = layers.Dense(8, activation="gelu")(layers.LayerNormalization()(x))
    x = x + layers.Dense(6)(y)
    return keras.Model(given, layers.GlobalAveragePooling1D()(x))


NETWORKS = {
    "residual": residual,
    "branches": branches,
    "recurrent": recurrent,
    "transformer": transformer,
}


def inputs(name, seed=0):
    """Of a network's shape, (40, …); words are numbers from 0 to 11."""
    shape = NETWORKS[name]().input_shape[1:]
    rng = np.random.default_rng([seed, 7])
    if name == "recurrent":
        return rng.integers(12, size=(ROWS, *shape)).astype("float32")
    return rng.normal(size=(ROWS, *shape)).astype("float32")


def labels(x, seed=0):
    """Half 0 and half 1, by the side of a plane on which inputs lie."""
    flat = x.reshape(len(x), -1)
    side = flat @ np.random.default_rng([seed, 8]).normal(size=flat.shape[1])
    return (side > np.median(side)).astype("int32")


def task(name, x, seed):
    """A task on such inputs."""
    return kl.Task(name, train=(x, labels(x, seed)))
