"""Scores of words, against values by hand."""

import doctest

import numpy as np
import pytest

from keras_lifelong import metrics
from keras_lifelong.metrics import words
from keras_lifelong.streams import TaskSpec

SPEC = TaskSpec(3, "sequence")
CAT, AB = [2, 0, 1], [0, 1, -1]


def said(*rows):
    """Outputs that say these, step by step: 0 is the blank, c + 1 a character."""
    return np.eye(4)[np.array(rows)] * 0.9 + 0.025


READ = said(
    [3, 3, 1, 0, 2, 2],  # c a b: as it is
    [1, 0, 1, 2, 0, 0],  # a a b for a b: one too many
    [0, 0, 0, 0, 0, 0],  # nothing for a b: two are missing
    [3, 2, 0, 1, 0, 0],  # c b a for c a b: two are changed
)
TRUE = np.array([CAT, AB, AB, CAT])


def test_word_accuracy():
    assert metrics.word_accuracy(TRUE, READ, SPEC) == 1 / 4
    assert metrics.word_accuracy(TRUE[:1], READ[:1], SPEC) == 1
    wider = np.pad(TRUE, ((0, 0), (0, 4)), constant_values=-1)
    assert metrics.word_accuracy(wider, READ, SPEC) == 1 / 4


def test_character_error_rate():
    assert metrics.character_error_rate(TRUE, READ, SPEC) == 5 / 10
    assert metrics.character_error_rate(TRUE[:1], READ[:1], SPEC) == 0
    assert metrics.character_error_rate(TRUE[1:2], READ[:1], SPEC) == 1 / 2  # the c


def test_the_distance_of_words():
    pairs = [("kitten", "sitting"), ("vase", "base"), ("", "it"), ("seat", "east")]
    known = {c: i for i, c in enumerate(sorted(set("".join(map("".join, pairs)))))}

    def coded(word):
        return [known[c] for c in word] + [-1] * (7 - len(word))

    a, b = (np.array([coded(pair[i]) for pair in pairs]) for i in (0, 1))
    assert words.edits(a, b).tolist() == [3, 1, 2, 2]
    assert words.edits(b, a).tolist() == [3, 1, 2, 2]


def test_directions_and_names():
    assert metrics.get("word_accuracy").higher_is_better
    assert not metrics.get("character_error_rate").higher_is_better
    assert metrics.usual("sequence") == "word_accuracy"
    for name in ("word_accuracy", "character_error_rate"):
        score = metrics.get(name)
        assert score.suits("sequence") and not score.suits("categorical")
        assert score(TRUE, READ, SPEC) == getattr(metrics, name)(TRUE, READ, SPEC)
    for other in ("accuracy", "auroc", "mse", "top_k_categorical_accuracy", "AUC"):
        assert not metrics.get(other).suits("sequence")
    assert not metrics.get("mean_squared_logarithmic_error").suits("sequence")
    assert metrics.get("mean_squared_logarithmic_error").suits("regression")


def test_what_cannot_be_scored_is_refused():
    for metric in (metrics.word_accuracy, metrics.character_error_rate):
        with pytest.raises(ValueError, match="is for sequence tasks.*'binary'"):
            metric([0], [[0.5]], TaskSpec(2, "binary"))
        with pytest.raises(ValueError, match=r"\(n, time, 4\).*p.shape=\(4, 6, 3\)"):
            metric(TRUE, READ[..., :3], SPEC)
        with pytest.raises(ValueError, match=r"y.shape=\(3, 3\)"):
            metric(TRUE[:3], READ, SPEC)
        with pytest.raises(ValueError, match="finite predictions.*1 of 96"):
            broken = READ.copy()
            broken[0, 0, 0] = np.nan
            metric(TRUE, broken, SPEC)
    with pytest.raises(ValueError, match="words with characters.*1 empty"):
        metrics.character_error_rate(TRUE[:1] * 0 - 1, READ[:1], SPEC)


def test_examples_in_docstrings():
    result = doctest.testmod(words)
    assert result.attempted and not result.failed
