"""ExperienceReplay, DERPP, AGEM and GEM: a step of each by hand, and their buffers."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.training import buffers

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 5)).astype("float32")
RATE = 0.1
METHODS = ("ExperienceReplay", "DERPP", "AGEM", "GEM")


def new(method, **kwargs):
    hidden = layers.Dense(2, use_bias=False)
    backbone = keras.Sequential([keras.Input((5,)), hidden])
    model = getattr(kl, method)(backbone, **kwargs)
    model.compile(keras.optimizers.SGD(RATE))
    return model


def labels(i, classes=2):
    return ((X[:, i] > 0) + (classes - 2) * (X[:, i] > 1)).astype("int32")


def fit(model, name, i, spec=None, classes=2, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 16, "verbose": 0, **kwargs}
    task = kl.Task(name, spec, train=(X, labels(i, classes)), validation_split=0)
    model.fit(task, **kwargs)


class Linear:
    """The weights of a model before a task, and gradients of its losses by hand."""

    def __init__(self, model, name, old="a"):
        self.w = model.network.get_weights()[0].astype("float64")
        head = ("head", "own", old)
        self.old = [
            model.memory[*head, k].astype("float64") for k in ("kernel", "bias")
        ]
        rows = [model.memory[buffers.KEY, old, k] for k in ("x", "y")]
        self.x, self.y = rows
        self.model = model

    def cross_entropy(self, x, y, head, of=None):
        """Gradients for w, kernel and bias of the mean loss, or of another's slope."""
        kernel, bias = head
        out = x @ self.w @ kernel + bias
        if of is None:
            z = np.exp(out)
            slope = (z / z.sum(1, keepdims=True) - np.eye(out.shape[1])[y]) / len(x)
        else:
            slope = of(out)
        return x.T @ (slope @ kernel.T), (x @ self.w).T @ slope, slope.sum(0)


def begun(model, name, i):
    """Fits one step of a task; returns what it began with, its head included."""
    learn, seen = model.learn, {}

    def spy(task):
        seen["linear"] = Linear(model, name)
        seen["head"] = [v.astype("float64") for v in model.get_active()[1:3]]
        yield from learn(task)

    model.learn = spy
    fit(model, name, i)
    return seen["linear"], seen["head"]


def after(model, old="a"):
    head = [model.memory["head", "own", old, k] for k in ("kernel", "bias")]
    return [model.network.get_weights()[0], *head]


def test_a_step_of_replay_is_the_mean_over_both_batches():
    model = new("ExperienceReplay", budget=1, replay_batch=4)
    fit(model, "a", 0)
    at, head = begun(model, "b", 1)
    (w, _, _), old = at.cross_entropy(X, labels(1), head), None
    old = at.cross_entropy(at.x, at.y, at.old)
    expected = [
        at.w - RATE * (16 * w + 4 * old[0]) / 20,
        *(h - RATE * 4 * g / 20 for h, g in zip(at.old, old[1:], strict=True)),
    ]
    for found, value in zip(after(model), expected, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)


def test_a_step_of_dark_experience():
    model = new("DERPP", budget=1, replay_batch=4, alpha=0.7, beta=0.3)
    fit(model, "a", 0)
    logits = X @ model.network.get_weights()[0] @ after(model)[1] + after(model)[2]
    row = np.flatnonzero((X == model.memory[buffers.KEY, "a", "x"]).all(1))
    kept = model.memory[buffers.KEY, "a", "logits"]
    np.testing.assert_allclose(kept, logits[row], atol=1e-6)
    model.memory[buffers.KEY, "a", "logits"] = kept + 1  # so that they are apart
    at, head = begun(model, "b", 1)
    w = at.cross_entropy(X, labels(1), head)[0]
    old = at.cross_entropy(at.x, at.y, at.old)
    dark = at.cross_entropy(
        at.x, None, at.old, of=lambda out: 2 * (out - (kept + 1)) / out.size
    )
    parts = [0.7 * d + 0.3 * o for d, o in zip(dark, old, strict=True)]
    expected = [at.w - RATE * (w + parts[0]), at.old[0] - RATE * parts[1]]
    for found, value in zip(after(model), expected, strict=False):
        np.testing.assert_allclose(found, value, atol=1e-5)


@pytest.mark.parametrize("method", ["AGEM", "GEM"])
def test_a_step_raises_no_loss_of_earlier_examples(method):
    options = {"margin": 0.0} if method == "GEM" else {"replay_batch": 4}
    model = new(method, budget=1, **options)
    fit(model, "a", 0)
    x = model.memory[buffers.KEY, "a", "x"]
    model.memory[buffers.KEY, "a", "x"] = 5 * x  # so that the two losses do not agree
    model.memory[buffers.KEY, "a", "y"] = 1 - model.memory[buffers.KEY, "a", "y"]
    head = [v.copy() for v in after(model)[1:]]
    at, mine = begun(model, "b", 1)
    g = at.cross_entropy(X, labels(1), mine)[0]
    for sign in (1, -1):  # whichever label is in the way
        old = at.cross_entropy(at.x, at.y if sign > 0 else 1 - at.y, at.old)[0]
        if (g * old).sum() < 0:
            break
    turned = g - (g * old).sum() / (old * old).sum() * old
    expected = turned if sign > 0 else g
    np.testing.assert_allclose(after(model)[0], at.w - RATE * expected, atol=1e-5)
    for found, before in zip(after(model)[1:], head, strict=True):
        np.testing.assert_array_equal(found, before)  # heads of earlier tasks stay


def test_gem_has_a_gradient_for_each_task():
    model = new("GEM", budget=8, margin=0.0)
    fit(model, "a", 0)
    fit(model, "b", 1)
    at, other = Linear(model, "c"), Linear(model, "c", old="b")
    steps = []
    learn = model.learn

    def spy(task):
        phase = next(generator := learn(task))
        steps.append(phase.arguments["tasks"])
        result = yield phase
        with pytest.raises(StopIteration):
            generator.send(result)

    model.learn = spy
    fit(model, "c", 2)
    moved = model.network.get_weights()[0] - at.w
    for of in (at, other):
        old = of.cross_entropy(of.x, of.y, of.old)[0]
        assert (moved * old).sum() < 1e-5 * np.abs(moved).sum()
    assert [int(t["weight"].sum()) for t in steps[0]] == [4, 4]


@pytest.mark.parametrize("method", METHODS)
def test_a_removed_task_takes_its_examples_along(method):
    model = new(method, budget=6)
    fit(model, "a", 0)
    fit(model, "b", 1)
    assert sum(model.buffered().values()) == 6 == model.buffer.count(model.memory)
    mine = model.buffered()["a"]
    removal = model.remove_task("a")
    assert model.buffered() == {"b": 6 - mine} and removal.numbers >= 6 * mine
    fit(model, "c", 2)
    assert sum(model.buffered().values()) == 6


@pytest.mark.parametrize("policy", ["reservoir", "balanced", "herding"])
def test_what_is_kept(policy):
    model = new("ExperienceReplay", budget=8, policy=policy)
    fit(model, "a", 0)
    fit(model, "b", 1)
    assert sum(model.buffered().values()) == 8
    if policy != "reservoir":
        for i, name in enumerate("ab"):
            y = model.memory[buffers.KEY, name, "y"]
            assert np.bincount(y).tolist() == [2, 2]
            x = model.memory[buffers.KEY, name, "x"]
            assert ((x[:, i] > 0) == y).all()


def test_heads_of_other_sizes_and_one_for_all():
    model = new("ExperienceReplay", budget=8)
    fit(model, "a", 0)
    fit(model, "b", 1, classes=3)
    before = after(model)
    fit(model, "c", 2)
    now = after(model)
    assert all((a != b).any() for a, b in zip(before, now, strict=True))
    assert model.memory["head", "own", "b", "kernel"].shape == (2, 3)
    shared = new("AGEM", budget=8)
    for i, name in enumerate("abc"):
        fit(shared, name, i, kl.TaskSpec(2, head="shared"))
    assert np.isfinite(shared.memory["head", "shared", "kernel"]).all()


def test_tasks_that_cannot_be_replayed_together():
    model = new("ExperienceReplay")
    fit(model, "a", 0)
    with pytest.raises(ValueError, match="replays examples of all tasks together"):
        y = X[:, :2]
        spec = kl.TaskSpec(2, "regression")
        model.fit(kl.Task("r", spec, train=(X, y)), epochs=1, verbose=0)
    with pytest.raises(ValueError, match="`max_bytes` must be at least"):
        fit(new("AGEM", max_bytes=3), "a", 0)


def test_replay_forgets_less():
    lost = {}
    for method, options in (("Finetune", {}), ("ExperienceReplay", {"budget": 16})):
        model = new(method, **options)
        fit(model, "a", 0, epochs=60)
        before = model.evaluate(X, labels(0), task="a")["loss"]
        fit(model, "b", 1, epochs=60)
        lost[method] = model.evaluate(X, labels(0), task="a")["loss"] - before
    assert lost["ExperienceReplay"] < 0.3 * lost["Finetune"]


def test_what_is_drawn_depends_on_the_seed_alone():
    def learned(seed):
        model = new("ExperienceReplay", seed=seed, budget=8, replay_batch=2)
        fit(model, "a", 0, epochs=2, batch_size=4)
        fit(model, "b", 1, epochs=2, batch_size=4)
        return ops.convert_to_numpy(model.network.trainable_variables[0])

    assert (learned(1) == learned(1)).all() and (learned(1) != learned(2)).any()
