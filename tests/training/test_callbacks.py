"""Callbacks are told what `Model.fit` tells them, and may do what they may there."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest
import small
from keras import layers

import keras_lifelong as kl
from keras_lifelong.training.callbacks import Callbacks
from keras_lifelong.training.checkpoint import NoRecorder
from keras_lifelong.training.settings import Settings

pytestmark = pytest.mark.usefixtures("eager")

C = keras.callbacks
X, Y = small.X, small.labels(1)
HELD = X[:20], small.labels(2)[:20]  # not what is learned, so epochs differ


def new(method="Finetune", optimizer=None, metrics=("accuracy",), **kwargs):
    model = getattr(kl, method)(small.backbone(), **kwargs)
    model.compile(optimizer or keras.optimizers.SGD(0.1), metrics=list(metrics))
    return model


def task(name="a", i=1):
    return kl.Task(name, train=(X, small.labels(i)), validation=HELD, test=HELD)


def fit(model, *callbacks, epochs=3, name="a"):
    return model.fit(
        task(name), epochs=epochs, batch_size=16, callbacks=callbacks, verbose=0
    )


class Told(C.Callback):
    """Everything a callback is told, in order."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append(("begin", dict(self.params), sorted(logs or ())))

    def on_train_end(self, logs=None):
        self.calls.append(("end", sorted(logs)))

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch begins", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("epoch ends", epoch, sorted(logs)))

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("batch begins", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("batch ends", batch, sorted(logs)))

    def on_test_begin(self, logs=None):
        self.calls.append("test begins")

    def on_test_end(self, logs=None):
        self.calls.append(("test ends", sorted(logs)))


def test_one_task_is_told_as_by_keras():
    told, keras_told = Told(), Told()
    model = new()
    fit(model, told, epochs=2)
    plain = small.backbone()
    plain.add(layers.Dense(2, activation="softmax"))
    plain.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    plain.fit(X, Y, batch_size=16, epochs=2, validation_data=HELD, verbose=0,
              callbacks=[keras_told])  # fmt: skip

    def without_accuracy(call):
        """Ours, but for the logs that the other model was not asked for."""
        if isinstance(call, str) or not isinstance(call[-1], list):
            return call
        return (*call[:-1], [name for name in call[-1] if "acc" not in name])

    assert [without_accuracy(c) for c in told.calls] == keras_told.calls
    assert told.params == keras_told.params == {"verbose": 0, "epochs": 2, "steps": 3}


def test_blocks_are_whole_where_nobody_asks_for_batches():
    ends = []

    class Blocks(C.Callback):
        steps_per_execution = None

        def on_train_batch_end(self, batch, logs=None):
            ends.append(batch)

    fit(new(), Blocks(), C.ModelCheckpoint("never/{epoch}.keras", save_freq=99))
    assert ends == [0, 1, 2] * 3  # an integer `save_freq` counts batches
    ends.clear()
    fit(new(), Blocks(), C.TerminateOnNaN(), C.EarlyStopping("val_loss", patience=9))
    assert ends == [2] * 3  # three batches at once


def test_batches_one_by_one_train_the_same():
    one, other = new(), new()
    fit(one), fit(other, C.LambdaCallback(on_train_batch_end=lambda b, logs: None))
    small.assert_same(small.predictions(one), small.predictions(other))


@pytest.mark.parametrize(
    "make",
    [
        lambda: C.ModelCheckpoint("{epoch}.keras", save_freq=2),
        lambda: C.ModelCheckpoint(
            "b.weights.h5", "val_accuracy", save_best_only=True, save_weights_only=True
        ),  # fmt: skip
        lambda: C.BackupAndRestore("backup"),
        lambda: C.ProgbarLogger(),
        lambda: C.SwapEMAWeights(),
        lambda: C.SwapEMAWeights(swap_on_epoch=True),
        lambda: C.LearningRateScheduler(lambda epoch, rate: rate / 2),
        lambda: C.RemoteMonitor("http://127.0.0.1:9"),
        lambda: [C.History(), [C.LambdaCallback()]],
        lambda: C.TerminateOnNaN(),
    ],
)
@pytest.mark.filterwarnings("ignore:Could not reach RemoteMonitor")
def test_callbacks_of_keras(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    history = fit(new(optimizer=keras.optimizers.SGD(0.1, use_ema=True)), make())
    assert len(history.history["val_accuracy"]) == 3


@pytest.mark.parametrize(
    "metric, least",
    [("accuracy", False), ("auroc", False), (keras.metrics.Poisson(name="p"), True)],
)
def test_auto_knows_the_direction_of_what_is_monitored(metric, least):
    model = new(metrics=[metric])
    name = model.main_metric.name
    stop = C.EarlyStopping(f"val_{name}", patience=9)
    fit(model, stop)
    assert stop.monitor_op == (keras.ops.less if least else keras.ops.greater)
    assert [m.name for m in model.metrics] == ["loss", "compile_metrics"]


# Stopping


def learned_phases(model, *callbacks):
    seen = []

    class See(C.Callback):
        def on_phase_begin(self, task, phase):
            seen.append((task, phase))

    tasks = [task("a", 1), task("b", 2)]
    result = model.fit_stream(
        tasks, epochs=4, batch_size=16, verbose=0, callbacks=[See(), *callbacks]
    )
    return seen, result


class Limit(C.Callback):
    def __init__(self, hook, at):
        super().__init__()
        self.at = at
        setattr(self, hook, self.stop)

    def stop(self, number, logs=None):
        self.model.stop_training = bool(number >= self.at)


@pytest.mark.parametrize(
    "hook, at, epochs",
    [
        ("on_epoch_end", 1, 2),
        ("on_epoch_begin", 0, 1),
        ("on_train_batch_end", 1, 1),
    ],
)
def test_a_callback_that_stops_ends_the_whole_fit(hook, at, epochs):
    model = new("DEN", growth=2, bucket=8)
    seen, result = learned_phases(model, Limit(hook, at))
    assert seen == [("a", "sparse training")] and result.task_names == ["a"]
    assert model.task_names == ["a"] and np.isfinite(result.acc)
    assert len(model.history.history["loss"]) == epochs
    model.predict(X, task="a")


def test_the_epoch_ends_with_the_batch_that_stops():
    told, model = Told(), new()
    fit(model, Limit("on_train_batch_end", 1), told)
    assert [c[1] for c in told.calls if c[0] == "batch ends"] == [0, 1]
    assert [c[1] for c in told.calls if c[0] == "epoch ends"] == [0]


def test_early_stopping_ends_its_phase_only():
    stop = C.EarlyStopping("val_accuracy", patience=1, min_delta=2.0)
    seen, _ = learned_phases(new("DEN", growth=2, bucket=8), stop)
    assert {name for name, _ in seen} == {"a", "b"} and len(seen) > 2


def test_both_at_once_is_the_whole_fit():
    stop = C.EarlyStopping("val_accuracy", patience=1, min_delta=2.0)
    limit = Limit("on_epoch_end", 1)
    for callbacks in ([stop, limit], [limit, stop]):
        seen, _ = learned_phases(new("DEN", growth=2, bucket=8), *callbacks)
        assert len(seen) == 1


@pytest.mark.parametrize(
    "case",
    small.CASES,
)
def test_every_method_can_be_stopped(case):
    """Phases that are left out leave a task that is whole: it is used and saved."""
    model = small.new(case)
    model.fit(task("a"), epochs=1, batch_size=16, verbose=0)
    model.fit(
        task("b", 2), epochs=3, batch_size=16, verbose=0,
        callbacks=[Limit("on_epoch_end", 0)],
    )  # fmt: skip
    before = small.predictions(model)
    other = small.new(case)
    other.set_state(*model.get_state())
    small.assert_same(small.predictions(other), before)


# What is trained is what is saved


class See(C.Callback):
    """Keeps what every task's predictions are after each epoch, in `seen`."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(small.predictions(self.model))


@pytest.mark.parametrize("method", ["Joint", "LwF", "Finetune"])
def test_a_callback_sees_and_stores_what_is_trained(method, tmp_path):
    path, see = str(tmp_path / "m.keras"), See()
    model = new(method, keras.optimizers.Adam(0.02))
    fit(model)
    before = small.predictions(model)["a"]
    model.fit(task("b", 2), epochs=4, batch_size=16, verbose=0,
              callbacks=[see, C.ModelCheckpoint(path)])  # fmt: skip
    small.assert_same(see.seen[-1], small.predictions(model))
    small.assert_same(small.predictions(keras.models.load_model(path)), see.seen[-1])
    assert np.abs(see.seen[-1]["a"] - before).max() > 0


@pytest.mark.parametrize("method", ["Joint", "LwF"])
def test_best_weights_are_restored_with_all_heads(method):
    see = See()
    model = new(method, keras.optimizers.Adam(0.02))
    fit(model)
    stop = C.EarlyStopping(
        "val_loss", mode="max", restore_best_weights=True, patience=9
    )
    model.fit(task("b", 2), epochs=4, batch_size=16, verbose=0, callbacks=[see, stop])
    small.assert_same(small.predictions(model), see.seen[stop.best_epoch])
    losses = model.history.history["val_loss"]
    assert stop.best_epoch == int(np.argmax(losses))


# Checkpoints


class Counter(C.Callback):
    def __init__(self):
        super().__init__()
        self.count = 0

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


class Kill(C.Callback):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


def run(folder, append, kill=None):
    best = C.ModelCheckpoint(str(folder / "b.weights.h5"), "val_accuracy",
                             save_best_only=True, save_weights_only=True)  # fmt: skip
    count, history = Counter(), C.History()
    log = C.CSVLogger(folder / "log.csv", append=append)
    callbacks = [
        C.LearningRateScheduler(lambda epoch: 0.3 * 0.8**epoch),
        C.ReduceLROnPlateau("val_accuracy", patience=1),
        C.EarlyStopping("val_accuracy", patience=2),
        *(best, count, history, log),
        *([] if kill is None else [Kill(kill)]),
    ]
    model = new()
    tasks = [task("a", 1), task("b", 2), task("c", 3)]
    try:
        result = model.fit_stream(
            tasks,
            epochs=3,
            batch_size=16,
            callbacks=callbacks,
            verbose=0,
            checkpoint_dir=folder / "checkpoint",
        )
    finally:
        log.csv_file.close()
    rows = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    return (
        np.array(result.matrix), count.count, float(best.best),
        history.history, history.epoch, rows,
    )  # fmt: skip


@pytest.mark.parametrize("append, kill", [(False, 4), (True, 1)])
def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, append, kill):
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    whole = run(tmp_path / "whole", append)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", append, kill)
    cut = run(tmp_path / "cut", append)
    np.testing.assert_array_equal(cut[0], whole[0])
    assert cut[1:] == whole[1:]


def test_state_that_is_no_json_is_refused(tmp_path):
    class Bad(Counter):
        def get_state(self):
            return {"count": object()}

    with pytest.raises(ValueError, match="`get_state` of the callback Bad.*JSON"):
        new().fit_stream(
            [task()], callbacks=[Bad()], verbose=0, checkpoint_dir=tmp_path
        )


def test_a_backup_goes_on(tmp_path):
    whole, cut, resumed = new(), new(), new()
    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, C.BackupAndRestore(tmp_path / "b"), Kill(1))
    history = fit(resumed, C.BackupAndRestore(tmp_path / "b"))
    assert history.epoch == [2]
    small.assert_same(small.predictions(resumed), small.predictions(whole))
    with pytest.raises(KeyboardInterrupt):
        fit(new(), C.BackupAndRestore(tmp_path / "b"), Kill(2))
    with pytest.raises(ValueError, match="`BackupAndRestore`.*checkpoint_dir"):
        fit(new(), C.BackupAndRestore(tmp_path / "b"), epochs=2)


@pytest.mark.parametrize(
    "method", ["ExperienceReplay", "WSN", "TRGP", "CPG", "CAT", "DARTSTransfer"]
)
def test_a_backup_has_all_that_a_phase_changes(tmp_path, method):
    """Scores of weights, scales, α, what is drawn, steps and notes, too."""
    states = []
    for kill in (False, True):
        model = small.new(method)
        small.learn(model, 0)
        if kill:
            backup = C.BackupAndRestore(tmp_path / "b")
            with pytest.raises(KeyboardInterrupt):
                small.learn(model, 1, epochs=3, callbacks=[backup, Kill(1)])
            assert model.task_names == ["t0"]
        backup = C.BackupAndRestore(tmp_path / "b")
        small.learn(model, 1, epochs=3, callbacks=[backup])
        states.append(model.get_state())
        del states[-1][0]["growth"]  # of α it tells the epochs since the backup
    small.assert_same_state(*states)


# Settings


def learn(model, *callbacks, **settings):
    calls = Callbacks(callbacks, model, 0)
    settings = Settings(**{"epochs": 4, "batch_size": 16, **settings})
    model._learn(task(), settings, calls, NoRecorder())
    return calls.history


def test_a_fit_begins_at_its_initial_epoch():
    """As Keras: the number at which epochs end stays; two halves are a whole."""
    told = Told()
    history = learn(new(), told, initial_epoch=2)
    assert history.epoch == [2, 3] and told.params["epochs"] == 4
    assert learn(new(), initial_epoch=4).epoch == []


@pytest.mark.parametrize(
    "frequency, epochs", [(1, 4), (2, 2), (3, 1), (5, 0), ([1, 4], 2), ([9], 0)]
)
def test_how_often_validation_data_is_scored(frequency, epochs):
    history = learn(new(), validation_freq=frequency)
    assert len(history.history["loss"]) == 4
    assert len(history.history.get("val_loss", [])) == epochs


def test_steps_of_an_epoch_go_on_where_the_last_ended():
    """Three batches a pass, two steps an epoch: as in Keras the second has but one."""
    told, a, b = Told(), new(), new()
    with pytest.warns(UserWarning, match="`steps_per_epoch` is 2, of which 1 were"):
        learn(a, told, steps_per_epoch=2, epochs=4)
    assert [c[1] for c in told.calls if c[0] == "batch ends"] == [0, 1, 0] * 2
    assert told.params["steps"] == 2
    learn(b, epochs=2)
    small.assert_same(small.predictions(a), small.predictions(b))


def test_examples_stay_in_order_if_asked():
    """As `Model.fit(shuffle=False)`, from the same weights."""
    model = new()
    model.add_task("a", model.load_task(task()).spec)
    model.activate("a")
    plain = small.backbone()
    plain.add(layers.Dense(2))
    plain.set_weights(model.get_active()[:6])
    model.activate(None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    plain.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    learn(model, shuffle=False, epochs=2)
    want = keras.ops.softmax(plain.predict(X, verbose=0))
    np.testing.assert_allclose(model.predict(X, task="a"), want, atol=1e-6)
