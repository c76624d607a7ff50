"""Growable layers in anybody's Keras model, without a method."""

import keras
import numpy as np
import pytest

from keras_lifelong.layers.growable import GrowableBatchNormalization
from keras_lifelong.layers.growable import GrowableConv2D
from keras_lifelong.layers.growable import GrowableDense

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(8, 5)).astype("float32")
IMAGES = RNG.normal(size=(8, 6, 6, 2)).astype("float32")


@pytest.fixture
def dense():
    """A model of three units, and its growable layer with room for eight."""
    inputs = keras.Input((5,))
    layer = GrowableDense(3, activation="relu", bucket=8)
    return keras.Model(inputs, keras.layers.Dense(2)(layer(inputs))), layer


def test_without_a_stage_it_is_what_is_there_now():
    layer = GrowableDense(3, bucket=8)
    first = np.asarray(layer(ROWS))
    assert first.shape == (8, 8) and (first[:, 3:] == 0).all()
    np.testing.assert_array_equal(first, np.asarray(layer(ROWS, stage=1)))
    assert layer.add_units(2).tolist() == [3, 4]
    assert layer.add_units(1, seed=1).tolist() == [5]
    assert layer.births().tolist() == [1, 1, 1, 2, 2, 3, 0, 0]
    now = np.asarray(layer(ROWS))
    np.testing.assert_array_equal(now, np.asarray(layer(ROWS, stage=3)))
    np.testing.assert_array_equal(np.asarray(layer(ROWS, stage=1)), first)
    layer.retire_units([0], stage=4)  # now: a copy may be in its place
    assert np.asarray(layer.alive()).tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    layer.remove_units([1, 2])
    assert (np.asarray(layer(ROWS))[:, :3] == 0).all()


def test_a_model_grows_while_it_stands(dense, tmp_path):
    model, layer = dense
    model.compile("sgd", "mse")
    before = model.predict(ROWS, verbose=0)
    copies = layer.split_units([1])
    assert copies.tolist() == [3]
    top = model.layers[-1]
    kernel = np.array(top.kernel)
    kernel[1] /= 2
    kernel[3] = kernel[1]  # half of it through the copy: Net2Net's split
    top.kernel.assign(kernel)
    np.testing.assert_allclose(model.predict(ROWS, verbose=0), before, atol=1e-5)
    layer.add_units(2)
    assert np.abs(model.predict(ROWS, verbose=0) - before).max() > 1e-3
    model.fit(ROWS, ROWS[:, :2], verbose=0)
    assert (layer.kernel_array()[:, 6:] == 0).all()  # free units are not trained
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict(ROWS, verbose=0), model.predict(ROWS, verbose=0)
    )
    assert again.layers[1].births().tolist() == [1, 1, 1, 2, 3, 3, 0, 0]


def test_convolutions_and_normalisation():
    convolution = GrowableConv2D(2, 3, padding="same", bucket=4)
    normalisation = GrowableBatchNormalization()
    inputs = keras.Input((6, 6, 2))
    x = normalisation(convolution(inputs))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    plain = keras.layers.BatchNormalization()
    expected = plain(convolution(IMAGES))
    np.testing.assert_allclose(
        np.asarray(model(IMAGES)), np.asarray(expected).mean((1, 2)), atol=1e-5
    )
    assert (np.asarray(model(IMAGES))[:, 2:] == 0).all()
    convolution.add_units(1)
    assert np.abs(np.asarray(model(IMAGES))[:, 2]).max() > 0
    assert (np.asarray(model(IMAGES))[:, 3] == 0).all()


def test_in_halves():
    layer = GrowableDense(3, bucket=4, dtype="mixed_float16")
    found = np.asarray(layer(ROWS))
    assert found.dtype == "float16" and (found[:, 3] == 0).all()
    kernel, bias = layer.kernel_array(), layer.bias_array()
    np.testing.assert_allclose(found, ROWS @ kernel + bias, atol=0.02)


def test_units_are_added_to_what_is_built():
    layer = GrowableDense(3, name="mine")
    with pytest.raises(ValueError, match="'mine' has no inputs yet"):
        layer.add_units(1)
