"""What many tasks cost: no step asks every task about every other."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model.removal import RemovalMixin
from keras_lifelong.presets import layout
from keras_lifelong.presets import origin

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
TASKS = 30


def learn(model, name):
    """A task that is known, and not trained: what is kept is what counts here."""
    task = kl.Task(name, train=(X, np.arange(8) % 2))
    model.fit(task, learn=lambda loaded: (x for x in ()), verbose=0)


@pytest.fixture
def model():
    backbone = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    made = kl.Finetune(backbone)
    made.compile("adam")
    for i in range(TASKS):
        learn(made, f"t{i}")
    return made


def test_loading_one_task_of_many_asks_few_others(model, tmp_path, monkeypatch):
    asked, keys = [], RemovalMixin.task_keys
    monkeypatch.setattr(
        *(RemovalMixin, "task_keys"),
        lambda self, name: (asked.append(name), keys(self, name))[1],
    )
    model.save_to_preset(tmp_path / "p")
    assert len(asked) == TASKS
    asked.clear()
    loaded = kl.LifelongModel.from_preset(tmp_path / "p", tasks=["t7"])
    assert loaded.task_names == ["t7"] and len(asked) <= 2 * TASKS
    assert (loaded.predict(X) == model.predict(X, task="t7")).all()


def test_a_preset_names_its_newest_ancestors_only(tmp_path, monkeypatch):
    """Each names all its tasks: saved after each task, presets would grow with their
    square, and after a thousand could not be loaded."""
    monkeypatch.setattr(origin, "KEPT", 2)
    monkeypatch.setattr(origin, "MOST", 2)
    backbone = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model = kl.Finetune(backbone)
    model.compile("adam")
    seen = []
    for i in range(5):
        learn(model, f"t{i}")
        model.save_to_preset(tmp_path / "p")
        model = kl.LifelongModel.from_preset(tmp_path / "p")
        found = json.loads((tmp_path / "p" / layout.METADATA).read_text())
        assert [each["id"] for each in found["lineage"]] == seen[-2:]
        seen.append(found["id"])


def test_names_of_files_differ_in_more_than_case():
    taken = set()
    for name in ("A", "a", "B", "b"):
        taken.add(layout.task_file(name, taken).casefold())
    assert len(taken) == 4
