"""Made data sets that stand for the real ones."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import tfds


class FakeData:
    """Replaces `tfds.load`; pixel 0 is the label and pixels 1, 2 number the image."""

    sizes = {"train": 6000, "test": 500}
    shapes = {"mnist": ((28, 28, 1), 10), "cifar10": ((32, 32, 3), 10)}
    shapes["cifar100"] = ((32, 32, 3), 100)
    shapes["svhn_cropped"] = ((32, 32, 3), 10)
    shapes["fashion_mnist"] = ((28, 28, 1), 10)

    def __init__(self):
        self.calls = []

    def __call__(self, name, split, data_dir):
        self.calls.append((name, split, data_dir))
        shape, classes = self.shapes[name]
        n = self.sizes[split]
        x = np.random.default_rng(n).integers(0, 256, (n, *shape), "uint8")
        y = np.arange(n) % classes
        flat = x.reshape(n, -1)
        flat[:, 0], flat[:, 1], flat[:, 2] = y, np.arange(n) // 256, np.arange(n) % 256
        return x, y


@pytest.fixture
def fake_data(monkeypatch):
    fake = FakeData()
    monkeypatch.setattr(tfds, "load", fake)
    monkeypatch.setattr(tfds, "check", lambda name, data_dir: None)
    return fake


def images(x):
    """The labels and numbers that FakeData wrote into the pixels."""
    flat = np.rint(x.reshape(len(x), -1)[:, :3] * 255).astype(int)
    return flat[:, 0], flat[:, 1] * 256 + flat[:, 2]


@pytest.fixture(name="images")
def images_fixture():
    return images


@pytest.fixture
def assert_same():
    """Checks that two streams are the same, bit for bit."""

    def check(stream, other):
        for one, two in zip(stream, other, strict=True):
            assert (one.name, one.spec) == (two.name, two.spec)
            for split in ("train", "validation", "test"):
                pair = zip(getattr(one, split), getattr(two, split), strict=True)
                for array, again in pair:
                    assert (array.dtype, array.shape) == (again.dtype, again.shape)
                    assert array.tobytes() == again.tobytes()

    return check


@pytest.fixture
def comes_back(tmp_path, assert_same):
    """Checks that a stream is the same after it was exported."""

    def check(stream):
        path = tmp_path / "exported.npz"
        streams.export_npz(stream, path)
        assert_same(stream, streams.get("npz", path=str(path)))

    return check


@pytest.fixture
def learned_scores():
    """What a small network has of each task's test data as it learned them in turn."""

    def learn(stream, epochs, metric="accuracy", rate=0.01):
        import keras

        import keras_lifelong as kl

        keras.utils.set_random_seed(0)
        layers = [keras.Input(stream.input_shape), keras.layers.Flatten()]
        layers += [keras.layers.Dense(16, activation="relu")]
        model = kl.Finetune(keras.Sequential(layers))
        model.compile(optimizer=keras.optimizers.Adam(rate), metrics=[metric])
        result = model.fit_stream(stream, epochs=epochs, batch_size=64, verbose=0)
        return np.diag(result.matrices[metric])

    return learn
