"""Kinds of heads: what each says of labels, and that a new one is one file."""

import doctest
import subprocess
import sys

import keras
import numpy as np
import processes
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong import heads
from keras_lifelong.heads import kind as kind_module
from keras_lifelong.heads import losses as losses_module
from keras_lifelong.streams import check_split

COUNT = """
import keras
from keras_lifelong import heads


@heads.register_loss("poisson")
class Poisson(heads.HeadLoss):
    activation = "exponential"

    def per_sample(self, y, logits):
        return keras.ops.mean(keras.ops.exp(logits) - y * logits, axis=-1)


@heads.register("count")
class Count(heads.HeadKind):
    losses = ("poisson",)

    def check_labels(self, y, spec, require):
        require((y >= 0).all(), "be at least 0", f"down to {y.min()}")
        return super().check_labels(y, spec, require)
"""


@pytest.fixture
def count(monkeypatch):
    """A kind of head of one's own, in one file; forgotten afterwards."""
    for table in (kind_module._KINDS, losses_module._LOSSES):
        monkeypatch.setattr(table, "_entries", dict(table._entries))
    exec(compile(COUNT, "count.py", "exec"), {"__name__": "count"})
    return COUNT


def stream():
    """Counts whose logarithm is linear in the inputs, two tasks."""
    tasks = []
    for name in ("a", "b"):
        rng = np.random.default_rng(len(tasks))
        x = rng.normal(size=(300, 3)).astype("float32")
        y = rng.poisson(np.exp(x @ rng.normal(size=3) * 0.5 + 0.5))
        splits = {"train": (x[:200], y[:200]), "test": (x[200:], y[200:])}
        tasks.append(kl.Task(name, kl.TaskSpec(1, "count"), **splits))
    return tasks


def test_a_new_kind_is_learned_measured_saved_and_loaded(count, tmp_path):
    network = keras.Sequential([keras.Input((3,)), layers.Dense(8, "relu")])
    model = kl.Finetune(network)
    model.compile(keras.optimizers.Adam(0.02), metrics=["mse", "mae"])
    tasks = stream()
    for task in tasks:
        model.fit(task, epochs=40, verbose=0)
    x, y = tasks[1].test
    scores = model.evaluate(tasks[1])
    rates = model.predict(x, task="b")
    assert (rates > 0).all()  # the exponential of the logits
    loss = np.mean(rates - y[:, None] * np.log(rates))
    assert scores["loss"] == pytest.approx(loss, rel=1e-4)
    assert scores["mse"] == pytest.approx(np.mean((rates - y[:, None]) ** 2), rel=1e-4)
    assert scores["mse"] < 0.8 * np.var(y)
    model.save_to_preset(tmp_path / "counts")
    again = kl.LifelongModel.from_preset(tmp_path / "counts")
    assert again.task_spec("b") == kl.TaskSpec(1, "count", (3,))
    assert (again.predict(x, task="b") == rates).all()
    plain = model.task_model("b")
    np.testing.assert_allclose(plain.predict(x, verbose=0), rates, rtol=1e-5)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "rates.npy", rates)
    code = (
        f"{count}\nimport numpy as np, keras_lifelong as kl\n"
        f"folder = {str(tmp_path)!r}\n"
        "model = kl.LifelongModel.from_preset(folder + '/counts')\n"
        "rates = model.predict(np.load(folder + '/x.npy'), task='b')\n"
        "rates /= np.load(folder + '/rates.npy')\n"
        "print(rates.min() > 1 - 1e-5 and rates.max() < 1 + 1e-5)  # by XLA there\n"
    )
    said = processes.finish(code)
    assert said.split()[-1:] == ["True"], said


def test_a_new_kind_is_checked_as_the_others_are(count):
    spec = kl.TaskSpec(1, "count")
    with pytest.raises(ValueError, match="train of 'a': `y` must be at least 0.*-2"):
        check_split(np.ones((2, 3)), [1, -2], spec, "train of 'a'")
    with pytest.raises(ValueError, match="'accuracy' is for binary, categorical"):
        kl.metrics.get("accuracy")(np.ones(2), np.ones(2), spec)
    with pytest.raises(ValueError, match="LwF learns binary and categorical.*'count'"):
        network = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        kl.LwF(network).check_spec("a", spec, {})
    assert heads.loss_choices() == ["softmax", "sigmoid"]


def test_an_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="kind of head 'binry'. Did you mean 'binary'"):
        heads.get("binry")
    with pytest.raises(ValueError, match="`kind` of a TaskSpec: .*'count'"):
        kl.TaskSpec(1, "count")
    with pytest.raises(ValueError, match="no loss of heads 'hinge'.*softmax"):
        heads.get_loss("hinge")


@pytest.mark.parametrize(
    ("kind", "chosen", "loss"),
    [
        ("categorical", None, "softmax"),
        ("categorical", "sigmoid", "sigmoid"),
        ("binary", "softmax", "sigmoid"),
        ("multilabel", None, "sigmoid"),
        ("regression", "sigmoid", "squared"),
    ],
)
def test_losses(kind, chosen, loss):
    assert heads.get(kind).loss(chosen) == loss


def test_outputs_say_labels():
    outputs = np.array([[0.2, 0.7], [0.6, 0.1]])
    assert heads.get("categorical").labels(outputs).tolist() == [1, 0]
    assert heads.get("multilabel").labels(outputs).tolist() == [[0, 1], [1, 0]]
    assert heads.get("regression").labels(outputs) is outputs
    assert heads.get("regression").default_metric == "mse"


def test_importing_kinds_is_cheap():
    code = "import sys, keras_lifelong.heads; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"keras", "tensorflow", "sklearn"} & set(run.stdout.split())


@pytest.mark.parametrize("module", [heads, kind_module, losses_module])
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
