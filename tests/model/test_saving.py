"""Saved and loaded, a model predicts the same and goes on as if never stopped."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model import registry
from keras_lifelong.presets import weights

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype("float32")
METHODS = registry.names()

pytestmark = pytest.mark.usefixtures("eager_module")


def fit(model, i):
    model.fit(X, (X[:, i] > 0).astype("int32"), task=f"odd/name {i}", verbose=0)


def new(method, **kwargs):
    hidden = [layers.Dense(6, activation="relu", name="first"), layers.Dropout(0.2)]
    hidden += [layers.Dense(5, activation="relu", name="second")]
    if method == "DEN":
        kwargs = {"growth": 3, "bucket": 8, "split_threshold": 1e-4, **kwargs}
    if method == "ARI":
        kwargs = {
            "memory_budget": 4,
            "training_budget": 3,
            "initial": 2,
            "storing_steps": 4,
            "estimator_epochs": 2,
            "adaptation": 1,
            "hypernetwork": {"name": "chunked", "chunk": 20, "units": [8]},
            **kwargs,
        }
    cls = registry.get(method)
    model = cls(keras.Sequential([keras.Input((5,)), *hidden]), **kwargs)
    model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy", "auroc"])
    return model


@pytest.fixture(scope="module", params=METHODS)
def model(request, eager_module):
    model = new(request.param)
    fit(model, 0)
    fit(model, 1)
    return model


def assert_same(a, b):
    assert a.task_names == b.task_names and a.growth == b.growth
    for name in a.task_names:
        assert (a.predict(X, task=name) == b.predict(X, task=name)).all()


def tasks_share(model):
    """Whether anything is used by both tasks; it may be chosen that nothing is."""
    if type(model).__name__ in ("LASEM", "DARTSTransfer"):
        return any(map(min, *(model.configuration(n) for n in model.task_names)))
    return type(model).__name__ != "Independent"


def keras_file(model, path):
    model.save(path / "model.keras")
    return keras.saving.load_model(path / "model.keras")


def weights_file(model, path):
    model.save_weights(path / "model.weights.h5")
    fresh = new(type(model).__name__)
    fresh.load_weights(path / "model.weights.h5")
    return fresh


def preset(model, path):
    model.save_to_preset(path / "preset")
    return kl.LifelongModel.from_preset(path / "preset")


@pytest.mark.parametrize("through", [keras_file, weights_file, preset])
def test_loaded_predicts_bit_identically(model, through, tmp_path):
    loaded = through(model, tmp_path)
    assert type(loaded) is type(model)
    assert_same(loaded, model)
    assert loaded.count_params() == model.count_params()


def test_loaded_learns_on_as_if_never_stopped(model, tmp_path):
    method = type(model).__name__
    stopped, never = preset(model, tmp_path), new(method)
    fit(never, 0)
    fit(never, 1)
    if method == "Joint":
        with pytest.raises(ValueError, match="Not at hand are"):
            fit(stopped, 2)
        assert_same(stopped, model)
        return
    fit(stopped, 2)
    fit(never, 2)
    assert_same(stopped, never)
    pairs = zip(stopped.get_active(), never.get_active(), strict=True)
    assert all((a == b).all() for a, b in pairs)


@pytest.mark.parametrize("i", [0, 1])
def test_one_task_of_a_preset_predicts_the_same(model, tmp_path, i):
    model.save_to_preset(tmp_path / "preset")
    listed = json.loads((tmp_path / "preset/tasks.json").read_text())
    gone, kept = listed[1 - i], listed[i]
    if gone["file"] is not None:  # what only the other task uses is not even there
        (tmp_path / "preset" / gone["file"]).unlink()
    part = kl.LifelongModel.from_preset(tmp_path / "preset", tasks=[kept["name"]])
    assert part.task_names == [kept["name"]]
    whole = model.predict(X, task=kept["name"])
    assert (part.predict(X, task=kept["name"]) == whole).all()
    held = {key for key in model.memory if gone["name"] in key}
    assert not held & part.memory.keys()


@pytest.mark.parametrize("i", [0, 1])
def test_a_removed_task_frees_its_own_and_leaves_the_other(model, tmp_path, i):
    less = preset(model, tmp_path)
    gone, kept = (f"odd/name {j}" for j in (i, 1 - i))
    before = less.count_params()
    removal = less.remove_task(gone)
    assert less.task_names == [kept]
    assert (less.predict(X, task=kept) == model.predict(X, task=kept)).all()
    assert removal.parameters == before - less.count_params() >= 0
    assert not any(gone in key for key in less.memory)
    for users in removal.stays.values():
        assert users == [kept]
    if type(model).__name__ == "Independent":
        assert less.count_params() == before / 2
    assert bool(removal.stays) == tasks_share(model)
    assert (kept in str(removal)) == tasks_share(model)
    with pytest.raises(ValueError, match="must be the name of a learned task"):
        less.remove_task(gone)
    assert_same(preset(less, tmp_path), less)
    if type(model).__name__ != "Joint":  # which has not the other task's data
        fit(less, i)  # it can be learned again
        assert less.task_names == [kept, gone]
        if type(model).__name__ == "Independent":  # where nothing is forgotten
            assert (less.predict(X, task=kept) == model.predict(X, task=kept)).all()


def test_all_tasks_removed_and_learned_anew(model, tmp_path):
    empty = preset(model, tmp_path)
    for name in model.task_names:
        empty.remove_task(name)
    assert empty.task_names == []
    fit(empty, 2)
    assert empty.predict(X).shape == model.predict(X, task=model.task_names[0]).shape


def test_den_grew_in_these_tests(model):
    if type(model).__name__ == "DEN":
        kinds = {entry["kind"] for entry in model.growth}
        assert {"initial", "add", "split", "select"} <= kinds


def test_presets_are_plain_data_and_refused_when_broken(tmp_path):
    model = new("Finetune")
    fit(model, 0)
    directory = tmp_path / "preset"
    model.save_to_preset(directory)
    assert json.loads((directory / "tasks.json").read_text())[0]["name"] == "odd/name 0"
    model.save_to_preset(directory)  # replaces
    assert kl.Finetune.from_preset(directory).task_names == ["odd/name 0"]
    with pytest.raises(ValueError, match="which is no DEN"):
        kl.DEN.from_preset(directory)
    untrained = kl.LifelongModel.from_preset(directory, load_weights=False)
    assert untrained.task_names == []
    (directory / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"is no preset.*config\.json: it is cut off"):
        kl.LifelongModel.from_preset(directory)
    (directory / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="must be new, empty or an earlier preset"):
        model.save_to_preset(directory)
    assert (directory / "mine.txt").exists()


def test_failed_saving_leaves_the_earlier_preset(tmp_path, monkeypatch):
    model = new("Finetune")
    fit(model, 0)
    directory = tmp_path / "preset"
    model.save_to_preset(directory)
    fit(model, 1)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "write", full)
    with pytest.raises(OSError, match="No space left"):
        model.save_to_preset(directory)
    assert kl.LifelongModel.from_preset(directory).task_names == ["odd/name 0"]
    assert [p.name for p in tmp_path.iterdir()] == ["preset"]
