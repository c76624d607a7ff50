"""Networks from elsewhere as backbones: their classifier is cut off, outputs pooled."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.backbones import pooled
from keras_lifelong.backbones import without_head

RNG = np.random.default_rng(0)


def test_what_feeds_the_classifier_is_the_output():
    x = keras.Input((4,))
    hidden = layers.Dense(3, activation="relu", name="hidden")
    y = layers.Dropout(0.5)(hidden(x))
    model = keras.Model(x, layers.Activation("softmax")(layers.Dense(2)(y)))
    cut = without_head(model)
    assert cut.output_shape == (None, 3) and len(cut.layers) == 3
    assert cut.layers[1] is hidden  # the same layers, so the same weights
    rows = RNG.normal(size=(2, 4)).astype("float32")
    np.testing.assert_array_equal(cut(rows), hidden(rows))
    operation = keras.Model(x, ops.softmax(layers.Dense(2)(y)))
    assert without_head(operation).output_shape == (None, 3)


def test_a_sequential_stays_one():
    parts = [layers.Dense(5), layers.Dense(2), layers.Softmax()]
    cut = without_head(keras.Sequential([keras.Input((4,)), *parts]))
    assert isinstance(cut, keras.Sequential) and cut.layers == parts[:1]


def test_a_classifier_in_a_nested_model():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.Dense(2)])
    x = keras.Input((4,))
    cut = without_head(keras.Model(x, layers.Softmax()(inner(layers.ReLU()(x)))))
    assert cut.output_shape == (None, 5)
    assert without_head(keras.Sequential([keras.Input((4,)), inner])).output_shape == (
        None,
        5,
    )


def test_what_is_no_dense_is_not_cut():
    x = keras.Input((4, 4, 2))
    y = layers.Flatten()(layers.Conv2D(3, 1, name="conv")(x))
    with pytest.raises(ValueError, match=r"'flatten.*Flatten.*include_top=False"):
        without_head(keras.Model(x, y))
    with pytest.raises(ValueError, match="Nothing is left"):
        without_head(keras.Sequential([keras.Input((4,)), layers.Dense(3)]))
    given = keras.Input((4,))
    with pytest.raises(ValueError, match="Nothing is left"):
        without_head(keras.Model(given, layers.Dense(3)(given)))
    with pytest.raises(ValueError, match="Received: str"):
        without_head("model")


@pytest.mark.parametrize(
    ("how", "by_hand"),
    [
        ("avg", lambda y: y.mean((1, 2))),
        ("max", lambda y: y.max((1, 2))),
        ("flatten", lambda y: y.reshape(len(y), -1)),
    ],
)
@pytest.mark.parametrize("form", ["sequential", "functional"])
def test_pooling(how, by_hand, form):
    conv = layers.Conv2D(3, 2)
    model = keras.Sequential([keras.Input((4, 4, 2)), conv])
    if form == "functional":
        x = keras.Input((4, 4, 2))
        model = keras.Model(x, conv(x))
    rows = RNG.normal(size=(2, 4, 4, 2)).astype("float32")
    found = pooled(model, how)
    assert type(found) is type(model)
    np.testing.assert_allclose(
        found(rows), by_hand(np.asarray(model(rows))), atol=1e-6, rtol=1e-5
    )


def test_the_last_step_and_what_is_refused():
    x = keras.Input((4, 2))
    model = keras.Model(x, {"all": layers.ReLU()(x), "first": layers.ReLU()(x[:, 0])})
    rows = RNG.normal(size=(2, 4, 2)).astype("float32")
    found = pooled(model, "last", output="all")(rows)
    np.testing.assert_array_equal(found, np.maximum(rows[:, -1], 0))
    assert pooled(model, output="first").output_shape == (None, 2)
    with pytest.raises(ValueError, match="'all', 'first'"):
        pooled(model)
    with pytest.raises(ValueError, match="`how`"):
        pooled(model, "mean", output="all")
    image = keras.Input((4, 4, 2))
    with pytest.raises(ValueError, match="'last' over those"):
        pooled(keras.Model(image, layers.ReLU()(image)), "last")
    flat = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    assert pooled(flat) is flat


def test_a_network_of_keras_applications(eager):
    """With its classifier or without, it is a backbone of random weights."""
    whole = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=3)
    bare = keras.applications.MobileNetV2(
        (32, 32, 3), 0.35, weights=None, include_top=False
    )
    bare.set_weights(whole.get_weights()[:-2])
    rows = RNG.normal(size=(2, 32, 32, 3)).astype("float32")
    cut, other = without_head(whole), pooled(bare, "avg")
    assert cut.output_shape == other.output_shape == (None, 1280)
    np.testing.assert_allclose(cut(rows), other(rows), atol=1e-5)
    model = kl.Finetune(cut, pretrained=True)
    for found, given in zip(model.network.weights, cut.weights, strict=True):
        np.testing.assert_array_equal(found, given)
