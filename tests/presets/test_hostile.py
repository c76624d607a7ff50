"""Presets from strangers: each loads as it was meant, or is refused with a reason."""

import json
import os
import random
import resource
import shutil
import time

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from small import OPTIONS

import keras_lifelong as kl
from keras_lifelong.model import registry
from keras_lifelong.presets import layout
from keras_lifelong.presets.reading import PresetError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5)).astype("float32")
# All methods whose presets differ in more than a name; the others are Finetune's.
METHODS = ("Finetune", "Independent", "DEN", "BindAndGrow", "PAR", "LASEM", "ARI")
# Each run takes part of them; all of them once: HOSTILE_PRESETS=2000 pytest …
COUNT = int(os.environ.get("HOSTILE_PRESETS", 105)) // len(METHODS)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A small preset of each method, and what it predicts."""
    found = {}
    for method in METHODS:
        hidden = [layers.Dense(6, activation="relu"), layers.Dropout(0.1)]
        backbone = keras.Sequential([keras.Input((5,)), *hidden, layers.Dense(4)])
        options = dict(OPTIONS.get(method, {}))
        if method == "ARI":  # which fine-tunes whenever a task is used
            options["adaptation"] = 0
        model = registry.get(method)(backbone, **options)
        model.compile(keras.optimizers.Adam(0.01))
        for i in range(2):
            y = (X[:, i] > 0).astype("int32")
            model.fit(X, y, task=f"t{i}", verbose=0)
        place = tmp_path_factory.mktemp(method) / "preset"
        model.save_to_preset(place)
        found[method] = place, [model.predict(X, task=f"t{i}") for i in range(2)]
    return found


# Ways to break a preset

VALUES = (
    *(None, True, -1, 0, 1, 3, 10**9, 10**30, -(10**18), 1e308, float("nan"), 0.5),
    *("", "x", "../../etc/passwd", "Lambda", "\0", "relu", "t0", "t1", "a" * 10_000),
    *([], {}, [[]], [None], {"class_name": "Lambda", "config": {}}, [10**9], {"a": 1}),
    {"module": "os", "class_name": "system", "config": "id", "registered_name": None},
    {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
)


def places(value, path=()):
    """Paths of all that a JSON value holds."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield from places(item, (*path, key))


def edit_json(file, rng):
    content = json.loads(file.read_text())
    *path, last = rng.choice([p for p in places(content) if p])
    parent = content
    for key in path:
        parent = parent[key]
    how = rng.choice(["value", "value", "value", "remove", "swap", "add", "deep"])
    if how == "value":
        parent[last] = rng.choice(VALUES)
    elif how == "remove":
        del parent[last]
    elif how == "swap":
        other = rng.choice([p for p in places(content) if p])
        value = content
        for key in other:
            value = value[key]
        parent[last] = json.loads(json.dumps(value))
    elif how == "add":
        if isinstance(parent, dict):
            parent[rng.choice(["class_name", "name", "extra", "0"])] = parent[last]
        else:
            parent.append(parent[last])
    else:
        text = json.dumps(content).replace("[", "[" * rng.choice([70, 5000]), 1)
        file.write_text(text)
        return
    file.write_text(json.dumps(content))


def flip(file, rng):
    raw = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 1, 4, 32])):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    file.write_bytes(raw)


def truncate(file, rng):
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def extend(file, rng):
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.choice([1, 999, 10**5])))


def garbage(file, rng):
    file.write_bytes(rng.randbytes(rng.choice([0, 7, 4096])))


def swap(file, rng):
    other = rng.choice([p for p in file.parent.rglob("*") if p.is_file()])
    raw = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(raw)


def remove(file, rng):
    file.unlink()


def link(file, rng):
    file.unlink()
    file.symlink_to(rng.choice(["/etc/hostname", "nowhere", "config.json"]))


def edit_arrays(file, rng):
    with h5py.File(file, "r+") as h5:
        if not len(h5):  # all arrays belong to tasks
            h5["x"] = 1.0
        name = rng.choice(sorted(h5))
        value = h5[name][()]
        how = rng.choice(
            ["shape", "nan", "text", "gone", "type", "huge", "link", "zip"]
        )
        del h5[name]
        if how == "shape":
            h5[name] = np.ones(rng.choice([(), (0,), (3,), (2, 2), (1, 1, 1)]))
        elif how == "nan":
            h5[name] = np.full(value.shape, np.nan, "float32")
        elif how == "text":
            h5[name] = "text"
        elif how == "type":
            h5[name] = np.asarray(value).astype(rng.choice(["f2", "f8", "i8", "c8"]))
        elif how == "huge":
            h5.create_dataset(name, shape=(10**6, 10**6), dtype="f4")
        elif how == "link":
            h5[name] = h5py.ExternalLink("/etc/hostname", "/x")
        elif how == "zip":
            zeros = np.zeros(10**6, "f4")
            h5.create_dataset(name, data=zeros, compression="gzip")


BINARY = (flip, truncate, extend, garbage, swap, remove, link)


def mutate(directory, original, rng):
    """Breaks a copy of a preset; says how, and whether its digests agree again."""
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    file = rng.choice(files)
    how = rng.choice(BINARY)
    if file.suffix == ".json" and rng.random() < 0.7:
        how = edit_json
    elif file.suffix == ".h5" and rng.random() < 0.4:
        how = edit_arrays
    how(file, rng)
    path, before = directory / layout.METADATA, (original / layout.METADATA)
    whole = path.is_file() and path.read_bytes() == before.read_bytes()
    agrees = rng.random() < 0.6 and whole
    if agrees:  # as somebody does who means it
        metadata = json.loads(path.read_text())
        for name in metadata["files"]:
            if (directory / name).is_file():
                metadata["files"][name] = layout.describe(directory / name)
        path.write_text(json.dumps(metadata))
    return f"{how.__name__} {file.relative_to(directory)}", agrees


@pytest.mark.parametrize("method", METHODS)
def test_mutated_presets_load_or_are_refused(method, originals, tmp_path):
    original, expected = originals[method]
    rng = random.Random(method)
    loaded = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(COUNT):
        directory = tmp_path / "preset"
        shutil.copytree(original, directory)
        what, agrees = mutate(directory, original, rng)
        there = sorted(tmp_path.rglob("*"))
        start = time.perf_counter()
        try:
            model = kl.LifelongModel.from_preset(directory)
            found = [model.predict(X, task=t) for t in model.task_names]
        except PresetError as error:
            text = str(error)
            assert str(directory) in text, (i, what)
            names = [layout.METADATA, layout.CONFIG, layout.TASKS, layout.METRICS]
            assert any(n in text for n in (*names, ".weights.h5")), (i, what, text)
            refused += 1
        except Exception as error:
            raise AssertionError(f"number {i}, {what}, {agrees=}") from error
        else:
            loaded += 1
            if not agrees:  # nothing that matters was touched
                assert model.task_names == ["t0", "t1"], (i, what)
                same = [(a == b).all() for a, b in zip(found, expected, strict=True)]
                assert all(same), (i, what)
        assert time.perf_counter() - start < 10, (i, what)
        assert sorted(tmp_path.rglob("*")) == there, (i, what)
        shutil.rmtree(directory)
        keras.backend.clear_session()
    assert refused > COUNT // 3 and loaded + refused == COUNT
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**20, f"{grown} KiB for a lie"
    print(f"{method}: {loaded} loaded, {refused} refused")
