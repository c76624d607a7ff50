"""Batch normalisation of a network whose weights are given from outside."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_lifelong.layers.normalization import batch_normalizations
from keras_lifelong.layers.normalization import batch_statistics
from keras_lifelong.layers.normalization import moved_statistics

X = np.random.default_rng(0).normal(2, 3, (64, 5)).astype("float32")


@pytest.fixture
def network():
    frozen = layers.BatchNormalization(trainable=False)
    norm = layers.BatchNormalization(momentum=0.9)
    net = keras.Sequential([keras.Input((5,)), frozen, layers.Dense(3), norm])
    norm.moving_mean.assign([1.0, 2.0, 3.0])
    norm.moving_variance.assign([1.0, 2.0, 3.0])
    return net


def weights(network):
    return [keras.ops.convert_to_numpy(v) for v in network.trainable_variables]


def held(network):
    return [
        keras.ops.convert_to_numpy(v).copy() for v in network.non_trainable_variables
    ]


def test_statistics_are_those_of_the_batch(network):
    before = held(network)
    (norm,) = batch_normalizations(network)
    found = batch_statistics(network, weights(network), X)
    z = X / np.sqrt(1 + 1e-3) @ weights(network)[0]
    mean, variance = found[id(norm.moving_mean)], found[id(norm.moving_variance)]
    np.testing.assert_allclose(mean, z.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(variance, z.var(0), rtol=1e-3)
    for was, now in zip(before, held(network), strict=True):
        np.testing.assert_array_equal(was, now)


def test_the_same_weights_keep_their_statistics(network):
    found = moved_statistics(
        network, held(network), weights(network), weights(network), X
    )
    for was, now in zip(held(network), found, strict=True):
        np.testing.assert_array_equal(was, now)


def test_statistics_follow_the_weights(network):
    """Twice the kernel: four times the variance, and means move by the batch's."""
    old, (norm,) = weights(network), batch_normalizations(network)
    new = [2 * old[0], *old[1:]]
    found = moved_statistics(network, held(network), old, new, X)
    mean = batch_statistics(network, old, X)[id(norm.moving_mean)]
    np.testing.assert_allclose(found[-2], np.array([1, 2, 3]) + mean, rtol=1e-4)
    np.testing.assert_allclose(found[-1], 4 * np.array([1, 2, 3]), rtol=1e-3)
    for was, now in zip(held(network)[:-2], found[:-2], strict=True):  # frozen
        np.testing.assert_array_equal(was, now)


def test_networks_without_it_have_nothing_to_move():
    net = keras.Sequential([keras.Input((5,)), layers.Dense(3)])
    assert batch_normalizations(net) == []
    assert moved_statistics(net, [], weights(net), weights(net), X) == []
