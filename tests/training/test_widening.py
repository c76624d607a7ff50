"""A chain in a wider copy: what is open computes what the chain did."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong.training.masks import call_with
from keras_lifelong.training.widening import Room

RNG = np.random.default_rng(0)


def chain():
    network = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(2, 2, name="first"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(4, "tanh", name="second"),
            layers.Dense(3, name="last"),
        ]
    )
    for v in network.variables:
        v.assign(RNG.uniform(0.1, 1, v.shape))
    return network


def test_what_is_open_computes_what_the_chain_did():
    network = chain()
    room = Room(network, 1.5, 0, "CPG")
    assert (room.names, room.base) == (["first", "second", "last"], [2, 4, 3])
    assert room.most == [3, 6, 3]
    x = ops.convert_to_tensor(RNG.normal(size=(2, 4, 4, 2)).astype("float32"))
    expected = ops.convert_to_numpy(network(x))

    def given(widths):
        masks = room.opened(widths)
        kernels = [v for v in room.network.variables if id(v) in masks]
        assert len(kernels) == 3
        replaced = {id(v): v * masks[id(v)].astype("float32") for v in kernels}
        return ops.convert_to_numpy(call_with(room.network, replaced, x))

    np.testing.assert_allclose(given(room.base), expected, atol=1e-5)
    assert np.abs(given([3, 4, 3]) - expected).max() > 1e-3


def test_which_weights_are_open():
    room = Room(chain(), 1.5, 0, "CPG")
    masks = room.opened([3, 4, 3])
    kernels = [room.network.get_layer(name).kernel for name in room.names]
    first, second, last = (masks[id(kernel)] for kernel in kernels)
    assert first.all() and first.shape == (2, 2, 2, 3)
    assert second.shape == (27, 6) and second[:, :4].all() and not second[:, 4:].any()
    assert last[:4].all() and not last[4:].any()
    masks = room.opened(room.base)  # of nine places each third channel is closed
    second = masks[id(kernels[1])].reshape(9, 3, 6)
    assert second[:, :2, :4].all() and not second[:, 2].any()


def test_it_grows_by_shares_of_its_base_width():
    room = Room(chain(), 1.5, 0, "CPG")
    widths = room.wider(room.base, 0.25)
    assert widths == [3, 5, 3] and room.wider(widths, 0.25) == [3, 6, 3]
    again, other = (Room(chain(), 1.5, seed, "CPG") for seed in (0, 1))
    spare = [x.network.get_layer("last").get_weights()[0][4:] for x in (room, again)]
    np.testing.assert_array_equal(*spare)
    assert (other.network.get_layer("last").get_weights()[0][4:] != spare[0]).any()


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([layers.LayerNormalization(name="norm")], "cannot widen the layer 'norm'"),
        ([layers.LSTM(3, name="words")], "cannot widen the layer 'words'"),
        ([layers.ReLU()], "finds no layer to widen"),
    ],
)
def test_what_cannot_be_widened_is_refused(parts, why):
    with pytest.raises(ValueError, match=f"CPG {why}.*`max_width=1`"):
        Room(keras.Sequential([keras.Input((4, 2)), *parts]), 2, 0, "CPG")
    x = keras.Input((2,))
    graph = keras.Model(x, layers.Add()([x, layers.Dense(2)(x)]))
    with pytest.raises(ValueError, match="CPG widens a keras.Sequential"):
        Room(graph, 2, 0, "CPG")
