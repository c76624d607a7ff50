"""Blocks that are one layer, as presets may still hold them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong.layers.residual import ResidualBlock
from keras_lifelong.layers.residual import Stem
from keras_lifelong.layers.switched import SwitchedNetwork

X = np.random.default_rng(0).normal(size=(4, 12, 12, 3)).astype("float32")


def test_a_shortcut_without_parameters_thins_out_and_fills_up():
    block = ResidualBlock(5, 2, projection=False)
    block.build(X.shape)
    block.second.kernel.assign(np.zeros(block.second.kernel.shape))
    expected = np.zeros((4, 6, 6, 5), "float32")
    expected[..., :3] = np.maximum(X[:, ::2, ::2], 0)
    np.testing.assert_allclose(ops.convert_to_numpy(block(X)), expected, atol=1e-6)
    with pytest.raises(ValueError, match="fewer filters.*filters=2"):
        ResidualBlock(2, projection=False).build(X.shape)


def test_a_block_by_hand():
    """Norms that change nothing, kernels of one 1 in the middle: relu(x + relu(x))."""
    block = ResidualBlock(3)
    block.build(X.shape)
    for layer in (block.first, block.second):
        kernel = np.zeros((3, 3, 3, 3), "float32")
        kernel[1, 1] = np.eye(3)
        layer.kernel.assign(kernel)
    expected = np.maximum(X + np.maximum(X, 0), 0)
    np.testing.assert_allclose(ops.convert_to_numpy(block(X)), expected, rtol=1e-4)
    assert block.shortcut is None and ResidualBlock(3, 2)(X).shape == (4, 6, 6, 3)


def test_strides_sample_as_symmetric_padding_does():
    """The first window of stride 2 is centred on the first pixel, not the second."""
    block = ResidualBlock(3, 2)
    block.build(X.shape)
    kernel = np.zeros((3, 3, 3, 3), "float32")
    kernel[1, 1] = np.eye(3)
    for layer in (block.first, block.second):
        layer.kernel.assign(kernel)
    block.shortcut.kernel.assign(kernel[1:2, 1:2])
    every = X[:, ::2, ::2]
    expected = np.maximum(every + np.maximum(every, 0), 0)
    np.testing.assert_allclose(ops.convert_to_numpy(block(X)), expected, rtol=1e-4)


def test_pooling_of_the_stem_pads_with_less_than_anything():
    stem = Stem(2, pool=True)
    stem.build(X.shape)
    stem.norm.beta.assign(np.full(2, -5.0, "float32"))
    assert tuple(stem(X).shape) == stem.compute_output_shape(X.shape) == (4, 6, 6, 2)


def test_a_switched_network_is_the_one_in_use():
    def make(key):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(int(key))])

    network = SwitchedNetwork(make, "2")
    x = np.ones((1, 3), "float32")
    assert network(x).shape == (1, 2) and network.output_shape == (None, 2)
    first = network.variables
    network.use("4")
    assert network(x).shape == (1, 4) and network.variables is not first
    network.use("2")
    assert [a is b for a, b in zip(network.variables, first, strict=True)] == [True] * 2
    assert network.of("4") is network.of("4")
