"""Whatever stops a phase of whatever method, the model is as it was before the task."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers
from small import OPTIONS

import keras_lifelong as kl
from keras_lifelong.model import registry
from keras_lifelong.model import results

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")

pytestmark = pytest.mark.usefixtures("eager")


def labels(i):
    return (X[:, i] > 0).astype("int32")


def new(method, optimizer=None):
    hidden = [layers.Dense(6, activation="relu"), layers.Dense(5, activation="relu")]
    backbone = keras.Sequential([keras.Input((6,)), *hidden])
    model = registry.get(method)(backbone, **OPTIONS.get(method, {}))
    model.compile(optimizer or keras.optimizers.Adam(0.01))
    return model


@pytest.fixture(params=registry.names())
def model(request):
    model = new(request.param)
    model.fit(X, labels(0), task="t0", verbose=0)
    return model


class Stopper(keras.callbacks.Callback):
    """Raises in a phase, at the end of its first batch or epoch; else counts them."""

    def __init__(self, error=None, phase=None, batch=False):
        super().__init__()
        self.error, self.phase, self.batch, self.begun = error, phase, batch, 0

    def on_phase_begin(self, task, phase):
        self.begun += 1

    def on_train_batch_end(self, batch, logs=None):
        if self.batch and self.begun == self.phase:
            raise self.error

    def on_epoch_end(self, epoch, logs=None):
        if self.begun == self.phase:
            raise self.error


def assert_as_before(model, before, predictions):
    now_config, now = model.get_state()
    assert now_config == before[0] and now.keys() == before[1].keys()
    assert all((now[key] == before[1][key]).all() for key in now)
    assert model.task_names == ["t0"]
    assert (model.predict(X, task="t0") == predictions).all()


def test_an_interrupt_or_a_callback_that_fails_in_any_phase(model):
    before, predictions = model.get_state(), model.predict(X, task="t0")
    count = Stopper()
    twin = type(model).from_config(model.get_config())
    twin.compile(keras.optimizers.Adam(0.01))
    twin.fit(X, labels(0), task="t0", verbose=0)
    twin.fit(X, labels(1), task="t1", callbacks=[count], verbose=0)
    assert count.begun >= 1
    for phase in range(1, count.begun + 1):
        error = [KeyboardInterrupt(), RuntimeError("a user's mistake")][phase % 2]
        stop = Stopper(error, phase, batch=phase % 3 == 0)
        with pytest.raises(type(error)):
            model.fit(X, labels(1), task="t1", callbacks=[stop], verbose=0)
        assert_as_before(model, before, predictions)
    # and it learns the task then as if nothing had been
    model.fit(X, labels(1), task="t1", verbose=0)
    for name in ("t0", "t1"):
        assert (model.predict(X, task=name) == twin.predict(X, task=name)).all()


HOOKS = """
on_train_begin on_phase_begin on_epoch_begin on_train_batch_begin on_train_batch_end
on_test_begin on_test_batch_begin on_test_batch_end on_test_end on_epoch_end
on_phase_end on_train_end
""".split()


def failing(hook, error):
    """A callback whose hook raises when it is first called."""

    def fail(self, *args, **kwargs):
        raise error

    return type("Failing", (keras.callbacks.Callback,), {hook: fail})()


def test_a_callback_that_fails_in_any_hook(model):
    if isinstance(model, kl.ARI):  # it scores validation data of one set after another
        model = model.with_options(at_once=False)
        model.compile(keras.optimizers.Adam(0.01))
        model.fit(X, labels(0), task="t0", verbose=0)
    before, predictions = model.get_state(), model.predict(X, task="t0")
    for i, hook in enumerate(HOOKS):
        error = [KeyboardInterrupt(hook), RuntimeError(hook)][i % 2]
        with pytest.raises(type(error), match=hook):
            model.fit(
                *(X, labels(1)),
                task="t1",
                callbacks=[failing(hook, error)],
                validation_data=(X, labels(1)),
                verbose=0,
            )
        assert_as_before(model, before, predictions)


def test_a_loss_that_is_no_number_stops_the_phase_and_says_so(model):
    before, predictions = model.get_state(), model.predict(X, task="t0")
    good = model.get_compile_config()
    model.compile(keras.optimizers.SGD(1e30))
    with pytest.raises(FloatingPointError, match="of task 't1' became .* in phase"):
        model.fit(X * 100, labels(1), task="t1", epochs=30, verbose=0)
    model.compile_from_config(good)
    assert_as_before(model, before, predictions)
    model.fit(X, labels(1), task="t1", verbose=0)
    assert np.isfinite(model.predict(X, task="t1")).all()


def test_data_that_raises_in_the_middle_of_a_stream():
    tf = pytest.importorskip("tensorflow")
    model = new("Finetune")
    model.fit(X, labels(0), task="t0", verbose=0)
    before, predictions = model.get_state(), model.predict(X, task="t0")

    def rows():
        for i, row in enumerate(X):
            if i == 30:
                raise OSError("the disk with the data is gone")
            yield row, labels(1)[i]

    signature = (tf.TensorSpec((6,), "float32"), tf.TensorSpec((), "int32"))
    data = tf.data.Dataset.from_generator(rows, output_signature=signature)
    spec = kl.TaskSpec(2, input_shape=(6,))
    broken = kl.Task("t1", spec, train=data, validation_split=0)
    with pytest.raises(Exception, match="the disk with the data is gone"):
        model.fit(broken, batch_size=8, verbose=0)
    assert_as_before(model, before, predictions)


def test_another_version_is_named(tmp_path, monkeypatch):
    tasks = [kl.Task(f"t{i}", train=(X, labels(i))) for i in range(2)]
    stop = Stopper(KeyboardInterrupt(), 2)
    with pytest.raises(KeyboardInterrupt):
        new("Finetune").fit_stream(
            tasks, checkpoint_dir=tmp_path, callbacks=[stop], verbose=0
        )
    now = results.versions()
    monkeypatch.setattr(
        "keras_lifelong.model.learning.versions", lambda: {**now, "keras": "9.9"}
    )
    message = f"differs in versions.keras .'{now['keras']}' there, '9.9' here"
    with pytest.raises(ValueError, match=message):
        new("Finetune").fit_stream(tasks, checkpoint_dir=tmp_path, verbose=0)
    monkeypatch.undo()
    result = new("Finetune").fit_stream(tasks, checkpoint_dir=tmp_path, verbose=0)
    assert result.task_names == ["t0", "t1"]
    assert json.loads((tmp_path / "state.json").read_text())["run"]["versions"] == now
