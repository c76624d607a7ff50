"""Keras' arguments and forms of data in fit, evaluate and predict."""

from __future__ import annotations

import tracemalloc

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model import inherited
from keras_lifelong.streams import forms
from keras_lifelong.training.settings import Settings
from keras_lifelong.training.trainer import Trainer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
W = RNG.uniform(0.5, 2, 50).astype("float32")

pytestmark = pytest.mark.usefixtures("eager")


def new():
    network = keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu")])
    model = kl.Finetune(network)
    model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def model():
    """Shared by the tests: none of them may change it."""
    made = new()
    names = kl.TaskSpec(3, class_names=("none", "one", "both"))
    made.fit(kl.Task("a", names, train=(X, Y)), verbose=0)
    return made


@pytest.fixture(scope="module")
def plain(model):
    """The task as a model of Keras alone."""
    found = model.task_model("a")
    found.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return found


@pytest.fixture
def given(monkeypatch):
    """What the trainer is given by `fit`, which trains nothing."""
    calls = []

    def learn(self, task, settings, *rest):
        calls.append((task, settings))

    monkeypatch.setattr(Trainer, "learn", learn)

    def fit(*arguments, **keywords):
        new().fit(*arguments, verbose=0, **keywords)
        return calls[-1]

    return fit


def tf_data(*parts):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


# === fit ===


def test_settings_are_those_given(given):
    _, settings = given(X, Y, 8, 5, task="b", shuffle=False, initial_epoch=2)
    assert settings == Settings(5, 8, shuffle=False, initial_epoch=2)
    more = {"steps_per_epoch": 3, "validation_batch_size": 4}
    _, settings = given(X, Y, task="b", validation_freq=(1, 3), **more)
    assert settings == Settings(validation_freq=[1, 3], **more)
    assert [settings.validates(epoch) for epoch in range(4)] == [1, 0, 1, 0]


def test_the_last_part_is_held_out_as_in_keras(given):
    task, _ = given(X, Y, task="b", validation_split=0.33, sample_weight=W)
    kept = int(50 * (1 - 0.33))
    assert (task.train[0] == X[:kept]).all() and (task.train[1] == Y[:kept]).all()
    assert (task.validation[0] == X[kept:]).all()
    assert (task.weight == W[:kept]).all()
    assert (task.validation_weight == W[kept:]).all()
    task, _ = given(X, Y, task="b", validation_split=0)
    assert task.validation is None and len(task.train[0]) == 50
    task, _ = given(X, Y, task="b")
    assert len(task.validation[0]) == 5 and task.weight is None


def test_validation_data_count_more_than_a_split(given):
    data = (X[:9], Y[:9], W[:9])
    task, _ = given(
        X,
        Y,
        task="b",
        validation_data=data,
        validation_split=0.5,
        validation_steps=2,
        validation_batch_size=3,
    )
    assert len(task.train[0]) == 50 and (task.validation[0] == X[:6]).all()
    assert (task.validation_weight == W[:6]).all()


def test_weights_of_classes_and_examples_are_multiplied(given):
    task, _ = given(
        X, Y, task="b", class_weight={0: 2, 2: 0.5}, sample_weight=W, validation_split=0
    )
    np.testing.assert_allclose(task.weight, W * np.array([2, 1, 0.5])[Y], rtol=1e-6)
    task, _ = given(kl.Task("b", train=(X, Y)), class_weight={0: 3})
    assert (task.weight == np.where(task.train[1] == 0, 3, 1)).all()


def test_batched_data_are_taken_apart(given):
    for data, size in ((tf_data(X, Y), 32), (tf_data(X, Y).batch(7), 7)):
        task, settings = given(data, task="b")
        assert settings.batch_size == size and task.validation is None
        assert task.spec.num_classes == 3 and task.spec.input_shape == (4,)
        rows = list(task.train.as_numpy_iterator())
        assert (np.stack([x for x, _ in rows]) == X).all()
    task, settings = given(data, batch_size=5, task="b", validation_data=data)
    assert settings.batch_size == 5 and len(list(task.validation)) == 50
    unknown = tf_data(X, Y).filter(lambda x, y: y > 0).batch(4)
    spec = kl.TaskSpec(3)
    task, _ = given(kl.Task("b", spec, train=unknown, validation_split=0))
    assert len(list(task.train)) == (Y > 0).sum()


def test_endless_data_go_on_where_an_epoch_ended(given):
    data = tf_data(X, Y).batch(10).repeat()
    spec = kl.TaskSpec(3)
    task, _ = given(
        kl.Task("b", spec, train=data, validation=data),
        steps_per_epoch=3,
        validation_steps=2,
    )
    epochs = [[x for x, *_ in task.train.stacks(10, 64)] for _ in range(2)]
    assert (np.concatenate(epochs[0]) == X[:30]).all()
    assert (np.concatenate(epochs[1]) == np.concatenate([X[30:], X[:10]])).all()
    assert len(list(task.validation)) == 20
    with pytest.raises(ValueError, match="repeats for ever: pass `steps_per_epoch`"):
        given(kl.Task("b", spec, train=data, validation_split=0))
    with pytest.raises(ValueError, match="repeats for ever: pass `validation_steps`"):
        given(kl.Task("b", spec, train=(X, Y), validation=data))
    with pytest.raises(ValueError, match="suggest no spec"):
        given(data, task="b", steps_per_epoch=3)


def test_a_py_dataset(given):
    class Days(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, day):
            rows = slice(10 * day, 10 * day + 10)
            return X[rows], Y[rows], W[rows]

    task, settings = given(Days(), task="b", class_weight={1: 2})
    assert (task.train[0] == X).all() and settings.batch_size == 10
    assert (task.weight == W * np.where(Y == 1, 2, 1)).all()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"shuffle": "batch"}, "`shuffle` must be True or False. Received: 'batch'"),
        ({"initial_epoch": 1}, "`initial_epoch` must be below `epochs`.*1. Received"),
        ({"initial_epoch": -1}, "`initial_epoch`.*at least 0. Received: -1"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch`.*at least 1. Received: 0"),
        ({"validation_freq": 0}, "`validation_freq`.*at least 1. Received: 0"),
        ({"validation_freq": [0]}, r"`validation_freq`.*Received: \[0\]"),
        ({"validation_steps": 1.5}, "`validation_steps`.*Received: 1.5"),
        ({"validation_batch_size": True}, "`validation_batch_size`.*Received: True"),
        ({"validation_split": 1}, r"`validation_split` must be in \[0, 1\).*1"),
        ({"validation_split": 0.999}, "`validation_split`.*both sides.*of 50"),
        ({"validation_data": X}, "`validation_data` must be .x, y.*ndarray"),
        ({"sample_weight": W[:3]}, r"`sample_weight` must have shape \(50,\)"),
        ({"class_weight": {7: 1}}, "`class_weight` must name classes.*7"),
        ({"x": kl.Task("a", train=(X, Y))}, "A Task brings its labels.*and y"),
    ],
)
def test_what_cannot_be_is_refused(given, arguments, words):
    with pytest.raises(ValueError, match=words):
        given(**({"x": X, "y": Y, "task": "b"} | arguments))


def test_what_goes_with_arrays_only(given):
    data = tf_data(X, Y).batch(5)
    for arguments, words in [
        ({"y": Y}, "`y` must be None.*x of type"),
        ({"sample_weight": W}, "`sample_weight` must be None"),
        ({"validation_split": 0.1}, "`validation_split` goes with arrays"),
    ]:
        with pytest.raises(ValueError, match=words):
            given(data, task="b", **arguments)
    with pytest.raises(ValueError, match=r"\(4,\), or \(batch, 4\).*None, 4\)"):
        given(data.batch(2), task="b")


def test_a_known_task_keeps_what_its_labels_mean(model, given):
    names = np.array(["none", "one", "both"])[Y]
    loaded = model.load_task(kl.Task("a", model.task_spec("a"), train=(X, names)))
    y = np.concatenate([loaded.train[1], loaded.validation[1]])
    assert np.bincount(y).tolist() == np.bincount(Y).tolist()
    with pytest.raises(ValueError, match="was learned with the class names"):
        model.load_task(kl.Task("a", train=(X, names)))  # in alphabetical order
    with pytest.raises(ValueError, match=r"in 0 ... 2 \(3 classes\)"):
        model.fit(X, Y + 3, task="a")


# === evaluate and predict ===


def test_scores_are_those_of_keras(model, plain):
    for weight in (None, W):
        expected = plain.evaluate(X, Y, sample_weight=weight, verbose=0)
        found = model.evaluate(X, Y, sample_weight=weight, return_dict=False, task="a")
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = model.evaluate(X, Y, 10, steps=2, task="a")
    expected = plain.evaluate(X, Y, 10, steps=2, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert model.test_on_batch(X, Y) == model.evaluate(X, Y, return_dict=False)


def test_all_forms_give_the_same_scores_and_outputs(model, plain):
    expected, outputs = model.evaluate(X, Y), model.predict(X)
    np.testing.assert_allclose(outputs, plain.predict(X, verbose=0), rtol=1e-5)
    for data in (tf_data(X, Y), tf_data(X, Y).batch(7)):
        assert model.evaluate(data) == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(model.predict(data), outputs, rtol=1e-6)
    inputs = tf_data(X).batch(7)
    np.testing.assert_allclose(model.predict(inputs), outputs, rtol=1e-6)
    np.testing.assert_allclose(model.predict(X, 8), outputs, rtol=1e-6)
    assert len(model.predict(inputs.repeat(), steps=9)) == 63
    assert len(model.predict(X, steps=1)) == 32
    doubled = model.predict(keras.ops.convert_to_tensor(X.astype("float64")))
    np.testing.assert_array_equal(doubled, outputs)
    with pytest.raises(ValueError, match="`x` repeats for ever: pass `steps`"):
        model.predict(inputs.repeat())
    with pytest.raises(ValueError, match="repeats for ever: pass `steps`"):
        model.evaluate(tf_data(X, Y).repeat())
    np.testing.assert_array_equal(model.predict(X, "a"), outputs)  # as it was
    with pytest.raises(ValueError, match="write `task='a'`"):
        model.evaluate(X, Y, "a")
    with pytest.raises(ValueError, match="`verbose` must be"):
        model.evaluate(X, Y, verbose=3)


def test_callbacks_are_called_as_by_keras(model, plain):
    class Notes(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

        def __getattribute__(self, name):
            if name.startswith(("on_test", "on_predict")):
                self.calls.append(name)
            return super().__getattribute__(name)

    mine, theirs = Notes(), Notes()
    model.evaluate(X, Y, 32, callbacks=[mine])
    plain.evaluate(X, Y, 32, callbacks=[theirs], verbose=0)
    model.predict(X, 32, callbacks=[mine])
    plain.predict(X, 32, callbacks=[theirs], verbose=0)
    called = [name for name in theirs.calls if name in set(mine.calls)]
    assert mine.calls == called or sorted(set(mine.calls)) == sorted(set(called))
    assert mine.calls.count("on_test_batch_end") == 2


def test_a_line_is_printed_on_request(model, capsys):
    model.evaluate(X, Y)
    assert not capsys.readouterr().out
    model.evaluate(X, Y, verbose=1)
    assert capsys.readouterr().out.startswith("50 rows - ")


def test_names_of_classes_are_predicted_and_saved(model, tmp_path):
    expected = np.array(["none", "one", "both"])[model.predict(X).argmax(axis=1)]
    assert (model.predict(X, names=True) == expected).all()
    assert (model.predict(X, task=["a"] * 50, names=True) == expected).all()
    model.save_to_preset(tmp_path / "preset")
    assert "3: none, one, both" in (tmp_path / "preset/README.md").read_text()
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    assert again.task_spec("a").class_names == ("none", "one", "both")
    assert (again.predict(X, names=True) == expected).all()


def test_inputs_are_not_copied_whole():
    network = keras.Sequential([keras.Input((200,)), layers.Dense(2)])
    model = kl.Finetune(network)
    model.add_task("a", kl.TaskSpec(3, input_shape=(200,)))
    x, y = np.zeros((10_000, 200), "float64"), np.arange(10_000) % 3
    model.evaluate(x, y)
    tracemalloc.start()
    try:
        for call in (lambda: model.evaluate(x, y), lambda: model.predict(x)):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            call()
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < x.nbytes // 4, peak
    finally:
        tracemalloc.stop()


# === What is inherited ===


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("loss_weights", 0.5),
        ("weighted_metrics", ["accuracy"]),
        ("steps_per_execution", 0),
        ("auto_scale_loss", None),
    ],
)
def test_what_compile_cannot_take_is_named(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must be.*Received"):
        new().compile("sgd", **{argument: value})


def test_arguments_of_compile_that_change_nothing_here():
    new().compile("sgd", steps_per_execution=8, loss_weights=None)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = new()
        model.compile("sgd", auto_scale_loss=False)
        config = model.get_compile_config()
        model.compile_from_config(config)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert config["auto_scale_loss"] is False
    assert type(model.optimizer) is keras.optimizers.SGD  # not wrapped


def test_one_callback_is_a_list_of_it(model):
    """As Keras takes it."""
    seen = []
    told = keras.callbacks.LambdaCallback(on_train_end=seen.append)
    new().fit(X, Y, task="a", callbacks=told, verbose=0)
    assert len(seen) == 1


@pytest.mark.parametrize("name", sorted(inherited.REFUSED))
def test_what_belongs_to_the_loop_of_keras_is_refused(model, name):
    with pytest.raises(
        ValueError, match=f"`{name}` belongs to the loop of keras.Model"
    ):
        getattr(model, name)("int8" if name == "quantize" else X)


def test_a_batch_is_an_epoch_of_one_batch():
    one, other = new(), new()
    for made in (one, other):
        made.fit(X, Y, task="a", verbose=0)
    loss = one.train_on_batch(X[:8], Y[:8], return_dict=True)["loss"]
    data = {"train": (X[:8], Y[:8]), "validation_split": 0}
    history = other.fit(
        kl.Task("a", kl.TaskSpec(3), **data), batch_size=8, shuffle=False, verbose=0
    )
    assert loss == history.history["loss"][-1]
    assert (one.predict(X) == other.predict(X)).all()


def test_a_tensor_that_needs_a_gradient_is_an_array():
    torch = pytest.importorskip("torch")
    found = forms.as_array(torch.ones(3, requires_grad=True))
    assert found.tolist() == [1, 1, 1]
