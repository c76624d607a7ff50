"""Residual networks and cells: published sizes, and the same network in plain Keras."""

import keras
import numpy as np
import processes
import pytest
from keras import ops

import keras_lifelong as kl
from keras_lifelong.layers.residual import ResidualBlock
from keras_lifelong.layers.residual import Stem
from keras_lifelong.methods.par.switched import SwitchedNetwork

X = np.random.default_rng(0).normal(size=(4, 12, 12, 3)).astype("float32")


def with_head(name, **arguments):
    """Trainable parameters with a head of ten classes."""
    network = kl.backbones.get(name, (32, 32, 3), **arguments)
    body = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    return body + (network.output_shape[-1] + 1) * 10


def test_sizes_as_published():
    assert with_head("resnet18_light") == 607_050
    assert with_head("resnet18_thin") == 1_094_750
    assert with_head("resnet18_light", stem_pool=True) == 607_050


def test_resnet32_thin_is_aris():
    network = kl.backbones.get("resnet32_thin", (32, 32, 3))
    body = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert body + 40 * 10 == 181_495
    assert network.output_shape == (None, 40)


def test_a_shortcut_without_parameters_thins_out_and_fills_up():
    block = ResidualBlock(5, 2, projection=False)
    block.build(X.shape)
    block.second.kernel.assign(np.zeros(block.second.kernel.shape))
    expected = np.zeros((4, 6, 6, 5), "float32")
    expected[..., :3] = np.maximum(X[:, ::2, ::2], 0)
    np.testing.assert_allclose(ops.convert_to_numpy(block(X)), expected, atol=1e-6)
    with pytest.raises(ValueError, match="fewer filters.*filters=2"):
        ResidualBlock(2, projection=False).build(X.shape)


def test_a_block_by_hand():
    """Norms that change nothing, kernels of one 1 in the middle: relu(x + relu(x))."""
    block = ResidualBlock(3)
    block.build(X.shape)
    for layer in (block.first, block.second):
        kernel = np.zeros((3, 3, 3, 3), "float32")
        kernel[1, 1] = np.eye(3)
        layer.kernel.assign(kernel)
    expected = np.maximum(X + np.maximum(X, 0), 0)
    np.testing.assert_allclose(ops.convert_to_numpy(block(X)), expected, rtol=1e-4)
    assert block.shortcut is None and ResidualBlock(3, 2)(X).shape == (4, 6, 6, 3)


def test_strides_sample_as_symmetric_padding_does():
    """The first window of stride 2 is centred on the first pixel, not the second."""
    block = ResidualBlock(3, 2)
    block.build(X.shape)
    kernel = np.zeros((3, 3, 3, 3), "float32")
    kernel[1, 1] = np.eye(3)
    for layer in (block.first, block.second):
        layer.kernel.assign(kernel)
    block.shortcut.kernel.assign(kernel[1:2, 1:2])
    every = X[:, ::2, ::2]
    expected = np.maximum(every + np.maximum(every, 0), 0)
    np.testing.assert_allclose(ops.convert_to_numpy(block(X)), expected, rtol=1e-4)


def test_pooling_of_the_stem_pads_with_less_than_anything():
    stem = Stem(2, pool=True)
    stem.build(X.shape)
    stem.norm.beta.assign(np.full(2, -5.0, "float32"))
    assert tuple(stem(X).shape) == stem.compute_output_shape(X.shape) == (4, 6, 6, 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18_light", {"filters": 4, "stem_pool": True}),
        ("resnet18_thin", {"filters": 4}),
        ("resnet32_thin", {"filters": [2, 3, 4, 6]}),
        ("cells", {"filters": 4, "genotype": "darts_v1"}),
    ],
)
def test_plain_networks_are_the_same(name, arguments, tmp_path):
    """Exported, a task's network is one that a process without the package loads."""
    backbone = kl.backbones.get(name, (12, 12, 3), **arguments)
    model = kl.Finetune(backbone)
    model.compile(keras.optimizers.SGD(0.05))
    model.fit(X, np.arange(4) % 2, task="a", epochs=2, batch_size=2, verbose=0)
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


@pytest.mark.parametrize("name", ["resnet18_light", "resnet18_thin"])
def test_seeds_repeat(name):
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


def test_a_switched_network_is_the_one_in_use():
    def make(key):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(int(key))])

    network = SwitchedNetwork(make, "2")
    x = np.ones((1, 3), "float32")
    assert network(x).shape == (1, 2) and network.output_shape == (None, 2)
    first = network.variables
    network.use("4")
    assert network(x).shape == (1, 4) and network.variables is not first
    network.use("2")
    assert [a is b for a, b in zip(network.variables, first, strict=True)] == [True] * 2
    assert network.of("4") is network.of("4")
