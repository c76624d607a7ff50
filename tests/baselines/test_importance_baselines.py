"""OnlineEWC, SI and MAS: their formulas against NumPy, and what they hold."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype("float32")


def new(method, optimizer=None, linear=False, **kwargs):
    hidden = layers.Dense(1 if linear else 4, None if linear else "relu")
    hidden.use_bias = not linear
    backbone = keras.Sequential([keras.Input((5,)), hidden])
    model = getattr(kl, method)(backbone, **kwargs)
    model.compile(optimizer or keras.optimizers.SGD(0.05))
    return model


def fit(model, name, i, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 16, "verbose": 0, **kwargs}
    y = (X[:, i] > 0).astype("int32")
    task = kl.Task(name, train=(X, y), validation_split=0)
    model.fit(task, **kwargs)


def shared(model):
    return [ops.convert_to_numpy(v).copy() for v in model.network.trainable_variables]


def watched(model):
    """The phases of a model, as they are begun."""
    learn, phases = model.learn, []

    def spy(task):
        generator, result = learn(task), None
        while True:
            try:
                phases.append(generator.send(result))
            except StopIteration:
                return
            result = yield phases[-1]

    model.learn = spy
    return phases


@pytest.mark.parametrize(
    ("running", "parts"), [("sum", (0.5, 1)), ("mean", (0.5, 0.5))]
)
def test_the_running_fisher(running, parts):
    model = new("OnlineEWC", decay=0.5, running=running, fisher_samples=8)
    found, fisher = [], model.fisher

    def noted(task):
        found.append(fisher(task))
        return found[-1]

    model.fisher = noted
    phases = watched(model)
    for i, name in enumerate("ab"):
        fit(model, name, i)
    at, first = shared(model), found[0]
    expected = [parts[0] * f + parts[1] * g for f, g in zip(*found, strict=True)]
    for i, f in enumerate(expected):
        np.testing.assert_allclose(model.memory["online_ewc", i], f, rtol=1e-6)
    fit(model, "c", 2)
    arguments, faded = phases[2].arguments, 0.5 if running == "sum" else 1
    for held, f in zip(arguments["importance"], expected, strict=True):
        np.testing.assert_allclose(held, faded * f, rtol=1e-6)
    for anchor, value in zip(arguments["anchor"], at, strict=True):
        np.testing.assert_array_equal(anchor, value)  # the last task's alone
    assert any(f.any() for f in first)


def test_si_sums_up_its_way_step_by_step():
    """By hand: SGD of the loss with the penalty, ω of the gradient without it."""
    model = new("SI", linear=True, strength=0.7, damping=0.2)
    phases = watched(model)
    fit(model, "a", 0)
    omega, start = model.memory["si", 0], shared(model)[0]
    assert (omega >= 0).all() and omega.any()

    learn = model.learn
    seen = {}

    def spy(task):
        seen["w"], seen["v"], seen["b"] = (w.copy() for w in model.get_active()[:3])
        yield from learn(task)

    model.learn = spy
    fit(model, "b", 1, batch_size=48, epochs=2)
    w, v, b = (seen[k].astype("float64") for k in "wvb")
    target = np.eye(2)[(X[:, 1] > 0).astype(int)]
    work = np.zeros_like(w)
    for _ in range(2):
        z = np.exp(X @ w @ v + b)
        d = (z / z.sum(1, keepdims=True) - target) / 48
        g = X.T @ (d @ v.T)
        step = -0.05 * (g + 2 * 0.7 * omega * (w - start))
        v, b = v - 0.05 * (X @ w).T @ d, b - 0.05 * d.sum(0)
        w, work = w + step, work - g * step
    expected = np.maximum(omega + work / ((w - start) ** 2 + 0.2), 0)
    np.testing.assert_allclose(shared(model)[0], w, atol=1e-5)
    np.testing.assert_allclose(model.memory["si", 0], expected, rtol=1e-3, atol=1e-7)
    assert [p.name for p in phases] == ["training", "training"]


def test_mas_is_the_mean_magnitude_of_gradients_of_single_examples():
    model = new("MAS", linear=True, samples=48)
    fit(model, "a", 0)
    w, (v, b) = shared(model)[0], (model.memory["head", "own", "a", k] for k in PARTS)
    out = X @ w @ v + b
    gradients = 2 * X[:, :, None] * (out @ v.T)[:, None, :]
    expected = np.abs(gradients).mean(0)
    np.testing.assert_allclose(model.memory["mas", 0], expected, rtol=1e-4)
    phases, before = watched(model), shared(model)
    fit(model, "b", 1)
    arguments = phases[0].arguments
    assert arguments["strength"] == 2  # λ/2 of the penalty that is shared
    np.testing.assert_array_equal(arguments["anchor"][0], before[0])
    assert (model.memory["mas", 0] > expected).any()  # summed over the tasks


PARTS = ("kernel", "bias")


@pytest.mark.parametrize("method", ["OnlineEWC", "SI", "MAS"])
def test_a_strong_penalty_holds_what_matters(method):
    moved, strength = [], 0.0
    for _ in range(2):
        model = new(method, keras.optimizers.SGD(0.01), strength=strength)
        fit(model, "a", 0, epochs=4)
        before = shared(model)
        key = {"OnlineEWC": "online_ewc", "SI": "si", "MAS": "mas"}[method]
        importance = [model.memory[key, i] for i in range(2)]
        fit(model, "b", 1, epochs=4)
        moved.append(
            sum(
                float((f * (a - b) ** 2).sum())
                for f, a, b in zip(importance, shared(model), before, strict=True)
            )
        )
        # a step then takes the weight that matters most to where it was, or half so far
        strength = 0.5 / (0.01 * max(f.max() for f in importance))
    assert moved[1] < 0.7 * moved[0]


def test_the_first_task_is_free():
    weights = []
    for method in ("Finetune", "OnlineEWC", "SI", "MAS"):
        model = new(method)
        fit(model, "a", 0)
        weights.append(shared(model))
    for other in weights[1:]:
        for a, b in zip(weights[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)
