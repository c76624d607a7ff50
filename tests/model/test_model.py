"""Tasks, heads, prediction, and one task as a plain Keras model."""

import functools
import subprocess
import sys

import keras
import numpy as np
import processes
import pytest
from keras import layers

import keras_lifelong as kl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4, 4, 1)).astype("float32")
FLAT = X.reshape(60, -1)
DATA = {
    "categorical": (kl.TaskSpec(3), (np.arange(60) % 3)),
    "binary": (kl.TaskSpec(2, "binary"), (FLAT[:, 0] > 0).astype(int)),
    "multilabel": (kl.TaskSpec(4, "multilabel"), (FLAT[:, :4] > 0).astype(int)),
    "regression": (kl.TaskSpec(2, "regression"), FLAT[:, :2]),
}
UNITS = {"categorical": 3, "binary": 1, "multilabel": 4, "regression": 2}


def backbone(conv=False):
    first = [layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()]
    first += [layers.Activation("relu"), layers.MaxPooling2D(2)]
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            *(first if conv else []),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
        ]
    )


def learned(method="DEN", conv=False, tasks=2, **kwargs):
    if method == "DEN":
        kwargs = {"growth": 2, "bucket": 8, **kwargs}
    model = getattr(kl, method)(backbone(conv), **kwargs)
    model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"])
    for i in range(tasks):
        y = (FLAT[:, i] > 0).astype("int32")
        model.fit(X, y, task=f"t{i}", verbose=0)
    return model


@pytest.fixture(scope="module")
def kept():
    """`learned`, once for all tests that only read the model."""
    return functools.cache(learned)


@pytest.mark.parametrize("method", ["DEN", "Finetune"])
def test_heads_of_every_kind_in_one_model(method):
    model = learned(method, tasks=0)
    metric = {"categorical": "accuracy", "binary": "auroc", "regression": "mse"}
    for kind, (spec, y) in DATA.items():
        model.compile("adam", metrics=[metric.get(kind, "auroc")])
        model.fit(kl.Task(kind, spec, train=(X, y)), epochs=2, verbose=0)
        scores = model.evaluate(X, y, task=kind)
        assert np.isfinite(list(scores.values())).all() and "loss" in scores
    for kind, units in UNITS.items():
        out = model.predict(X, task=kind)
        assert out.shape == (60, units)
        if kind == "categorical":
            np.testing.assert_allclose(out.sum(1), 1, atol=1e-5)
        if kind in ("binary", "multilabel"):
            assert ((out >= 0) & (out <= 1)).all()
        assert (np.array(model(X, task=kind)).shape) == (60, units)


def test_regression_learns():
    model = learned("Finetune", tasks=0)
    model.compile(keras.optimizers.Adam(0.02), metrics=["mse"])
    task = kl.Task("r", DATA["regression"][0], train=(X, FLAT[:, :2]))
    history = model.fit(task, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]


def test_shared_head():
    model = learned("Finetune", tasks=0)
    spec = kl.TaskSpec(2, head="shared")
    y = (FLAT[:, 0] > 0).astype("int32")
    model.fit(kl.Task("a", spec, train=(X, y)), verbose=0)
    model.fit(kl.Task("b", spec, train=(X, 1 - y)), verbose=0)
    assert (model.predict(X, task="a") == model.predict(X, task="b")).all()
    assert model.task_params() == 6 * 2 + 2
    with pytest.raises(ValueError, match="shares the head"):
        other = kl.TaskSpec(3, head="shared")
        model.fit(kl.Task("c", other, train=(X, np.arange(60) % 3)), verbose=0)


def test_call_predict_and_evaluate_agree(kept):
    model = kept("DEN", False)
    y = (FLAT[:, 1] > 0).astype("int32")
    out = model.predict(X, task="t1")
    np.testing.assert_allclose(np.array(model(X, task="t1")), out, atol=1e-6)
    assert model.evaluate(X, y, task="t1")["accuracy"] == (out.argmax(1) == y).mean()


def test_unknown_tasks_and_shapes_are_refused(kept):
    model = kept("DEN", False)
    with pytest.raises(ValueError, match=r"\['t0', 't1'\]. Received: 'nine'"):
        model.predict(X, task="nine")
    with pytest.raises(ValueError, match="must name one of"):
        model.predict(X)
    with pytest.raises(ValueError, match="`x` must have shape"):
        model.predict(X[:, :2], task="t0")
    with pytest.raises(ValueError, match="name of a task already learned"):
        model.add_task("t0", model.task_spec("t0"))


def test_a_known_task_is_learned_again_without_growing():
    model = learned()
    size = model.count_params()
    model.fit(X, (FLAT[:, 1] > 0).astype("int32"), task="t1", verbose=0)
    assert model.task_names == ["t0", "t1"] and model.count_params() == size


def test_parameters_are_those_of_the_plain_models(kept):
    model = kept("Finetune", False)
    one = model.task_model("t0").count_params()
    head = 6 * 2 + 2
    assert model.count_params() == one + head
    assert model.base_params() == one
    den = kept("DEN", False)
    last = den.task_model("t1").count_params()
    earlier = (den.network.input_rows(1, 1).size + 1) * 2
    assert den.count_params() == last + earlier


@pytest.mark.parametrize(
    ("method", "conv"),
    [("DEN", False), ("DEN", True), ("Finetune", True), ("LASEM", False)],
)
def test_task_model_is_plain_and_predicts_the_same(method, conv, tmp_path, kept):
    model = kept(method, conv)
    np.save(tmp_path / "x.npy", X)
    for name in model.task_names:
        single = model.task_model(name)
        out = model.predict(X, task=name)
        np.testing.assert_allclose(single.predict(X, verbose=0), out, atol=1e-6)
    single.save(tmp_path / "one.keras")
    code = (
        "import keras, numpy as np, sys;"
        f"m = keras.saving.load_model(r'{tmp_path / 'one.keras'}');"
        f"y = m.predict(np.load(r'{tmp_path / 'x.npy'}'), verbose=0);"
        "assert not any(n.split('.')[0] == 'keras_lifelong' for n in sys.modules);"
        f"np.save(r'{tmp_path / 'y.npy'}', y)"
    )
    processes.finish(code, compiled=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), out, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_half_precision_the_head_of_a_task_model_computes_in_float32(policy, eager):
    keras.mixed_precision.set_global_policy(policy)
    try:
        layer = keras.layers.Dense(3, activation="relu")
        model = kl.Finetune(keras.Sequential([keras.Input((6,)), layer]))
        model.compile("sgd")
        x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
        model.fit(kl.Task("a", train=(x, np.arange(8) % 2)), verbose=0)
        found = model.task_model("a").predict(x, verbose=0)
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, model.predict(x, task="a"), atol=1e-6)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_summary_says_what_there_is(capsys, kept):
    kept("DEN", False).summary()
    kept("Finetune", False).summary()
    printed = capsys.readouterr().out
    assert "t1: categorical, 2 classes" in printed and "Parameters:" in printed


def test_same_seed_same_numbers(kept):
    a, b, c = kept("DEN", False), learned(), learned(seed=1)
    a.activate("t1")  # as it was when it had been learned
    assert all(
        (u == v).all() for u, v in zip(a.get_active(), b.get_active(), strict=True)
    )
    assert (a.predict(X, task="t0") != c.predict(X, task="t0")).any()


def test_pretrained_weights_are_kept():
    given = backbone()
    model = kl.Finetune(given, pretrained=True)
    kept = zip(given.get_weights(), model.network.get_weights(), strict=True)
    assert all((a == b).all() for a, b in kept)
    drawn = kl.Finetune(given).network.get_weights()
    assert (drawn[0] != given.get_weights()[0]).any()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: "net", "must be a keras.Sequential"),
        (lambda: keras.Sequential([layers.Dense(3)]), "keras.Input"),
        (
            lambda: keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3)]),
            "Flatten or",
        ),
    ],
)
def test_bad_backbones(bad, message):
    with pytest.raises(ValueError, match=message):
        kl.Finetune(bad())


def test_import_is_lazy_and_every_name_is_there():
    code = (
        "import sys, keras_lifelong;"
        "assert 'keras' not in sys.modules and 'numpy' not in sys.modules;"
        "[getattr(keras_lifelong, name) for name in keras_lifelong.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kl.nothing


def test_fit_takes_a_task_or_named_arrays():
    model = learned(tasks=0)
    with pytest.raises(ValueError, match="takes a Task, or"):
        model.fit(X, np.zeros(60))
    with pytest.raises(ValueError, match="`callbacks` must be a list"):
        model.fit(X, np.arange(60) % 2, task="a", callbacks=["no"])
