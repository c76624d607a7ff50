"""Regions, snapshots and proximal steps against closed forms."""

import keras
import numpy as np
from keras import layers

from keras_lifelong.methods.den.growable_network import GrowableNetwork
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import Snapshot
from keras_lifelong.methods.den.regions import group_threshold
from keras_lifelong.methods.den.regions import nonzero_inputs
from keras_lifelong.methods.den.regions import soft_threshold


def network():
    return GrowableNetwork(
        keras.Sequential(
            [keras.Input((3,)), layers.Dense(2, "relu"), layers.Dense(2, "relu")]
        ),
        bucket=4,
    )


def test_a_region_is_what_lies_between_its_units():
    net = network()
    region = Region((np.array([1]), np.array([0])))
    masks = region.masks(net)
    first, second = (masks[id(layer.kernel)] for layer in net.growable)
    assert np.argwhere(first).tolist() == [[0, 1], [1, 1], [2, 1]]
    assert np.argwhere(second).tolist() == [[1, 0]]
    assert region.head_rows(net).tolist() == [0]


def test_new_weights_are_all_but_the_old_ones():
    net = network()
    before = Region.everything(net)
    net.add_units(0, 3, stage=2)
    net.add_units(1, 1, stage=2)
    mask = Region.everything(net).without(before).masks(net)
    second = mask[id(net.growable[1].kernel)]
    expected = np.zeros((8, 4))
    expected[:5, :3] = 1
    expected[:2, :2] = 0
    assert (second == expected).all()


def test_snapshots_follow_storage():
    net = network()
    kernel = net.growable[1].kernel_array()
    snapshot = Snapshot(net)
    net.add_units(0, 3, stage=2)
    net.growable[1].kernel.assign(net.growable[1].kernel_array() + 1)
    then = snapshot.kernel(net, 1)
    assert then.shape == (8, 4)
    assert (then[:4] == kernel).all() and (then[4:] == 0).all()


def test_soft_threshold():
    w = np.array([-2.0, -0.1, 0.0, 0.1, 2.0])
    out = np.array(soft_threshold(w, 0.5))
    np.testing.assert_allclose(out, np.sign(w) * np.maximum(abs(w) - 0.5, 0))


def test_group_threshold_shrinks_each_unit_by_its_norm():
    w = np.array([[3.0, 0.3, 5.0], [4.0, 0.4, 5.0]], "float32")
    mask = np.array([[1, 1, 0], [1, 1, 0]], "float32")
    out = np.array(group_threshold(w, mask, 1.0))
    np.testing.assert_allclose(out[:, 0], [3 * 0.8, 4 * 0.8], rtol=1e-6)
    assert (out[:, 1] == 0).all()
    assert (out[:, 2] == 5).all()


def test_nonzero_inputs_of_a_convolution():
    kernel = np.zeros((3, 3, 4, 2))
    kernel[0, 2, 1, 0] = kernel[1, 1, 3, 1] = 1
    assert nonzero_inputs(kernel, [0]).tolist() == [1]
    assert nonzero_inputs(kernel, [0, 1]).tolist() == [1, 3]
