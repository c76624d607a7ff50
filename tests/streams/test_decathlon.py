"""The Visual Decathlon, on made domains and through TFDS' own mock."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import decathlon
from keras_lifelong.streams import tfds

NINE = "aircraft cifar100 daimlerpedcls dtd gtsrb omniglot svhn ucf101 vgg-flowers"
EACH = {"train": 10, "validation": 4}


@pytest.fixture
def domains(monkeypatch):
    """Stands for TFDS: the first pixel numbers an image, the others say its class."""
    calls = []

    def load_covering(name, split, side, data_dir):
        calls.append((name, split, side, data_dir))
        classes = decathlon.CLASSES[name.removeprefix("visual_domain_decathlon/")]
        n = classes * EACH[split]
        y = np.arange(n) % classes
        x = np.zeros((n, side, side, 3), "uint8")
        x[..., 0], x[..., 1] = (y % 256)[:, None, None], (y // 256)[:, None, None]
        number = np.arange(n)
        x[:, 0, 0] = np.stack([number // 65536, number // 256 % 256, number % 256], 1)
        return x, y

    monkeypatch.setattr(tfds, "load_covering", load_covering)
    monkeypatch.setattr(tfds, "check", lambda name, data_dir: None)
    return calls


def shown(x):
    pixels = np.rint(x * 255).astype(int)
    first, last = pixels[:, 0, 0], pixels[:, -1, -1]
    return last[:, 0] + 256 * last[:, 1], first @ (65536, 256, 1)


def test_nine_domains_of_their_own_sizes(domains):
    stream = streams.get("visual_decathlon", image_size=2, data_dir="there")
    assert [task.name for task in stream] == NINE.split() and not domains
    sizes = [task.spec.num_classes for task in stream]
    assert sizes == [100, 100, 2, 47, 43, 1623, 10, 101, 102]
    for task in stream:
        assert task.spec.kind == "categorical"
        numbers = []
        for split in ("train", "validation", "test"):
            x, y = getattr(task, split)
            assert x.dtype == "float32" and x.shape[1:] == (2, 2, 3)
            classes, number = shown(x)
            np.testing.assert_array_equal(classes, y)
            assert np.unique(y).size == task.spec.num_classes
            numbers.append(number)
        trained, held, _ = numbers
        each = task.spec.num_classes
        assert (len(trained), len(held), len(x)) == (9 * each, each, 4 * each)
        assert not np.intersect1d(trained, held).size
    assert domains[:2] == [
        ("visual_domain_decathlon/aircraft", "train", 2, "there"),
        ("visual_domain_decathlon/aircraft", "validation", 2, "there"),
    ]
    # Whose test labels are unknown is not read; each part of a domain is read once.
    assert len(domains) == 18 and {split for _, split, *_ in domains} == {*EACH}


def test_chosen_domains_in_their_order(domains):
    names = ["svhn", "imagenet12", "dtd"]
    stream = streams.get("visual_decathlon", domains=names)
    assert [task.name for task in stream] == names
    assert stream[1].spec.num_classes == 1000
    assert stream.input_shape == (64, 64, 3)
    assert len(streams.get("visual_decathlon", domains=names, num_tasks=2)) == 2


def test_seeds_and_fewer_images(domains):
    def held(seed):
        stream = streams.get(
            "visual_decathlon", domains=["svhn"], image_size=2, seed=seed
        )
        return shown(stream[0].validation[0])[1].tolist()

    assert held(0) == held(0) != held(1)
    stream = streams.get(
        "visual_decathlon",
        domains=["svhn", "dtd"],
        image_size=4,
        train_per_task=[20, 94],
        standardize=True,
    )
    for task, each in zip(stream, (2, 2), strict=True):
        x, y = task.train
        assert set(np.bincount(y)) == {each}
        np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-4)


def test_it_comes_back(domains, comes_back):
    comes_back(streams.get("visual_decathlon", domains=["svhn", "gtsrb"], image_size=3))


def test_it_is_learned(domains, learned_scores):
    stream = streams.get(
        "visual_decathlon", domains=["daimlerpedcls"], image_size=4, standardize=True
    )
    assert learned_scores(stream, epochs=10).min() == 1


def test_reading_through_tfds():
    library = pytest.importorskip("tensorflow_datasets")
    with library.testing.mock_data(num_examples=12):
        task = streams.get("visual_decathlon", domains=["dtd"], image_size=24)[0]
        x, y = tfds.load_covering("visual_domain_decathlon/dtd", "train", 24, None)
        test, _ = task.test
    assert x.shape == (12, 24, 24, 3) and x.dtype == "uint8"
    assert 0 <= y.min() and y.max() < 47
    assert test.shape == (12, 24, 24, 3) and test.dtype == "float32"


@pytest.mark.parametrize("name", decathlon.CLASSES)
def test_the_classes_are_those_of_tfds(name):
    library = pytest.importorskip("tensorflow_datasets")
    builder = library.builder(f"visual_domain_decathlon/{name}")
    assert builder.info.features["label"].num_classes == decathlon.CLASSES[name]


def test_what_is_missing_is_said(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    arguments = {"domains": ["dtd"], "data_dir": str(tmp_path)}
    stream = streams.get("visual_decathlon", **arguments)
    for use in (stream.check, lambda: stream[0].train):
        with pytest.raises(FileNotFoundError) as error:
            use()
        for words in ("tfds.load('visual_domain_decathlon/dtd')", str(tmp_path)):
            assert words in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"domains": []}, r"`domains`.*aircraft, cifar100.*\[\]"),
        ({"domains": ["dtd", "dtd"]}, "`domains`.*each once.*'dtd', 'dtd'"),
        ({"domains": ["flowers"]}, "`domains`.*vgg-flowers, each once.*'flowers'"),
        ({"num_tasks": 10}, "`num_tasks` must be an integer in 1 ... 9.*10"),
        ({"image_size": 0}, "`image_size`.*0"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        streams.get("visual_decathlon", **arguments)
