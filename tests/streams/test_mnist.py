"""Streams made of MNIST."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams.mnist import permute

SPLITS = ("train", "validation", "test")


def test_split_mnist(fake_data, images):
    stream = streams.get("split_mnist", data_dir="there")
    seen = []
    for index, task in enumerate(stream):
        for split in SPLITS[:2]:
            x, y = getattr(task, split)
            digits, numbers = images(x)
            np.testing.assert_array_equal(digits, 2 * index + y)
            seen.extend(numbers)
        assert len(task.validation[0]) == 120 and len(task.test[0]) == 100
    assert sorted(seen) == list(range(6000))
    # Read once for all tasks.
    assert fake_data.calls == [("mnist", s, "there") for s in ("train", "test")]


def test_permuted_mnist(fake_data):
    stream = streams.get("permuted_mnist", num_tasks=50)
    assert fake_data.calls == []
    first, last = stream[0], stream[49]
    assert [len(getattr(last, split)[0]) for split in SPLITS] == [1000, 5000, 500]
    assert first.train[0].shape[1:] == (28, 28, 1)
    for split in SPLITS:
        (x, y), (z, w) = getattr(first, split), getattr(last, split)
        np.testing.assert_array_equal(y, w)
        assert not np.array_equal(x, z)
        x, z = (np.sort(array.reshape(len(y), -1)) for array in (x, z))
        np.testing.assert_array_equal(x, z)


def test_permutations_depend_on_seed_and_task_alone():
    x = np.arange(784.0).reshape(1, 28, 28, 1)
    orders = [permute(x, seed, i, True) for seed in (0, 1) for i in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 4
    np.testing.assert_array_equal(permute(x, 1, 1, False), orders[-1])
    assert permute(x, 0, 0, permute_first=False) is x


def test_permute_first(fake_data, images):
    stream = streams.get("permuted_mnist", permute_first=False)
    x, y = stream[0].test
    np.testing.assert_array_equal(images(x)[0], y)
    assert not np.array_equal(images(stream[1].test[0])[0], y)


def test_shortened_tasks_have_the_same_images(fake_data):
    stream = streams.get("permuted_mnist", train_per_task=20)
    assert np.bincount(stream[0].train[1]).tolist() == [2] * 10
    x, z = (np.sort(stream[i].train[0].reshape(20, -1)) for i in (0, 5))
    np.testing.assert_array_equal(x, z)


def test_rotated_mnist(fake_data):
    stream = streams.get("rotated_mnist", angles=[0, 90, 33.3])
    assert len(stream) == 3
    x, quarter, other = (task.test[0] for task in stream)
    np.testing.assert_allclose(quarter, np.rot90(x, axes=(1, 2)), atol=1e-6)
    assert other.dtype == "float32" and 0 <= other.min() < other.max() <= 1
    assert len(streams.get("rotated_mnist", num_tasks=7)) == 7
    assert len(streams.get("rotated_mnist", num_tasks=2, angles=[1, 2, 3])) == 2


@pytest.mark.parametrize("angles", [[], [float("nan")]])
def test_rotated_mnist_refuses_bad_angles(angles):
    with pytest.raises(ValueError, match="angles`.*Received"):
        streams.get("rotated_mnist", angles=angles)
    with pytest.raises(ValueError, match="`num_tasks`.*1 ... 2"):
        streams.get("rotated_mnist", num_tasks=3, angles=[1, 2])


SMALL = {"images_per_class": [20, 5, 10]}


def test_mnist_variation(fake_data):
    stream = streams.get("mnist_variation", **SMALL)
    assert len(stream) == 10 and fake_data.calls == []
    labels = []
    for task in stream:
        for split, size in zip(SPLITS, (200, 50, 100), strict=True):
            x, y = getattr(task, split)
            assert x.shape == (size, 28, 28, 1) and y.shape == (size,)
            assert x.dtype == "float32" and 0 <= x.min() < x.max() <= 1
            assert y.sum() == size // 10
        labels.append(task.train[1])
        np.testing.assert_array_equal(task.train[0], stream[0].train[0])
    # Each image is the positive of exactly one task.
    np.testing.assert_array_equal(np.sum(labels, 0), 1)
    assert len(fake_data.calls) == 2


def test_mnist_variation_shortened(fake_data):
    stream = streams.get("mnist_variation", train_per_task=50, **SMALL)
    assert [task.train[1].sum() for task in stream] == [5] * 10
    np.testing.assert_array_equal(stream[0].train[0], stream[9].train[0])


def test_noise_lies_behind_the_digits(fake_data):
    plain, noisy, other = (
        streams.get("mnist_variation", noise=noise, seed=seed, **SMALL)[0].train[0]
        for noise, seed in ((0.0, 0), (0.5, 0), (0.5, 1))
    )
    assert (noisy >= plain).all() and not np.array_equal(noisy, plain)
    assert noisy[noisy > plain].max() <= 0.51
    assert not np.array_equal(noisy, other)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"noise": 1.5}, "`noise`.*1.5"),
        ({"images_per_class": [1, 2]}, "`images_per_class`.*three"),
        ({"images_per_class": [1, 0, 2]}, "`images_per_class`.*1 or more.*0"),
        ({"num_tasks": 11}, "`num_tasks`.*1 ... 10.*11"),
        ({"train_per_task": 0}, "`train_per_task`.*0"),
    ],
)
def test_mnist_variation_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        streams.get("mnist_variation", **arguments)


def test_mnist_variation_wants_enough_images(fake_data):
    stream = streams.get("mnist_variation")
    with pytest.raises(ValueError, match="add up to 650 at most"):
        stream[0].train  # noqa: B018


def test_real_mnist(real_data):
    real_data("mnist")
    task = streams.get("permuted_mnist", permute_first=False)[0]
    assert [len(getattr(task, split)[0]) for split in SPLITS] == [55000, 5000, 10000]
    x = np.concatenate([task.train[0], task.validation[0]])
    # The published mean and deviation of MNIST's training images.
    assert abs(x.mean() - 0.1307) < 1e-4 and abs(x.std() - 0.3081) < 1e-4
    assert (np.bincount(task.validation[1]) > 440).all()
