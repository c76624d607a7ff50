"""Animals with Attributes, on made features in both published layouts."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import awa as awa_module
from keras_lifelong.streams.awa import principal_components

WIDTH, EACH = 8, 12
PARTS = {"images_per_class": [5, 2, 4]}
SPLITS = ("train", "validation", "test")


def made():
    """Features (600, 8) whose first two say animal and image, and labels, mixed."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(50), EACH))
    x = rng.normal(size=(len(y), WIDTH)).round(3)
    x[:, 0], x[:, 1] = y, 0
    for c in range(50):
        x[y == c, 1] = np.arange(EACH)
    return x, y


def line(row):
    return " ".join(map(str, row)) + "\n"


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """The second version: a line for each image, in one file."""
    root = tmp_path_factory.mktemp("made") / "Animals_with_Attributes2"
    place = root / "Features" / "ResNet101"
    place.mkdir(parents=True)
    x, y = made()
    (place / "AwA2-features.txt").write_text("".join(map(line, x)))
    (place / "AwA2-labels.txt").write_text("".join(f"{c + 1}\n" for c in y))
    return str(root)


@pytest.fixture(scope="module")
def decaf(tmp_path_factory):
    """The first version: a file for each image, in a folder for each animal."""
    root = tmp_path_factory.mktemp("made") / "Animals_with_Attributes"
    x, y = made()
    for c in range(50):
        place = root / "Features" / "decaf" / f"animal{c:02d}"
        place.mkdir(parents=True)
        for row in x[y == c]:
            (place / f"animal{c:02d}_{int(row[1]):04d}.txt").write_text(line(row))
    return str(root)


def test_fifty_one_versus_rest_tasks(resnet):
    stream = streams.get("awa", path=resnet, features=None, **PARTS)
    assert len(stream) == 50
    for index in (0, 17, 49):
        task, seen = stream[index], set()
        assert (task.spec.kind, task.spec.num_classes) == ("binary", 2)
        assert task.spec.input_shape == (WIDTH,)
        for split, each in zip(SPLITS, (5, 2, 4), strict=True):
            x, y = getattr(task, split)
            assert x.dtype == "float32" and x.shape == (50 * each, WIDTH)
            np.testing.assert_array_equal(y, x[:, 0] == index)
            assert np.bincount(x[:, 0].astype(int)).tolist() == [each] * 50
            pairs = {*map(tuple, x[:, :2].tolist())}
            assert len(pairs) == len(x) and not pairs & seen
            seen |= pairs
            np.testing.assert_array_equal(x, getattr(stream[0], split)[0])


def test_the_papers_numbers(resnet):
    with pytest.raises(ValueError, match=r"\[30, 30, 30\], and 12 of animal 0"):
        streams.get("awa", path=resnet, features=None)
    with pytest.raises(ValueError, match="`features`.*1 ... 8. Received: 500"):
        streams.get("awa", path=resnet, **PARTS)


def test_both_layouts_hold_the_same(resnet, decaf):
    one, two = (
        streams.get("awa", path=path, features=None, images_per_class=[6, 3, 3])
        for path in (resnet, decaf)
    )
    for split in SPLITS:  # which images each has differs by their order in the files
        assert len(getattr(two[3], split)[1]) == len(getattr(one[3], split)[1])
    every = [
        np.concatenate([getattr(stream[0], split)[0] for split in SPLITS])
        for stream in (one, two)
    ]
    every = [x[np.lexsort((x[:, 1], x[:, 0]))] for x in every]
    np.testing.assert_array_equal(*every)
    x, y = made()
    np.testing.assert_array_equal(every[0], x[np.lexsort((x[:, 1], y))].astype("f4"))


def test_principal_components_are_those_of_the_training_data(resnet):
    from sklearn.decomposition import PCA

    plain, brought = (
        streams.get("awa", path=resnet, features=features, **PARTS)[7]
        for features in (None, 3)
    )
    pca = PCA(3).fit(plain.train[0].astype("float64"))
    for split in SPLITS:
        x, y = getattr(brought, split)
        assert x.shape[1:] == brought.spec.input_shape == (3,)
        expected = pca.transform(getattr(plain, split)[0])
        np.testing.assert_allclose(np.abs(x), np.abs(expected), atol=1e-4)
        np.testing.assert_array_equal(y, getattr(plain, split)[1])
    _, axes = principal_components(plain.train[0], 3)
    assert (axes[np.abs(axes).argmax(0), np.arange(3)] > 0).all()
    assert doctest.testmod(awa_module).failed == 0


def test_seeds_order_and_fewer_images(resnet):
    def get(**arguments):
        return streams.get("awa", path=resnet, features=None, **PARTS, **arguments)

    first, again, other = (get(seed=s)[0].train[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert {*map(tuple, first[:, :2])} != {*map(tuple, other[:, :2])}
    task = get(task_order=[9, *range(9), *range(10, 50)], num_tasks=1)[0]
    np.testing.assert_array_equal(task.test[1], task.test[0][:, 0] == 9)
    drawn = get(task_order="random", num_tasks=2)[1]
    assert drawn.test[1].sum() == 4
    x, y = get(train_per_task=50, standardize=True)[0].train
    assert len(x) == 50 and y.sum() == 1
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)


def test_it_comes_back(resnet, comes_back):
    comes_back(streams.get("awa", path=resnet, features=4, num_tasks=2, **PARTS))


def test_it_is_learned(resnet, learned_scores):
    order = [49, 0, *range(1, 49)]  # first those at either end of the first component
    stream = streams.get(
        "awa",
        path=resnet,
        features=1,
        task_order=order,
        num_tasks=2,
        standardize=True,
        **PARTS,
    )
    scores = learned_scores(stream, epochs=15, metric="auroc", rate=0.05)
    assert scores.min() > 0.95


def test_what_is_missing_is_said(resnet, decaf, tmp_path):
    def fails(error, words, path=tmp_path):
        with pytest.raises(error, match=words):
            streams.get("awa", path=str(path), features=None, **PARTS)[0].train  # noqa: B018

    fails(
        FileNotFoundError, "`path` is no folder.*cvml.ista.ac.at/AwA2", tmp_path / "x"
    )
    fails(FileNotFoundError, "`path` has no 'Features/ResNet101/AwA2-features.txt'")
    place = tmp_path / "Features" / "ResNet101"
    place.mkdir(parents=True)
    x, y = made()
    features, labels = place / "AwA2-features.txt", place / "AwA2-labels.txt"
    features.write_text("".join(map(line, x[:-1])))
    fails(FileNotFoundError, "`path` has no 'Features/ResNet101/AwA2-labels.txt'")
    labels.write_text("1\n2\n")
    fails(ValueError, r"labels 1 ... 50 in AwA2-labels.txt. Received: \[1.0, 2.0\]")
    labels.write_text("".join(f"{c + 1}\n" for c in y))
    every = {"features": None, "images_per_class": [4, 4, 4]}
    with pytest.raises(ValueError, match="Received: no line 600 in"):
        streams.get("awa", path=str(tmp_path), **every)[0].train  # noqa: B018
    features.write_text("1 2\n" + "".join(map(line, x[1:])))
    fails(ValueError, "must have 2 numbers for each image.*Received: 8 in .*, line ")
    features.write_text("1 cat\n")
    fails(ValueError, "must have files of numbers.*line 1': could not convert")
    (tmp_path / "decaf" / "ant").mkdir(parents=True)
    fails(ValueError, "`path` must have 50 folders in 'decaf'.*Received: 1 in")
    for c in range(49):
        (tmp_path / "decaf" / f"bee{c}").mkdir()
    fails(ValueError, r"must have 1 files or more of each class \(.txt\)")
    for place in (tmp_path / "decaf").iterdir():
        (place / "._0.txt").write_bytes(b"\xff of a Mac")
        for i in range(11):
            (place / f"{i}.TXT").write_text("1 2")
    stream = streams.get("awa", path=str(tmp_path), features=None, **PARTS)
    assert stream[0].train[0].shape == (250, 2)
    for wrong in ("", "1 inf"):
        for file in place.glob("*.TXT"):
            file.write_text(wrong)
        fails(ValueError, "files of finite numbers.*TXT")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_tasks": 51}, "`num_tasks`.*1 ... 50.*51"),
        ({"images_per_class": [1, 2]}, r"`images_per_class` must be three.*\[1, 2\]"),
        ({"images_per_class": [1, 0, 2]}, "`images_per_class`.*1 or more.*0"),
        ({"task_order": [1]}, r"`task_order`.*0 ... 49 once.*\[1\]"),
        ({"train_per_task": 0}, "`train_per_task`.*50 or more.*0"),
        ({"features": 0}, "`features`.*1 ... 8.*0"),
        ({"features": 60, "images_per_class": [1, 2, 4]}, "`features`.*1 ... 8.*60"),
    ],
)
def test_bad_arguments(arguments, words, resnet):
    with pytest.raises(ValueError, match=words):
        streams.get("awa", path=resnet, **{**PARTS, "features": 2, **arguments})
