"""Baselines: their formulas against NumPy, and what each promises."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 5)).astype("float32")


def new(method, optimizer=None, hidden=6, **kwargs):
    layer = layers.Dense(hidden, activation="relu", name="hidden")
    model = getattr(kl, method)(keras.Sequential([keras.Input((5,)), layer]), **kwargs)
    model.compile(optimizer or keras.optimizers.Adam(0.02))
    return model


def labels(i):
    return (X[:, i] > 0).astype("int32")


def fit(model, i, epochs=5):
    model.fit(X, labels(i), task=f"t{i}", epochs=epochs, batch_size=16, verbose=0)


def test_finetune_moves_the_weights_of_old_tasks():
    model = new("Finetune")
    fit(model, 0)
    before = model.predict(X, task="t0")
    fit(model, 1)
    assert (model.predict(X, task="t0") != before).any()


def test_independent_tasks_do_not_touch_each_other():
    model = new("Independent")
    fit(model, 0)
    before = model.predict(X, task="t0")
    one = model.count_params()
    fit(model, 1)
    fit(model, 2)
    assert (model.predict(X, task="t0") == before).all()
    assert model.count_params() == 3 * one == 3 * model.base_params()


def test_independent_starts_every_task_from_fresh_weights():
    model = new("Independent", keras.optimizers.SGD(0.0))
    fit(model, 0, 1)
    fit(model, 1, 1)
    first, second = model.memory["own", "t0", 0], model.memory["own", "t1", 0]
    assert (first != second).all()
    again = new("Independent", keras.optimizers.SGD(0.0))
    fit(again, 1, 1)
    assert (again.memory["own", "t1", 0] == second).all()


def test_joint_learns_all_tasks_at_once():
    joint, finetune = new("Joint", hidden=8), new("Finetune", hidden=8)
    for model in (joint, finetune):
        for i in range(3):
            fit(model, i, epochs=30)
    scores = [
        np.mean([m.evaluate(X, labels(i), task=f"t{i}")["accuracy"] for i in range(3)])
        for m in (joint, finetune)
    ]
    assert scores[0] > 0.9 and scores[0] > scores[1]


def test_joint_refuses_heads_of_different_kinds():
    model = new("Joint")
    fit(model, 0)
    with pytest.raises(ValueError, match="heads of one kind and size"):
        model.fit(kl.Task("r", kl.TaskSpec(2, "regression"), train=(X, X[:, :2])))
    assert model.task_names == ["t0"]


def test_l2_penalty_and_its_force():
    model = new("L2", strength=3.0)
    w, anchor = X[:3], X[3:6]
    arguments = {"strength": np.float32(3), "anchor": [anchor]}
    penalty = float(model.penalty([w, X], arguments))
    assert penalty == pytest.approx(1.5 * ((w - anchor) ** 2).sum(), rel=1e-5)
    moved = {}
    for strength in (0.0, 100.0):
        model = new("L2", keras.optimizers.SGD(0.01), strength=strength)
        fit(model, 0)
        before = model.get_active()[0]
        fit(model, 1)
        moved[strength] = np.abs(model.get_active()[0] - before).max()
    assert moved[100.0] < 0.2 * moved[0.0]


def test_fisher_is_the_mean_of_squared_gradients_of_single_samples():
    """With a linear 'hidden' layer the gradient of a sample is known in closed form."""
    layer = layers.Dense(1, use_bias=False)
    model = kl.EWC(
        keras.Sequential([keras.Input((5,)), layer]),
        fisher="empirical",
        fisher_samples=80,
    )
    model.compile("adam")
    y = labels(0)
    task = kl.Task("a", kl.TaskSpec(2, "binary"), train=(X, y), validation_split=0)
    loaded = model.load_task(task)
    model.add_task("a", loaded.spec)
    model.activate("a")
    (fisher,) = model.fisher(loaded)
    w, v = model.get_active()[0], model.get_active()[1]
    p = 1 / (1 + np.exp(-(X @ w) @ v))
    gradient = (p - y[:, None]) * v[0, 0] * X
    np.testing.assert_allclose(fisher[:, 0], (gradient**2).mean(0), rtol=1e-4)


def test_sampled_fisher_tends_to_the_expected_one():
    layer = layers.Dense(1, use_bias=False)
    model = kl.EWC(keras.Sequential([keras.Input((5,)), layer]), fisher_samples=8000)
    model.compile("adam")
    x, y = np.repeat(X, 100, 0), np.repeat(labels(0), 100)
    task = kl.Task("a", kl.TaskSpec(2, "binary"), train=(x, y), validation_split=0)
    loaded = model.load_task(task)
    model.add_task("a", loaded.spec)
    model.activate("a")
    (fisher,) = model.fisher(loaded)
    w, v = model.get_active()[0], model.get_active()[1]
    p = 1 / (1 + np.exp(-(X @ w) @ v))
    expected = (p * (1 - p) * (v[0, 0] * X) ** 2).mean(0)
    np.testing.assert_allclose(fisher[:, 0], expected, rtol=0.1)


def test_one_quadratic_is_the_sum_of_all_tasks():
    """Curvature ΣF and centre ΣFθ/ΣF give the gradient of the sum of penalties."""
    model = new("EWC", strength=2.0)
    f, theta = RNG.random((2, 5, 6)).astype("float32"), RNG.normal(size=(2, 5, 6))
    w = RNG.normal(size=(5, 6)).astype("float32")
    total = f.sum(0)
    centre = ((f * theta).sum(0) / total).astype("float32")
    arguments = {
        "strength": np.float32(2),
        "importance": [total],
        "anchor": [centre],
    }
    arguments = keras.tree.map_structure(keras.ops.convert_to_tensor, arguments)
    step = 1e-2
    for index in [(0, 0), (3, 4)]:
        plus, minus = w.copy(), w.copy()
        plus[index] += step
        minus[index] -= step
        above, below = map(keras.ops.convert_to_tensor, (plus, minus))
        slope = float(model.penalty([above], arguments)) - float(
            model.penalty([below], arguments)
        )
        expected = (2 * f * (w - theta)).sum(0)[index]
        assert slope / (2 * step) == pytest.approx(expected, rel=1e-2, abs=1e-2)


def test_ewc_forgets_less_than_finetune():
    def forgotten(model):
        fit(model, 0, 40)
        before = model.evaluate(X, labels(0), task="t0")["loss"]
        fit(model, 1, 40)
        return model.evaluate(X, labels(0), task="t0")["loss"] - before

    assert forgotten(new("EWC", strength=1000.0)) < 0.5 * forgotten(new("Finetune"))


@pytest.mark.parametrize(
    ("method", "kwargs", "message"),
    [
        ("L2", {"strength": -1}, "`strength` must be a number of at least 0"),
        ("EWC", {"strength": "x"}, "`strength` must be a number"),
        ("EWC", {"fisher": "true"}, "`fisher` must be 'sampled' or 'empirical'"),
        (
            "EWC",
            {"fisher_samples": 0},
            "`fisher_samples` must be an integer of at least 1",
        ),
    ],
)
def test_bad_arguments(method, kwargs, message):
    with pytest.raises(ValueError, match=message):
        new(method, **kwargs)
