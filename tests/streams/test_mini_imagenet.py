"""mini-ImageNet in both of its layouts; images are made of their files' names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_lifelong import streams
from keras_lifelong.streams.image_files import ImageFolder

PARTS = {"train": 64, "val": 16, "test": 20}
FIRST = {"train": 0, "val": 64, "test": 80}


def named(part, c, i):
    return f"n{FIRST[part] + c:02d}{i:06d}.jpg"


@pytest.fixture
def listed(tmp_path):
    """Lists of 600 images of each class, in no order of classes."""
    (tmp_path / "images").mkdir()
    for part, classes in PARTS.items():
        rows = [
            f"{named(part, c, i)},n{FIRST[part] + c:02d}\n"
            for i in range(600)
            for c in reversed(range(classes))
        ]
        (tmp_path / f"{part}.csv").write_text("filename,label\n" + "".join(rows))
    return tmp_path


@pytest.fixture
def made_images(monkeypatch):
    """Red is the class, green and blue are the number of the image."""

    def image(self, file, size):
        digits = file.rsplit("/n", 1)[1][:8]
        number = int(digits[2:])
        colour = int(digits[:2]), number // 256, number % 256
        return np.broadcast_to(np.array(colour, "uint8"), (size, size, 3))

    monkeypatch.setattr(ImageFolder, "_image", image)
    monkeypatch.setattr(ImageFolder, "check", lambda self, files: None)


def shown(x):
    red, green, blue = np.rint(x[:, 0, 0] * 255).astype(int).T
    return red, 256 * green + blue


def test_twenty_tasks_of_five_classes(listed, made_images):
    stream = streams.get("mini_imagenet20", path=str(listed), image_size=1)
    assert len(stream) == 20
    seen = []
    for index, task in enumerate(stream):
        x, y = task.test
        assert task.spec.num_classes == 5
        classes, _ = shown(x)
        assert np.bincount(y).tolist() == [60] * 5
        group = [int(classes[y == label][0]) for label in range(5)]
        np.testing.assert_array_equal(np.take(group, y), classes)
        seen += group
        if index == 7:
            pairs = set()
            for (x, y), each in ((task.train, 480), (task.validation, 60)):
                assert np.bincount(y).tolist() == [each] * 5
                classes, numbers = shown(x)
                np.testing.assert_array_equal(np.take(group, y), classes)
                pairs |= {*zip(classes, numbers, strict=True)}
            pairs |= {*zip(*shown(task.test[0]), strict=True)}
            assert len(pairs) == 5 * 600
    # All classes of the three parts, mixed.
    assert sorted(seen) == list(range(100)) and seen != sorted(seen)


def test_the_size_is_84_by_84(listed):
    stream = streams.get("mini_imagenet20", path=str(listed))
    assert stream.input_shape == (84, 84, 3)
    with pytest.raises(FileNotFoundError, match="lacks an image of mini-ImageNet"):
        stream[0].train  # noqa: B018


def test_seeds_draw_classes_and_images(listed, made_images, assert_same):
    one, again, other = (
        streams.get(
            "mini_imagenet20",
            path=str(listed),
            image_size=1,
            num_tasks=1,
            train_per_task=50,
            seed=seed,
        )
        for seed in (1, 1, 2)
    )
    assert_same(one, again)
    assert {*shown(one[0].test[0])[0]} != {*shown(other[0].test[0])[0]}
    plain = [
        streams.get(
            "mini_imagenet20",
            path=str(listed),
            image_size=1,
            classes_per_task=[2, 3],
            class_order=None,
            seed=seed,
        )
        for seed in (1, 2)
    ]
    (x, y), (other_x, _) = (stream[1].test for stream in plain)
    np.testing.assert_array_equal(shown(x)[0], 2 + y)
    assert shown(x)[1].tolist() != shown(other_x)[1].tolist()


def test_folders_are_the_same_as_lists(tmp_path, listed, made_images, assert_same):
    folders = tmp_path / "folders"
    for part, classes in PARTS.items():
        for c in range(classes):
            place = folders / part / f"n{FIRST[part] + c:02d}"
            place.mkdir(parents=True)
            if (part, c) in (("train", 63), ("val", 0)):
                for i in range(600):
                    (place / named(part, c, i)).touch()
    arguments = {"classes_per_task": 2, "image_size": 1, "num_tasks": 1}
    arguments["train_per_task"] = 50
    order = [63, 64, *range(63), *range(65, 100)]
    streams_of_both = [
        streams.get("mini_imagenet20", path=str(p), class_order=order, **arguments)
        for p in (listed, folders)
    ]
    assert_same(*streams_of_both)


def test_it_comes_back(listed, made_images, comes_back):
    stream = streams.get(
        "mini_imagenet20", path=str(listed), image_size=1, train_per_task=40
    )
    assert len(stream[0].train[1]) == 40
    stream.num_tasks = 2
    comes_back(stream)


def test_it_is_learned(listed, monkeypatch, learned_scores):
    def image(self, file, size):  # bright where a digit of the class is
        of = int(file.rsplit("/n", 1)[1][:2])
        x = np.zeros((size, size, 3), "uint8")
        x[of % 10, of // 10] = 255
        return x

    monkeypatch.setattr(ImageFolder, "_image", image)
    monkeypatch.setattr(ImageFolder, "check", lambda self, files: None)
    stream = streams.get(
        "mini_imagenet20",
        path=str(listed),
        image_size=10,
        num_tasks=2,
        train_per_task=100,
    )
    assert learned_scores(stream, epochs=8).min() > 0.9  # one class of five: 0.2


def test_what_is_missing_is_said(listed, tmp_path):
    def fails(error, words, path):
        with pytest.raises(error, match=words):
            stream = streams.get("mini_imagenet20", path=str(path), class_order=None)
            stream[0].train  # noqa: B018

    fails(FileNotFoundError, "`path` is no folder.*mini-imagenet-tools", tmp_path / "x")
    empty = tmp_path / "empty"
    empty.mkdir()
    fails(FileNotFoundError, "`path` has no 'train'.*mini-imagenet-tools", empty)
    (empty / "train").mkdir()
    fails(ValueError, "`path` must have 64 folders in 'train'.*Received: 0", empty)
    (listed / "val.csv").write_text("name,label\n")
    fails(ValueError, "columns filename and label in val.csv.*no filename", listed)
    (listed / "val.csv").write_text("filename,label\na.jpg,n1\n")
    fails(ValueError, "`path` must have 16 classes.*val.csv. Received: 1", listed)
    rows = [f"{named('val', c, 0)},n{63 + c}\n" for c in range(16)]
    (listed / "val.csv").write_text("filename,label\n" + "".join(rows))
    fails(ValueError, "each class of mini-ImageNet in one part only.*: 99", listed)
    rows = [f"{named('val', c, 0)},n{64 + c}\n" for c in range(16)]
    (listed / "val.csv").write_text("filename,label\n" + "".join(rows))
    Image.new("RGB", (2, 2)).save(listed / "images" / named("val", 0, 0))
    stream = streams.get("mini_imagenet20", path=str(listed), class_order=None)
    with pytest.raises(ValueError, match="10 files or more.*Received: 1 in .*n65"):
        stream[13].train  # noqa: B018
    with pytest.raises(ValueError, match="`seed` must be an integer of 0 or more"):
        streams.get("mini_imagenet20", path=str(listed), seed=-1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"onlyfile\n", "a filename and a label in each line.*'onlyfile' and None"),
        (b",n64\n", "'' and 'n64' in line 9602 of .*val.csv"),
        (b"n64000000.jpg,n65\n", "each image once.*'n64000000.jpg' again in .*val.csv"),
        (b"\xff.jpg,n64\n", "must have lists in UTF-8. Received: .*val.csv"),
    ],
)
def test_lists_that_say_something_else(listed, row, said):
    with (listed / "val.csv").open("ab") as file:
        file.write(row)
    with pytest.raises(ValueError, match=said):
        streams.get("mini_imagenet20", path=str(listed))


def test_an_image_that_a_later_task_lacks_is_missed_at_once(listed):
    for file in listed.glob("*.csv"):  # ten of each class, as spreadsheets write lists
        lines = file.read_text().splitlines()[: 1 + 10 * PARTS[file.stem]]
        file.write_text("\n".join(lines), encoding="utf-8-sig")
    for c in range(100):
        part = next(p for p in reversed(FIRST) if FIRST[p] <= c)
        for i in range(10):
            (listed / "images" / named(part, c - FIRST[part], i)).touch()
    stream = streams.get("mini_imagenet20", path=str(listed), class_order=None)
    stream.check()
    (listed / "images" / named("test", 19, 7)).unlink()
    with pytest.raises(FileNotFoundError, match="lacks an image.*n99000007.jpg"):
        stream.check()
