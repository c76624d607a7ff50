"""Disks that are full and directories that may not be written: nothing is lost.

On real file systems of a few MiB in memory, which take root to mount.
"""

import json
import os
import shutil
import subprocess

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong import cli

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 20)).astype("float32")


@pytest.fixture
def disk(tmp_path):
    """A file system of 6 MiB, and a function that mounts it anew with other options."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"may not mount a file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def remount(place, options):
    words = ["mount", "-o", f"remount,{options}", str(place)]
    subprocess.run(words, check=True, capture_output=True)


def fill(place, left):
    """Fills a disk but for some bytes; returns the file to remove."""
    path = place / "filling"
    with open(path, "wb") as file:
        stats = os.statvfs(place)
        file.write(bytes(max(stats.f_bavail * stats.f_frsize - left, 0)))
    return path


def learned(tasks=1, units=64):
    backbone = keras.Sequential([keras.Input((20,)), layers.Dense(units, "relu")])
    model = kl.DEN(backbone, growth=4)
    model.compile(keras.optimizers.Adam(0.01))
    for i in range(tasks):
        model.fit(X, (X[:, i] > 0).astype("int32"), task=f"t{i}", verbose=0)
    return model


def contents(directory):
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("left", [0, 2**12, 2**17, 2**20])
def test_a_preset_on_a_full_disk(disk, left, monkeypatch):
    model = learned()
    model.save_to_preset(disk / "preset")
    before = contents(disk)
    model.fit(X, (X[:, 1] > 0).astype("int32"), task="t1", verbose=0)
    filling = fill(disk, left)
    with pytest.raises(OSError, match="No space left"):
        model.save_to_preset(disk / "preset")
    filling.unlink()
    assert contents(disk) == before
    assert kl.LifelongModel.from_preset(disk / "preset").task_names == ["t0"]
    model.save_to_preset(disk / "preset")
    assert kl.LifelongModel.from_preset(disk / "preset").task_names == ["t0", "t1"]


@pytest.mark.parametrize("left", [0, 2**12, 2**14])
def test_a_disk_that_fills_while_a_preset_is_written(disk, left, monkeypatch):
    """What is free was counted before; then somebody else took it."""
    model = learned()
    model.save_to_preset(disk / "preset")
    before = contents(disk)
    filling = fill(disk, left)
    usage = shutil.disk_usage(disk)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="No space left on device"):
        model.save_to_preset(disk / "preset")
    filling.unlink()
    assert contents(disk) == before


def test_a_read_only_directory(disk):
    model = learned()
    model.save_to_preset(disk / "preset")
    remount(disk, "ro")
    try:
        loaded = kl.LifelongModel.from_preset(disk / "preset")
        assert (loaded.predict(X) == model.predict(X)).all()
        for path in (disk / "preset", disk / "other"):
            with pytest.raises(OSError, match="Read-only file system"):
                model.save_to_preset(path)
        task = kl.Task("t1", train=(X, (X[:, 1] > 0).astype("int32")))
        with pytest.raises(OSError, match="Read-only file system"):
            model.fit_stream([task], checkpoint_dir=disk / "run", verbose=0)
        assert model.task_names == ["t0"]
    finally:
        remount(disk, "rw")


def program(directory, *more):
    words = ["run", "--config", "zoo_configs/finetune/digits.yaml"]
    words += ["--output_dir", str(directory), "--set", "training.epochs=1"]
    words += ["--set", "backbone.units=[64, 32]", "--set", "stream.num_tasks=3", *more]
    return cli.main(words)


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(
    disk, tmp_path, monkeypatch, capsys, request
):
    monkeypatch.chdir(request.config.rootpath)
    assert program(tmp_path / "whole") == 0
    filling = fill(disk, 2**16)
    assert program(disk / "run") == 1
    assert "No space left" in capsys.readouterr().err
    filling.unlink()
    assert program(disk / "run") == 0

    def results(directory):
        found = json.loads((directory / "results.json").read_text())
        return found["matrix"], found["growth"], found["params_by_task"]

    assert results(disk / "run") == results(tmp_path / "whole")
    remount(disk, "ro")
    try:
        assert program(disk / "run", "--overwrite") == 1
        assert "Read-only file system" in capsys.readouterr().err
    finally:
        remount(disk, "rw")
