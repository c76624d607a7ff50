"""Retention alone: how much of a step parts take, and what holds still."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong.methods.bind_and_grow.retention import Retention
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.parts import find_parts
from keras_lifelong.training.hooks import retained

X = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")


def new(how, groups=None, ratio=0.1):
    network = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4),
            layers.BatchNormalization(),
            layers.Dense(2),
        ]
    )
    net = JointNet(network, find_parts(network, groups), TaskMemory)
    return Retention(net, how, ratio, lambda y, features, weight: features)


@pytest.mark.parametrize(("how", "factor"), [("slow", 0.1), ("freeze", 0), ("same", 1)])
def test_shared_parts_take_a_part_of_a_step(how, factor):
    scales = new(how).scales([0])
    assert [s.shape for s in scales] == [(1,)] * 6
    np.testing.assert_allclose(np.concatenate(scales), [factor] * 2 + [1] * 4)
    scales = new(how, groups=2).scales([0, 3])  # half the first, half the norm
    np.testing.assert_allclose(scales[0], [factor, factor, 1, 1])
    np.testing.assert_allclose(scales[2], [1, 1, factor, factor])
    np.testing.assert_allclose(scales[4], [1, 1])


def test_layers_with_statistics_hold_still_if_all_of_them_is_frozen():
    retention = new("freeze", groups=2)
    network = retention.joint_net.network
    assert retention.loss(retention.kept([2])) is None
    kept = retention.kept([0, 2, 3])
    assert retention.still_layers(kept) == (1,)
    loss = retention.loss(kept)
    assert retention.loss(retention.kept([2, 3])) is loss  # compiled once
    before = [
        ops.convert_to_numpy(v).copy()
        for v in network.layers[1].non_trainable_variables
    ]
    loss(X, None, None, {})
    after = [ops.convert_to_numpy(v) for v in network.layers[1].non_trainable_variables]
    np.testing.assert_array_equal(before, after)
    assert new("slow").kept([1]) == {}


def test_frozen_parts_are_put_back():
    retention = new("freeze")
    net = retention.joint_net
    kept = retention.kept([1])
    start = net.active_nodes()
    net.load([[v + 1 for v in node] for node in start])
    retention.put_back(kept)
    for u, node in enumerate(net.active_nodes()):
        for was, value in zip(start[u], node, strict=True):
            np.testing.assert_array_equal(value, was + (u != 1))


def test_all_of_a_step_a_part_or_none():
    old, new_ = [np.zeros(3, "float32")], [np.full(3, 0.3, "float32")]
    scales = [np.array([1.0, 0.5, 0.0], "float32")]
    (after,) = retained(old, new_, {"scales": scales}, 0.1)
    np.testing.assert_allclose(after, [0.3, 0.15, 0.0])
    assert np.array(after)[0] == new_[0][0]
