"""Every kind of head is scored, and halves are distilled, on every backend."""

import keras
import numpy as np
import pytest
from small import X
from small import backbone

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("step_by_step")


def cross_entropy(y, p):
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


LOSSES = {  # of a kind: columns, and by hand the loss of predictions
    "binary": (1, cross_entropy),
    "multilabel": (3, cross_entropy),
    "regression": (2, lambda y, p: np.mean(np.square(y - p))),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_the_loss_of_each_kind_is_scored(kind):
    columns, by_hand = LOSSES[kind]
    y = X[:, :columns] if kind == "regression" else (X[:, :columns] > 0).astype("int32")
    classes = 2 if kind == "binary" else columns
    task = kl.Task("a", kl.TaskSpec(classes, kind), train=(X, y), validation=(X, y))
    model = kl.Finetune(backbone())
    model.compile(keras.optimizers.SGD(0.1))
    history = model.fit(task, verbose=0).history
    said = model.predict(X, task="a").astype("float64")
    expected = by_hand(y, said)
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-4)
    assert model.evaluate(X, y, task="a")["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("method", ["LwF", "PAR", "ICaRL", "DEN"])
def test_a_network_of_halves_learns_a_second_task(method):
    options = {"PAR": {"alpha": 1.0}, "DEN": {"growth": 2, "bucket": 8}}.get(method, {})
    policy = keras.mixed_precision.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = getattr(kl, method)(backbone(), **options)
        model.compile(keras.optimizers.SGD(0.1))
        for i, name in enumerate("ab"):
            model.fit(X, (X[:, i] > 0).astype(int), task=name, verbose=0)
        for name in "ab":
            found = model.predict(X, task=name)
            plain = keras.ops.convert_to_numpy(model.task_model(name)(X))
            assert found.dtype == "float32"
            np.testing.assert_allclose(found, plain, atol=1e-5)
    finally:
        keras.config.set_dtype_policy(policy)
