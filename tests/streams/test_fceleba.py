"""CIFAR-100 among F-CelebA, whose lists and portraits are made as LEAF leaves them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from keras_lifelong import streams
from keras_lifelong.streams import tfds

TRAINED, TESTED, PEOPLE = 20, 5, 12
SPLITS = ("train", "validation", "test")
# In alphabetical order, as texts.
FIRST = ["0", "1", "10", "11"]


@pytest.fixture(scope="module")
def leaf(tmp_path_factory):
    """Twelve people in two lists; red is the person, green the image, blue a smile.

    Of the first four in alphabetical order there are portraits.
    """
    root = tmp_path_factory.mktemp("made") / "data"
    portraits = root / "raw" / "img_align_celeba"
    portraits.mkdir(parents=True)
    for part, each in (("train", TRAINED), ("test", TESTED)):
        (root / part).mkdir()
        lists = [{}, {}]
        for person in range(PEOPLE):
            first = 100 * person + (TRAINED if part == "test" else 0)
            numbers = [first + i for i in range(each)]
            x = [f"{number:06d}.jpg" for number in numbers]
            y = [float(number % 3 == 0) for number in numbers]
            lists[person % 2][str(person)] = {"x": x, "y": y}
            if str(person) in FIRST:
                for name, number, smiles in zip(x, numbers, y, strict=True):
                    colour = 20 * person, 10 * (number % 100), int(200 * smiles)
                    image = Image.new("RGB", (178, 218), colour)
                    image.save(portraits / name, quality=95)
        for i, people in enumerate(lists):
            content = {"users": [*people], "num_samples": [], "user_data": people}
            (root / part / f"all_data_{i}_{part}_9.json").write_text(
                json.dumps(content)
            )
    return str(root)


def get(leaf, **arguments):
    return streams.get("mixed_cifar100_fceleba", path=leaf, people=4, **arguments)


def test_twenty_tasks_in_random_order(leaf):
    stream = streams.get("mixed_cifar100_fceleba", path=leaf)
    names = [task.name for task in stream]
    people = sorted(map(str, range(PEOPLE)))[:10]
    expected = [f"cifar100_{i}" for i in range(10)] + [f"fceleba_{p}" for p in people]
    assert sorted(names) == sorted(expected) and names != expected
    for task in stream:
        assert task.spec.input_shape == (32, 32, 3)
        assert task.spec.num_classes == (2 if "celeba" in task.name else 10)
    other, again = (
        [t.name for t in streams.get("mixed_cifar100_fceleba", path=leaf, task_seed=s)]
        for s in (1, 0)
    )
    assert sorted(other) == sorted(names) and other != names == again


def test_images_of_both_kinds(leaf, fake_data, images):
    stream = get(leaf)
    assert len(stream) == 14 and not fake_data.calls
    for task in stream:
        kind, number = task.name.split("_")
        seen = set()
        for split in SPLITS:
            x, y = getattr(task, split)
            assert x.dtype == "float32" and x.shape[1:] == (32, 32, 3)
            if kind == "cifar100":
                classes, numbers = images(x)
                np.testing.assert_array_equal(classes, 10 * int(number) + y)
                expected = {"train": 540, "validation": 60, "test": 50}
            else:
                red, green, blue = np.rint(x[:, 9, 9] * 255 / (20, 10, 200)).T
                assert set(red) == {int(number)}
                assert blue.tolist() == y.tolist()
                numbers = green.astype(int)
                assert ((100 * int(number) + numbers) % 3 == 0).tolist() == y.tolist()
                expected = {"train": 18, "validation": 2, "test": 5}
            assert len(y) == len({*numbers}) == expected[split]
            if kind == "fceleba" or split != "test":
                assert not seen & {*numbers}
            seen |= {*numbers}
    assert [split for _, split, _ in fake_data.calls] == ["train", "test"]


def test_classes_people_and_seeds(leaf, fake_data, images):
    order = [99, *range(99)]
    stream = get(
        leaf, classes_per_task=[2, 3], class_order=order, num_tasks=6, task_seed=3
    )
    assert len(stream) == 6
    sizes = {task.name: task.spec.num_classes for task in stream}
    assert sizes["cifar100_0"] == 2 and sizes["cifar100_1"] == 3
    task = next(task for task in stream if task.name == "cifar100_0")
    x, y = task.test
    assert np.take([99, 0], y).tolist() == images(x)[0].tolist()
    larger = streams.get(
        "mixed_cifar100_fceleba", path=leaf, people=0, first_task=50, classes_per_task=5
    )
    assert sorted(task.spec.num_classes for task in larger) == [5] * 10 + [50]

    def held(seed):
        tasks = {task.name: task for task in get(leaf, seed=seed, train_per_task=6)}
        x, y = tasks["fceleba_10"].train
        assert len(x) == 6 and 0 < y.sum() < 6
        return tasks["fceleba_10"].validation[0].tolist()

    assert held(0) == held(0) != held(5)


def test_portraits_in_another_folder(leaf, tmp_path, assert_same):
    raw = f"{leaf}/raw/img_align_celeba"
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(f"{leaf}/{part}")
    arguments = {"people": 1, "num_tasks": 11, "standardize": True}
    streams_of_both = [
        streams.get("mixed_cifar100_fceleba", path=p, images=images, **arguments)
        for p, images in ((leaf, None), (str(tmp_path), raw))
    ]
    one, two = (
        next(task for task in stream if task.name == "fceleba_0")
        for stream in streams_of_both
    )
    assert_same([one], [two])
    np.testing.assert_allclose(one.train[0].mean((0, 1, 2)), 0, atol=1e-4)
    missing = str(tmp_path / "nowhere")
    task = streams.get(
        "mixed_cifar100_fceleba", path=leaf, images=missing, people=1, task_seed=0
    )
    task = next(task for task in task if task.name == "fceleba_0")
    with pytest.raises(FileNotFoundError, match="`images` lacks an image of CelebA"):
        task.train  # noqa: B018


def portraits_alone(leaf):
    stream = get(leaf, task_seed=0)
    return streams.TaskStream([t for t in stream if "celeba" in t.name][:2])


def test_it_comes_back(leaf, fake_data, comes_back):
    comes_back(get(leaf, num_tasks=4, train_per_task=20))


def test_smiles_are_learned(leaf, learned_scores):
    assert learned_scores(portraits_alone(leaf), epochs=12).min() > 0.9


def test_what_is_missing_is_said(leaf, tmp_path):
    def fails(error, words, **arguments):
        path = str(tmp_path)
        with pytest.raises(error, match=words):
            streams.get("mixed_cifar100_fceleba", path=path, people=1, **arguments)

    fails(FileNotFoundError, "`path` has no 'train'.*LEAF's CelebA.*TalwalkarLab/leaf")
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    fails(FileNotFoundError, "`path` has no list of images in 'train'.*TalwalkarLab")
    lists = tmp_path / "train" / "a.json", tmp_path / "test" / "a.json"

    def write(data):
        for file in lists:
            file.write_text(json.dumps(data))

    for data, words in (
        ([1], "lists as LEAF writes them"),
        ({"users": []}, "LEAF.*KeyError"),
        ({"user_data": {"0": {"x": ["a.jpg"]}}}, "LEAF.*KeyError"),
        ({"user_data": {"0": {"x": ["a.jpg"], "y": [2]}}}, "a 0 or 1 for each"),
        ({"user_data": {"0": {"x": ["a.jpg"], "y": [0, 1]}}}, "a 0 or 1 for each"),
        ({"user_data": {"0": {"x": ["../a.jpg"], "y": [0]}}}, "not the name of an"),
        ({"user_data": {"0": {"x": [3], "y": [0]}}}, "LEAF.*TypeError"),
        ({"user_data": {"0": {"x": "a", "y": [0]}}}, "not the name of an"),
        ({"user_data": {"0": {"x": ["a.jpg"], "y": [0.5]}}}, "a 0 or 1 for each"),
        ({"user_data": {"0": {"x": ["a.jpg"], "y": [[0]]}}}, "a 0 or 1 for each"),
    ):
        write(data)
        fails(ValueError, words)
    lists[0].write_text("{")
    fails(ValueError, "LEAF.*JSONDecodeError")
    write({"user_data": {"0": {"x": ["a.jpg"], "y": [0]}}})
    fails(FileNotFoundError, "`path` has no 'raw/img_align_celeba'")
    (tmp_path / "raw" / "img_align_celeba").mkdir(parents=True)
    for part in ("train", "test"):
        (tmp_path / part / "._a.json").write_bytes(b"\xff of a Mac")
    for y, words in (([0, 0, 0], "0 smiling, 3 not and 3"), ([0, 1], "1 smiling, 1 n")):
        write({"user_data": {"0": {"x": ["a.jpg"] * len(y), "y": y}}})
        fails(ValueError, f"three images or more.*take fewer `people`.*{words}")
    write({"user_data": {"0": {"x": ["a.jpg"] * 3, "y": [0, 1, 1]}}})
    lists[1].write_text(json.dumps({"user_data": {"0": {"x": [], "y": []}}}))
    fails(ValueError, "2 smiling, 1 not and 0 in 'test' of '0'")
    lists[1].write_text("{")
    for arguments, words in (
        ({"people": 13}, "`people` must be at most.*12. Received: 13"),
        ({"people": -1}, "`people` must be an integer of 0 or more.*-1"),
        ({"task_seed": -1}, "`task_seed` must be an integer of 0 or more.*-1"),
        ({"num_tasks": 21}, "`num_tasks`.*1 ... 20.*21"),
        ({"classes_per_task": 3}, "`classes_per_task` must be one of.*3"),
    ):
        with pytest.raises(ValueError, match=words):
            streams.get("mixed_cifar100_fceleba", path=leaf, **arguments)


def test_what_a_later_task_lacks_is_missed_at_once(leaf, fake_data, monkeypatch):
    get(leaf).check()  # whose four people have portraits
    with pytest.raises(FileNotFoundError, match="`path` lacks an image of CelebA"):
        streams.get("mixed_cifar100_fceleba", path=leaf).check()

    def check(name, data_dir):
        raise FileNotFoundError(f"no {name}")

    monkeypatch.setattr(tfds, "check", check)
    with pytest.raises(FileNotFoundError, match="no cifar100"):
        get(leaf).check()
    assert not fake_data.calls
