"""LASEM's streams: few images of each class, noise by task."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import lasem
from keras_lifelong.streams import tfds


def test_every_class_of_cifar100_is_in_one_task():
    assert sorted(np.ravel(lasem.CIFAR100_TASKS)) == list(range(100))


def test_lasem_cifar100(fake_data, images):
    stream = streams.get("lasem_cifar100", standardize=False)
    assert len(stream) == 10
    task = stream[3]
    sizes = [len(task.train[1]), len(task.validation[1]), len(task.test[1])]
    assert sizes == [170, 30, 50]
    for split in (task.train, task.validation, task.test):
        classes, _ = images(split[0])
        assert np.take(lasem.CIFAR100_TASKS[3], split[1]).tolist() == classes.tolist()
    train, held = images(task.train[0])[1], images(task.validation[0])[1]
    assert not np.intersect1d(train, held).size
    again = streams.get("lasem_cifar100", standardize=False, seed=1)[3]
    assert not np.array_equal(images(again.train[0])[1], train)


def test_each_split_is_standardised_by_itself(fake_data):
    task = streams.get("lasem_cifar100")[0]
    for x, _ in (task.train, task.validation, task.test):
        np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-3)


def test_lasem_cifar100_of_real_images(real_data):
    real_data("cifar100")
    task = streams.get("lasem_cifar100", num_tasks=1)[0]
    assert task.train[0].shape == (170, 32, 32, 3)
    assert np.bincount(task.train[1]).tolist() == [17] * 10
    assert len(task.validation[1]) == 30 and len(task.test[1]) == 1000


@pytest.fixture
def fake_stl10(monkeypatch):
    """Bright red, green that numbers the image, dark blue that says its class."""
    calls = []

    def load(name, split, data_dir):
        calls.append((name, split, data_dir))
        n = {"train": 5000, "test": 200}[split]
        number, y = np.arange(n), np.arange(n) % 10
        x = np.empty((n, 96, 96, 3), "uint8")
        x[..., 0] = 200
        x[:, :48, :, 1] = (60 + number // 100)[:, None, None]
        x[:, 48:, :, 1] = (60 + number % 100)[:, None, None]
        x[..., 2] = (20 + 3 * y)[:, None, None]
        return x, y

    monkeypatch.setattr(tfds, "load", load)
    return calls


def decoded(x):
    """A task's noise and order of colours, and each image's class and number."""
    dark_to_bright = np.argsort(x.mean((0, 1, 2)))
    blue, green, red = (x[..., c] for c in dark_to_bright)
    mean = float(red.mean()) - (200 / 255 - 0.5)

    def pixel(values):
        return np.rint((values.mean((1, 2)) - mean + 0.5) * 255).astype(int)

    numbers = 100 * (pixel(green[:, :48]) - 60) + pixel(green[:, 48:]) - 60
    noise = round(mean, 3), round(float(red.std()), 3)
    return noise, tuple(dark_to_bright), (pixel(blue) - 20) // 3, numbers


def classes_of(task):
    x, y = task.validation
    return [int(decoded(x)[2][y == label][0]) for label in range(3)]


def test_stl10_noisy(fake_stl10):
    stream = streams.get("stl10_noisy", standardize=False)
    other = streams.get("stl10_noisy", standardize=False, seed=1)
    assert len(stream) == 20 and not fake_stl10
    groups, noises, orders, drawn = [], set(), set(), {}
    for index, task in enumerate(stream):
        assert (task.spec.num_classes, task.spec.head) == (3, "per_task")
        x, y = task.validation
        assert x.dtype == "float32" and x.min() >= -0.5 and x.max() <= 0.5
        assert np.bincount(y).tolist() == [19] * 3
        noise, order, classes, numbers = decoded(x)
        groups.append(classes_of(task))
        np.testing.assert_array_equal(np.take(groups[-1], y), classes)
        np.testing.assert_array_equal(numbers % 10, classes)
        noises.add(noise)
        orders.add(order)
        for label in groups[-1]:
            drawn.setdefault(label, set()).add(tuple(numbers[classes == label]))
        if index < 4:  # another draw of images leaves the tasks as they are
            again = decoded(other[index].validation[0])
            assert again[:2] == (noise, order)
            assert classes_of(other[index]) == groups[-1]
            assert not np.array_equal(again[3], numbers)
    assert len({frozenset(group) for group in groups}) == 20
    assert noises <= {
        (mean, deviation)
        for mean in lasem.NOISE_MEANS
        for deviation in lasem.NOISE_DEVIATIONS
    }
    assert len(noises) > 4 and len(orders) > 3
    # Each task draws a class's images anew; 60 draws of 10 classes.
    assert sum(len(draws) for draws in drawn.values()) == 60
    assert fake_stl10.count(("stl10", "train", None)) == 2
    assert ("stl10", "test", None) not in fake_stl10


def test_stl10_splits(fake_stl10):
    stream = streams.get("stl10_noisy", num_tasks=1, standardize=False)
    task = stream[0]
    x, y = task.train
    assert np.bincount(y).tolist() == [106] * 3
    assert not np.intersect1d(decoded(x)[3], decoded(task.validation[0])[3]).size
    assert len(task.test[1]) == 60  # every test image of its classes
    other = streams.get("stl10_noisy", num_tasks=1, standardize=False, seed=1)
    np.testing.assert_array_equal(other[0].test[0], task.test[0])
    stream = streams.get("stl10_noisy", train_per_task=9, standardize=True)
    x, _ = stream[0].train
    assert len(x) == 9
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-3)


def test_stl10_tasks_depend_on_their_own_seed(fake_stl10):
    groups = [
        [
            classes_of(task)
            for task in streams.get(
                "stl10_noisy", num_tasks=3, standardize=False, task_seed=seed
            )
        ]
        for seed in (0, 1)
    ]
    assert groups[0] != groups[1]


def test_fifteen_five_way_tasks(fake_stl10):
    stream = streams.get("stl10_noisy15")
    other = streams.get("stl10_noisy15", num_tasks=2, seed=1)
    assert len(stream) == 15 and stream[0].spec.num_classes == 5
    groups = []
    for index in (0, 14):
        task = stream[index]
        (x, y), (held, held_y) = task.train, task.validation
        assert x.shape == held.shape == (125, 96, 96, 3)
        assert np.bincount(y).tolist() == np.bincount(held_y).tolist() == [25] * 5
        _, _, classes, numbers = decoded(x)
        assert not np.intersect1d(numbers, decoded(held)[3]).size
        group = [int(classes[y == label][0]) for label in range(5)]
        np.testing.assert_array_equal(np.take(group, y), classes)
        groups.append(tuple(group))
        if index == 0:  # another draw of images, the same task
            again = decoded(other[0].train[0])
            assert (again[2] == classes).all() and (again[3] != numbers).any()
            assert len(task.test[1]) == 100  # every test image of its classes
    assert len(set(groups)) == 2


def test_the_authors_tasks_in_another_order(fake_data):
    order = [9, *range(9)]
    stream = streams.get("lasem_cifar100", task_order=order, num_tasks=2)
    plain = streams.get("lasem_cifar100")
    for task, index in zip(stream, (9, 0), strict=True):
        np.testing.assert_array_equal(task.test[0], plain[index].test[0])
    with pytest.raises(ValueError, match="`task_order`.*each of 0 ... 9 once.*9, 9"):
        streams.get("lasem_cifar100", task_order=[9, 9])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task_seed": -1}, "`task_seed` must be an integer of 0 or more.*: -1"),
        ({"seed": -1}, "`seed` must be an integer of 0 or more.*: -1"),
        ({"num_tasks": 21}, r"`num_tasks` must be an integer in 1 ... 20.*: 21"),
    ],
)
def test_stl10_noisy_says_what_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=words):
        streams.get("stl10_noisy", **arguments)
