"""Transfer networks: the tree of configurations, choices, sizes."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong import backbones
from keras_lifelong.methods.lasem.belief import configuration_bits
from keras_lifelong.methods.lasem.transfer_network import TransferNetwork

X = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")


def array(value):
    return ops.convert_to_numpy(value)


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def backbone():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, padding="same", activation="leaky_relu", name="a"),
            layers.MaxPooling2D(2),
            layers.Conv2D(5, 3, padding="same", name="b", use_bias=False),
            layers.LeakyReLU(),
            layers.Conv2D(3, 3, activation="leaky_relu", name="c"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(6, name="fc"),
        ]
    )


def test_bit_l_of_a_configurations_number_is_0_where_layer_l_is_shared():
    bits = configuration_bits(3)
    assert bits[0].tolist() == [1, 1, 1]
    assert bits[1].tolist() == [0, 1, 1]
    assert bits[4].tolist() == [1, 1, 0]
    assert bits[7].tolist() == [0, 0, 0]


@pytest.mark.parametrize("sharing", ["hps", "tf", "dfcnn"])
@pytest.mark.parametrize("groups", [None, [2, 1], [1, 2], [3]])
def test_the_tree_is_every_configuration_alone(sharing, groups):
    network = TransferNetwork(backbone(), sharing, groups=groups, seed=3)
    for i, variable in enumerate(network.trainable_variables):
        # biases, too, are to matter
        noise = np.random.default_rng(i).normal(size=variable.shape)
        variable.assign(array(variable) + 0.1 * noise)
    bits = configuration_bits(network.choices)
    together = array(network.tail(network.tree(X)))
    assert len(together) == len(bits) * len(X)
    for i, choices in enumerate(bits):
        alone = array(network(X, choices=choices))
        part = together[i * len(X) : (i + 1) * len(X)]
        np.testing.assert_allclose(part, alone, atol=1e-5)
    parts = np.split(together, len(bits))
    assert len({part.tobytes() for part in parts}) == len(bits)


@pytest.mark.parametrize("sharing", ["hps", "tf", "dfcnn"])
def test_plain_layers_do_what_a_configuration_does(sharing):
    network = TransferNetwork(backbone(), sharing, seed=3)
    for choices in ([1, 0, 1], [0, 0, 0]):
        pairs = network.plain_layers(choices)
        model = keras.Sequential([keras.Input((8, 8, 2)), *[x for x, _ in pairs]])
        for layer, values in pairs:
            if values is not None:
                layer.set_weights(values)
        expected = array(network(X, choices=choices))
        np.testing.assert_allclose(array(model(X)), expected, atol=1e-6)


def test_shared_and_own_layers_are_drawn_apart():
    network = TransferNetwork(backbone(), "hps", seed=3)
    for layer in network.searched:
        assert not np.array_equal(array(layer.transfer.kernel), array(layer.own.kernel))


@pytest.mark.parametrize(
    ("sharing", "total"),
    [("hps", 328_426 + 65_568), ("tf", 410_459), ("dfcnn", 862_282)],
)
def test_sizes_of_the_first_task_as_released(sharing, total):
    network = TransferNetwork(backbones.get("lasem_cifar100", (32, 32, 3)), sharing)
    own = sum(count(x.own_variables) for x in network.searched)
    mapping = sum(count(x.mapping_variables) for x in network.searched)
    shared = sum(count(x.shared_variables) for x in network.searched)
    dense = count(network.always_own) + (64 + 1) * 10
    assert (own, dense) == (65_568, 262_858)
    expected = {
        "hps": (65_568, 0),
        "tf": (65_376, 16_657),
        "dfcnn": (432, 533_424),
    }
    assert (shared, mapping) == expected[sharing]
    assert shared + mapping + own + dense == total


def test_searched_dense_layers():
    mlp = backbones.get("mlp", (8, 8, 2), units=[7, 5])
    for sharing in ("hps", "tf"):
        network = TransferNetwork(mlp, sharing)
        assert [x.name for x in network.searched] == ["dense", "dense_1"]
        tree = array(network.tail(network.tree(X)))
        np.testing.assert_allclose(
            tree[:3], array(network(X, choices=[1, 1])), atol=1e-6
        )
    both = TransferNetwork(backbone(), "hps", searched=["c", "fc"])
    assert [x.name for x in both.searched] == ["c", "fc"]
    assert both.tree_is_noisy  # dropout lies between them


def test_config_round_trip_keeps_the_initial_weights():
    network = TransferNetwork(backbone(), "dfcnn", groups=[2, 1], seed=3)
    again = TransferNetwork.from_config(network.get_config())
    assert again.groups == [2, 1]
    for layer, other in zip(network.searched, again.searched, strict=True):
        np.testing.assert_array_equal(
            array(layer.transfer.kernel), array(other.transfer.kernel)
        )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sharing": "soft"}, "`sharing` must be one of .*Received: 'soft'"),
        ({"searched": ["a", "z"]}, "it has \\['a', 'b', 'c', 'fc'\\].*'z'"),
        ({"searched": ["fc"], "sharing": "dfcnn"}, "for Conv2D layers"),
        ({"groups": [2, 2]}, "add up to the 3 searched layers.*\\[2, 2\\]"),
        ({"groups": [3, 0]}, "positive integers"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TransferNetwork(backbone(), **kwargs)


def test_a_layer_it_cannot_carry_is_named():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, name="a"),
            layers.Lambda(lambda x: 2 * x, name="doubled"),
            layers.Flatten(),
        ]
    )
    with pytest.raises(ValueError, match="'doubled' \\(Lambda\\)"):
        TransferNetwork(model, "hps")
