"""Gradients of single examples: one batch and one by one, against values by hand."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong.training import example_gradients
from keras_lifelong.training.example_gradients import ExampleGradients

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 5)).astype("float32")
Y = RNG.normal(size=(7, 3)).astype("float32")


def half_squares(features, y, weight):
    return 0.5 * ops.sum(weight[:, None] * ops.square(features - y))


def found(network, of=ops.square, x=X, y=Y, variables=None):
    variables = network.trainable_variables if variables is None else variables
    gradients = ExampleGradients(
        of, network, half_squares, variables, network.variables
    )
    return gradients, gradients.mean(x, y)


def mlp():
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, activation="tanh"),
            layers.BatchNormalization(trainable=False),
            layers.Dropout(0.5),
            layers.Dense(3, use_bias=False),
        ]
    )


@pytest.mark.parametrize(
    ("of", "by_hand"), [(ops.square, np.square), (ops.abs, np.abs)]
)
def test_a_layer_by_hand(of, by_hand, eager):
    """Of |x W + b - y|²/2: the gradient by W is x rᵀ, by b it is r = x W + b - y."""
    network = keras.Sequential([keras.Input((5,)), layers.Dense(3)])
    gradients, (kernel, bias) = found(network, of)
    w, b = network.get_weights()
    r = X @ w + b - Y
    one_by_one = X[:, :, None] * r[:, None]
    assert gradients.in_batches
    np.testing.assert_allclose(kernel, by_hand(one_by_one).mean(0), rtol=1e-5)
    np.testing.assert_allclose(bias, by_hand(r).mean(0), rtol=1e-5)


def test_a_batch_says_what_single_examples_say(eager, monkeypatch):
    """Over several batches, the last filled up, and a network of several layers."""
    monkeypatch.setattr(example_gradients, "ROWS", 3)
    network = mlp()
    batch, of_batch = found(network)
    monkeypatch.setattr(example_gradients, "_dense_layers", lambda *_: {})
    single, one_by_one = found(network)
    assert batch.in_batches and not single.in_batches
    for a, b in zip(of_batch, one_by_one, strict=True):
        assert np.ptp(b) > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_what_is_no_dense_layer_once_goes_one_by_one(eager):
    inputs = keras.Input((5,))
    shared = layers.Dense(5)
    twice = keras.Model(inputs, layers.Dense(3)(shared(shared(inputs))))
    assert not found(twice)[0].in_batches
    assert found(twice, variables=twice.layers[-1].trainable_variables)[0].in_batches
    sequence = keras.Sequential(
        [keras.Input((5,)), layers.Reshape((5, 1)), layers.Dense(3), layers.Flatten()]
    )
    gradients, (kernel, bias) = found(sequence, y=np.zeros((7, 15), "float32"))
    assert not gradients.in_batches
    w, b = sequence.get_weights()
    r = X[:, :, None] * w[0] + b  # (7, 5, 3); the gradient by W is Σ over places of x r
    expected = np.square((X[:, :, None] * r).sum(1)).mean(0)
    np.testing.assert_allclose(kernel[0], expected, rtol=1e-4)
    np.testing.assert_allclose(bias, np.square(r.sum(1)).mean(0), rtol=1e-4)


def test_layers_whose_rows_meet_go_one_by_one(eager):
    kept = layers.Dense(3, activity_regularizer="l2")
    assert not found(keras.Sequential([keras.Input((5,)), kept]))[0].in_batches
    inputs = keras.Input((5,))
    centred = inputs - ops.mean(inputs, axis=0)
    meeting = keras.Model(inputs, layers.Dense(3)(centred))
    assert not found(meeting)[0].in_batches
