"""Presets where little is left: descriptors, memory, a right to write, a clock."""

import datetime
import os
import resource
import time

import pytest
from broken import Broken
from broken import entry

import keras_lifelong as kl
from keras_lifelong.presets.reading import PresetError


@pytest.fixture
def few():
    """Sets a limit of this process above what it has now, for a while."""
    before = {}

    def limit(kind, value):
        before.setdefault(kind, resource.getrlimit(kind))
        resource.setrlimit(kind, (value, before[kind][1]))

    yield limit
    for kind, found in before.items():
        resource.setrlimit(kind, found)


def test_few_descriptors(tmp_path, few):
    """64 in all are few for a process with TensorFlow; here, 16 more than it has."""
    model = kl.LifelongModel.from_preset("finetune_digits")
    model.results.clear()
    model.save_to_preset(tmp_path / "warm")
    few(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 16)
    for _ in range(3):
        model.save_to_preset(tmp_path / "d")
        loaded = kl.LifelongModel.from_preset(tmp_path / "d")
    assert loaded.task_names == model.task_names
    few(resource.RLIMIT_NOFILE, 3)
    with pytest.raises((OSError, ValueError), match="[Tt]oo many open files"):
        kl.LifelongModel.from_preset(tmp_path / "d")
    with pytest.raises((OSError, ValueError), match="[Tt]oo many open files"):
        model.save_to_preset(tmp_path / "d")
    few(resource.RLIMIT_NOFILE, 256)
    assert kl.LifelongModel.from_preset(tmp_path / "d").task_names == model.task_names


NUMPY = {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S400000000"}}
GREEDY = {
    "array": entry(
        "keras.layers",
        "Dense",
        {
            "name": "h",
            "units": 2,
            "bias_initializer": entry(
                "keras.initializers", "Constant", {"value": NUMPY}
            ),
        },
    ),
    "weights": entry("keras.layers", "Dense", {"name": "h", "units": 10**7}),
    "activations": entry(
        "keras.layers", "UpSampling2D", {"name": "h", "size": [10**4, 10**4]}
    ),
}


@pytest.mark.parametrize("name", GREEDY)
def test_little_memory(tmp_path, few, name):
    """As `ulimit -v` has it: 512 MiB more than the process has, and no MemoryError."""
    kl.LifelongModel.from_preset("finetune_digits")  # what Keras takes once
    broken = Broken(tmp_path / "preset")
    broken.layers.insert(2 if name != "activations" else 1, GREEDY[name])
    path = broken.save()
    pages = int(open("/proc/self/statm").read().split()[0])
    few(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + 2**29)
    for load in (True, False):
        with pytest.raises(PresetError) as caught:
            kl.LifelongModel.from_preset(path, load_weights=load)
        assert "Memory" not in str(caught.value)


def test_a_clock_that_goes_back(tmp_path, monkeypatch):
    model = kl.LifelongModel.from_preset("finetune_digits")
    model.results.clear()

    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1970, 1, 1, tzinfo=tz)

    for year in range(3):
        now = time.time() - 10**8 * year
        monkeypatch.setattr(time, "time", lambda now=now: now)
        monkeypatch.setattr(datetime, "datetime", Past)
        model.save_to_preset(tmp_path / "d")
        os.utime(tmp_path / "d", (2**32, 2**32))  # written in another century
        assert [p.name for p in tmp_path.iterdir()] == ["d"]
        loaded = kl.LifelongModel.from_preset(tmp_path / "d", load_weights=False)
        assert loaded.options == model.options
