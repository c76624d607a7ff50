"""What `fit` is asked of one task, `fit_stream` is asked of each."""

import functools

import keras
import numpy as np
import pytest
import small

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

SETTINGS = [
    {"shuffle": False},
    {"initial_epoch": 1},
    {"steps_per_epoch": 1},
    {"class_weight": {1: 5.0}},
    {"validation_freq": [2]},
    {"validation_steps": 1, "validation_batch_size": 2},
]


def tasks():
    return [small.task(0), small.task(1)]


def learned(stream, arguments, model=None):
    """The model, and the history over all its epochs, of one stream or fit by fit."""
    model = small.new("Finetune") if model is None else model
    history = keras.callbacks.History()
    arguments = {"epochs": 2, "batch_size": 24, "verbose": 0, **arguments}
    if isinstance(stream, list):
        model.fit_stream(stream, callbacks=[history], **arguments)
        return model, history.history
    found = {}
    for task in stream:
        for name, values in model.fit(task, **arguments).history.items():
            found.setdefault(name, []).extend(values)
    return model, found


@pytest.mark.parametrize("arguments", SETTINGS, ids=lambda a: next(iter(a)))
def test_a_stream_is_fit_after_fit(arguments):
    model, history = learned(tasks(), arguments)
    alone, expected = learned(iter(tasks()), arguments)
    small.assert_same(small.predictions(model), small.predictions(alone))
    assert history == expected
    pairs = zip(model.network.get_weights(), _usual_weights(), strict=True)
    same = [np.array_equal(a, b) for a, b in pairs]
    validates_only = next(iter(arguments)).startswith("validation")
    assert all(same) == validates_only


@functools.cache
def _usual_weights():
    return learned(tasks(), {})[0].network.get_weights()


def test_batches_are_those_of_the_data_unless_it_is_said():
    tf = pytest.importorskip("tensorflow", reason="makes a tf.data.Dataset")
    data = tf.data.Dataset.from_tensor_slices((small.X, small.labels(1))).batch(12)
    task = kl.Task("t1", kl.TaskSpec(2), train=data, validation_split=0)
    steps = {}

    class See(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            steps[epoch] = 0

        def on_train_batch_end(self, batch, logs=None):
            steps[max(steps)] = batch + 1

    for given in ({}, {"batch_size": 24}):
        small.new("Finetune").fit_stream(
            [task], epochs=1, verbose=0, callbacks=[See()], **given
        )
        assert steps == {0: 2 if given else 4}  # of 48 rows


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation_split", 0.2),
        ("validation_data", (small.X, small.labels(1))),
        ("sample_weight", np.ones(48)),
        ("y", small.labels(1)),
    ],
)
def test_what_a_task_says_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}` belongs to each task.*Task"):
        small.new("Finetune").fit_stream(tasks(), **{name: value})


def test_what_nothing_takes_is_refused_as_by_python():
    with pytest.raises(TypeError, match="fit_stream.*'epoch'"):
        small.new("Finetune").fit_stream(tasks(), epoch=3)


def test_bad_values_are_refused_before_training():
    for name, value in [("class_weight", [1]), ("shuffle", "batch")]:
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            small.new("Finetune").fit_stream(tasks(), **{name: value})


class Killed(keras.callbacks.Callback):
    """Interrupts the second task."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt


def test_what_a_later_task_lacks_is_missed_before_the_first_is_learned():
    def check(index):
        if index == 1:
            raise FileNotFoundError("no second task")

    model = small.new("Finetune")
    stream = kl.TaskStream(small.task, num_tasks=2, check=check)
    with pytest.raises(FileNotFoundError, match="no second task"):
        model.fit_stream(stream, verbose=0)
    assert model.task_names == []


def test_a_killed_run_goes_on_with_the_same_arguments_alone(tmp_path):
    asked = {"steps_per_epoch": 1, "class_weight": {0: 3.0}, "shuffle": False}
    asked |= {"epochs": 2, "verbose": 0}
    whole, _ = learned(tasks(), asked)
    here = {**asked, "batch_size": 24, "checkpoint_dir": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        small.new("Finetune").fit_stream(tasks(), callbacks=[Killed()], **here)
    for other in (
        {"class_weight": {0: 2.0}},
        {"class_weight": None},
        {"shuffle": True},
        {"steps_per_epoch": None},
        {"batch_size": None},
    ):
        with pytest.raises(ValueError, match=f"another run.*{next(iter(other))}"):
            small.new("Finetune").fit_stream(tasks(), **{**here, **other})
    resumed = small.new("Finetune")
    resumed.fit_stream(tasks(), **here)
    small.assert_same(small.predictions(resumed), small.predictions(whole))


def test_other_weights_of_examples_are_other_data(tmp_path):
    x, y = small.X, small.labels(1)
    given = {"checkpoint_dir": tmp_path, "verbose": 0}
    first = kl.Task("t", train=(x, y), sample_weight=np.ones(48))
    small.new("Finetune").fit_stream([first], **given)
    other = kl.Task("t", train=(x, y), sample_weight=np.arange(48))
    with pytest.raises(ValueError, match="data of task 't' are not those"):
        small.new("Finetune").fit_stream([other], **given)


def test_endless_data_need_steps_and_no_checkpoint(tmp_path):
    tf = pytest.importorskip("tensorflow", reason="makes a tf.data.Dataset")
    data = tf.data.Dataset.from_tensor_slices((small.X, small.labels(1))).repeat()
    task = kl.Task("t1", kl.TaskSpec(2), train=data, validation_split=0)
    with pytest.raises(ValueError, match="pass `steps_per_epoch`"):
        small.new("Finetune").fit_stream([task], verbose=0)
    with pytest.raises(ValueError, match="how far it was read.*`checkpoint_dir`"):
        small.new("Finetune").fit_stream(
            [task], steps_per_epoch=2, checkpoint_dir=tmp_path, verbose=0
        )
    model = small.new("Finetune")
    model.fit_stream([task], steps_per_epoch=2, verbose=0)
    assert model.task_names == ["t1"]


@pytest.mark.parametrize("weighed", [False, True])
def test_a_task_given_as_functions_is_read_once(weighed):
    calls = []

    def reads(split):
        def read():
            calls.append(split)
            return small.X, small.labels(0)

        return read

    weight = {"sample_weight": np.ones(len(small.X))} if weighed else {}
    task = kl.Task(
        "t0", kl.TaskSpec(2), train=reads("train"), test=reads("test"), **weight
    )
    model = small.new("Finetune")
    model.fit(task, batch_size=24, verbose=0)
    assert calls == ["train", "test"]
