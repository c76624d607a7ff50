"""Gates on units: where they are, and which weights lie between open ones."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong.training.gates import Gates

RNG = np.random.default_rng(0)


def chain():
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 2),
            layers.BatchNormalization(),
            layers.Activation("sigmoid"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3, "tanh"),
        ]
    )


def branches():
    x = keras.Input((4,))
    a = layers.Dense(3, name="a")(x)
    b = layers.LayerNormalization(name="norm")(layers.Dense(3, name="b")(x))
    y = layers.ReLU()(layers.Add()([a, b]))
    y = layers.Concatenate()([y, layers.Dense(2, name="c")(a)])
    return keras.Model(x, layers.Dense(2, name="d")(y))


def randomised(network):
    for v in network.variables:
        v.assign(np.abs(RNG.normal(size=v.shape)) + 0.1)
    return network


def test_a_closed_unit_is_0_to_what_reads_it_and_once_gated():
    network = randomised(chain())
    gates = Gates(network, "HAT")
    assert gates.units == [2, 3]
    x = RNG.normal(size=(2, 4, 4, 1)).astype("float32")
    open_all = [np.ones(2, "float32"), np.ones(3, "float32")]
    np.testing.assert_allclose(
        ops.convert_to_numpy(gates.run(ops.convert_to_tensor(x), open_all)),
        ops.convert_to_numpy(network(x)),
        atol=1e-6,
    )
    half = np.array([0.5, 0.0], "float32")
    seen = {}

    def call(step, *args, **kwargs):
        seen[step.path] = args
        return step(*args, **kwargs)

    last = np.array([1.0, 0.25, 0.0], "float32")
    out = gates.run(ops.convert_to_tensor(x), [half, last], call=call)
    pooled = ops.convert_to_numpy(seen[network.layers[3].name][0])
    given = ops.convert_to_numpy(
        network.layers[2](network.layers[1](network.layers[0](x)))
    )
    np.testing.assert_allclose(pooled, given * half, atol=1e-6)
    dense = network.layers[-1]
    expected = ops.convert_to_numpy(dense(seen[dense.name][0])) * last
    np.testing.assert_allclose(ops.convert_to_numpy(out), expected, atol=1e-6)


def test_a_weight_is_between_two_units():
    gates = Gates(chain(), "HAT")
    a = [np.array([1.0, 0.2], "float32"), np.array([0.5, 0.0, 1.0], "float32")]
    (kernel, bias), (dense, last) = gates.between(a)
    np.testing.assert_allclose(kernel, [[1.0, 0.2]])  # the input counts as open
    np.testing.assert_allclose(bias, a[0])
    assert dense.shape == (2, 3)  # one place of two channels
    np.testing.assert_allclose(dense, [[0.5, 0, 1.0], [0.2, 0, 0.2]])
    np.testing.assert_allclose(last, a[1])


def test_in_a_graph_what_is_merged_is_as_open_as_the_most_open():
    network = branches()
    gates = Gates(network, "HAT")
    assert list(gates.layers) == ["a", "b", "c", "d"] or set(gates.layers) == set(
        "abcd"
    )
    of = dict(zip(gates.layers, range(4), strict=True))
    a: list = [None] * 4
    a[of["a"]] = np.array([1.0, 0.0, 0.0], "float32")
    a[of["b"]] = np.array([0.0, 0.5, 0.0], "float32")
    a[of["c"]] = np.array([0.0, 0.25], "float32")
    a[of["d"]] = np.array([1.0, 1.0], "float32")
    found = dict(zip(gates.layers, gates.between(a), strict=True))
    np.testing.assert_allclose(found["d"][0][:, 0], [1.0, 0.5, 0.0, 0.0, 0.25])
    np.testing.assert_allclose(found["c"][0][:, 1], [0.25, 0, 0])


def test_what_lies_between_closed_units_changes_nothing():
    """Whatever it is made to: the promise on which HAT rests."""
    for network in (chain(), branches()):
        randomised(network)
        gates = Gates(network, "HAT")
        a = [np.arange(n) % 2 for n in gates.units]
        x = RNG.normal(size=(2, *network.input_shape[1:])).astype("float32")
        x = ops.convert_to_tensor(x)
        before = ops.convert_to_numpy(gates.run(x, a))
        for layer, parts in zip(gates.layers.values(), gates.between(a), strict=True):
            for v, part in zip(layer.trainable_variables, parts, strict=True):
                moved = RNG.normal(size=v.shape) * (1 - part)
                assert np.abs(moved).max() > 0.01
                v.assign(v + moved)
        np.testing.assert_allclose(
            ops.convert_to_numpy(gates.run(x, a)), before, atol=1e-5
        )


def test_layers_that_are_refused():
    for layer, why in (
        (layers.DepthwiseConv2D(2, name="depth"), "it gates the units of Dense"),
        (layers.Dense(2, "softmax", name="mixed"), "an activation of each unit"),
    ):
        network = keras.Sequential([keras.Input((4, 4, 1)), layer])
        with pytest.raises(ValueError, match=f"the layer '{layer.name}'.*{why}"):
            Gates(network, "HAT")
