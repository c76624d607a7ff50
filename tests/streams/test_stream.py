"""Streams of tasks, and the registry."""

from __future__ import annotations

import doctest
import importlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskStream
from keras_lifelong.streams import stream as stream_module

DATA = np.zeros((4, 2), "float32"), np.arange(4) % 2


def make(index):
    return Task(f"task_{index}", train=DATA)


def test_list_is_checked_at_once():
    stream = TaskStream([make(0), make(1)])
    assert len(stream) == stream.num_tasks == 2 and stream.is_sized
    assert [task.name for task in stream] == ["task_0", "task_1"]
    assert stream[-1].name == "task_1"
    with pytest.raises(IndexError):
        stream[2]
    with pytest.raises(
        ValueError, match="name of its own. Received: 'task_0' again at 1"
    ):
        TaskStream([make(0), make(0)])
    with pytest.raises(ValueError, match="Task objects. Received: 3 at 0"):
        TaskStream([3])


def test_fifty_tasks_cost_nothing_until_they_are_read():
    made, loaded = [], []

    def lazy(index):
        def load():
            loaded.append(index)
            return DATA

        made.append(index)
        return Task(f"task_{index}", train=load)

    stream = TaskStream(lazy, num_tasks=50)
    assert len(stream) == 50 and made == []
    assert [task.name for task in itertools.islice(stream, 3)][-1] == "task_2"
    assert stream[49].name == "task_49" and loaded == []
    assert len(stream[49].train[0]) == 3
    assert set(loaded) == {49}


def test_unknown_length():
    stream = TaskStream(make)
    assert not stream.is_sized and stream[1000].name == "task_1000"
    with pytest.raises(TypeError, match="unknown number of tasks"):
        len(stream)
    with pytest.raises(IndexError):
        stream[-1]
    assert len(list(itertools.islice(stream, 5))) == 5
    ends = TaskStream(lambda i: [make(0), make(1)][i])
    assert len(list(ends)) == len(list(ends)) == 2


def test_generators_are_read_once():
    stream = TaskStream(make(i) for i in range(2))
    assert not stream.is_sized
    assert len(list(stream)) == 2
    with pytest.raises(ValueError, match="read once"):
        list(stream)
    with pytest.raises(TypeError, match="iterated"):
        stream[0]


def test_duplicates_are_seen_on_the_way():
    stream = TaskStream(lambda index: make(0), num_tasks=2)
    with pytest.raises(ValueError, match="'task_0' again at 1"):
        list(stream)


@pytest.mark.parametrize("tasks, num_tasks", [(3, None), ([], 2)])
def test_bad_arguments(tasks, num_tasks):
    with pytest.raises(ValueError, match="Received"):
        TaskStream(tasks, num_tasks=num_tasks)


# === Registry ===

NAMES = """cifar100_superclass digits mnist_variation npz permuted_mnist rotated_mnist
split_cifar10 split_cifar100 split_mnist""".split()


def test_names_and_descriptions():
    assert set(NAMES) <= set(streams.names())
    for name in NAMES:
        assert "Source: " in streams.describe(name)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "npz"])
def test_common_arguments(name, fake_data):
    arguments = {"train_per_task": 30, "seed": 3}
    if name == "mnist_variation":
        arguments["images_per_class"] = [20, 5, 10]
    stream = streams.get(name, num_tasks=2, head="shared", **arguments)
    assert stream.name == name and len(stream) == 2
    assert fake_data.calls == []
    assert json.loads(json.dumps(stream.config)) == stream.config
    again = streams.get(**stream.config)
    for task, other in zip(stream, again, strict=True):
        assert task.spec.head == "shared"
        assert len(task.train[0]) == 30
        for split in ("train", "validation", "test"):
            what = f"{split} of task {task.name!r}"
            data, trained = getattr(task, split), split == "train"
            streams.check_split(*data, task.spec, what, trained)
            np.testing.assert_array_equal(
                *(getattr(t, split)[0] for t in (task, other))
            )
    x = streams.get(name, standardize=True, **arguments)[0].train[0]
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(x.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axes), 1, atol=1e-4)


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        (
            "permuted_mnst",
            {},
            "no stream 'permuted_mnst'. Did you mean 'permuted_mnist'.*Known: awa",
        ),
        ("digits", {"num_task": 2}, "`digits.num_task`.*Nearest: `digits.num_tasks`"),
        ("digits", {"num_tasks": "2"}, "`digits.num_tasks`.*integer.*'2'"),
        ("digits", {"num_tasks": 6}, "`num_tasks`.*1 ... 5.*6"),
        ("digits", {"num_tasks": 0}, "`num_tasks`.*1 ... 5.*0"),
        ("digits", {"train_per_task": 0}, "`train_per_task`.*1 or more.*0"),
        ("digits", {"seed": -1}, "`seed`.*0 or more.*-1"),
        ("digits", {"head": "both"}, "`head`.*per_task, shared.*'both'"),
        (
            "split_mnist",
            {"classes_per_task": 3},
            r"`classes_per_task`.*\[2, 5, 10\].*3",
        ),
        ("split_cifar100", {"labels": "one_hot"}, "labels.*one_vs_rest.*'one_hot'"),
        ("permuted_mnist", {"num_tasks": 0}, "`num_tasks`.*1 or more.*0"),
        ("npz", {}, "`npz.path` is required"),
    ],
)
def test_bad_names_and_arguments(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        streams.get(name, **arguments)


def test_numpy_values_and_paths_are_plain_data(fake_data):
    stream = streams.get(
        "rotated_mnist", angles=np.linspace(0, 90, 3), seed=np.int64(1)
    )
    assert stream.config["angles"] == [0.0, 45.0, 90.0]


def test_register(monkeypatch):
    for table in (stream_module._STREAMS, stream_module):
        name = "_SOURCES" if table is stream_module else "_entries"
        monkeypatch.setattr(table, name, dict(getattr(table, name)))

    @streams.register("mine", source="me")
    def mine(num_tasks: int = 3):
        """My own."""
        return TaskStream(make, num_tasks=num_tasks)

    assert streams.factory("mine") is mine
    assert streams.describe("mine") == "My own. Source: me."
    assert streams.get("mine").config == {"name": "mine", "num_tasks": 3}


def test_importing_streams_is_cheap():
    code = "import sys, keras_lifelong.streams; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout.split()
    for heavy in ("keras", "tensorflow", "tensorflow_datasets", "sklearn", "scipy"):
        assert heavy not in loaded


@pytest.mark.parametrize(
    "name", "grouping digits rotation sampling stream task".split()
)
def test_examples_in_docstrings(name):
    module = importlib.import_module(f"keras_lifelong.streams.{name}")
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
