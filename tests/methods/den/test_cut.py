"""A task is used through a plain network of its units: what was kept is never old."""

import threading

import keras
import numpy as np
import pytest
import small
from keras import layers

import keras_lifelong as kl
from keras_lifelong.methods.den import cut

pytestmark = pytest.mark.usefixtures("eager")


def new(**options):
    model = kl.DEN(small.backbone(), growth=2, bucket=8, **options)
    model.compile(keras.optimizers.Adam(0.01))
    return model


def learn(model, i, **kwargs):
    small.learn(model, i, epochs=1, batch_size=48, **kwargs)


def learned(tasks=2, **options):
    model = new(**options)
    for i in range(tasks):
        learn(model, i)
    return model


def of_growable(model, name, x=small.X):
    """What the growable network itself computes: its logits at the task's stage."""
    with model.read(name) as reading:
        features = model.through(model.network, keras.ops.convert_to_tensor(x))
        features = keras.ops.convert_to_numpy(features)
    kernel, bias = map(keras.ops.convert_to_numpy, reading.head)
    return features @ kernel + bias


def logits(model, name, x=small.X):
    outputs = model.predict(x, task=name)
    logs = np.log(outputs)
    return logs - logs.mean(-1, keepdims=True)


def assert_as_grown(model):
    for name in model.task_names:
        grown = of_growable(model, name)
        grown -= grown.mean(-1, keepdims=True)
        np.testing.assert_allclose(logits(model, name), grown, atol=1e-5)


def form_of(model, name):
    """The plain network that a task goes through."""
    with model._session.lock:
        return model.reading_to_use(name).body


def test_it_says_what_the_growable_network_does_whatever_changed():
    model = new(loss_threshold=0.0, split_threshold=0.0)
    for i in range(3):
        learn(model, i)
        assert_as_grown(model)  # what is kept of a task is of before, for the next
    learn(model, 0)  # again
    assert_as_grown(model)
    model.remove_task("t1")
    assert_as_grown(model)
    before = small.predictions(model)
    with pytest.raises(RuntimeError, match="no more"):
        learn(model, 1, callbacks=[Fails()])
    small.assert_same(small.predictions(model), before)


class Fails(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("no more")


def test_weights_that_somebody_sets_are_those_that_are_used():
    model = learned()
    assert_as_grown(model)
    before = small.predictions(model)
    weights = model.network.get_weights()
    model.network.set_weights([-2.0 * w if w.dtype.kind == "f" else w for w in weights])
    assert_as_grown(model)
    assert not np.allclose(model.predict(small.X, task="t0"), before["t0"])
    model.network.set_weights(weights)
    small.assert_same(small.predictions(model), before)


def test_what_is_put_in_memory_is_what_is_used():
    x = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    x.add(layers.BatchNormalization())
    model = kl.DEN(x, growth=2, bucket=4)
    model.compile(keras.optimizers.Adam(0.01))
    learn(model, 0)
    before = model.predict(small.X, task="t0")
    keys = model.memory.keys_of("t0")
    assert len(keys) == 6  # a head's two, and of the normalisation four
    for key in keys:
        was = model.memory[key]
        more = np.arange(was.size, dtype="float32").reshape(was.shape)
        model.memory[key] = 2 * was + more
        assert not np.allclose(model.predict(small.X, task="t0"), before), key
        assert_as_grown(model)
        model.memory[key] = was
        np.testing.assert_array_equal(model.predict(small.X, task="t0"), before)


def test_it_computes_in_the_precision_that_the_network_was_built_in():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = learned(1)
        said = model.predict(small.X, task="t0")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.memory_changed()
    np.testing.assert_array_equal(model.predict(small.X, task="t0"), said)
    plain = model.task_model("t0").predict(small.X, verbose=0)
    np.testing.assert_allclose(plain, said, atol=1e-6)


def test_loaded_weights_are_those_that_are_used(tmp_path):
    model, other = learned(), new()
    model.save_weights(tmp_path / "a.weights.h5")
    expected = small.predictions(model)
    learn(model, 0)
    changed = small.predictions(model)
    assert not np.array_equal(changed["t0"], expected["t0"])
    model.load_weights(tmp_path / "a.weights.h5")
    small.assert_same(small.predictions(model), expected)
    other.build(small.X.shape)
    other.load_weights(tmp_path / "a.weights.h5")
    small.assert_same(small.predictions(other), expected)


def test_who_learns_sees_what_grows_and_others_what_was_there():
    model = learned(1)
    before, found = model.predict(small.X, task="t0"), {}

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            def ask():
                found["other"] = model.predict(small.X, task="t0")

            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            found["mine"] = model.predict(small.X, task="t1")

        def on_train_end(self, logs=None):
            found["last"] = model.predict(small.X, task="t1")

    learn(model, 1, callbacks=[Looks()])
    np.testing.assert_array_equal(found["other"], before)
    now = model.predict(small.X, task="t1")
    np.testing.assert_allclose(found["last"], now, atol=1e-6)


def test_tasks_of_the_same_widths_go_through_the_same_network():
    model = learned(3, expansion=None, split=False)
    assert form_of(model, "t0") is form_of(model, "t1") is form_of(model, "t2")
    assert_as_grown(model)
    grown = learned(loss_threshold=0.0)
    assert form_of(grown, "t0") is not form_of(grown, "t1")


def test_what_stands_for_several_layers_is_made_for_each_task():
    x = keras.Input((4, 4, 2))
    y = layers.Conv2D(6, 3, padding="same", name="conv")(x)
    y = layers.GroupNormalization(3, name="norm")(y)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    model = kl.DEN(keras.Model(x, y), growth=2, bucket=4, loss_threshold=0.0)
    model.compile(keras.optimizers.Adam(0.01))
    images = np.random.default_rng(0).normal(size=(24, 4, 4, 2)).astype("float32")
    for name in "ab":
        task = kl.Task(name, train=(images, np.arange(24) % 2))
        model.fit(task, epochs=1, batch_size=12, verbose=0)
        for known in model.task_names:
            grown = of_growable(model, known, images)
            grown -= grown.mean(-1, keepdims=True)
            found = logits(model, known, images)
            np.testing.assert_allclose(found, grown, atol=1e-5)


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    model = learned(3)
    expected = small.predictions(model)
    monkeypatch.setattr(cut, "ROOM", 1)
    model.memory_changed()
    for _ in range(2):
        small.assert_same(small.predictions(model), expected)
    assert len(model._cuts._kept) == 1


def test_a_head_that_is_changed_in_the_active_network_is_seen():
    model = learned()
    model.predict(small.X, task="t1")
    model.activate("t1")
    model.predict(small.X, task="t1")
    kernel = model.head.kernel
    kernel.assign(np.zeros(kernel.shape, "float32"))
    model.head.bias.assign([3.0, 0.0])
    expected = np.tile([[1 / (1 + np.exp(-3.0)), 1 / (1 + np.exp(3.0))]], (48, 1))
    for _ in range(2):  # and once it is stored
        np.testing.assert_allclose(
            model.predict(small.X, task="t1"), expected, atol=1e-6
        )
        model.activate(None)


def test_phases_of_a_users_own_are_logged():
    model = new()

    def learn(task):
        yield model.phase("mine", model.network.trainable_variables)

    model.fit(small.task(0), epochs=1, batch_size=48, verbose=0, learn=learn)
    found = [(entry["layer"], entry["kind"], entry["count"]) for entry in model.growth]
    assert found == [("lower", "initial", 8), ("upper", "initial", 5)]
    assert_as_grown(model)
