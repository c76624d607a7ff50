"""Masks over weights: bits, thresholds, gradients that go straight through."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong import backend
from keras_lifelong.training import masks

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(3,), (5, 7), (2, 3, 4)])
def test_bits_give_the_mask_back(shape):
    mask = RNG.random(shape) < 0.5
    packed = masks.pack(mask)
    assert packed.shape == (masks.packed_size(shape),)
    np.testing.assert_array_equal(masks.unpack(packed, shape), mask)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.77, 1.0])
def test_as_many_are_chosen_as_the_share_says(share):
    scores = RNG.normal(size=(40, 25)).astype("float32")
    found = ops.convert_to_numpy(masks.chosen(scores, share))
    assert found.sum() == max(round(share * 1000), 1)
    size = np.abs(scores)
    assert size[found == 1].min() >= size[found == 0].max(initial=0)


def test_the_gradient_goes_to_the_magnitude_of_every_score():
    scores = keras.Variable([-3.0, 1.0, 2.0])
    seen = []

    def step(gradients_of, i, carry, scale):
        def cost():
            mask = masks.straight_through(masks.chosen(scores, 0.34), scores)
            value = ops.sum(mask * scale)
            return value, value

        (_, value), (gradient,) = gradients_of(cost, [scores])
        return [value, gradient]

    run = backend.compile_loop(step, [scores], None, lambda: None)
    scale = ops.convert_to_tensor([5.0, 6.0, 7.0])
    seen = run(ops.convert_to_tensor(1), [ops.zeros(()), ops.zeros(3)], scale)
    assert float(seen[0]) == 5  # only the first is chosen
    np.testing.assert_array_equal(ops.convert_to_numpy(seen[1]), [-5, 6, 7])


def test_the_largest_among_some():
    values = np.array([[1.0, -5.0], [2.0, 2.0]])
    among = np.array([[True, False], [True, True]])
    found = masks.largest(values, among, 2)
    np.testing.assert_array_equal(found, [[False, False], [True, True]])
    assert not masks.largest(values, among, 0).any()


def test_a_product_is_made_once():
    products, weights = masks.Products(), np.array([1.0, 2.0], "float32")
    packed = masks.pack(np.array([True, False]))
    made, parts = masks.product, (weights, packed)
    found = products.get(("a", 0), parts, made)
    assert found.tolist() == [1, 0] and products.get(("a", 0), parts, made) is found
    assert products.get(("a", 0), (weights.copy(), packed), made) is not found


def test_which_variables_are_masked():
    network = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 2, trainable=False, name="frozen"),
            layers.Conv2D(2, 2, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, name="dense"),
        ]
    )
    found = masks.Kernels(network)
    frozen, conv, norm, dropout, _, dense = network.layers
    assert ids(found.kernels) == ids([conv.kernel, dense.kernel])
    assert ids(found.others) == ids([conv.bias, *norm.variables, dense.bias])
    assert ids(found.shared) == ids([*frozen.variables, *dropout.variables])


def ids(variables):
    return sorted(map(id, variables))


def test_other_values_in_the_place_of_a_kernel():
    network = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False)])
    kernel = network.layers[0].kernel
    x = ops.convert_to_tensor([[1.0, 2.0]])
    given = {id(kernel): ops.convert_to_tensor([[10.0], [1.0]])}
    assert float(masks.call_with(network, given, x)[0, 0]) == 12
