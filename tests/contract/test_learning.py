"""What every registered method does, on each backend: it learns, is saved, goes on."""

import json
import os

import keras
import numpy as np
import pytest
import small
from small import X
from small import assert_same
from small import assert_same_state
from small import labels
from small import learn
from small import predictions

import keras_lifelong as kl


def test_it_learns_predicts_and_scores_what_it_predicts(learned):
    model = learned.model
    assert model.task_names == ["t0", "t1"]
    for i, name in enumerate(model.task_names):
        found = learned.tasks[name]
        assert found.shape == (48, 2) and found.dtype == "float32"
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
        scores = model.evaluate(X, labels(i), task=name)
        right = found.argmax(1) == labels(i)
        assert scores["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        loss = -np.log(found[np.arange(48), labels(i)]).mean()
        assert scores["loss"] == pytest.approx(loss, rel=1e-4)
        tensor = model(keras.ops.convert_to_tensor(X), task=name)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(tensor), found, atol=1e-6)
    assert not np.array_equal(*learned.tasks.values())  # a task each


def test_predicting_again_gives_the_same(learned):
    assert_same(predictions(learned.model), learned.tasks)


def test_two_runs_are_the_same(learned):
    assert learned.three is not learned.model
    assert_same(learned.again, learned.tasks)


def test_a_preset_predicts_the_same(learned):
    model = learned.load()
    assert type(model) is type(learned.model)
    assert model.growth == learned.model.growth
    assert model.count_params() == learned.model.count_params()
    assert_same(predictions(model), learned.tasks)


def test_learning_on_after_loading_is_as_never_stopped(learned):
    model = learned.load()
    learn(model, 2)
    assert model.task_names == ["t0", "t1", "t2"]
    assert_same(predictions(model), predictions(learned.three))
    assert model.growth == learned.three.growth


@pytest.mark.parametrize("gone", ["t0", "t1"])
def test_a_removed_task_leaves_the_other_as_it_was(learned, gone):
    model = learned.load()
    model.remove_task(gone)
    (kept,) = {"t0", "t1"} - {gone}
    assert model.task_names == [kept]
    assert_same(predictions(model), {kept: learned.tasks[kept]})
    with pytest.raises(ValueError, match="must be the name of a learned task"):
        model.predict(X, task=gone)


def test_a_task_that_is_not_learned_leaves_no_trace(learned):
    """A mistake of a callback's, and an interrupt, in the first phase."""
    model = learned.load()
    before = model.get_state()

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise error

    for error in (RuntimeError("a mistake"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            learn(model, 2, callbacks=[Stop()])
        assert model.task_names == ["t0", "t1"]
        assert_same_state(model.get_state(), before)
        assert_same(predictions(model), learned.tasks)


def test_a_configuration_makes_the_same_untrained_model(learned):
    config = learned.model.get_config()
    model = type(learned.model).from_config(json.loads(json.dumps(config)))
    assert model.get_config() == config
    assert model.task_names == [] and model.growth == []
    fresh = small.new(learned.case).network.get_weights()
    for found, expected in zip(model.network.get_weights(), fresh, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_state_makes_the_same_trained_model(learned):
    config, arrays = learned.model.get_state()
    model = type(learned.model).from_config(learned.model.get_config())
    model.compile_from_config(learned.model.get_compile_config())
    model.set_state(json.loads(json.dumps(config)), arrays)
    assert_same_state(model.get_state(), (config, arrays))
    assert_same(predictions(model), learned.tasks)
    for array in arrays.values():
        array[...] = 0  # copies: what is done to them is nothing to either model
    assert_same(predictions(model), learned.tasks)
    assert_same(predictions(learned.model), learned.tasks)


def test_den_adds_and_splits(_learned):
    grown = _learned("DEN").model
    assert {"add", "split"} <= {entry["kind"] for entry in grown.growth}


def test_from_given_weights_it_learns_what_the_formula_says():
    """By hand, in NumPy: so both backends learn the same."""
    from keras_lifelong.seeds import derive_seed

    draw = np.random.default_rng(1).normal
    w = [draw(0, 0.5, s) for s in ((6, 8), 8, (8, 5), 5, (5, 2))] + [np.zeros(2)]
    order_seed = derive_seed(kl.Finetune(small.backbone()).seed, 0, 0)
    for epoch in range(3):
        rng = np.random.default_rng(derive_seed(order_seed, epoch))
        for rows in rng.permutation(48).reshape(3, 16):
            x, y = X[rows].astype("float64"), np.eye(2)[labels(1)[rows]]
            a = np.maximum(x @ w[0] + w[1], 0)
            b = np.maximum(a @ w[2] + w[3], 0)
            z = np.exp(b @ w[4] + w[5])
            dz = (z / z.sum(1, keepdims=True) - y) / 16
            db = dz @ w[4].T * (b > 0)
            da = db @ w[2].T * (a > 0)
            steps = (x.T @ da, da.sum(0), a.T @ db, db.sum(0), b.T @ dz, dz.sum(0))
            w = [value - 0.1 * step for value, step in zip(w, steps, strict=True)]
    a = np.maximum(X @ w[0] + w[1], 0)
    b = np.maximum(a @ w[2] + w[3], 0)
    z = np.exp(b @ w[4] + w[5])
    found = small.learned_from_given_weights()
    np.testing.assert_allclose(found, z / z.sum(1, keepdims=True), atol=5e-5)
    if "CONTRACT_PREDICTIONS" in os.environ:  # to be compared with another backend's
        np.save(os.environ["CONTRACT_PREDICTIONS"], found)
