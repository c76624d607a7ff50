"""LASEM's streams: few images of each class, noise by task, a folder of images."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import lasem
from keras_lifelong.streams import office_home as office_home_module
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
    def load(name, split, data_dir):
        assert name == "stl10"
        n = {"train": 5000, "test": 200}[split]
        x = np.zeros((n, 96, 96, 3), "uint8")
        y = np.arange(n) % 10
        x[..., 0], x[:, 0, 0, 1] = 128, y
        return x, y

    monkeypatch.setattr(tfds, "load", load)


def test_stl10_noisy(fake_stl10):
    plain = streams.get("stl10_noisy", standardize=False)
    other = streams.get("stl10_noisy", standardize=False, seed=1)
    assert len(plain) == 20
    noise, orders = set(), set()
    for index in range(8):
        x, y = plain[index].test
        assert y.max() == 2 and x.min() >= -0.5 and x.max() <= 0.5
        channel = int(np.argmax(x.mean((0, 1, 2))))  # where the first colour went
        orders.add(channel)
        grey = x[..., channel] - (128 / 255 - 0.5)
        noise.add((round(float(grey.mean()), 3), round(float(grey.std()), 3)))
        np.testing.assert_array_equal(other[index].test[0], x)
    assert len(orders) > 1
    assert noise <= {(m, s) for m in lasem.NOISE_MEANS for s in lasem.NOISE_DEVIATIONS}
    assert len(noise) > 2
    task = plain[0]
    assert [len(task.train[1]), len(task.validation[1])] == [318, 57]


def test_stl10_tasks_differ_in_their_classes(fake_stl10, monkeypatch):
    seen = []
    monkeypatch.setattr(
        lasem, "class_tasks", lambda load, classes, *a, **k: seen.append(classes) or [0]
    )
    streams.get("stl10_noisy")
    assert len({tuple(group) for group in seen[0]}) == 20
    assert {len(set(group)) for group in seen[0]} == {3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two domains of 65 classes with ten tiny images each; the colour is the class."""
    image = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("office")
    for d, domain in enumerate(("Product", "Real World")):
        for c in range(65):
            place = root / domain / f"{'aA'[c % 2]}{c:02d}"
            place.mkdir(parents=True)
            for i in range(10):
                colour = (3 * c, 200 * d, 20 * i)
                image.new("RGB", (6 + d, 5), colour).save(place / f"{i}.png")
    return root


def test_office_home(folder):
    stream = streams.get(
        "office_home", path=str(folder), image_size=4, standardize=False
    )
    assert len(stream) == 10
    for index in (1, 6):
        task = stream[index]
        assert task.spec.input_shape == (4, 4, 3) and task.spec.num_classes == 13
        seen = set()
        for (x, y), each in zip(
            (task.train, task.validation, task.test), (6, 1, 3), strict=True
        ):
            assert np.bincount(y).tolist() == [each] * 13
            pixels = np.rint(x[:, 0, 0] * 255).astype(int)
            group = np.take(office_home_module.GROUPS[1], y)
            np.testing.assert_array_equal(pixels[:, 0], 3 * group)
            assert set(pixels[:, 1]) == {200 * (index > 4)}
            numbers = {(c, n) for c, n in zip(group, pixels[:, 2], strict=True)}
            assert not seen & numbers
            seen |= numbers
        assert len(seen) == 130


def test_office_home_reads_a_task_when_it_is_asked_for(folder, monkeypatch):
    read = []
    monkeypatch.setattr(
        office_home_module,
        "_image",
        lambda file, size: read.append(file) or np.zeros((size, size, 3), "uint8"),
    )
    stream = streams.get("office_home", path=str(folder), standardize=False)
    task = stream[9]
    assert not read
    assert task.test[0].shape == (39, 128, 128, 3)
    assert len(read) == 39


def test_office_home_says_what_is_wrong(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder 'Product'.*hemanthdv.org"):
        streams.get("office_home", path=str(tmp_path))
    for domain in ("Product", "RealWorld"):
        (tmp_path / domain / "Alarm_Clock").mkdir(parents=True)
    with pytest.raises(ValueError, match="65 folders.*Received: 1 in"):
        streams.get("office_home", path=str(tmp_path))
    for c in range(64):
        for domain in ("Product", "RealWorld"):
            (tmp_path / domain / f"b{c}").mkdir()
    task = streams.get("office_home", path=str(tmp_path))[0]
    with pytest.raises(ValueError, match="10 images or more.*Received: 0 in"):
        task.train  # noqa: B018
    for place in (tmp_path / "Product").iterdir():
        for i in range(10):
            (place / f"{i}.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot be read"):
        task.train  # noqa: B018
