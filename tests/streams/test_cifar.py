"""Streams made of CIFAR, and reading through TFDS."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import cifar
from keras_lifelong.streams import tfds


def test_split_cifar10(fake_data, images):
    task = streams.get("split_cifar10")[3]
    x, y = task.train
    assert x.shape == (1080, 32, 32, 3) and len(task.validation[0]) == 120
    np.testing.assert_array_equal(images(x)[0], 6 + y)


def test_split_cifar100(fake_data, images):
    stream = streams.get("split_cifar100", classes_per_task=20)
    assert len(stream) == 5 and stream[0].spec.num_classes == 20
    x, y = stream[4].test
    np.testing.assert_array_equal(images(x)[0], 80 + y)


def test_one_versus_rest(fake_data):
    plain = streams.get("split_cifar100", train_per_task=40)[2]
    task = streams.get("split_cifar100", train_per_task=40, labels="one_vs_rest")[2]
    assert (task.spec.kind, task.spec.units) == ("multilabel", 10)
    x, y = task.train
    assert y.shape == (40, 10) and y.dtype == "float32"
    np.testing.assert_array_equal(x, plain.train[0])
    np.testing.assert_array_equal(y.argmax(1), plain.train[1])
    np.testing.assert_array_equal(y.sum(1), 1)


def test_superclasses(fake_data, images):
    stream = streams.get("cifar100_superclass")
    assert len(stream) == 20
    seen = []
    for index, task in enumerate(stream):
        x, y = task.test
        fine = images(x)[0]
        assert np.unique(y).tolist() == [0, 1, 2, 3, 4]
        np.testing.assert_array_equal(np.take(cifar.SUPERCLASS, fine), index)
        seen.extend(np.unique(fine))
    assert sorted(seen) == list(range(100))


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    task = streams.get("split_cifar10", data_dir=str(tmp_path))[0]
    with pytest.raises(FileNotFoundError) as error:
        task.train  # noqa: B018
    for words in ("'cifar10'", str(tmp_path), "tfds.load('cifar10')", "TFDS_DATA_DIR"):
        assert words in str(error.value)


@pytest.mark.parametrize("name, classes", [("cifar10", 10), ("mnist", 10)])
def test_reading_through_tfds(name, classes):
    library = pytest.importorskip("tensorflow_datasets")
    with library.testing.mock_data(num_examples=40):
        x, y = tfds.load(name, "train", None)
        splits = tfds.load_splits(name, 0.25, seed=0, data_dir=None)
    assert x.shape[0] == 40 and x.ndim == 4 and x.dtype == "uint8"
    assert y.dtype == "int64" and y.max() < classes
    assert [len(splits[s][1]) for s in ("train", "validation", "test")] == [30, 10, 40]


def test_real_superclasses(real_data):
    real_data("cifar100")
    import tensorflow_datasets

    data = tensorflow_datasets.load("cifar100", split="test", download=False)
    data = data.map(lambda example: (example["label"], example["coarse_label"]))
    pairs = np.array(list(data.as_numpy_iterator()))
    np.testing.assert_array_equal(np.take(cifar.SUPERCLASS, pairs[:, 0]), pairs[:, 1])
