"""Residual networks of Keras' own layers: published sizes, growth inside blocks."""

import json

import keras
import numpy as np
import processes
import pytest
from keras import layers
from keras import ops
from small import assert_same

import keras_lifelong as kl
from keras_lifelong.graph import Graph
from keras_lifelong.layers.residual import ResidualBlock
from keras_lifelong.layers.residual import Stem

X = np.random.default_rng(0).normal(size=(24, 7, 8, 3)).astype("float32")
Y = np.arange(24) % 2


def parameters(name, **arguments):
    network = kl.backbones.get(name, (32, 32, 3), **arguments)
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def test_sizes_as_published():
    """With a head of ten classes, of ARI's without biases."""
    assert parameters("resnet18_light") + 65 * 10 == 607_050
    assert parameters("resnet18_light", stem_pool=True) + 65 * 10 == 607_050
    assert parameters("resnet18_thin") + 161 * 10 == 1_094_750
    assert parameters("resnet32_thin") + 40 * 10 == 181_495


def test_filters_that_no_shortcut_can_take_are_refused():
    with pytest.raises(ValueError, match="`filters` must not fall"):
        kl.backbones.get("resnet32_thin", (8, 8, 3), filters=[4, 4, 2, 4])


def of_blocks(stem, stages, blocks, projection=True, pool=False):
    """A network with a layer for each block, as these backbones once were."""
    parts = [keras.Input(X.shape[1:]), Stem(stem, pool=pool, name="stem")]
    for s, (filters, strides) in enumerate(stages):
        for b in range(blocks):
            stride = strides if b == 0 else 1
            options = {"projection": projection, "name": f"block_{s}_{b}"}
            parts.append(ResidualBlock(filters, stride, **options))
    return keras.Sequential([*parts, layers.GlobalAveragePooling2D()])


LAYERS = {
    **{"convolution": "conv", "norm": "norm"},
    **{"first": "conv_1", "first_norm": "norm_1"},
    **{"second": "conv_2", "second_norm": "norm_2"},
    **{"shortcut": "shortcut_conv", "shortcut_norm": "shortcut_norm"},
}
CASES = {
    "resnet18_light": (
        {"filters": 2, "stem_pool": True},
        (2, [(2, 1), *[(2, 2)] * 3], 2, True, True),
    ),
    "resnet18_thin": ({"filters": 2}, (2, [(2, 1), (4, 2), (8, 2), (16, 2)], 2)),
    # 4 channels to 6 are padded, the others a copy of zeros
    "resnet32_thin": (
        {"filters": [2, 4, 6, 12]},
        (2, [(4, 1), (6, 2), (12, 2)], 5, False),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_the_layers_of_blocks_do(eager, name):
    """Of the same weights, also where an image has an odd height."""
    arguments, blocks = CASES[name]
    network, same = kl.backbones.get(name, (7, 8, 3), **arguments), of_blocks(*blocks)
    draw, count = np.random.default_rng(1), 0
    for block in same.layers:
        for mine, theirs in LAYERS.items():
            layer = getattr(block, mine, None)
            if layer is None:
                continue
            other = network.get_layer(f"{block.name}_{theirs}")
            values = [draw.uniform(0.1, 0.5, v.shape) for v in layer.variables]
            layer.set_weights(values)
            other.set_weights(values)
            count += len(values)
    assert count == len(network.variables) == len(same.variables)
    found, expected = (ops.convert_to_numpy(n(X)) for n in (network, same))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_presets_of_layers_of_blocks_are_read(eager, tmp_path):
    """Also a file of a model whose configuration is one of the old network."""
    old = of_blocks(2, [(2, 1), (4, 2)], 1)
    model = kl.Finetune(old)
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(X, Y, task="a", epochs=1, verbose=0)
    model.save_to_preset(tmp_path / "old")
    loaded = kl.LifelongModel.from_preset(tmp_path / "old")
    assert [type(x) for x in loaded.network.layers[:2]] == [Stem, ResidualBlock]
    expected = {"a": model.predict(X, task="a")}
    assert_same({"a": loaded.predict(X, task="a")}, expected)


# What was written when a block was one layer
OLD = """
{"name": "resnet18_light", "trainable": true, "layers": [
{"module": "keras.layers", "class_name": "InputLayer", "config": {
 "batch_shape": [null, 7, 8, 3], "dtype": "float32", "sparse": false,
 "name": "input_layer"}, "registered_name": null},
{"module": "keras_lifelong.layers.residual", "class_name": "Stem", "config": {
 "name": "stem", "trainable": true, "dtype": "float32", "seed": null, "filters": 3,
 "pool": false}, "registered_name": "keras_lifelong>Stem"},
{"module": "keras_lifelong.layers.residual", "class_name": "ResidualBlock", "config": {
 "name": "block_0_0", "trainable": true, "dtype": "float32", "seed": null,
 "filters": 3, "strides": 2, "projection": true},
 "registered_name": "keras_lifelong>ResidualBlock"},
{"module": "keras.layers", "class_name": "GlobalAveragePooling2D", "config": {
 "name": "global_average_pooling2d", "trainable": true, "dtype": "float32",
 "data_format": "channels_last", "keepdims": false}, "registered_name": null}]}
"""


def test_configurations_of_layers_of_blocks_are_read(eager):
    network = keras.Sequential.from_config(json.loads(OLD))
    net = kl.BindAndGrow(network).joint_net
    assert [net.parts[u].name for u in net.decided] == ["stem", "block_0_0"]
    assert network(X[:2]).shape == (2, 3)


def test_methods_go_inside_blocks(eager):
    """Each convolution by itself, or all of a block where that is asked for."""
    made = {"name": "resnet18_thin", "input_shape": (8, 8, 3), "filters": 2}
    network = kl.backbones.get(**made)
    inside = [path for path in Graph(network).layers if "_conv" in path]
    assert len(inside) == 1 + 4 * 2 * 2 + 3
    grown = kl.BindAndGrow(network)
    assert [grown.joint_net.parts[u].name for u in grown.joint_net.decided] == inside
    stages = {f"stage_{s}": [f"block_{s}_*"] for s in range(4)}
    staged = kl.BindAndGrow(network, parts=stages).joint_net
    assert [staged.parts[u].name for u in staged.decided] == ["stem_conv", *stages]
    assert list(kl.LASEM(network, posterior="factorised").network.paths) == inside
    den = kl.DEN(network, bucket=8).network
    assert [group.paths for group in den.groups][:2] == [
        ("stem_conv", "block_0_0_conv_2", "block_0_1_conv_2"),
        ("block_0_0_conv_1",),
    ]
    assert den.ungrown == {}


def test_shortcuts_of_zeros_are_carried(eager):
    """Where zeros are added, units of a stage meet them: those of its insides grow."""
    network = kl.backbones.get("resnet32_thin", (8, 8, 3), filters=[2, 4, 8, 8])
    paths = [path for path in Graph(network).layers if "_conv" in path]
    assert list(kl.LASEM(network, posterior="factorised").network.paths) == paths
    den = kl.DEN(network, bucket=8).network
    inside = [path for path in paths if path.endswith("_conv_1")]
    assert [group.paths for group in den.groups] == [(path,) for path in inside]
    assert set(den.ungrown) == set(paths) - set(inside)


@pytest.mark.parametrize("name", ["resnet18_light", "resnet18_thin"])
def test_seeds_repeat(eager, name):
    def weights(seed):
        model = kl.Finetune(kl.backbones.get(name, (8, 8, 3), filters=2), seed=seed)
        return [ops.convert_to_numpy(v) for v in model.network.trainable_variables]

    first, again, other = weights(0), weights(0), weights(1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
    kernels = [a for a in first if a.ndim == 4]
    same = [a for a in kernels if a.shape == kernels[1].shape]
    assert not np.array_equal(same[0], same[1])  # one seed, but not one draw


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18_light", {"filters": 4, "stem_pool": True}),
        ("resnet18_thin", {"filters": 4}),
        ("resnet32_thin", {"filters": [2, 3, 4, 6]}),
        ("cells", {"filters": 4, "genotype": "darts_v1"}),
        ("blocks", {}),
    ],
)
def test_plain_networks_are_the_same(name, arguments, tmp_path):
    """Exported, a task's network is one that a process without the package loads."""
    if name == "blocks":
        backbone = of_blocks(2, [(2, 1), (4, 2)], 1, projection=False, pool=True)
    else:
        backbone = kl.backbones.get(name, X.shape[1:], **arguments)
    model = kl.Finetune(backbone)
    model.compile(keras.optimizers.SGD(0.05))
    model.fit(X, Y, task="a", epochs=2, batch_size=12, verbose=0)
    expected = model.predict(X, task="a")
    model.task_model("a").save(tmp_path / "a.keras")
    np.save(tmp_path / "x.npy", X)
    program = (
        "import keras, numpy as np, sys\n"
        f"model = keras.saving.load_model({str(tmp_path / 'a.keras')!r})\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r})\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, model.predict(x, verbose=0))\n"
        "assert 'keras_lifelong' not in sys.modules\n"
    )
    processes.finish(program, compiled=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-5)
