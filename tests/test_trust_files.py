"""YAML, data and checkpoints that are not what they seem."""

import json
import resource
import time

import keras
import numpy as np
import pytest
from small import X
from small import backbone
from small import labels

import keras_lifelong as kl
from keras_lifelong import cli
from keras_lifelong import config
from keras_lifelong.streams.digest import of_task
from keras_lifelong.strict_yaml import dump
from keras_lifelong.strict_yaml import parse

# YAML


def aliases(levels=7, start="- &b0 [1,1,1,1,1,1,1,1,1,1]"):
    lines = ["seed:", start]
    for i in range(1, levels + 1):
        lines.append(f"- &b{i} [{','.join([f'*b{i - 1}'] * 10)}]")
    return "\n".join(lines) + "\n"


MERGED = "a: &a0 {k: 1}\n" + "".join(
    f"b{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 8)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (aliases(), "aliases"),
        (aliases(start=f"- &b0 ['{'a' * 1000}']"), "aliases"),
        (MERGED, "aliases"),
        ("seed: &a [*a]", "holds itself"),
        ("seed: &a {b: *a}", "holds itself"),
        ("seed: " + "[" * 150 + "]" * 150, "nested"),
        ("seed: " + "[" * 50_000, "nested|not YAML"),
        ("seed: " + "9" * 5000, "5,000 digits"),
        ("seed: 1" + ":59" * 5000, "digits"),
        ("x" * 300_000, "letters"),
        ("seed: !!python/object/apply:os.system [id]", "plain data"),
        ("seed: !!binary aGk=", "plain data"),
        ("seed: !!set {a, b}", "plain data"),
        ("? [a]\n: 1", "strings"),
    ],
)
def test_yaml_that_means_too_much(text, why):
    start = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=why) as caught:
        parse(text)
    assert len(str(caught.value)) < 800
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_yaml_with_an_alias_or_two():
    assert parse("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}
    assert parse("") is None and parse(dump({"a": 1e-3})) == {"a": 1e-3}


@pytest.mark.parametrize("key", ["seed", "method", "backbone", "training", "nonsense"])
def test_messages_about_a_configuration_are_short(key):
    raw = {"method": {"name": "Finetune"}, "stream": {"name": "digits"}}
    raw |= {"backbone": {"name": "mlp", "units": [4]}, key: [list(range(50_000))]}
    with pytest.raises(ValueError, match=key) as caught:
        config.resolve(raw)
    assert len(str(caught.value)) < 900


# Digests of data


ARRAYS = (X, labels(0))


@pytest.mark.parametrize(
    "other",
    [
        {"train": (X[::-1], labels(0))},
        {"train": (X.astype("float64"), labels(0))},
        {"train": (X, labels(1))},
        {"train": (X[:-1], labels(0)[:-1])},
        {"train": (X.reshape(-1, 3, 2), labels(0))},
        {"train": ARRAYS, "test": ARRAYS},
        {"test": ARRAYS},
        {"train": None},
    ],
)
def test_other_data_have_another_digest(other):
    assert of_task("t", {"train": ARRAYS}) != of_task("t", other)


def test_the_same_data_have_the_same_digest():
    expected = of_task("t", {"train": ARRAYS})
    assert of_task("t", {"train": (np.asfortranarray(X), list(labels(0)))}) != ""
    assert of_task("t", {"train": (np.asfortranarray(X), labels(0))}) == expected
    assert of_task("t", {"train": (X.copy(), labels(0).copy())}) == expected
    assert kl.Task("t", train=ARRAYS).digest() == kl.Task("t", train=ARRAYS).digest()
    by_function = kl.Task("t", train=lambda: ARRAYS)
    assert by_function.digest() == kl.Task("t", train=ARRAYS).digest()


def test_digests_of_data_sets():
    tf = pytest.importorskip("tensorflow")

    def of(data):
        return of_task("t", {"train": data})

    data = tf.data.Dataset.from_tensor_slices(ARRAYS)
    assert of(data) == of(tf.data.Dataset.from_tensor_slices(ARRAYS))
    assert of(data) != of(tf.data.Dataset.from_tensor_slices((X, labels(1))))
    assert of(data) != of(data.take(10)) and of(data) != of(data.repeat())
    assert of(data) != of(data.batch(2))
    assert of(data.shuffle(48)) == of(data.shuffle(48))  # drawn anew each time


# Checkpoints


def stream(flip=False):
    for i in range(2):
        y = labels(i)
        y = 1 - y if flip and i == 0 else y
        yield kl.Task(f"t{i}", train=(X, y), validation=(X, y), test=(X, y))


class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if self.model.active_task == "t1":
            raise RuntimeError


def run(place, flip=False, callbacks=(), **kwargs):
    model = kl.Finetune(backbone())
    model.compile("adam")
    return model.fit_stream(
        list(stream(flip)),
        verbose=0,
        checkpoint_dir=place,
        callbacks=list(callbacks),
        **kwargs,
    )


@pytest.fixture
def stopped(tmp_path, eager):
    with pytest.raises(RuntimeError):
        run(tmp_path / "checkpoint", callbacks=[Stop()])
    return tmp_path / "checkpoint"


def test_a_run_knows_its_data(stopped):
    with pytest.raises(ValueError, match="data of task 't0' are not those"):
        run(stopped, flip=True)
    accepted = run(stopped, flip=True, accept_changed_data=True)
    assert accepted.task_names == ["t0", "t1"]


def test_a_run_that_goes_on_is_the_same_run(stopped, tmp_path):
    found, expected = run(stopped), run(tmp_path / "other")
    np.testing.assert_array_equal(found.matrix, expected.matrix)


def test_another_run_s_model_is_refused(stopped, tmp_path):
    with pytest.raises(RuntimeError):
        run(tmp_path / "other", flip=True, callbacks=[Stop()])
    (stopped / "model-1.npz").write_bytes((tmp_path / "other/model-1.npz").read_bytes())
    with pytest.raises(ValueError, match="model-1.npz .*not the file that this run"):
        run(stopped)


@pytest.mark.parametrize("how", ["measured", "digest", "gone", "whole"])
def test_an_edited_state_is_refused(stopped, how):
    path = stopped / "state.json"
    state = json.loads(path.read_text())
    if how == "measured":
        state["measured"]["seconds"] = [0.0]
    elif how == "digest":
        state["digest"] = "0" * 64
    elif how == "gone":
        del state["digest"]
    else:
        state["data"] = []
    path.write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"cannot be read: state\.json") as caught:
        run(stopped)
    assert len(str(caught.value)) < 700


def test_labels_that_are_numbers_of_something_else():
    y = np.arange(len(X))
    y[0] = 10**9
    with pytest.raises(ValueError, match=r"TaskSpec\(1000000001\)"):
        kl.Task("t", train=(X, y)).spec  # noqa: B018 - reads the labels


# Failed means unchanged


HOOKS = [
    *("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end"),
    *("on_train_batch_begin", "on_train_batch_end"),
]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback_that_fails_leaves_the_model_as_it_was(hook, known, eager):
    model = kl.Finetune(backbone())
    model.compile("adam")
    model.fit(X, labels(0), task="t0", verbose=0)
    before, (state, arrays) = model.predict(X, task="t0"), model.get_state()

    def fail(*args, **kwargs):
        raise RuntimeError("of a callback")

    callback = keras.callbacks.Callback()
    setattr(callback, hook, fail)
    name = "t0" if known else "t1"
    with pytest.raises(RuntimeError, match="of a callback"):
        model.fit(X, labels(1), task=name, verbose=0, callbacks=[callback])
    assert model.task_names == ["t0"]
    assert (model.predict(X, task="t0") == before).all()
    found, values = model.get_state()
    assert found == state and values.keys() == arrays.keys()
    assert all((values[key] == arrays[key]).all() for key in arrays)
    model.fit(X, labels(1), task="t1", verbose=0)  # and it goes on
    assert model.task_names == ["t0", "t1"]


def test_flags_may_be_written_with_hyphens():
    assert cli._with_underscores("--accept-changed-data") == "--accept_changed_data"
    assert cli._with_underscores("--set") == "--set"
    assert cli._with_underscores("--message=a-b") == "--message=a-b"
    assert cli._with_underscores("a-b") == "a-b"
