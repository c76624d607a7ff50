"""CTrL's streams: the composition of each, and what their images are."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import ctrl
from keras_lifelong.streams import tfds

SHAPES = {
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "svhn_cropped": (32, 32, 3),
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
}
CLASSES = {tfds_name: classes for tfds_name, classes, _ in ctrl.DATA.values()}
EACH = {"train": 1600, "test": 30}


@pytest.fixture
def data(monkeypatch):
    """Stands for TFDS: images are as bright as 2 * label, all over; label by turns."""

    def load(name, split, data_dir):
        each, classes = EACH[split], CLASSES[name]
        if name == "cifar100":
            each = min(each, 500)
        y = np.arange(each * classes) % classes
        x = np.broadcast_to(
            (2 * y).astype("uint8")[:, None, None, None], (len(y), *SHAPES[name])
        )
        return x, y

    def load_covering(name, split, side, data_dir):
        assert (name, side) == ("dtd", 32)
        y = np.arange(40 * 47) % 47
        x = np.broadcast_to(
            (2 * y).astype("uint8")[:, None, None, None], (len(y), 32, 32, 3)
        )
        return x, y

    monkeypatch.setattr(tfds, "load", load)
    monkeypatch.setattr(tfds, "load_covering", load_covering)


def composition(stream):
    """Of each task: data set, images of a class in each split."""
    found = []
    for task in stream:
        counts = [
            np.bincount(getattr(task, split)[1]) for split in ("train", "validation")
        ]
        assert all(len(set(c)) == 1 for c in counts)
        found.append((task.name.split("_")[1], *(int(c[0]) for c in counts)))
    return found


FEW = [("mnist", 40, 20), ("dtd", 40, 20), ("fashion", 40, 20), ("svhn", 40, 20)]
MANY_CIFAR, FEW_CIFAR = ("cifar10", 400, 200), ("cifar10", 40, 20)
IN = [("mnist", 400, 200), FEW_CIFAR, *FEW[1:], ("mnist", 5, 3)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ctrl_minus", [MANY_CIFAR, *FEW, FEW_CIFAR]),
        ("ctrl_plus", [FEW_CIFAR, *FEW, MANY_CIFAR]),
        ("ctrl_in", IN),
        ("ctrl_out", [MANY_CIFAR, *FEW, FEW_CIFAR]),
        ("ctrl_plastic", [*FEW, MANY_CIFAR]),
    ],
)
def test_tasks_are_the_published_ones(name, expected, data):
    stream = streams.get(name)
    assert composition(stream) == expected
    for task in stream:
        assert task.spec.num_classes == 10
        for split in ("train", "validation", "test"):
            x = getattr(task, split)[0]
            assert x.shape[1:] == (32, 32, 3) and x.dtype == np.float32
            assert 0 <= x.min() and x.max() <= 1
        assert len(task.test[1]) == 10 * (40 if "dtd" in task.name else 30)


def shown(task, split="train"):
    """The class that each label stands for, read from the images."""
    x, y = getattr(task, split)
    classes = np.rint(x.min((1, 2, 3)) * 255 / 2).astype(int)
    of = [np.unique(classes[y == label]) for label in range(10)]
    assert all(len(c) == 1 for c in of)
    return [int(c[0]) for c in of]


def test_the_last_task_is_the_first_again(data):
    for name in ("ctrl_minus", "ctrl_plus", "ctrl_in"):
        stream = streams.get(name)
        assert shown(stream[0]) == shown(stream[len(stream) - 1]), name
    stream = streams.get("ctrl_out")
    first, last = shown(stream[0]), shown(stream[5])
    assert [last[(k + 1) % 10] for k in range(10)] == first  # k has become k + 1


def test_labels_of_all_splits_mean_the_same(data):
    for task in streams.get("ctrl_plastic", task_seed=3):
        assert shown(task) == shown(task, "validation") == shown(task, "test")


def test_task_seeds_change_classes_and_labels(data):
    first, again = (shown(streams.get("ctrl_minus")[2]) for _ in range(2))
    other = shown(streams.get("ctrl_minus", task_seed=1)[2])
    assert first == again and sorted(first) != sorted(other)
    assert len(set(first)) == 10 and max(first) > 10  # ten of the 47 textures
    labels = shown(streams.get("ctrl_minus")[0])
    assert sorted(labels) == list(range(10)) and labels != list(range(10))


def test_the_ground_has_another_colour(data):
    stream = streams.get("ctrl_in")
    lit = [
        np.flatnonzero((stream[i].train[0] == 1).all((0, 1, 2))).tolist()
        for i in (0, 5)
    ]
    assert [len(channels) for channels in lit] == [1, 1] and lit[0] != lit[1]
    assert not (stream[1].train[0] == 1).all((0, 1, 2)).any()


def test_a_hundred_tasks():
    plans = ctrl.long_plans(0)
    assert len(plans) == 100 and {p.data for p in plans} == set(ctrl.LONG)
    large = np.array([p.sizes[0] > 5 for p in plans])
    assert not large[66:].any()
    means = [
        np.mean([[p.sizes[0] > 5 for p in ctrl.long_plans(s)[part]] for s in range(60)])
        for part in (slice(0, 33), slice(33, 66))
    ]
    np.testing.assert_allclose(means, [0.5, 0.25], atol=0.03)
    for p in plans:
        assert len(set(p.classes)) == 5
        tiny, cifar = (5, 3), p.data == "cifar100"
        assert p.sizes in (tiny, (450, 50) if cifar else (1000, 500))


def test_a_few_of_a_hundred(data):
    stream = streams.get("ctrl_long", num_tasks=4)
    for task, plan in zip(stream, ctrl.long_plans(0), strict=False):
        assert task.spec.num_classes == 5
        assert len(task.train[1]) == 5 * plan.sizes[0]
        assert len(task.validation[1]) == 5 * plan.sizes[1]


def test_each_task_is_standardised_by_its_own_training_data(data):
    stream = streams.get("ctrl_minus", standardize=True)
    means = []
    for index in (2, 4):
        x = stream[index].train[0]
        np.testing.assert_allclose(x.mean((0, 1, 2), "f8"), 0, atol=1e-4)
        np.testing.assert_allclose(x.std((0, 1, 2), dtype="f8"), 1, atol=1e-4)
        means.append(stream[index].validation[0].mean())
    assert all(abs(mean) < 0.1 for mean in means)


def test_validation_images_are_never_trained_on(monkeypatch):
    def load(name, split, data_dir):
        n = 10 * EACH[split]
        x = np.zeros((n, *SHAPES[name]), "uint8")
        x[:, 0, 0, 0], x[:, 0, 1, 0] = np.arange(n) // 256, np.arange(n) % 256
        return x, np.arange(n) % 10

    def numbers(split):
        flat = np.rint(split[0][:, 0, :2, 0] * 255).astype(int)
        return set((flat[:, 0] * 256 + flat[:, 1]).tolist())

    monkeypatch.setattr(tfds, "load", load)
    first, other = (streams.get("ctrl_minus", seed=s) for s in (0, 1))
    held = [numbers(s[i].validation) for s in (first, other) for i in (0, 5)]
    trained = [numbers(s[i].train) for s in (first, other) for i in (0, 5)]
    assert not set.union(*held) & set.union(*trained)
    assert trained[0] != trained[2] and len(trained[0]) == 4000


def test_photographs_are_covered_and_cropped():
    wide = np.zeros((40, 80, 3), "uint8")
    wide[:, 30:50] = 200  # the middle
    square = tfds.covering(wide, 20)
    assert square.shape == (20, 20, 3)
    assert (square[:, 10] == 200).all() and not square[:, 0].any()
    assert tfds.covering(np.full((9, 5, 3), 7, "uint8"), 32).min() == 7


def test_digits_are_resized(data):
    x = np.zeros((2, 28, 28, 1), "uint8")
    x[0, 14:] = 255
    resized = ctrl.as_colour(x)
    assert resized.shape == (2, 32, 32, 3) and not resized[1].any()
    assert resized[0, :14].max() == 0 and resized[0, 18:].min() == 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_tasks": 7}, "`num_tasks`.*7"),
        ({"seed": -1}, "`seed`.*-1"),
        ({"task_seed": -1}, "`task_seed` must be an integer of 0 or more.*-1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        streams.get("ctrl_minus", **arguments)


def test_real_digits(real_data):
    real_data("mnist")
    stream = streams.get("ctrl_plastic", num_tasks=1)
    x, y = stream[0].test
    assert x.shape == (len(y), 32, 32, 3) and len(y) == 9786  # 1,000 of a class
    assert (x[..., 0] == x[..., 2]).all()
