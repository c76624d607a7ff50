"""Rendered words in five scripts."""

from __future__ import annotations

import builtins
import doctest
import hashlib
from pathlib import Path

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import check_split
from keras_lifelong.streams import multilingual_text as module

NAME = "multilingual_text"


@pytest.fixture(scope="module")
def stream():
    return streams.get(NAME, words_per_task=40)


def test_five_tasks_of_words_in_their_own_letters(stream):
    assert [task.name for task in stream] == list(module.ALPHABETS)
    for task, letters in zip(stream, (26, 32, 24, 38, 33), strict=True):
        spec = task.spec
        assert (spec.kind, spec.num_classes, spec.units) == (
            "sequence",
            letters,
            letters + 1,
        )
        assert spec.class_names == tuple(module.ALPHABETS[task.name])
        seen = []
        for split, count in (("train", 40), ("validation", 4), ("test", 10)):
            x, y = check_split(*getattr(task, split), spec)
            assert x.shape == (count, 32, 96, 1) and x.dtype == "float32"
            assert x.min() >= 0 and x.max() <= 1
            lengths = (y >= 0).sum(1)
            assert y.shape == (count, 5) and lengths.min() >= 2 and lengths.max() <= 5
            seen += map(tuple, y.tolist())
        assert len(set(seen)) == 54  # no word twice, in whatever split


def test_every_letter_is_in_the_font_and_looks_like_no_other():
    from matplotlib import ft2font

    font = module._font(module.LARGEST)
    known = ft2font.FT2Font(font.path).get_charmap()
    box = bytes(font.getmask("\uffff"))
    for alphabet in module.ALPHABETS.values():
        assert len(set(alphabet)) == len(alphabet)
        assert all(ord(letter) in known for letter in alphabet)
        shapes = [bytes(font.getmask(letter)) for letter in alphabet]
        assert box not in shapes and len(set(shapes)) == len(alphabet)


def test_images_show_the_word_and_nothing_is_cut_off():
    task = streams.get(NAME, num_tasks=1, words_per_task=60, noise=0, width=50)[0]
    x, y = task.train
    for image, word in zip(x[..., 0], y, strict=True):
        paper = image[0, -1] if image.std() else 0
        ink = np.abs(image - np.median(image))
        assert ink.max() > 0.4  # contrast
        columns = np.flatnonzero(ink.max(0) > 0.2)
        assert columns[0] <= 10  # it begins at the left
        assert columns[-1] - columns[0] >= 2 * (word >= 0).sum()
        assert 0 <= paper <= 1
    noisy = streams.get(NAME, num_tasks=1, words_per_task=60, noise=0.2, width=50)[
        0
    ].train[0]
    assert 0.05 < np.abs(noisy - x).mean() < 0.2


def test_it_is_the_same_to_the_byte_for_a_seed_and_else_another(stream):
    def digest(found):
        sums = hashlib.sha256()
        for task in found:
            for split in ("train", "validation", "test"):
                for array in getattr(task, split):
                    sums.update(np.ascontiguousarray(array).tobytes())
        return sums.hexdigest()

    again = streams.get(**{"name": NAME, **stream.config})
    assert digest(again) == digest(stream)
    assert digest(streams.get(NAME, words_per_task=40, seed=1)) != digest(stream)
    few = streams.get(NAME, num_tasks=2, words_per_task=40, train_per_task=7)
    assert len(few[1].train[0]) == 7 and len(few) == 2
    np.testing.assert_array_equal(few[1].test[0], stream[1].test[0])


def test_tasks_may_have_as_many_letters():
    stream = streams.get(NAME, words_per_task=40, letters=10)
    assert [task.spec.units for task in stream] == [11] * 5
    assert stream[2].spec.class_names == tuple("αβγδεζηθικ")
    assert all(task.train[1].max() == 9 for task in stream)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_tasks": 6}, r"`num_tasks` must be an integer in 1 \.\.\. 5"),
        ({"words_per_task": 9}, "`words_per_task` must be an integer of 10 or more.*9"),
        ({"letters": 25}, r"`letters` must be an integer in 2 \.\.\. 24"),
        ({"letters": 1}, "`letters` must be an integer in 2.*1"),
        ({"shortest": 6}, r"`shortest` must be an integer in 1 \.\.\. 5"),
        ({"width": 49}, "`width` must be at least 50, for words of 5 letters.*49"),
        ({"noise": 1.5}, r"`noise` must be in \[0, 1\]"),
        ({"shift": -1}, "`shift` must be an integer of 0 or more"),
        ({"letters": 2, "longest": 3}, "must leave most words out.*12 of 2 to 3"),
    ],
)
def test_arguments_out_of_range_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        streams.get(NAME, **given)


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    module._font.cache_clear()
    load = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install pillow matplotlib"):
        _ = streams.get(NAME, num_tasks=1, words_per_task=10)[0].train


def test_examples_in_docstrings():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
    assert Path(module._font(20).path).name == "DejaVuSans.ttf"
