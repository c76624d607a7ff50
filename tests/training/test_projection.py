"""Spaces of inputs and steps at a right angle to them, against layers and NumPy."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong.training import cone
from keras_lifelong.training import projection

RNG = np.random.default_rng(0)

LAYERS = [
    (layers.Dense(3), (4, 5)),
    (layers.Dense(3, use_bias=False), (5,)),
    (layers.Conv2D(3, (2, 3), strides=(2, 1)), (6, 7, 2)),
    (layers.Conv2D(3, 3, strides=2, padding="same"), (6, 7, 2)),
    (layers.Conv2D(3, 2, dilation_rate=2, padding="same", use_bias=False), (6, 7, 2)),
    (layers.Conv1D(3, 3, padding="causal", dilation_rate=2), (6, 2)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_a_layer_is_the_product_of_its_inputs_and_its_kernel(layer, shape):
    x = RNG.normal(size=(2, *shape)).astype("float32")
    expected = ops.convert_to_numpy(layer(x))
    kernel = ops.convert_to_numpy(layer.kernel).reshape(-1, 3)
    if layer.use_bias:
        layer.bias.assign(RNG.normal(size=3))
        expected = ops.convert_to_numpy(layer(x))
        kernel = np.concatenate([kernel, ops.convert_to_numpy(layer.bias)[None]])
    found = projection.inputs_of(x, layer) @ kernel
    np.testing.assert_allclose(found, expected.reshape(-1, 3), atol=1e-5)


def test_a_basis_grows_by_what_is_missing():
    moments = np.diag([8.0, 1.0, 0.6, 0.4])
    basis = projection.grown_basis(np.zeros((4, 0)), moments, 0.85)
    np.testing.assert_allclose(np.abs(basis[:, 0]), [1, 0, 0, 0], atol=1e-6)
    assert basis.shape == (4, 2)  # .8 of the lengths, then .9
    assert projection.grown_basis(basis, moments, 0.9).shape == (4, 2)
    more = projection.grown_basis(basis, np.diag([0, 0, 3.0, 1.0]), 0.75)
    np.testing.assert_allclose(np.abs(more[:, 2]), [0, 0, 1, 0], atol=1e-6)
    assert projection.grown_basis(basis, moments, 1.0).shape == (4, 4)


def test_steps_at_a_right_angle_change_no_outputs():
    layer = layers.Conv2D(3, 2)
    x = RNG.normal(size=(1, 3, 3, 2)).astype("float32")
    before = ops.convert_to_numpy(layer(x))
    rows = projection.inputs_of(x, layer)
    basis = projection.grown_basis(np.zeros((9, 0)), rows.T @ rows, 1 - 1e-12)
    assert basis.shape == (9, 4)
    steps = [RNG.normal(size=v.shape).astype("float32") for v in layer.variables]
    steps = [ops.convert_to_tensor(s) for s in steps]
    for v, step in zip(
        layer.variables, projection.at_right_angle(steps, basis @ basis.T), strict=True
    ):
        assert np.abs(ops.convert_to_numpy(step)).max() > 0.1
        v.assign(v + step)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), before, atol=1e-5)


def test_moments_of_a_shared_layer_are_of_both_calls():
    x = keras.Input((2,))
    shared = layers.Dense(2, use_bias=False, name="shared")
    network = keras.Model(x, shared(shared(x)))
    shared.kernel.assign(2 * np.eye(2))
    found = projection.ProjectedLayers(network, "GPM").moments(np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(found["shared"], 5 * np.array([[1, 3], [3, 9]]))


def test_layers_that_are_refused():
    network = keras.Sequential(
        [keras.Input((4, 4, 2)), layers.DepthwiseConv2D(2, name="depth")]
    )
    with pytest.raises(ValueError, match="GPM cannot carry the layer 'depth'"):
        projection.ProjectedLayers(network, "GPM")
    network.layers[0].trainable = False
    assert not projection.ProjectedLayers(network, "GPM").layers


# GEM's cone


def test_the_nearest_in_a_cone_by_hand():
    """Of two losses at 45° the step is projected on the edge of both."""
    others = ops.convert_to_tensor([[1.0, 0.0], [1.0, 1.0]])

    def nearest(*g, margin=0.0):
        found = cone.nearest_in_cone(ops.convert_to_tensor(g), others, margin)
        return ops.convert_to_numpy(found)

    np.testing.assert_allclose(nearest(1.0, 1.0), [1, 1])  # raises none
    np.testing.assert_allclose(nearest(-1.0, 3.0), [0, 3], atol=1e-4)
    np.testing.assert_allclose(nearest(2.0, -4.0), [3, -3], atol=1e-4)
    np.testing.assert_allclose(nearest(-1.0, -1.0), [0, 0], atol=1e-3)
    # v ≥ γ = 1: (-1, 3) + 1·(1, 0) + 1·(1, 1)
    np.testing.assert_allclose(nearest(-1.0, 3.0, margin=1.0), [1, 4], atol=1e-4)


def test_flat_and_back():
    parts = [ops.convert_to_tensor(np.ones((2, 3))), ops.convert_to_tensor([4.0])]
    vector = cone.flat([ops.cast(p, "float32") for p in parts])
    back = cone.split(vector, parts)
    assert [tuple(b.shape) for b in back] == [(2, 3), (1,)] and float(back[1][0]) == 4
