"""What a preset holds, who it descends from, and how it is published."""

import json
import os
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest
import yaml
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model.results import versions
from keras_lifelong.presets import json_text
from keras_lifelong.presets import layout
from keras_lifelong.presets import places
from keras_lifelong.presets.reading import Preset
from keras_lifelong.presets.reading import PresetError
from keras_lifelong.presets.reading import is_safe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")


def task(i):
    y = (X[:, i] > 0).astype("int32")
    return kl.Task(f"t{i}", train=(X, y), test=(X, y))


def learned(tasks=2, method=kl.DEN, **kwargs):
    backbone = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu", name="d")])
    model = method(backbone, **kwargs)
    model.compile(keras.optimizers.Adam(0.01))
    stream = kl.TaskStream([task(i) for i in range(tasks)], name="signs")
    model.fit_stream(stream, batch_size=20, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return learned()


@pytest.fixture(scope="module")
def preset(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("presets") / "signs"
    model.save_to_preset(directory)
    return directory


def read(directory, name):
    return json.loads((directory / name).read_text())


def test_every_file_is_there_and_listed(model, preset):
    files = {p.relative_to(preset).as_posix() for p in preset.rglob("*") if p.is_file()}
    figures = {"accuracy_over_tasks", "accuracy_matrix", "growth"}
    assert files == {
        *("config.json", "model.weights.h5", "tasks.json", "metrics.json"),
        *("experiment.yaml", "metadata.json", "README.md"),
        *(f"figures/{name}.png" for name in figures),
        *(f"tasks/t{i}.weights.h5" for i in range(2)),
    }
    metadata = read(preset, "metadata.json")
    assert metadata["files"].keys() == files - {"metadata.json"}
    assert metadata["files"] == layout.files(preset)
    assert metadata["parameters"] == model.count_params()
    assert metadata["versions"] == versions()
    assert metadata["lineage"] == [] and metadata["method"] == "DEN"
    metrics = read(preset, "metrics.json")
    (result,) = metrics["results"]
    assert kl.Result.from_dict(result) == model.results[-1]
    assert metrics["growth"] == model.growth
    experiment = yaml.safe_load((preset / "experiment.yaml").read_text())
    assert experiment["method"]["name"] == "DEN"
    assert experiment["method"]["growth"] == model.options.growth


def test_results_are_loaded_and_saved_again(model, preset, tmp_path):
    loaded = kl.LifelongModel.from_preset(preset)
    assert loaded.results == model.results
    loaded.fit_stream([task(2)], batch_size=20, verbose=0)
    loaded.save_to_preset(tmp_path / "more")
    again = kl.LifelongModel.from_preset(tmp_path / "more")
    assert [r.task_names for r in again.results] == [["t0", "t1"], ["t2"]]


def test_what_would_not_be_read_again_is_not_written(model, tmp_path, monkeypatch):
    """The model is as it was, and the preset that was there before."""
    path = tmp_path / "signs"
    model.save_to_preset(path)
    before = read(path, "metadata.json")
    monkeypatch.setattr(json_text, "MOST_VALUES", 20)
    with pytest.raises(ValueError, match=r"json .*values.*`model.results.clear\(\)`"):
        model.save_to_preset(path)
    assert read(path, "metadata.json") == before
    assert [p.name for p in tmp_path.iterdir()] == ["signs"]


def test_a_child_names_its_ancestors(preset, tmp_path):
    first = read(preset, "metadata.json")["id"]
    child = kl.LifelongModel.from_preset(preset)
    assert child.origin["id"] == first
    child.save_to_preset(tmp_path / "copy")  # the same model still
    metadata = read(tmp_path / "copy", "metadata.json")
    assert metadata["id"] == first and metadata["lineage"] == []
    ids = [first]
    for i in (2, 3):
        child.fit(task(i), verbose=0)
        child.save_to_preset(tmp_path / f"child_{i}")
        metadata = read(tmp_path / f"child_{i}", "metadata.json")
        assert [p["id"] for p in metadata["lineage"]] == ids
        assert metadata["lineage"][-1]["tasks"] == [f"t{j}" for j in range(i)]
        ids.append(metadata["id"])
    assert len(set(ids)) == 3
    card = (tmp_path / "child_3/README.md").read_text()
    assert "## Goes back to" in card and all(i[:12] in card for i in ids[:-1])


def test_the_card_is_read_by_the_hub(model, preset):
    hub = pytest.importorskip("huggingface_hub", reason="reads model cards")
    card = hub.ModelCard.load(preset / "README.md")
    assert card.data.library_name == "keras-lifelong"
    assert "keras-lifelong" in card.data.tags
    assert card.data.license is None and card.data.datasets is None  # nobody said
    found = {
        (r.dataset_config, r.metric_name): r.metric_value
        for r in card.data.eval_results
    }
    result = model.results[-1]
    for j, name in enumerate(result.task_names):
        assert found[name, "accuracy"] == result.matrix[-1, j]
    assert found["all tasks", "mean accuracy"] == result.acc
    assert found["all tasks", "backward transfer"] == result.bwt
    for path in re.findall(r"!\[.*?\]\((.*?)\)", card.text):
        assert (preset / path).is_file()


def test_names_of_tasks_that_are_hard_on_files(tmp_path):
    names = [
        "a",
        "A",
        "..",
        "a/b",
        "a" * 300,
        "a" * 300 + "b",
        "naïve: \u4efb\u52a1",
        "|x|",
    ]
    model = learned(1, kl.Finetune)
    for i, name in enumerate(names):
        model.fit(X, (X[:, i % 6] > 0).astype("int32"), task=name, verbose=0)
    model.save_to_preset(tmp_path / "preset")
    files = [entry["file"] for entry in read(tmp_path / "preset", "tasks.json")]
    assert all(is_safe(file) for file in files)
    assert len({file.casefold() for file in files}) == len(names) + 1
    assert max(len(pathlib.Path(file).name) for file in files) < 200
    loaded = kl.LifelongModel.from_preset(tmp_path / "preset", tasks=names[1:])
    assert loaded.task_names == names[1:]
    for name in names[1:]:
        assert (loaded.predict(X, task=name) == model.predict(X, task=name)).all()


@pytest.mark.parametrize("tasks", [[], ["t7"], "t0", ["t0", "no"]])
def test_tasks_that_are_not_there(preset, tasks):
    with pytest.raises(PresetError, match="`tasks` must .*Received"):
        kl.LifelongModel.from_preset(preset, tasks=tasks)


def test_an_untrained_model_of_the_same_configuration(model, preset):
    fresh = kl.DEN.from_preset(preset, load_weights=False)
    assert fresh.task_names == [] and fresh.options == model.options
    fresh.fit(task(0), verbose=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"class_name": "Lambda", "config": {}}, "'Lambda', which is refused"),
        (
            {"module": "os", "class_name": "system", "config": {}},
            "os.system, which is neither Keras' nor registered",
        ),
        (
            {"module": "builtins", "class_name": "function", "config": "eval"},
            "the function 'eval'",
        ),
        ({"class_name": "TFSMLayer", "config": {"filepath": "x"}}, "which is refused"),
    ],
)
def test_a_configuration_may_name_no_code(preset, tmp_path, change, reason):
    directory = tmp_path / "preset"
    shutil.copytree(preset, directory)
    config = read(directory, "config.json")
    config["config"]["backbone"]["config"]["layers"].append(change)
    (directory / "config.json").write_text(json.dumps(config))
    metadata = read(directory, "metadata.json")
    metadata["files"] = layout.files(directory)
    (directory / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(PresetError, match=re.escape(reason)) as caught:
        kl.LifelongModel.from_preset(directory)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (("backbone", "config", "layers", 1, "config", "units"), 10**7, "a network of"),
        (("bucket",), 10**9, "config.bucket is 1,000,000,000, where the largest"),
    ],
)
def test_a_configuration_may_not_ask_for_what_is_not_stored(
    preset, tmp_path, where, value, reason
):
    directory = tmp_path / "preset"
    shutil.copytree(preset, directory)
    config = read(directory, "config.json")
    *path, last = where
    place = config["config"]
    for key in path:
        place = place[key]
    place[last] = value
    (directory / "config.json").write_text(json.dumps(config))
    metadata = read(directory, "metadata.json")
    metadata["files"] = layout.files(directory)
    (directory / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(PresetError, match=reason):
        kl.LifelongModel.from_preset(directory)


def test_a_preset_that_is_being_replaced_is_never_lost(preset, tmp_path, monkeypatch):
    """Where two directories cannot change places in one step, it takes two."""
    directory = tmp_path / "preset"
    model = kl.LifelongModel.from_preset(preset)
    model.save_to_preset(directory)
    model.remove_task("t1")
    monkeypatch.setattr(places, "exchange", lambda one, other: False)
    rename, calls = os.rename, []

    def interrupted(source, target):
        calls.append(source)
        if len(calls) == 2:  # the old one is aside, the new one not in its place
            raise KeyboardInterrupt
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.save_to_preset(directory)
    assert kl.LifelongModel.from_preset(directory).task_names == ["t0", "t1"]
    assert [p.name for p in tmp_path.iterdir()] == ["preset"]
    # killed there, nothing puts it back; the next who asks for it does
    (tmp_path / ".preset.abcd1234").mkdir()
    directory.rename(tmp_path / ".preset.abcd1234.old")
    assert kl.LifelongModel.from_preset(directory).task_names == ["t0", "t1"]
    model.save_to_preset(directory)
    assert kl.LifelongModel.from_preset(directory).task_names == ["t0"]
    assert [p.name for p in tmp_path.iterdir()] == ["preset"]


# Published, and loaded from a hub


def test_published_and_loaded_from_the_hub(model, preset, hub):
    said = kl.upload_preset(hub.uri, preset)
    assert said.startswith(f"{hub.uri}@")
    hub.log.clear()
    one = kl.LifelongModel.from_preset(hub.uri, tasks=["t1"])
    assert (one.predict(X, task="t1") == model.predict(X, task="t1")).all()
    fetched = hub.fetched()
    assert "tasks/t1.weights.h5" in fetched and "tasks/t0.weights.h5" not in fetched
    loaded = kl.LifelongModel.from_preset(said)
    for name in model.task_names:
        assert (loaded.predict(X, task=name) == model.predict(X, task=name)).all()
    loaded.fit(task(2), verbose=0)
    assert loaded.task_names == ["t0", "t1", "t2"]
    card = Preset(hub.uri).content("README.md").decode()
    assert f'from_preset("{hub.uri}")'.replace('"', "'") in card


def test_an_edited_card_is_published_as_it_is(preset, tmp_path, hub):
    directory = tmp_path / "mine"
    shutil.copytree(preset, directory)
    text = (directory / "README.md").read_text() + "\nIt was learned on signs.\n"
    (directory / "README.md").write_text(text)
    kl.upload_preset(hub.uri, directory)
    assert Preset(hub.uri).content("README.md").decode() == text


def test_a_broken_preset_is_not_published(preset, tmp_path, hub):
    directory = tmp_path / "broken"
    shutil.copytree(preset, directory)
    path = directory / "tasks/t0.weights.h5"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PresetError, match=r"tasks/t0\.weights\.h5: it is cut off"):
        kl.upload_preset(hub.uri, directory)
    assert hub.log == []


def test_a_dry_run_sends_nothing(preset, hub):
    done = kl.zoo.publish(preset, hub.uri, dry_run=True)
    assert done["uploaded"] is None and hub.log == []
    assert "model.weights.h5" in done["files"] and hub.uri in done["card"]
