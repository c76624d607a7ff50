"""LwF: old outputs on new data stay, and old heads are trained with the rest."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 6)).astype("float32")


def new(**kwargs):
    backbone = keras.Sequential([keras.Input((6,)), layers.Dense(12, "relu")])
    model = kl.LwF(backbone, **kwargs)
    model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"])
    return model


def fit(model, name, i, spec=None):
    y = (X[:, i] > 0).astype("int32")
    one = kl.Task(name, spec, train=(X, y), validation_split=0)
    model.fit(one, epochs=30, batch_size=16, verbose=0)


def accuracy(model, name, i):
    return model.evaluate(X, (X[:, i] > 0).astype("int32"), task=name)["accuracy"]


def test_it_forgets_less_than_without():
    kept = {}
    for strength in (0.0, 5.0):
        model = new(strength=strength)
        fit(model, "a", 0)
        out = model.predict(X, task="a")
        fit(model, "b", 1)
        fit(model, "c", 2)
        kept[strength] = accuracy(model, "a", 0)
        assert accuracy(model, "c", 2) > 0.9
        if strength:
            assert np.abs(model.predict(X, task="a") - out).mean() < 0.1
    assert kept[5.0] > 0.9 and kept[5.0] > kept[0.0]


def test_old_heads_move_and_are_stored():
    model = new()
    fit(model, "a", 0)
    fit(model, "b", 1, kl.TaskSpec(2, kind="binary"))
    keys = [model.head_key(name) for name in "ab"]
    before = [model.memory[*key, "kernel"].copy() for key in keys]
    fit(model, "c", 2)
    for key, kernel in zip(keys, before, strict=True):
        now = model.memory[*key, "kernel"]
        assert now.shape == kernel.shape and (now != kernel).any()


def test_a_task_that_comes_back_distils_the_others():
    model = new()
    fit(model, "a", 0)
    fit(model, "b", 1)
    before = model.memory[*model.head_key("b"), "kernel"].copy()
    fit(model, "a", 0)
    assert (model.memory[*model.head_key("b"), "kernel"] != before).any()
    assert model.task_names == ["a", "b"] and accuracy(model, "b", 1) > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": -1.0}, "`strength`.*-1"),
        ({"temperature": 0}, "`temperature` must be a number above 0.*0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        new(**arguments)


def test_heads_that_cannot_be_distilled():
    with pytest.raises(
        ValueError, match="LwF learns binary and categorical.*'multilabel'"
    ):
        spec = kl.TaskSpec(2, kind="multilabel")
        one = kl.Task("a", spec, train=(X, (X[:, :2] > 0).astype("float32")))
        new().fit(one, epochs=1, verbose=0)
