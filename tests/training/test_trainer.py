"""Fused training is training: same weights, callbacks called, few compilations."""

import csv

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.datasets import Examples
from keras_lifelong.training.data import ArrayData
from keras_lifelong.training.data import Buckets
from keras_lifelong.training.data import StreamedData
from keras_lifelong.training.data import round_up

pytestmark = pytest.mark.compiled

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


def backbone():
    return keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="relu")])


def new_model(optimizer=None, method="Finetune", **kwargs):
    model = getattr(kl, method)(backbone(), **kwargs)
    model.compile(optimizer or keras.optimizers.Adam(0.01), metrics=["accuracy"])
    return model


def task(name="a", n=70, **kwargs):
    kwargs.setdefault("validation_split", 0)
    return kl.Task(name, train=(X[:n], Y[:n]), **kwargs)


@pytest.mark.parametrize(
    "optimizer", [keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam(0.01)]
)
def test_fused_epochs_equal_train_on_batch(optimizer):
    """70 rows in batches of 16: the last batch is partial."""
    model = new_model(optimizer)
    loaded = model.load_task(task())
    model.add_task("a", loaded.spec)
    model.activate("a")
    plain = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu")])
    plain.add(layers.Dense(2))
    plain.set_weights(model.get_active()[:4])
    plain.compile(
        type(optimizer).from_config(optimizer.get_config()),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(task(), epochs=2, batch_size=16, verbose=0)
    phase_seed = derive_seed(model.seed, 0, 0)
    for epoch in range(2):
        order = np.random.default_rng(derive_seed(phase_seed, epoch)).permutation(70)
        for start in range(0, 70, 16):
            rows = order[start : start + 16]
            plain.train_on_batch(X[rows], Y[rows])
    for ours, theirs in zip(model.get_active()[:4], plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_blocks_cover_every_row_once():
    data = ArrayData(X, Y, 16, Buckets())
    seen = []
    for block in data.epoch(seed=3):
        for step in range(block.steps):
            seen += block.rows[step, : block.valid[step]].tolist()
    assert sorted(seen) == list(range(70))
    assert ops.convert_to_numpy(block.x).shape[0] >= 70


@pytest.mark.parametrize("n", [1, 7, 16, 17, 33, 1000, 55000])
def test_buckets_waste_little(n):
    assert n <= round_up(n) <= max(n * 1.125, 16)
    buckets = Buckets()
    size = buckets.fit("x", n)
    assert buckets.fit("x", max(1, (size + 1) // 2)) == size  # used again
    assert buckets.fit("y", n) == size


def test_streamed_data_trains_as_arrays_do():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    spec = kl.TaskSpec(2, input_shape=(6,))
    streamed, held = new_model(), new_model()
    source = kl.Task("a", spec, train=dataset, validation_split=0)
    streamed.fit(source, batch_size=16, verbose=0)
    original = ArrayData.epoch

    def in_order(self, seed, per_block=None):
        for block in original(self, seed):
            rows = np.arange(self.length).reshape(-1, 1)
            flat = np.resize(rows, block.rows[: block.steps].shape)
            block.rows[: block.steps] = flat
            yield block

    ArrayData.epoch = in_order
    try:
        held.fit(task(), batch_size=16, verbose=0)
    finally:
        ArrayData.epoch = original
    for a, b in zip(streamed.get_active(), held.get_active(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_streamed_blocks_are_checked():
    tf = pytest.importorskip("tensorflow")
    bad = np.where(np.arange(70) == 60, np.nan, X.T).T.astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((bad, Y))
    data = StreamedData(
        Examples(dataset),
        16,
        new_model().checker(kl.TaskSpec(2, input_shape=(6,)), "block"),
        2,
    )
    with pytest.raises(ValueError, match="finite"):
        list(data.epoch(0))


def test_one_compilation_serves_tasks_of_different_size():
    model = new_model()
    for name, n in (("a", 64), ("b", 70), ("c", 61)):
        model.fit(task(name, n), batch_size=16, verbose=0)
    assert model.trainer.compile_count == 1


def test_equal_optimizers_that_phases_bring_are_compiled_for_once():
    """Keras numbers its optimizers; what is compiled, and never freed, is the same."""
    model = with_settings()
    for name in ("a", "b", "c"):
        model.settings = {"optimizer": keras.optimizers.Adam(0.01)}
        model.fit(task(name), batch_size=16, verbose=0)
    assert model.trainer.compile_count == 1


def test_den_compiles_at_most_twelve_times_in_ten_tasks():
    model = new_model(method="DEN", growth=4, bucket=16)
    for i in range(10):
        model.fit(task(f"t{i}", 60 + i), batch_size=32, verbose=0)
    added = sum(e["count"] for e in model.growth if e["kind"] == "add")
    assert added > 0
    assert model.trainer.compile_count <= 12


def test_early_stopping_begins_anew_with_each_phase(capsys):
    still = {"l1": 0.0, "l2": 0.0, "group_lasso": 0.0}
    model = new_model(keras.optimizers.SGD(0.0), method="DEN", growth=2, **still)
    model.fit(task("a", validation_split=0.2), epochs=3, verbose=0)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2)
    history = model.fit(
        task("b", validation_split=0.2), epochs=9, callbacks=[stop], verbose=2
    )
    printed = capsys.readouterr().out
    assert printed.count("b · ") >= 2 and "9 epochs" not in printed
    assert len(history.history["val_loss"]) < 9 * printed.count("b · ")


def test_callbacks_see_one_training(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = new_model()
    steps = []
    callbacks = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "tb"),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=9.0),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "{epoch}.weights.h5", save_weights_only=True
        ),
        keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda b, logs: steps.append(b)
        ),
    ]
    tasks = [task(n, validation_split=0.2, test=(X, Y)) for n in "ab"]
    model.fit_stream(tasks, epochs=3, batch_size=16, callbacks=callbacks, verbose=0)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("012345")
    assert {"loss", "val_loss", "val_accuracy"} <= set(rows[0])
    assert list((tmp_path / "tb").rglob("events.*"))
    assert (tmp_path / "6.weights.h5").exists()
    assert steps and max(steps) == 3
    del tf


def test_progress_names_task_and_phase(capsys):
    model = new_model(method="DEN", growth=2)
    model.fit_stream([task("first"), task("second")], verbose=1)
    printed = capsys.readouterr().out
    assert "[1/2] first · sparse training" in printed
    assert "[2/2] second · selective retraining" in printed


def test_a_raising_callback_leaves_the_model_as_it_was():
    model = new_model()
    model.fit(task("a"), verbose=0)
    before = model.predict(X, task="a")

    def stop(epoch, logs):
        raise RuntimeError("mine")

    callback = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(task("b"), callbacks=[callback], verbose=0)
    assert model.task_names == ["a"]
    assert (model.predict(X, task="a") == before).all()


def test_a_loss_that_is_not_finite_stops_and_restores():
    model = new_model(keras.optimizers.SGD(0.1))
    model.fit(task("a"), verbose=0)
    before = model.predict(X, task="a")
    model.compile(keras.optimizers.SGD(1e30))
    with pytest.raises(FloatingPointError, match="task 'b'.*'training'"):
        model.fit(task("b"), epochs=5, verbose=0)
    assert (model.predict(X, task="a") == before).all()


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3"])
def test_bad_settings(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1"):
        new_model().fit(task(), **{name: value})


def test_compile_comes_first():
    with pytest.raises(ValueError, match="compile"):
        kl.Finetune(backbone()).fit(task())


def test_optimizer_schedules_restart_with_every_phase():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.1)
    a, b = new_model(keras.optimizers.SGD(schedule)), None
    a.fit(task("a"), epochs=3, batch_size=16, verbose=0)
    b = new_model(keras.optimizers.SGD(schedule))
    for model in (a, b):
        model.fit(task("z"), epochs=1, batch_size=16, verbose=0)
    moved = np.abs(a.get_active()[0] - b.get_active()[0]).max()
    assert moved > 1e-4  # `a` moved at the first rate again, from other weights


class Phases(kl.Finetune):
    """Learns in one phase with the settings that a test gives it."""

    def learn(self, task):
        settings = {"name": "training", "variables": self.network.trainable_variables}
        self.result = yield self.phase(**{**settings, **self.settings})


def with_settings(**settings):
    model = Phases(backbone())
    model.compile(keras.optimizers.Adam(0.05), metrics=["accuracy"])
    model.settings = settings
    return model


def test_the_best_epoch_is_kept_and_of_equals_the_last():
    """Scores after each epoch are those of the weights there were then."""
    held = X[:20], (X[:20, 1] > 0).astype("int32")  # not what is learned
    one = kl.Task("a", train=(X, Y), validation=held)
    weights = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights.append(np.array(self.model.network.trainable_variables[0]))

    model = with_settings(keep_best=True)
    model.fit(one, epochs=12, batch_size=16, callbacks=[Watch()], verbose=0)
    scores = np.array(model.result.history["val_accuracy"])
    best = np.flatnonzero(scores == scores.max())[-1]
    assert best < 11  # or the test says nothing
    kept = np.array(model.network.trainable_variables[0])
    np.testing.assert_array_equal(kept, weights[best])
    assert model.evaluate(*held, task="a")["accuracy"] == pytest.approx(scores.max())


def test_patience_ends_a_phase():
    held = X[:20], (X[:20, 1] > 0).astype("int32")
    one = kl.Task("a", train=(X, Y), validation=held)
    model = with_settings(patience=2)
    model.fit(one, epochs=40, batch_size=16, verbose=0)
    scores = np.array(model.result.history["val_accuracy"])
    assert len(scores) < 40
    first = int(scores.argmax())
    assert len(scores) == first + 3  # two epochs without a better one


def test_without_validation_data_the_last_epoch_is_kept():
    model, plain = with_settings(keep_best=True, patience=1), with_settings()
    for m in (model, plain):
        m.fit(task(), epochs=3, batch_size=16, verbose=0)
        assert len(m.result.history["loss"]) == 3
    for a, b in zip(
        model.network.trainable_variables,
        plain.network.trainable_variables,
        strict=True,
    ):
        np.testing.assert_array_equal(np.array(a), np.array(b))


def test_a_phase_can_change_its_learning_rate_by_epoch():
    asked = []

    def rate(epoch, epochs, history):
        asked.append((epoch, epochs, len(history.get("loss", []))))
        return 0.0 if epoch else 0.05

    model = with_settings(learning_rate=rate)
    compilations = model.trainer.compile_count if model.trainer else 0
    start = [np.array(v) for v in model.network.trainable_variables]
    model.fit(task(), epochs=3, batch_size=16, verbose=0)
    assert asked == [(0, 3, 0), (1, 3, 1), (2, 3, 2)]
    losses = model.result.history["loss"]
    assert losses[1] == pytest.approx(losses[2], rel=1e-4) and losses[0] > losses[1]
    assert (np.array(model.network.trainable_variables[0]) != start[0]).any()
    assert model.trainer.compile_count - compilations <= 2
