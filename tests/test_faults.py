"""Whatever interrupts learning: it goes on, or says what is broken; nothing is lost.

Interruptions inside one process, at every write of a checkpoint; `test_resume.py`
kills whole processes.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time

import keras
import numpy as np
import processes
import pytest
from keras import layers
from small import OPTIONS

import keras_lifelong as kl
from keras_lifelong import cli
from keras_lifelong.model import registry
from keras_lifelong.training import checkpoint

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")
UNEQUAL = ("train_seconds_by_task", "wall_seconds", "compile_count", "peak_rss_mib")

pytestmark = pytest.mark.usefixtures("eager")
# How well a set is stored is not the subject.
QUICK = {"ARI": {**OPTIONS["ARI"], "storing_steps": 4, "estimator_epochs": 2}}


class Stop(Exception):
    """As good as a kill: nothing after it is executed."""


def new(method="DEN", optimizer=None, **kwargs):
    backbone = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(6, activation="relu", name="lower"),
            layers.Dropout(0.2),
            layers.Dense(5, activation="relu", name="upper"),
        ]
    )
    method, _, search = method.partition(" ")
    if search:
        kwargs = {"search": search, **kwargs}
    model = registry.get(method)(
        backbone, **{**OPTIONS, **QUICK}.get(method, {}) | kwargs
    )
    model.compile(optimizer or keras.optimizers.Adam(0.01), metrics=["accuracy"])
    return model


def stream(tasks=2):
    def make(i):
        y = (X[:, i] * X[:, i + 1] > 0).astype("int32")
        return kl.Task(f"t{i}", train=(X, y), test=(X[:20], y[:20]))

    return kl.TaskStream(make, num_tasks=tasks)


def learn(model, directory, tasks=2, **kwargs):
    kwargs = {"batch_size": 32, "verbose": 0, **kwargs}
    return model.fit_stream(stream(tasks), checkpoint_dir=directory, **kwargs)


def outcome(result):
    content = json.loads(result.to_json())
    return {k: v for k, v in content.items() if k not in UNEQUAL}


def predictions(model):
    return [model.predict(X, task=name) for name in model.task_names]


def assert_same(model, result, expected):
    assert outcome(result) == expected[0]
    pairs = zip(predictions(model), expected[1], strict=True)
    assert all((a == b).all() for a, b in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of uninterrupted runs, by method: results, predictions, number of phases."""
    kept = {}

    def run(method="DEN"):
        if method not in kept:
            phases, record = [], checkpoint.Checkpoint.record

            def counted(*arguments):
                phases.append(arguments)
                record(*arguments)

            model = new(method)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(checkpoint.Checkpoint, "record", counted)
                result = learn(model, tmp_path_factory.mktemp(method))
            kept[method] = (outcome(result), predictions(model), len(phases))
        return kept[method]

    return run


@pytest.fixture
def writes(monkeypatch):
    """Counts the files written, and raises `Stop` in place of number `stop_at`."""

    class Writes:
        count, stop_at = 0, None

    counter, write = Writes(), checkpoint.write_atomic

    def counted(path, content):
        if counter.count == counter.stop_at:
            raise Stop
        counter.count += 1
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomic", counted)
    return counter


# Interrupted and resumed


def test_stopped_at_any_write_it_ends_the_same(whole, writes, tmp_path):
    expected = whole()
    kinds = {entry["kind"] for entry in expected[0]["growth"]}
    assert {"add", "split", "select"} <= kinds
    writes.count = 0
    learn(new(), tmp_path / "count")
    total = writes.count
    assert total == 2 * (1 + 1) + 2 * (1 + 4) + 2  # tasks, their phases, the end
    for k in range(total):
        directory = tmp_path / str(k)
        writes.count, writes.stop_at = 0, k
        model = new()
        with pytest.raises(Stop):
            learn(model, directory)
        # what it knows is what it had learned whole; the last write ends the stream
        assert len(model.task_names) == (0 if k < 4 else 1 if k < 14 else 2)
        writes.stop_at = None
        model = new()
        assert_same(model, learn(model, directory), expected)
        assert not list(directory.glob(".*"))


def test_stopped_again_and_again_it_ends_the_same(whole, writes, tmp_path):
    stops = 0
    while True:
        writes.count, writes.stop_at = 0, 3
        model = new()
        try:
            result = learn(model, tmp_path)
            break
        except Stop:
            stops += 1
    assert stops >= 4
    assert_same(model, result, whole())


ALL = [
    *(name for name in registry.names() if name != "ARI"),
    # thousands of operations in a step: to run them one by one takes longest
    pytest.param("ARI", marks=pytest.mark.traced),
    "LASEM brute_force",
]


@pytest.mark.parametrize("method", ALL)
def test_every_method_resumes(method, whole, tmp_path, monkeypatch):
    """Stopped before and after the last phase of the second task was recorded."""
    record, last = checkpoint.Checkpoint.record, whole(method)[2]
    for before in (True, False):
        phases = []

        def stopping(self, *arguments, before=before, phases=phases):
            phases.append(0)
            if not before or len(phases) < last:
                record(self, *arguments)
            if len(phases) == last:
                raise Stop

        directory = tmp_path / f"{before}"
        monkeypatch.setattr(checkpoint.Checkpoint, "record", stopping)
        with pytest.raises(Stop):
            learn(new(method), directory)
        monkeypatch.setattr(checkpoint.Checkpoint, "record", record)
        model = new(method)
        assert_same(model, learn(model, directory), whole(method))


def test_finished_phases_are_not_trained_again(whole, tmp_path, monkeypatch):
    trained = []

    class Count(keras.callbacks.Callback):
        def on_phase_begin(self, task, phase):
            trained.append((task, phase))
            if len(trained) == 4:
                raise Stop

    with pytest.raises(Stop):
        learn(new(), tmp_path, callbacks=[Count()])
    first, trained = trained[:3], []
    model = new()
    result = learn(model, tmp_path, callbacks=[Count()])
    assert [task for task, _ in first] == ["t0", "t1", "t1"]
    assert [name for _, name in trained] == ["expansion", "final training"]
    assert_same(model, result, whole())
    trained = []
    model = new()
    assert_same(model, learn(model, tmp_path, callbacks=[Count()]), whole())
    assert not trained


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_leaves_the_model_as_it_was(error):
    model = new()
    model.fit(stream()[0], verbose=0)
    before, growth = predictions(model), list(model.growth)
    config, arrays = model.get_state()

    class Interrupt(keras.callbacks.Callback):
        def on_phase_begin(self, task, phase):
            self.phase = phase

        def on_epoch_end(self, epoch, logs):
            if self.phase == "final training":
                assert model.growth != growth  # it has grown by then
                raise error

    for _ in range(2):
        with pytest.raises(error):
            model.fit(stream()[1], callbacks=[Interrupt()], verbose=0)
        assert model.task_names == ["t0"] and model.growth == growth
        assert (predictions(model)[0] == before[0]).all()
    now_config, now = model.get_state()
    assert now_config == config and now.keys() == arrays.keys()
    assert all((now[key] == arrays[key]).all() for key in arrays)
    # and it learns the task then as if nothing had been
    other = new()
    for m in (model, other):
        if m is other:
            m.fit(stream()[0], verbose=0)
        m.fit(stream()[1], verbose=0)
    pairs = zip(predictions(model), predictions(other), strict=True)
    assert all((a == b).all() for a, b in pairs)


# Broken or foreign checkpoints


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Where the one interrupted run of this file is kept, once a test has made it."""
    return tmp_path_factory.mktemp("stopped") / "checkpoint"


@pytest.fixture
def interrupted(tmp_path, writes, stopped):
    """A directory in which the second task's first phase was the last one stored."""
    if not stopped.exists():
        writes.stop_at = 8
        with pytest.raises(Stop):
            learn(new(), stopped)
        writes.stop_at = None
    directory = tmp_path / "checkpoint"
    shutil.copytree(stopped, directory)
    names = {path.name for path in directory.iterdir()}
    assert names == {"state.json", "model-1.npz", "phase-1-0.npz"}
    return directory


def cut(raw):
    return raw[: len(raw) // 2]


def flip(raw):
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 255]) + raw[middle + 1 :]


BREAKS = {"cut": cut, "empty": lambda raw: b"", "garbage": lambda raw: b"\0" * 999}


@pytest.mark.parametrize("how", [*BREAKS, "flipped", "gone"])
@pytest.mark.parametrize("name", ["state.json", "model-1.npz", "phase-1-0.npz"])
def test_a_broken_checkpoint_is_named(interrupted, name, how):
    path = interrupted / name
    raw = path.read_bytes()
    if how == "gone":
        if name == "state.json":
            return  # then there is no checkpoint
        path.unlink()
    elif how == "flipped":
        if name == "state.json":
            return  # text without a checksum
        path.write_bytes(flip(raw))
    else:
        path.write_bytes(BREAKS[how](raw))
    files = {p: p.read_bytes() for p in interrupted.iterdir()}
    model = new()
    with pytest.raises(ValueError, match="cannot be read") as caught:
        learn(model, interrupted)
    assert str(interrupted) in str(caught.value) and name in str(caught.value)
    assert "Remove it to start anew" in str(caught.value)
    assert model.task_names == []
    assert {p: p.read_bytes() for p in interrupted.iterdir()} == files


@pytest.mark.parametrize("text", ["[]", "{}", '{"run": 1}', '{"run": {}, "model": 3}'])
def test_json_that_is_no_checkpoint(interrupted, text):
    (interrupted / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"cannot be read: state\.json"):
        learn(new(), interrupted)


@pytest.mark.parametrize(
    ("model", "kwargs", "differs"),
    [
        ({"growth": 3}, {}, "arguments.growth"),
        ({"seed": 1}, {}, "arguments.seed"),
        ({"method": "Finetune"}, {}, "method"),
        ({"optimizer": keras.optimizers.Adam(0.02)}, {}, "compile.optimizer.config"),
        ({}, {"epochs": 2}, "training.epochs"),
        ({}, {"batch_size": 16}, "training.batch_size"),
    ],
)
def test_another_run_is_refused(interrupted, model, kwargs, differs):
    model = new(**model)
    with pytest.raises(ValueError, match=f"is of another run.*{differs}"):
        learn(model, interrupted, **kwargs)
    assert model.task_names == []


def test_another_stream_is_refused(interrupted):
    def tasks(*names):
        return [kl.Task(n, train=(X, X[:, 0] > 0)) for n in names]

    named = kl.TaskStream(tasks("t0", "t1"), name="mine", config={"name": "mine"})
    with pytest.raises(
        ValueError,
        match=r"stream\.name \('custom' there, 'mine' here\), stream\.config",
    ):
        new().fit_stream(named, checkpoint_dir=interrupted, batch_size=32, verbose=0)
    other = tasks("monday", "t1")
    with pytest.raises(ValueError, match="another stream: its task 0 is 't0'"):
        new().fit_stream(other, checkpoint_dir=interrupted, batch_size=32, verbose=0)


def test_other_files_in_the_directory_stay(tmp_path):
    mine = ["thesis.txt", "model.npz", "model-1.npz.bak", ".hidden"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / "folder").mkdir()
    left = [".state.json.123.tmp", ".phase-0-1.npz.7.tmp", "model-7.npz"]
    for name in left:
        (tmp_path / name).write_text("of a killed run")
    learn(new("Finetune"), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {*mine, "folder"} <= names and not names & set(left)


# The program


def tree(directory):
    paths = sorted(p for p in directory.rglob("*") if p.is_file())
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


def test_the_program_resumes_refuses_and_leaves_alone(
    tmp_path, monkeypatch, capsys, request
):
    monkeypatch.chdir(request.config.rootpath)

    def run(directory, *more):
        words = ["run", "--config", "zoo_configs/den/digits.yaml"]
        words += ["--output_dir", str(tmp_path / directory)]
        for setting in (
            "backbone.units=[8]",
            "training.epochs=1",
            "stream.num_tasks=2",
            "stream.train_per_task=64",
            *more,
        ):
            words += ["--set", setting]
        return cli.main(words)

    def results(directory):
        found = json.loads((tmp_path / directory / "results.json").read_text())
        return {k: v for k, v in found.items() if k not in UNEQUAL}

    assert run("whole") == 0
    files = tree(tmp_path / "whole")
    assert run("whole") == 0
    assert "is finished; nothing changed" in capsys.readouterr().out
    assert run("whole", "method.growth=5") == 2
    assert "method.growth is 4 there, 5 here" in capsys.readouterr().err
    assert tree(tmp_path / "whole") == files

    write, count = checkpoint.write_atomic, []

    def interrupt(path, content):
        count.append(path)
        if len(count) == 9:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomic", interrupt)
    assert run("stopped") == 130
    assert "interrupted" in capsys.readouterr().err
    assert run("stopped", "stream.num_tasks=3") == 2
    assert "an interrupted run of another configuration" in capsys.readouterr().err
    path = tmp_path / "stopped/checkpoint/model-1.npz"
    raw = path.read_bytes()
    path.write_bytes(cut(raw))
    assert run("stopped") == 1
    error = capsys.readouterr().err
    assert str(path.parent) in error and "model-1.npz" in error
    assert error.count("\n") == 1
    path.write_bytes(raw)
    assert run("stopped") == 0
    assert results("stopped") == results("whole")


@pytest.mark.skipif("config.getoption('-m') != 'slow'", reason="minutes: -m slow")
def test_twenty_kills_a_phase_or_two_apart(tmp_path, request):
    """Tasks are resumed several times over, and killed while files are written."""

    def start(directory):
        words = ["run", "--output_dir", str(directory)]
        words += ["--config", "zoo_configs/den/digits.yaml"]
        words += ["--set", "training.epochs=5"]
        return processes.Process(words, cwd=request.config.rootpath)

    def stamp(directory):
        path = directory / "checkpoint/state.json"
        return path.stat().st_mtime_ns if path.exists() else None

    def results(directory):
        found = json.loads((directory / "results.json").read_text())
        return {k: v for k, v in found.items() if k not in UNEQUAL}

    whole = tmp_path / "whole"
    assert start(whole).wait() == 0
    rng, kills, run = random.Random(0), 0, 0
    while kills < 20:
        run += 1
        directory = tmp_path / str(run)
        while not (directory / "report.html").exists():
            process = start(directory)
            changes = rng.choice([1, 1, 2, 3]) if kills < 20 else -1
            seen = stamp(directory)
            while process.returncode is None:
                time.sleep(0.002)
                if changes and stamp(directory) != seen:
                    seen, changes = stamp(directory), changes - 1
                    if not changes:
                        time.sleep(rng.uniform(0, 0.3))
                        process.kill()
            code = process.wait()
            assert code in (0, -signal.SIGKILL)
            kills += code != 0
        assert results(directory) == results(whole), f"after {kills} kills"
        print(f"run {run}: the same after {kills} kills")
    assert kills == 20
