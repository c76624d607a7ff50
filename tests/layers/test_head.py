"""Losses of heads against Keras' own."""

import keras
import numpy as np
import pytest

from keras_lifelong.layers import head as heads
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reseeded
from keras_lifelong.seeds import seed_config

RNG = np.random.default_rng(0)
LOGITS = (RNG.normal(size=(6, 3)) * 5).astype("float32")
CLASSES = np.array([0, 1, 2, 2, 1, 0], "int32")
TARGETS = (RNG.random((6, 3)) < 0.5).astype("float32")
CASES = [
    (
        "softmax",
        CLASSES,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ),
    ("sigmoid", TARGETS, keras.losses.BinaryCrossentropy(from_logits=True)),
    ("squared", TARGETS, keras.losses.MeanSquaredError()),
]


@pytest.mark.parametrize(("kind", "y", "loss"), CASES)
def test_mean_loss_is_keras_loss(kind, y, loss):
    ours = heads.mean_loss(kind, y, LOGITS, np.ones(6, "float32"))
    np.testing.assert_allclose(float(ours), float(loss(y, LOGITS)), rtol=1e-5)


@pytest.mark.parametrize(("kind", "y", "loss"), CASES)
def test_filling_does_not_count(kind, y, loss):
    weight = np.array([1, 1, 1, 1, 0, 0], "float32")
    ours = heads.mean_loss(kind, y, LOGITS, weight)
    np.testing.assert_allclose(float(ours), float(loss(y[:4], LOGITS[:4])), rtol=1e-5)


def test_sigmoid_head_of_classes_is_one_versus_rest():
    one_hot = np.eye(3, dtype="float32")[CLASSES]
    a = heads.per_sample_loss("sigmoid", CLASSES, LOGITS)
    b = heads.per_sample_loss("sigmoid", one_hot, LOGITS)
    assert (np.array(a) == np.array(b)).all()


def test_seeds():
    assert derive_seed(0, "a") != derive_seed(1, "a") != derive_seed(1, "b")
    init = keras.initializers.GlorotUniform(seed=1)
    a, b = (np.array(reseeded(init, 5)((3, 3))) for _ in range(2))
    assert (a == b).all() and (a != np.array(init((3, 3)))).any()
    config = {"layers": [{"seed": None}, {"seed": 3}]}
    seeded = seed_config(config, 7)
    assert seeded["layers"][0]["seed"] is not None
    assert seeded["layers"][1]["seed"] == 3 and config["layers"][0]["seed"] is None
