"""Presets of those who have read the code: refused by name, before they cost much."""

import hashlib
import inspect
import json
import os
import resource
import shutil
import time

import h5py
import keras
import numpy as np
import pytest
from broken import Broken
from broken import entry
from keras import layers

import keras_lifelong as kl
from keras_lifelong import zoo
from keras_lifelong.metrics import Result
from keras_lifelong.presets import allowed
from keras_lifelong.presets import budget
from keras_lifelong.presets import card
from keras_lifelong.presets import configs
from keras_lifelong.presets import hubs
from keras_lifelong.presets import json_text
from keras_lifelong.presets import layout
from keras_lifelong.presets import local_paths
from keras_lifelong.presets import places
from keras_lifelong.presets import reading
from keras_lifelong.presets.reading import Preset
from keras_lifelong.presets.reading import PresetError


@pytest.fixture
def broken(tmp_path):
    return Broken(tmp_path / "preset")


def refusal(preset, **kwargs):
    """The message with which a preset is refused; it is short, and names the file."""
    path = preset.save() if isinstance(preset, Broken) else preset
    epsilon = keras.config.epsilon()
    with pytest.raises(PresetError) as caught:
        kl.LifelongModel.from_preset(path, **kwargs)
    assert keras.config.epsilon() is epsilon
    text = str(caught.value)
    assert len(text) < 900 and str(path) in text
    return text


# 1. Only what is listed is built


def test_the_list_names_classes_of_keras():
    for (module, name), kind in allowed.CLASSES.items():
        found = configs._module(module)
        assert issubclass(getattr(found, name), configs._BASES[kind]), (module, name)
        assert name not in configs.REFUSED
    for name in allowed.ACTIVATIONS:
        assert inspect.isfunction(getattr(keras.activations, name))


NAMED = [
    ("keras", "layers.Hashing"),
    ("keras", "layers.Lambda"),
    ("keras", "Lambda"),
    ("keras.layers", "Lambda"),
    ("keras.layers", "Dense.from_config"),
    ("keras.src.layers", "Dense"),
    ("keras.src.models.functional", "Functional"),
    ("keras", "config.set_epsilon"),
    ("keras.config", "set_epsilon"),
    ("keras.utils", "get_file"),
    ("keras.saving", "load_model"),
    ("keras.ops", "add"),
    ("keras.layers", "deserialize"),
    ("keras.layers", "Layer"),
    ("keras.layers", "StringLookup"),
    ("keras.models", "Model"),
    ("keras_tuner", "Oracle"),
    ("numpy", "fromfile"),
    (None, "Dense"),
    (["keras.layers"], "Dense"),
    ("keras.layers", ["Dense"]),
    ("keras.layers", {"class_name": "Dense"}),
    ("keras.initializers", "Zeros"),
    ("keras.optimizers", "Adam"),
]


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_what_is_not_listed_is_not_made(broken, module, name):
    broken.layers.insert(2, entry(module, name, {"name": "h"}))
    text = refusal(broken)
    assert "config.json" in text


@pytest.mark.parametrize(
    "key", ["activation", "kernel_initializer", "kernel_regularizer", "bias_constraint"]
)
@pytest.mark.parametrize(
    "value",
    [
        "get",
        "deserialize",
        "keras_lifelong>DEN",
        entry("keras.config", "function", "set_epsilon"),
        entry("keras.activations", "function", "get"),
        entry("builtins", "function", "eval"),
        entry("keras.layers", "function", "relu"),
        entry("keras", "config.set_epsilon"),
        entry("keras.optimizers", "Adam"),
        {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
        {"class_name": "__typespec__", "config": [], "spec_name": "x"},
        {"class_name": "__slice__", "config": {"start": 0, "stop": 1, "step": 1}},
    ],
)
def test_an_argument_names_what_is_listed_for_it(broken, key, value):
    broken.dense[key] = value
    refusal(broken)


@pytest.mark.parametrize(
    "more",
    [
        {"compile_config": {"optimizer": "adam", "loss": "mse"}},
        {"shared_object_id": 1},
        {"spec_name": "x"},
        {"registered_name": "keras_lifelong>DEN"},
        {"registered_name": "Custom>Dense"},
    ],
)
def test_an_entry_says_no_more_than_what_it_is(broken, more):
    broken.layers.insert(2, entry("keras.layers", "Flatten", {"name": "f"}, **more))
    refusal(broken)


MEMBERS = [
    layers.Dense(
        3, activation="gelu", kernel_regularizer="l2", bias_constraint="non_neg"
    ),
    layers.Dense(3, activation=keras.activations.relu, kernel_initializer="he_normal"),
    layers.Dense(3, bias_initializer=keras.initializers.Constant(0.5), dtype="float16"),
    layers.Dense(3, dtype="mixed_float16"),
    layers.Conv2D(2, 3, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.1)),
    layers.SeparableConv2D(2, 3),
    layers.LSTM(3, dropout=0.1),
    layers.Bidirectional(layers.GRU(2)),
    layers.RNN([layers.LSTMCell(2), layers.GRUCell(2)]),
    layers.TimeDistributed(layers.Dense(2)),
    layers.SpectralNormalization(layers.Dense(2)),
    layers.BatchNormalization(gamma_constraint=keras.constraints.MaxNorm(1)),
    layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 1.0]),
    layers.RandomFlip("horizontal"),
    layers.RandomRotation(0.1),
    layers.Rescaling([0.5, 0.25], offset=0.1),
    layers.Embedding(5, 3),
    layers.MultiHeadAttention(2, 3),
    layers.GlobalAveragePooling2D(),
    layers.ZeroPadding2D(((1, 0), (2, 1))),
    layers.Reshape((2, -1)),
    layers.LeakyReLU(0.2),
    keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.Dropout(0.1)]),
]


@pytest.mark.parametrize("layer", MEMBERS, ids=lambda x: type(x).__name__)
def test_a_user_s_backbone_is_listed(layer):
    described = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    configs.check_objects([described])


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)),
        keras.optimizers.AdamW(clipnorm=1.0, weight_decay=0.1, use_ema=True),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
    ],
)
def test_an_optimizer_is_listed(optimizer):
    described = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    configs.check_objects({"optimizer": described})


# 2. Memory and time before it is refused


def array(value, dtype="float32"):
    value = {"class_name": "__numpy__", "config": {"value": value, "dtype": dtype}}
    return entry("keras.initializers", "Constant", {"value": value})


@pytest.mark.parametrize(
    "value",
    [
        array(["a"], "S400000000"),
        array([1.0], "U400000000"),
        array([1.0], "V2000000000"),
        array([1.0], "(1000,1000)f8"),
        array([1.0], "O"),
        array("x" * 1000),
        array([[[[[[[[[[1.0]]]]]]]]]]),
        array([0.0] * 200_000),
    ],
)
def test_an_array_is_what_stands_there(broken, value):
    broken.dense["bias_initializer"] = value
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(broken)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_claimed_bytes_are_not_believed(broken):
    wide = {"name": "wide", "units": 10**7}
    broken.layers.append(entry("keras.layers", "Dense", wide))
    for name in broken.metadata["files"]:
        if name.endswith(".h5"):
            broken.metadata["files"][name]["bytes"] = 10**15
    text = refusal(broken, load_weights=False)
    assert "numbers" in text and "stores" in text


@pytest.mark.parametrize(
    "layer",
    [
        entry("keras.layers", "UpSampling2D", {"name": "u", "size": [5000, 5000]}),
        entry("keras.layers", "ZeroPadding2D", {"name": "u", "padding": 30_000}),
        entry("keras.layers", "UpSampling2D", {"name": "u", "size": [10**9, 1]}),
    ],
)
def test_activations_have_a_bound(broken, layer):
    broken.layers.insert(1, layer)
    start = time.process_time()
    refusal(broken)
    refusal(broken, load_weights=False)
    assert time.process_time() - start < 20


def test_a_recurrent_layer_is_not_written_out_for_ever():
    network = keras.Sequential([keras.Input((600, 2)), layers.SimpleRNN(2)])
    described = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    budget.check_network(described, lambda: 0)
    described["config"]["layers"][1]["config"]["unroll"] = True
    with pytest.raises(ValueError, match="writes out 600 steps|600"):
        budget.check_network(described, lambda: 0)


def test_what_was_refused_is_given_no_values_later():
    """Keras keeps the variables that a scope left without values for the next one."""
    given = keras.Input((8,))
    network = keras.Sequential([given, layers.Dense(4)])
    described = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    described["config"]["layers"][1]["config"]["units"] = 10**9
    with pytest.raises(ValueError, match="one example"):
        budget.check_network(described, lambda: 10**12)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with keras.StatelessScope():
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * 20_000_000 + b"[]]",
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b"[" + b"1," * 5_000_000 + b"1]",
    ],
)
def test_json_is_counted_before_it_is_read(text):
    start = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="values|deep"):
        json_text.parse(text)
    assert time.process_time() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_file_of_very_many_arrays(broken, monkeypatch):
    monkeypatch.setattr("keras_lifelong.presets.weights.MOST_ARRAYS", 50)
    path = broken.path / layout.WEIGHTS
    with h5py.File(path, "w") as file:
        for i in range(60):
            file[f"x{i}"] = 1.0
    broken.write(layout.WEIGHTS, path.read_bytes())
    assert "60 arrays" in refusal(broken)


def test_building_takes_time_that_grows_with_the_layers(monkeypatch):
    """Each layer of a backbone is called once for each copy of it, not once for each
    layer after it."""
    network = keras.Sequential(
        [keras.Input((3,)), *[layers.Dense(3, name=f"d{i}") for i in range(30)]]
    )
    described = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    calls, call = [], layers.Dense.compute_output_spec
    monkeypatch.setattr(
        layers.Dense,
        "compute_output_spec",
        lambda self, *a, **k: (calls.append(1), call(self, *a, **k))[1],
    )
    budget.check_network(described, lambda: 0)
    assert len(calls) <= 60
    copy = keras.Sequential.from_config(described["config"])
    copy.set_weights(network.get_weights())
    x = np.ones((2, 3), "float32")
    from keras_lifelong import networks

    ours = networks.deserialized(described)
    ours.set_weights(network.get_weights())
    assert (np.asarray(ours(x)) == np.asarray(copy(x))).all()
    assert ours.name == copy.name and ours.get_config() == copy.get_config()


# 3. What is checked is what is used


@pytest.mark.parametrize("how", ["swapped", "written over"])
def test_a_file_is_read_once(broken, monkeypatch, how):
    """Somebody changes a file after its digest was taken."""
    path = broken.save() / layout.CONFIG
    evil = path.read_bytes().replace(b'"Finetune"', b'"Nonesuch"')
    sha256, done = hashlib.sha256, []

    def digest(content=b"", **kwargs):
        if not done and bytes(content[:20]) == path.read_bytes()[:20]:
            done.append(1)
            if how == "swapped":
                (path.parent / "new").write_bytes(evil)
                os.replace(path.parent / "new", path)
            else:
                path.write_bytes(evil)
        return sha256(content, **kwargs)

    monkeypatch.setattr(reading.hashlib, "sha256", digest)
    assert type(kl.LifelongModel.from_preset(path.parent)).__name__ == "Finetune"
    assert done


@pytest.mark.parametrize("file", ["README.md", layout.CONFIG, layout.EXPERIMENT])
def test_no_link_is_followed_to_a_hub(broken, tmp_path, file):
    (tmp_path / "secret").write_text("a private key")
    broken.save()
    (broken.path / file).unlink()
    (broken.path / file).symlink_to(tmp_path / "secret")
    with pytest.raises(PresetError, match="link"):
        zoo.publish(broken.path, "hf://user/name", dry_run=True)


def test_a_folder_that_is_a_link(broken, tmp_path):
    broken.save()
    (broken.path / "figures").rename(tmp_path / "elsewhere")
    (broken.path / "figures").symlink_to(tmp_path / "elsewhere")
    figure = next(f for f in broken.metadata["files"] if f.startswith("figures/"))
    with pytest.raises(PresetError, match="its folder is a link"):
        Preset(broken.path).content(figure)


def test_a_pipe_keeps_nobody_waiting(broken):
    broken.save()
    (broken.path / layout.CONFIG).unlink()
    os.mkfifo(broken.path / layout.CONFIG)
    assert "no file" in refusal(broken.path)


def test_descriptors_are_given_back(broken):
    path = broken.save()
    kl.LifelongModel.from_preset(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        kl.LifelongModel.from_preset(path, load_weights=False)
    broken.dense["units"] = "x"
    refusal(broken)
    assert len(os.listdir("/proc/self/fd")) <= before


# 4. Text is text


EVIL = "<script>alert(1)</script>|`x`](http://e)*\n# h"


def test_a_card_of_evil_names():
    raw = json.loads((zoo.path("den_digits") / "metrics.json").read_text())
    result = Result.from_dict(raw["results"][0])
    result.stream = result.method = EVIL
    metadata = {
        "method": EVIL,
        "summary": EVIL,
        "input_shape": [2],
        "parameters": 3,
        "lineage": [{"id": "<b>" * 30, "preset": EVIL, "tasks": [EVIL]}],
    }
    spec = {"kind": "categorical", "num_classes": 2}
    text = card.write(
        "hf://u/" + EVIL,
        metadata,
        [{"name": EVIL, "spec": spec}],
        result,
        [f"{EVIL}.png"],
    )
    body = text.split("---\n", 2)[2]
    outside = "".join(body.split("```")[::2])
    for bad in ("<script", "\n# h", "](http"):
        assert bad not in outside.replace("&lt;script", "").replace("\\](http", "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("compile_count", "<script>"),
        ("stream", {"a": 1}),
        ("method", None),
        ("seed", "<b>"),
        ("wall_seconds", "<b>"),
        ("peak_rss_mib", [1]),
        ("params_by_task", "<b>"),
        ("versions", {"keras": ["<b>"]}),
        ("growth", [{"task": "a", "layer": "b", "kind": "add", "count": "<b>"}]),
        ("growth", ["x"]),
        ("config", "x"),
        ("task_names", "abc"),
        ("metric", ["accuracy"]),
        ("params_base", 10**400),
    ],
)
def test_a_result_of_other_types_is_refused(tmp_path, key, value):
    raw = json.loads((zoo.path("den_digits") / "metrics.json").read_text())
    content = {**raw["results"][0], key: value}
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="results.json") as caught:
        Result.load(tmp_path / "results.json")
    assert len(str(caught.value)) < 800


# 5. Two at once


@pytest.mark.parametrize("one_step", [True, False])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_killed_save_leaves_one_whole_preset(tmp_path, monkeypatch, one_step, call):
    """Killed at the n-th of its steps: the earlier or the new preset, nothing else."""
    model = kl.LifelongModel.from_preset("finetune_digits")
    model.results.clear()
    model.save_to_preset(tmp_path / "d")
    steps = []

    def counted(function):
        def step(*args, **kwargs):
            steps.append(function)
            if len(steps) >= call:
                raise SystemExit  # whatever comes after does not come either
            return function(*args, **kwargs)

        return step

    with monkeypatch.context() as patch:
        if not one_step:
            patch.setattr(places, "exchange", lambda one, other: False)
        else:
            patch.setattr(places, "exchange", counted(places.exchange))
        patch.setattr(os, "rename", counted(os.rename))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        try:
            model.save_to_preset(tmp_path / "d")
        except SystemExit:
            pass
    loaded = kl.LifelongModel.from_preset(tmp_path / "d", load_weights=False)
    assert type(loaded) is type(model)
    model.save_to_preset(tmp_path / "d")
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    shutil.rmtree(tmp_path / "d")
    with pytest.raises(ValueError, match="must be"):
        kl.LifelongModel.from_preset(str(tmp_path / "d"))


def test_what_a_living_writer_makes_is_not_removed(tmp_path):
    with layout.replacing(tmp_path / "d") as mine:
        (mine / layout.CARD).write_text("x")
        with layout.replacing(tmp_path / "d") as other:
            (other / layout.CARD).write_text("y")
        assert (mine / layout.CARD).read_text() == "x"
    assert (tmp_path / "d" / layout.CARD).read_text() == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_other_directories_are_not_taken_for_leftovers(tmp_path):
    kept = [".d.abcdefgh", ".d.abcdefgh.old", ".d.ABC", ".e.abcdefgh"]
    for name in kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("x")
    with layout.replacing(tmp_path / "d") as new:
        (new / layout.CARD).write_text("x")
    assert {p.name for p in tmp_path.iterdir()} == {"d", *kept}


def test_a_reader_stays_with_one_preset(broken, tmp_path):
    """The preset is replaced while it is read: what is read is the old one, or anew."""
    path, tries = broken.save(), []

    def use(preset):
        tries.append(preset)
        if len(tries) == 1:
            other = Broken(tmp_path / "other")
            other.config["config"]["seed"] = 7
            new = other.save()
            assert places.exchange(path, new)
            shutil.rmtree(new)  # the old one, in the new one's place
        return preset.json(layout.CONFIG, dict)["config"]["seed"]

    assert reading.read(path, use) == 7 and len(tries) == 2


def test_a_preset_is_read_while_it_is_replaced(broken):
    path = broken.save()
    source = hubs.source(path)
    preset = Preset(path, source)
    path.rename(path.with_name("moved"))
    assert preset.json(layout.CONFIG, dict) == broken.config  # by what was opened
    assert source.replaced()
    source.close()


# 7. Errors that name the file


@pytest.mark.parametrize(
    "lineage",
    [
        {"a": 1},
        None,
        "x",
        [1],
        [{}],
        [{"id": 1, "preset": "x", "tasks": []}],
        [[]] * 2000,
    ],
)
def test_a_bad_lineage(broken, lineage):
    broken.metadata["lineage"] = lineage
    assert "metadata.json" in refusal(broken) and "lineage" in refusal(broken)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", None),
        ("id", "x"),
        ("method", 3),
        ("summary", None),
        ("parameters", "<b>"),
        ("input_shape", {"a": 1}),
        ("tasks", 3),
    ],
)
def test_bad_metadata(broken, key, value):
    broken.metadata[key] = value
    assert "metadata.json" in refusal(broken)


# 11. What is published is public


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"path": "mine.npz"}, {"path": "(local)"}),
        ({"data_dir": "x"}, {"data_dir": "(local)"}),
        (["/home/me/x", "~/x", "../x", "C:\\x", "file:///x"], ["(local)"] * 5),
        ({"a": {"b": "see /home/me/data/x.npz"}}, {"a": {"b": "(local)"}}),
        (
            ["hf://user/name", "relu", "a/b", 3, None],
            ["hf://user/name", "relu", "a/b", 3, None],
        ),
        ({"name": "npz", "split": 2}, {"name": "npz", "split": 2}),
    ],
)
def test_paths_of_this_machine_are_left_out(value, left):
    assert local_paths.left_out(value) == left


def test_a_card_names_what_was_said_only(tmp_path):
    said = zoo.publish(zoo.path("den_digits"), "hf://user/name", dry_run=True)["card"]
    front = said.split("---\n")[1]
    assert "license" not in front and "datasets" not in front
    assert "library_name: keras-lifelong" in front
    said = zoo.publish(
        zoo.path("den_digits"),
        "hf://user/name",
        dry_run=True,
        license="mit",
        datasets=["user/digits"],
    )["card"]
    front = said.split("---\n")[1]
    assert "license: mit" in front and "- user/digits" in front
    with pytest.raises(ValueError, match="`datasets`"):
        zoo.publish(zoo.path("den_digits"), "hf://u/n", dry_run=True, datasets="x")


@pytest.mark.parametrize("name", ["ari_digits", "par_digits", "lasem_digits"])
def test_a_method_s_own_options_name_nothing_of_keras(name):
    """ARI's `initializer` is "generated", which is none of Keras' initializers."""
    configs.check_objects(json.loads((zoo.path(name) / layout.CONFIG).read_text()))
