"""EWC and L2 through whole runs, pretrained baselines: beyond their bare formulas."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype("float32")
LABELS = [(X[:, i] > 0).astype("int32") for i in range(5)]


def new(method, optimizer=None, **kwargs):
    hidden = layers.Dense(6, activation="relu", name="hidden")
    backbone = keras.Sequential([keras.Input((5,)), hidden])
    model = getattr(kl, method)(backbone, **kwargs)
    model.compile(optimizer or keras.optimizers.Adam(0.02))
    return model


def fit(model, *names, **kwargs):
    kwargs = {"epochs": 2, "batch_size": 32, "verbose": 0, **kwargs}
    for name in names:
        model.fit(X, LABELS["abcde".index(name)], task=name, **kwargs)


def shared(model):
    return [ops.convert_to_numpy(v).copy() for v in model.network.trainable_variables]


# The Fisher information of each kind of head


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "multilabel", "squared"])
def test_fisher_of_every_head_against_its_closed_form(kind, eager):
    """With features Wx and head V, the log-likelihood's gradient is V(p - y) xᵀ."""
    classes, x = 3, X[:12]
    backbone = keras.Sequential(
        [keras.Input((5,)), layers.Dense(2, use_bias=False, name="linear")]
    )
    model = kl.EWC(backbone, fisher="empirical", fisher_samples=12)
    model.compile("adam", loss="sigmoid" if kind == "sigmoid" else None)
    y = np.arange(12) % classes
    spec = kl.TaskSpec(classes)
    target = np.eye(classes)[y]
    if kind == "multilabel":
        spec, y = kl.TaskSpec(classes, kind), target.astype("int32")
    elif kind == "squared":
        spec, y = kl.TaskSpec(classes, "regression"), target.astype("float32")
    task = model.load_task(kl.Task("a", spec, train=(x, y), validation_split=0))
    model.add_task("a", task.spec)
    model.activate("a")
    w, v = model.get_active()[:2]
    logits = x @ w @ v
    p = {
        "softmax": np.exp(logits) / np.exp(logits).sum(1, keepdims=True),
        "squared": logits,
    }.get(kind, 1 / (1 + np.exp(-logits)))
    (fisher,) = model.fisher(task)
    gradient = x[:, :, None] * ((p - target) @ v.T)[:, None, :]
    np.testing.assert_allclose(fisher, (gradient**2).mean(0), rtol=1e-4)


def test_fisher_of_batch_mean_gradients_would_be_another(eager):
    model = new("EWC", fisher="empirical", fisher_samples=60)
    fit(model, "a")
    task = model.load_task(kl.Task("a", train=(X, LABELS[0]), validation_split=0))
    model.activate("a")
    whole = model.fisher(task)
    parts = []
    for i in range(60):
        one = (X[[i]], task.train[1][[i]])
        parts.append(
            model.fisher(kl.model.learning.LoadedTask("a", task.spec, one, None, None))
        )
    for i, f in enumerate(whole):
        mean = np.mean([part[i] for part in parts], axis=0)
        np.testing.assert_allclose(f, mean, rtol=1e-3, atol=1e-7)


# EWC and L2 in a run


def test_penalty_of_a_run_is_the_sum_over_tasks(eager, monkeypatch):
    """The third task is pulled towards both earlier ones, by their own Fishers."""
    seen = []
    model = new("EWC", strength=100.0, fisher_samples=40)
    fisher = model.fisher

    def spy(task):
        found = fisher(task)
        seen.append((found, shared(model)))
        return found

    monkeypatch.setattr(model, "fisher", spy)
    phases = []
    learn = model.learn

    def watched(task):
        generator = learn(task)
        phases.append(next(generator))
        result = yield phases[-1]
        with pytest.raises(StopIteration):
            generator.send(result)

    monkeypatch.setattr(model, "learn", watched)
    fit(model, "a", "b", "c")
    assert len(seen) == len(phases) == 3
    somewhere = [RNG.normal(size=v.shape).astype("float32") for v in shared(model)]
    assert float(model.penalty(somewhere, phases[0].arguments)) == 0
    for done in (1, 2):

        def expected(weights, done=done):
            return sum(
                50 * (f.astype("float64") * (w - anchor) ** 2).sum()
                for fishers, anchors in seen[:done]
                for w, f, anchor in zip(weights, fishers, anchors, strict=True)
            )

        # two quadratics with one gradient differ by a constant
        arguments = phases[done].arguments
        centre = seen[done - 1][1]
        differences = [
            float(model.penalty(at, arguments)) - expected(at)
            for at in (somewhere, [2 * w for w in somewhere], centre)
        ]
        assert expected(somewhere) > 1
        np.testing.assert_allclose(differences, differences[0], atol=1e-3)
        assert float(model.penalty(somewhere, arguments)) > 0


def test_the_penalty_reaches_the_training(eager):
    """A strong one holds the weights: EWC's those that matter."""
    moved = {}
    for method, strength in [("L2", 0.0), ("L2", 1e4), ("EWC", 0.0), ("EWC", 2e5)]:
        model = new(method, keras.optimizers.SGD(1e-4), strength=strength)
        fit(model, "a")
        before = shared(model)
        importance = [model.memory.get(("ewc", "f", i), 1.0) for i in range(2)]
        fit(model, "b", epochs=5)
        moved[method, bool(strength)] = sum(
            (f * (a - b) ** 2).sum()
            for f, a, b in zip(importance, shared(model), before, strict=True)
        )
    assert moved["L2", True] < 0.2 * moved["L2", False]
    assert moved["EWC", True] < 0.2 * moved["EWC", False]


def test_the_first_task_is_free(eager):
    weights = []
    for strength in (0.0, 1e6):
        model = new("L2", strength=strength)
        fit(model, "a")
        weights.append(shared(model))
    assert all((a == b).all() for a, b in zip(*weights, strict=True))


def permuted_digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    for i in range(2):
        moved = x[:, np.random.default_rng(i).permutation(64)]
        yield kl.Task(
            f"task_{i}", train=(moved[:900], y[:900]), test=(moved[900:], y[900:])
        )


def test_ewc_forgets_less_than_finetune_on_permuted_digits():
    forgotten, learned = {}, {}
    for method, kwargs in [
        ("Finetune", {}),
        ("EWC", {"strength": 1000.0, "fisher_samples": 300}),
    ]:
        hidden = [layers.Dense(32, activation="relu") for _ in range(2)]
        model = getattr(kl, method)(
            keras.Sequential([keras.Input((64,)), *hidden]), **kwargs
        )
        model.compile(keras.optimizers.Adam(0.005))
        result = model.fit_stream(
            permuted_digits(), epochs=15, batch_size=32, verbose=0
        )
        forgotten[method] = result.forgetting
        learned[method] = result.matrix.diagonal()
    assert forgotten["Finetune"] > 0.1
    assert forgotten["EWC"] < 0.5 * forgotten["Finetune"]
    assert learned["EWC"].min() > 0.8  # it is not held so fast as to learn nothing


# Independent, Joint, Finetune


def test_independent_begins_every_task_with_pretrained_weights(eager, tmp_path):
    hidden = layers.Dense(6, activation="relu", name="hidden")
    backbone = keras.Sequential([keras.Input((5,)), hidden])
    model = kl.Independent(backbone, pretrained=True)
    model.compile(keras.optimizers.Adam(0.1))
    fit(model, "a", "b")
    assert (model.memory["own", "a", 0] != backbone.get_weights()[0]).any()
    model.save_to_preset(tmp_path / "p")
    loaded = kl.LifelongModel.from_preset(tmp_path / "p")
    for m in (model, loaded):
        m.compile(keras.optimizers.SGD(0.0))
        fit(m, "c")
        kept = [m.memory["own", "c", i] for i in range(2)]
        for ours, given in zip(kept, backbone.get_weights(), strict=True):
            assert (ours == given).all()
    assert model.count_params() == 3 * model.base_params()


def test_independent_starts_depend_on_the_seed_and_the_task(eager):
    def start(seed, *names):
        model = new("Independent", keras.optimizers.SGD(0.0), seed=seed)
        fit(model, *names)
        return model.memory["own", names[-1], 0]

    assert (start(0, "a", "b") == start(0, "b")).all()
    assert (start(0, "b") != start(1, "b")).all()
    assert (start(0, "a") != start(0, "b")).all()


def test_joint_goes_on_learning_the_earlier_tasks(eager):
    model = new("Joint")
    fit(model, "a")
    before = {k: v.copy() for k, v in model.memory.items()}
    fit(model, "b", epochs=20)
    key = ("head", "own", "a", "kernel")
    assert (model.memory[key] != before[key]).any()
    finetune = new("Finetune")
    fit(finetune, "a")
    head = finetune.memory[key].copy()
    fit(finetune, "b", epochs=20)
    finetune.activate("b")
    assert (finetune.memory[key] == head).all()
    scores = [m.evaluate(X, LABELS[0], task="a")["loss"] for m in (model, finetune)]
    assert scores[0] < scores[1]
