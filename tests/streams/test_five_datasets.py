"""Five data sets in turn; notMNIST is made in its own layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_lifelong import streams
from keras_lifelong.streams import five_datasets
from keras_lifelong.streams.five_datasets import padded

NAMES = ["cifar10", "mnist", "svhn", "fashion_mnist", "notmnist"]
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Twenty grey images of each letter, as bright as ten times the letter's place.

    The second row says which it is, from the left. Two files are empty.
    """
    root = tmp_path_factory.mktemp("made") / "notMNIST_small"
    for label, letter in enumerate("ABCDEFGHIJ"):
        (root / letter).mkdir(parents=True)
        for i in range(20):
            x = np.full((28, 28), 10 * label + 5, "uint8")
            x[1, 0], x[8:] = i, 255 * (np.arange(28) // 2 == label)
            Image.fromarray(x).save(root / letter / f"{chr(97 + i)}==.png")
    for letter in "AF":
        (root / letter / "broken==.png").touch()
    return str(root)


def test_five_tasks_of_ten_classes(fake_data, letters, images):
    fake_data.sizes = {"train": 1000, "test": 100}
    stream = streams.get("five_datasets", path=letters)
    assert [task.name for task in stream] == NAMES and not fake_data.calls
    for task in stream:
        assert task.spec.num_classes == 10 and task.spec.input_shape == (32, 32, 3)
        seen = set()
        for split in SPLITS:
            x, y = getattr(task, split)
            assert x.dtype == "float32" and x.shape[1:] == (32, 32, 3)
            assert 0 <= x.min() and x.max() <= 1
            assert np.ptp(np.bincount(y, minlength=10)) <= 1
            if task.name in ("mnist", "fashion_mnist", "notmnist"):
                assert (x[..., :1] == x).all()
                frame = np.ones((32, 32), bool)
                frame[2:30, 2:30] = False
                assert not x[:, frame].any()
                x = x[:, 2:30, 2:30, :1]
            if task.name == "notmnist":
                found = np.rint(x[:, 0, 0, 0] * 255).astype(int) // 10
                numbers = 20 * found + np.rint(x[:, 1, 0, 0] * 255).astype(int)
            else:
                found, numbers = images(x)
            np.testing.assert_array_equal(found, y)
            if task.name == "notmnist" or split != "test":
                assert len({*numbers}) == len(y) and not seen & {*numbers}
                seen |= {*numbers}
        sizes = [len(getattr(task, split)[1]) for split in SPLITS]
        expected = [171, 9, 20] if task.name == "notmnist" else [950, 50, 100]
        assert sizes == expected


def test_a_data_set_is_read_when_its_task_is(fake_data, letters):
    stream = streams.get("five_datasets", path=letters, data_dir="there")
    for split in SPLITS[:2]:
        getattr(stream[2], split)
    assert fake_data.calls == [("svhn_cropped", "train", "there")]


def test_seeds_leave_the_test_images(letters):
    one, two = (
        streams.get("five_datasets", path=letters, seed=s, task_order=[4, 3, 2, 1, 0])
        for s in (0, 1)
    )
    assert [task.name for task in one] == NAMES[::-1]
    np.testing.assert_array_equal(one[0].test[0], two[0].test[0])
    assert one[0].validation[0].tobytes() != two[0].validation[0].tobytes()


def test_each_is_standardised_by_itself(fake_data, letters):
    stream = streams.get(
        "five_datasets", path=letters, standardize=True, train_per_task=50
    )
    for task in (stream[1], stream[4]):
        x, y = task.train
        assert np.bincount(y).tolist() == [5] * 10
        np.testing.assert_allclose(x.mean((0, 1, 2), "f8"), 0, atol=1e-4)
        np.testing.assert_allclose(x.std((0, 1, 2), "f8"), 1, atol=1e-4)


def test_it_comes_back(letters, comes_back):
    order = [4, 0, 1, 2, 3]
    comes_back(
        streams.get("five_datasets", path=letters, task_order=order, num_tasks=1)
    )


def test_letters_are_learned(letters, learned_scores):
    order = [4, 0, 1, 2, 3]
    stream = streams.get("five_datasets", path=letters, task_order=order, num_tasks=1)
    assert learned_scores(stream, epochs=12).min() > 0.8  # one class of ten: 0.1


def test_black_margins():
    x = np.full((2, 28, 28, 1), 9, "uint8")
    x[1, 0, 0] = 4
    wide = padded(x)
    assert wide.shape == (2, 32, 32, 3) and wide.sum() == 3 * (x.sum(dtype=int))
    assert wide[1, 2, 2].tolist() == [4, 4, 4]
    colours = np.arange(32 * 32 * 3, dtype="uint8").reshape(1, 32, 32, 3)
    np.testing.assert_array_equal(padded(colours), colours)


def test_what_is_missing_is_said(fake_data, letters, tmp_path):
    with pytest.raises(ValueError, match="`path` must be the folder of notMNIST_small"):
        streams.get("five_datasets")
    assert len(streams.get("five_datasets", num_tasks=4)) == 4  # without notMNIST
    with pytest.raises(ValueError, match="`path` must be .*task_order=.4, 0"):
        streams.get("five_datasets", num_tasks=1, task_order=[4, 0, 1, 2, 3])
    with pytest.raises(ValueError, match="`task_order`.*each of 0 ... 4 once"):
        streams.get("five_datasets", path=letters, task_order=[0, 1])
    with pytest.raises(FileNotFoundError, match="`path` has no 'A'.*yaroslavvb.com"):
        streams.get("five_datasets", path=str(tmp_path))
    for letter in "ABCDEFGHIJ":
        (tmp_path / letter).mkdir()
    task = streams.get("five_datasets", path=str(tmp_path))[4]
    with pytest.raises(ValueError, match="`path` must have 10 files.*Received: 0"):
        task.train  # noqa: B018
    for i in range(10):
        (tmp_path / "A" / f"{i}.png").write_bytes(b"no image")
        for letter in "BCDEFGHIJ":
            Image.new("L", (28, 28)).save(tmp_path / letter / f"{i}.png")
    with pytest.raises(ValueError, match="Pillow can read; get this one again"):
        task.train  # noqa: B018


def test_what_a_later_task_lacks_is_missed_at_once(fake_data, letters, monkeypatch):
    def check(name, data_dir):
        if name == "svhn_cropped":
            raise FileNotFoundError(f"no {name} in {data_dir}")

    stream = streams.get("five_datasets", path=letters, data_dir="there")
    stream.check()
    monkeypatch.setattr(five_datasets.tfds, "check", check)
    with pytest.raises(FileNotFoundError, match="no svhn_cropped in there"):
        stream.check()
    order = [0, 1, 3, 4, 2]
    few = streams.get("five_datasets", path=letters, task_order=order, num_tasks=4)
    few.check()
    place = Path(letters) / "C"
    for file in sorted(place.iterdir())[:11]:
        file.rename(file.with_suffix(".aside"))
    try:
        with pytest.raises(ValueError, match="10 files or more.*Received: 9 in .*C'"):
            few.check()
    finally:
        for file in place.glob("*.aside"):
            file.rename(file.with_suffix(".png"))
    assert not fake_data.calls
