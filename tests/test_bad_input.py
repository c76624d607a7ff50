"""Bad input gets a clear error before it costs time; what was learned stays intact."""

from __future__ import annotations

import errno
import json
import os
import shutil

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong import cli
from keras_lifelong.presets import layout
from keras_lifelong.presets import weights
from keras_lifelong.training.trainer import Trainer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")
NAN, INF = X.copy(), X.copy()
NAN[7, 2], INF[7, 2] = np.nan, np.inf

pytestmark = pytest.mark.usefixtures("eager")


def new(method):
    backbone = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu", name="d")])
    model = getattr(kl, method)(backbone)
    model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"])
    return model


@pytest.fixture(scope="module", params=["DEN", "EWC"])
def model(request):
    """Shared by the tests: none of them may change it."""
    model = new(request.param)
    model.fit(X, Y, task="a", verbose=0)
    return model


@pytest.fixture
def intact(model, monkeypatch):
    """Fails if anything is trained, and if the model is not as it was in the end."""

    def forbidden(*args):
        raise AssertionError("a phase was trained")

    monkeypatch.setattr(Trainer, "_run", forbidden)
    predictions = model.predict(X, task="a")
    config, arrays = model.get_state()
    yield
    assert model.task_names == ["a"]
    assert (model.predict(X, task="a") == predictions).all()
    now_config, now = model.get_state()
    assert now_config == config and now.keys() == arrays.keys()
    assert all((now[key] == arrays[key]).all() for key in arrays)


def with_nan_label():
    y = Y.astype("float32")
    y[3] = np.nan
    return y


BAD_DATA = {
    "one feature less": (X[:, :5], Y, r"inputs of shape \(5,\); the backbone accepts"),
    "an image": (X[:, :, None], Y, r"inputs of shape \(6, 1\)"),
    "no features": (X[:, 0], Y, r"inputs of shape \(\)"),
    "strings": (X.astype(str), Y, "`x` must be an array of numbers"),
    "objects": (X.astype(object), Y, "`x` must be an array of numbers.*dtype object"),
    "complex": (X.astype(complex), Y, "`x` must be an array of numbers.*complex"),
    "ragged": ([[1.0], [1.0, 2.0]], [0, 1], "`x` must be an array of numbers"),
    "scalar": (1.0, Y, "`x` must be an array of numbers"),
    "NaN": (NAN, Y, "`x` must be finite. Received: NaN"),
    "infinity": (INF, Y, "`x` must be finite"),
    "beyond float32": (X.astype("float64") * 1e300, Y, "beyond float32"),
    "empty": (X[:0], Y[:0], "`y` must hold at least one label"),
    "lengths differ": (X, Y[:-1], "39 labels for 40 examples"),
    "negative label": (X, Y - 1, r"`y` must be in 0 ... 1 .*labels from -1 to 0"),
    "one name": (X, np.full(40, "yes"), "two classes at least. Received: .*'yes'"),
    "a name and a number": (X, np.array(["a", 1] * 20, object), "`y` must be an array"),
    "gaps": (X, Y + 5, r"every class from 0 on.*TaskSpec\(7\).*: 2 classes: 5, 6"),
    "whole floats": (X, Y * 1.0, r"`y` must be integers.*TaskSpec\(2\)"),
    "one class": (X, 0 * Y, "two classes at least. Received: .* labels, all 0"),
    "too many axes": (X, Y[:, None, None], r"`y` must be \(n,\) or \(n, C\)"),
}


@pytest.mark.usefixtures("intact")
def test_bad_training_data(model):
    for what, (x, y, message) in BAD_DATA.items():
        with pytest.raises(ValueError, match=message) as caught:
            model.fit(x, y, task="b", verbose=0)
        assert "ask 'b'" in str(caught.value), what


@pytest.mark.usefixtures("intact")
def test_labels_that_do_not_fit_the_spec(model):
    for spec, y, message in [
        (kl.TaskSpec(2), Y + 1, r"be in 0 ... 1 \(2 classes\).*labels from 1 to 2"),
        (kl.TaskSpec(2), Y * 0.5, "`y` must be integers.*such as 0.5"),
        (kl.TaskSpec(2), np.where(Y, "b", "a"), r"class_names=\['a', 'b'\]"),
        (kl.TaskSpec(2, "binary"), Y * 2, "be 0 or 1 for a binary task"),
        (kl.TaskSpec(3, "multilabel"), Y, r"have shape \(40, 3\)"),
        (kl.TaskSpec(1, "regression"), with_nan_label(), "`y` must be finite"),
        (kl.TaskSpec(2, input_shape=(7,)), Y, r"inputs of shape \(7,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(kl.Task("b", spec, train=(X, y), validation_split=0), verbose=0)


@pytest.mark.usefixtures("intact")
def test_bad_validation_and_test_data(model):
    good = {"train": (X, Y), "validation": (X, Y), "test": (X, Y)}
    for split, data, message in [
        ("validation", (X[:, :5], Y), "validation of task 'b': `x` must have shape"),
        ("validation", (NAN, Y), "validation of task 'b': `x` must be finite"),
        ("validation", (X[:0], Y[:0]), "validation of task 'b': `x` must hold at"),
        ("test", (X, Y + 5), "test of task 'b': `y` must be in 0 ... 1"),
        ("test", lambda: (X, Y[1:]), "test of task 'b'.*39 labels for 40 examples"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(kl.Task("b", **{**good, split: data}), verbose=0)


@pytest.mark.usefixtures("intact")
def test_bad_names_and_settings(model):
    for name in (None, 3, b"b"):
        with pytest.raises(ValueError, match="`task` .a name."):
            model.fit(X, Y, task=name)
    with pytest.raises(ValueError, match="`name` of a Task must be a non-empty"):
        model.fit(X, Y, task="")
    for name, value in [("epochs", 0), ("epochs", -1), ("batch_size", 0)]:
        message = f"`{name}` must be an integer of at least 1. Received: {value}"
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, task="b", **{name: value})
        with pytest.raises(ValueError, match=message):
            model.fit_stream([kl.Task("b", train=(X, Y))], **{name: value})
    for call in (model.evaluate, lambda x, y, task: model.predict(x, task=task)):
        with pytest.raises(ValueError, match=r"learned task: \['a'\]. Received: 'b'"):
            call(X, Y, task="b")
    with pytest.raises(ValueError, match=r"learned task: \['a'\]. Received: 'b'"):
        model.task_model("b")
    with pytest.raises(ValueError, match="'a' was learned as"):
        model.fit(kl.Task("a", kl.TaskSpec(3), train=(X, np.arange(40) % 3)))


@pytest.mark.usefixtures("intact")
def test_bad_inputs_of_predict_and_evaluate(model):
    for x, message in [
        (X[:, :5], "`x` must have shape"),
        (X[:0], "`x` must have shape"),
        (X.astype(str), "`x` must be an array of numbers. Received: dtype <U"),
        (X.astype(object), "`x` must be an array of numbers. Received: dtype object"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.predict(x, task="a")
    for x, y, message in [
        (X, Y + 1, "test of task 'a': `y` must be in 0 ... 1"),
        (NAN, Y, "`x` must be finite"),
        (X, None, "`y` must be an array"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.evaluate(x, y, task="a")
    with pytest.raises(ValueError, match="'a' has no test data"):
        model.evaluate(kl.Task("a", train=(X, Y)))


@pytest.mark.usefixtures("intact")
def test_streams_that_are_none(model):
    task = kl.Task("b", train=(X, Y))
    for stream, message in [
        ([task, task], "needs a name of its own. Received: 'b' again at 1"),
        ([(X, Y)], "consists of Task objects"),
        ([], "`stream` gave no tasks"),
        (3, "must be an iterable of Task"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit_stream(stream, verbose=0)


@pytest.mark.parametrize("method", ["DEN", "Joint"])
def test_a_bad_task_in_a_stream_leaves_those_before_it(method, tmp_path):
    good, bad = kl.Task("b", train=(X, Y)), kl.Task("c", train=(NAN, Y))
    for tasks, message in [
        ([good, bad], "train of task 'c': `x` must be finite"),
        (iter([good, good]), "name of its own. Received: 'b' again at 1"),
    ]:
        model = new(method)
        with pytest.raises(ValueError, match=message):
            model.fit_stream(tasks, verbose=0)
        alone = new(method)
        alone.fit_stream([good], verbose=0)
        assert model.task_names == ["b"]
        assert (model.predict(X, task="b") == alone.predict(X, task="b")).all()


def test_bad_rows_deep_in_a_dataset_undo_the_task(model):
    """A `tf.data.Dataset` is only read as it is trained on."""
    tf = pytest.importorskip("tensorflow")
    predictions = model.predict(X, task="a")
    config = model.get_state()[0]
    x = np.concatenate([X] * 60)
    x[-1] = np.nan
    y = np.concatenate([Y] * 60)
    spec = kl.TaskSpec(2, input_shape=(6,))
    for data, message in [
        ((x, y), "block of train: `x` must be finite"),
        ((x[:-1], y[:-1] + 1), "block of train: `y` must be in 0 ... 1"),
        ((x[:0], y[:0]), "gave no examples"),
    ]:
        dataset = tf.data.Dataset.from_tensor_slices(data)
        task = kl.Task("b", spec, train=dataset, validation_split=0)
        with pytest.raises(ValueError, match=message):
            model.fit(task, verbose=0)
        assert model.get_state()[0] == config
        assert (model.predict(X, task="a") == predictions).all()


# Disks and files


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_while_checkpoints_are_written(tmp_path, monkeypatch):
    tasks = [kl.Task(n, train=(X, X[:, i] > 0)) for i, n in enumerate("ab")]
    whole = new("DEN")
    whole.fit_stream(tasks, verbose=0)
    synced, sync = [], os.fsync

    def fsync(file):
        synced.append(file)
        full() if len(synced) == 7 else sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    model = new("DEN")
    with pytest.raises(OSError, match="No space left on device"):
        model.fit_stream(tasks, checkpoint_dir=tmp_path, verbose=0)
    assert model.task_names == ["a"]
    assert not list(tmp_path.glob(".*")) and not list(tmp_path.glob("*.tmp"))
    # with room made, the same call goes on, in this process or another
    for resumed in (model, new("DEN")):
        resumed.fit_stream(tasks, checkpoint_dir=tmp_path, verbose=0)
        for name in "ab":
            expected = whole.predict(X, task=name)
            assert (resumed.predict(X, task=name) == expected).all()


def test_a_full_disk_while_a_preset_is_written(model, tmp_path, monkeypatch):
    directory = tmp_path / "preset"
    model.save_to_preset(directory)
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    predictions = model.predict(X, task="a")
    usage = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    for path in (directory, tmp_path / "other"):
        with pytest.raises(OSError, match="No space left for a preset.*4096 are free"):
            model.save_to_preset(path)
    monkeypatch.undo()
    monkeypatch.setattr(weights, "write", full)
    for path in (directory, tmp_path / "other"):
        with pytest.raises(OSError, match="No space left on device"):
            model.save_to_preset(path)
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert after == files
    assert (model.predict(X, task="a") == predictions).all()
    loaded = kl.LifelongModel.from_preset(directory)
    assert (loaded.predict(X, task="a") == predictions).all()


def test_a_full_disk_while_results_are_written(tmp_path, monkeypatch):
    result = new("Finetune").fit_stream([kl.Task("b", train=(X, Y))], verbose=0)
    path = tmp_path / "results.json"
    path.write_text("earlier")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        result.save(path)
    assert path.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("part", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.99, None])
def test_a_truncated_preset_is_named(part, kept, tmp_path):
    model = new("DEN")
    model.fit(X, Y, task="a", verbose=0)
    directory = tmp_path / "preset"
    model.save_to_preset(directory)
    path = directory / part
    if kept is None:
        path.unlink()
    else:
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(ValueError, match=f"is no preset .*{part}") as e:
        kl.LifelongModel.from_preset(directory)
    assert str(directory) in str(e.value)


def test_a_preset_whose_parts_do_not_belong_together(tmp_path):
    for name, width in (("one", 5), ("two", 7)):
        hidden = layers.Dense(width, name="d")
        # named, so that both files have as many bytes whatever was made before
        backbone = keras.Sequential([keras.Input((6,), name="x"), hidden], name="net")
        model = kl.Finetune(backbone, name="model")
        model.compile(keras.optimizers.Adam(name="adam"))
        model.fit(X, Y, task="a", verbose=0)
        model.save_to_preset(tmp_path / name)
    shutil.copy(tmp_path / "one/config.json", tmp_path / "two/config.json")
    with pytest.raises(ValueError, match="config.json: it is not what was written"):
        kl.LifelongModel.from_preset(tmp_path / "two")
    list_anew(tmp_path / "two")
    with pytest.raises(ValueError, match="model.weights.h5: .*shape"):
        kl.LifelongModel.from_preset(tmp_path / "two")
    config = json.loads((tmp_path / "one/config.json").read_text())
    config["config"]["sed"] = config["config"].pop("seed")
    (tmp_path / "one/config.json").write_text(json.dumps(config))
    list_anew(tmp_path / "one")
    with pytest.raises(ValueError, match="config.json: .*'sed'"):
        kl.LifelongModel.from_preset(tmp_path / "one")


def list_anew(preset):
    """Gives a changed preset digests that agree, as somebody does who means it."""
    metadata = json.loads((preset / layout.METADATA).read_text())
    metadata["files"] = layout.files(preset)
    (preset / layout.METADATA).write_text(json.dumps(metadata))


def test_the_program_and_a_user_file_that_is_bad(tmp_path, capsys):
    np.savez(tmp_path / "data.npz", x_train=X, y_train=Y, x_test=X, y_test=Y)
    raw = (tmp_path / "data.npz").read_bytes()

    def run(*settings):
        (tmp_path / "c.yaml").write_text(
            "method: {name: Finetune}\n"
            "backbone: {name: mlp, units: [4]}\n"
            f"stream: {{name: npz, path: {tmp_path / 'data.npz'}, permutations: 2}}\n"
            "training: {epochs: 1}\n"
        )
        words = ["run", "--config", str(tmp_path / "c.yaml")]
        words += ["--output_dir", str(tmp_path / "out")]
        for setting in settings:
            words += ["--set", setting]
        code, output = cli.main(words), capsys.readouterr()
        assert not (tmp_path / "out/results.json").exists()
        assert output.err.count("\n") == 1 and "Traceback" not in output.err
        return code, output.err

    code, error = run("training.epochs=0")
    assert code == 2 and "`training.epochs`" in error
    for data in (raw[: len(raw) // 2], b""):
        (tmp_path / "data.npz").write_bytes(data)
        code, error = run()
        assert code in (1, 2) and "data.npz" in error
    np.savez(tmp_path / "data.npz", x_train=NAN, y_train=Y, x_test=X, y_test=Y)
    code, error = run()
    assert code in (1, 2) and "finite" in error
