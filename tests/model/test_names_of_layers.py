"""Layers and inputs of a backbone may be called as the parts that are added to it."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = np.arange(16) % 2


def chain():
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="outputs"),
            layers.Dense(4, name="unit_length"),
        ],
        name="outputs_1",
    )


def graph():
    x = keras.Input((3,), name="outputs")
    return keras.Model(x, layers.Dense(4, name="dense")(x), name="outputs")


@pytest.mark.parametrize("make", [chain, graph])
@pytest.mark.parametrize("method", ["Finetune", "ICaRL", "DEN"])
def test_one_task_as_a_plain_model(method, make):
    model = getattr(kl, method)(make())
    model.compile("sgd")
    model.fit(X, Y, task="a", verbose=0)
    plain = model.task_model("a")
    np.testing.assert_allclose(plain(X), model.predict(X, task="a"), atol=1e-6)
    names = [layer.name for layer in plain.layers]
    assert len(set(names)) == len(names)


def test_a_failed_end_leaves_the_data_of_a_task_learned_again():
    class Fails(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            raise RuntimeError("the disk is full")

    model = kl.Joint(chain())
    model.compile("sgd")
    model.fit(X, Y, task="a", verbose=0)
    first = model.seen["a"]
    for name in ("a", "b"):
        with pytest.raises(RuntimeError, match="disk"):
            model.fit(X, 1 - Y, task=name, verbose=0, callbacks=[Fails()])
        assert model.seen == {"a": first}
    model.fit(X, Y, task="b", verbose=0)
    assert list(model.seen) == ["a", "b"]
