"""A growable network of given weights gives what the graph gives, also once grown."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong.methods.den.growable_network import GrowableNetwork

RNG = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures("eager_module")


def attention():
    x = keras.Input((6, 4))
    y = layers.Dense(8, name="embed")(x)
    z = layers.LayerNormalization()(y)
    y = layers.Add()([y, layers.MultiHeadAttention(2, 4, name="attention")(z, z)])
    z = layers.Dense(12, "gelu", name="hidden")(layers.LayerNormalization()(y))
    y = layers.Add()([y, layers.Dense(8, name="out")(z)])
    return x, layers.GlobalAveragePooling1D()(y), ["hidden"]


def operations():
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(4, 3, name="a")(x)
    y = y * layers.ReLU(6.0)(y + 3.0) * (1 / 6)
    y = ops.concatenate([y, layers.Conv2D(3, 3, name="b")(x)], axis=-1)
    y = layers.Conv2DTranspose(5, 2, strides=2, name="c")(y)
    return x, layers.GlobalAveragePooling2D()(y), ["a", "b", "c"]


def volumes():
    x = keras.Input((4, 4, 4, 1))
    y = layers.Conv3D(3, 3, padding="same", activation="relu", name="a")(x)
    y = layers.GroupNormalization(2)(layers.Conv3D(4, 2, strides=2, name="b")(y))
    return x, layers.Flatten()(y), ["a", "b"]


def steps():
    """Places folded into channels, and a frozen layer before what grows."""
    x = keras.Input((8, 3))
    y = layers.Dense(4, trainable=False)(layers.Rescaling(0.5)(x))
    y = layers.SeparableConv1D(6, 3, padding="same", name="a")(y)
    y = layers.Reshape((4, 12))(y)
    y = layers.DepthwiseConv1D(3, padding="same", name="b")(y)
    return x, layers.GlobalMaxPooling1D()(layers.Dense(5, name="c")(y)), ["a", "c"]


@pytest.mark.parametrize("network", [attention, operations, volumes, steps])
def test_it_gives_what_the_graph_gives(network):
    x, y, expected = network()
    plain = keras.Model(x, y)
    for v in plain.variables:
        low = 0.5 if "variance" in v.name else -1
        v.assign(RNG.uniform(low, 1, size=v.shape))
    grown = GrowableNetwork(plain, bucket=4)
    assert [group.name for group in grown.groups] == expected
    grown.take_weights(plain)
    given = RNG.normal(size=(3, *plain.input_shape[1:])).astype("float32")
    then = plain.predict(given, verbose=0)

    def features():
        rows = grown.input_rows(len(grown.growable), 1)
        return ops.convert_to_numpy(grown(given, stage=1))[:, rows]

    np.testing.assert_allclose(features(), then, rtol=1e-4, atol=1e-5)
    for index in range(len(grown.groups)):
        grown.add_units(index, 5, stage=2, seed=index)
    np.testing.assert_allclose(features(), then, rtol=1e-4, atol=1e-5)
    assert np.isfinite(ops.convert_to_numpy(grown(given, stage=2))).all()
    twin = GrowableNetwork.from_config(grown.get_config())
    assert twin.capacities() == grown.capacities()
    shapes = [[tuple(v.shape) for v in net.variables] for net in (twin, grown)]
    assert shapes[0] == shapes[1]
