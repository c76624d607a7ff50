"""Tiny ImageNet, on made images in the data set's own layout."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_lifelong import streams
from keras_lifelong.streams.image_files import ImageFolder

TRAINED, TESTED = 20, 3  # images of a class
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """200 classes, those of tasks 0 and 39 with images: red is the class."""
    root = tmp_path_factory.mktemp("made") / "tiny-imagenet-200"
    pictures = root / "val" / "images"
    pictures.mkdir(parents=True)
    lines = []
    for c in range(200):
        images = root / "train" / f"n{c:08d}" / "images"
        images.mkdir(parents=True)
        names = [f"val_{TESTED * c + i}.JPEG" for i in range(TESTED)]
        lines += [f"{name}\tn{c:08d}\t0\t0\t62\t62" for name in names]
        places = [images / f"n{c:08d}_{i}.JPEG" for i in range(TRAINED)]
        if c < 5 or c >= 195:
            for i, place in enumerate(places + [pictures / name for name in names]):
                colour = (50 * (c % 5), 10 * i, 200 * (c >= 195))
                Image.new("RGB", (64, 64), colour).save(place, quality=95)
    # Their order is none of classes.
    order = np.random.default_rng(0).permutation(len(lines))
    text = "".join(f"{lines[i]}\n" for i in order)
    (root / "val" / "val_annotations.txt").write_text(text)
    return str(root)


def shown(x):
    """Of each image, the class in its task, its number and whether it is of task 39."""
    pixels = x[:, 1, 1] * 255
    return (np.rint(pixels / (50, 10, 200))).astype(int).T


def test_forty_tasks_of_five_classes(folder):
    stream = streams.get("tiny_imagenet40", path=folder)
    assert len(stream) == 40
    for index in (0, 39):
        task, seen = stream[index], set()
        assert task.spec.input_shape == (64, 64, 3) and task.spec.num_classes == 5
        for split, each in zip(SPLITS, (18, 2, TESTED), strict=True):
            x, y = getattr(task, split)
            assert x.dtype == "float32" and x.shape == (5 * each, 64, 64, 3)
            assert np.bincount(y).tolist() == [each] * 5
            classes, numbers, of_last = shown(x)
            assert classes.tolist() == y.tolist()
            assert set(of_last) == {index == 39}
            assert (numbers >= TRAINED).all() == (split == "test")
            pairs = {*zip(classes.tolist(), numbers.tolist(), strict=True)}
            assert len(pairs) == len(y) and not pairs & seen
            seen |= pairs
        assert len(seen) == 5 * (TRAINED + TESTED)


def test_seeds_choose_validation_images_alone(folder):
    first, again, other = (
        streams.get("tiny_imagenet40", path=folder, seed=s)[0] for s in (3, 3, 4)
    )
    held = [shown(task.validation[0])[1].tolist() for task in (first, again, other)]
    assert held[0] == held[1] != held[2]
    np.testing.assert_array_equal(first.test[0], other.test[0])


def test_uneven_tasks_in_another_order(folder):
    order = [199, 0, *range(1, 199)]
    stream = streams.get(
        "tiny_imagenet40", path=folder, classes_per_task=[3, 2], class_order=order
    )
    assert [task.spec.num_classes for task in stream] == [3, 2]
    x, y = stream[0].test
    classes, _, of_last = shown(x)
    assert np.take([4, 0, 1], y).tolist() == classes.tolist()
    assert of_last.tolist() == (y == 0).tolist()
    larger = streams.get("tiny_imagenet40", path=folder, first_task=100)
    assert [task.spec.num_classes for task in larger] == [100] + [5] * 20


def test_only_what_is_used_is_read(folder, monkeypatch):
    read = []
    image = ImageFolder._image
    monkeypatch.setattr(
        ImageFolder,
        "_image",
        lambda self, file, size: read.append(file) or image(self, file, size),
    )
    task = streams.get("tiny_imagenet40", path=folder, train_per_task=10)[39]
    assert not read
    x, y = task.train
    assert len(read) == len(x) == 10 and np.bincount(y).tolist() == [2] * 5
    stream = streams.get(
        "tiny_imagenet40", path=folder, standardize=True, image_size=4, num_tasks=1
    )
    x, _ = stream[0].train
    assert x.shape == (90, 4, 4, 3)
    np.testing.assert_allclose(x[..., :2].mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x[..., :2].std((0, 1, 2)), 1, atol=1e-4)


def test_it_comes_back(folder, comes_back):
    comes_back(streams.get("tiny_imagenet40", path=folder, num_tasks=1, image_size=8))


def test_it_is_learned(folder, learned_scores):
    order = [0, 4, 195, 199, *range(1, 4), *range(5, 195), *range(196, 199)]
    stream = streams.get(
        "tiny_imagenet40",
        path=folder,
        num_tasks=2,
        classes_per_task=2,
        image_size=2,
        class_order=order,
    )
    assert learned_scores(stream, epochs=15).min() > 0.9


def test_what_is_missing_is_said(folder, tmp_path):
    def fails(error, words, index=0, **arguments):
        with pytest.raises(error, match=words):
            stream = streams.get("tiny_imagenet40", path=str(tmp_path), **arguments)
            (stream[index].train, stream[index].test)

    tmp_path = tmp_path / "tiny"
    fails(FileNotFoundError, "`path` is no folder.*Tiny ImageNet.*cs231n.*tiny'")
    tmp_path.mkdir()
    fails(FileNotFoundError, "`path` has no 'train'.*cs231n")
    (tmp_path / "train").mkdir()
    fails(ValueError, "`path` must have 200 folders in 'train'.*Received: 0 in")
    for c in range(200):
        (tmp_path / "train" / f"n{c:08d}").mkdir()
    fails(FileNotFoundError, "`path` has no 'val/val_annotations.txt'")
    (tmp_path / "val" / "images").mkdir(parents=True)
    annotations = tmp_path / "val" / "val_annotations.txt"
    annotations.write_text("val_0.JPEG\tn00000000\t0\t0\t9\t9\nval_1.JPEG\n")
    fails(FileNotFoundError, "`path` has no 'train/n00000000/images'")
    for c in range(5):
        images = tmp_path / "train" / f"n{c:08d}" / "images"
        images.mkdir()
        for i in range(10):
            Image.new("RGB", (2, 2)).save(images / f"{i}.JPEG")
    fails(ValueError, "id of a class in the second column.*Received: '' in line 2")
    annotations.write_text("val_0.JPEG\tn00000000\t0\t0\t9\t9\n")
    fails(ValueError, "`path` must have 1 files or more.*annotations")
    text = "".join(f"val_{c}.JPEG\tn{c:08d}\t0\n" for c in range(5))
    annotations.write_text(text)
    fails(FileNotFoundError, "`path` lacks an image of Tiny ImageNet.*val_0.JPEG")
    (tmp_path / "train" / "n00000005" / "images").mkdir()
    fails(ValueError, "`path` must have 10 files or more.*Received: 0", index=1)
    fails(ValueError, "`classes_per_task` must be one of.*3", classes_per_task=3)
    fails(ValueError, "`num_tasks` must be an integer in 1 ... 40.*41", num_tasks=41)
    fails(ValueError, "`image_size` must be an integer of 1 or more.*0", image_size=0)
