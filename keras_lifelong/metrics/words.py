"""Scores of sequence tasks: words, and characters, that are read rightly.

`y` are labels in standard form, int (n, longest), -1 after the last character; `p` what
a head says, (n, time, C + 1): see `heads.sequence`. Words are read off greedily.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_lifelong.heads.sequence import PADDING
from keras_lifelong.heads.sequence import padded
from keras_lifelong.metrics.predictions import check_finite
from keras_lifelong.metrics.predictions import kind_of
from keras_lifelong.metrics.scores import register
from keras_lifelong.metrics.scores import register_check


def _words(y: Any, p: Any, spec: Any, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """True words and those that were read, both (n, longest), as wide."""
    kind = kind_of(spec, metric)
    y, p = np.asarray(y), np.asarray(p)
    is_pair = y.ndim == 2 and p.ndim == 3 and len(y) == len(p) > 0
    if not is_pair or p.shape[2] != spec.units:
        raise ValueError(
            f"The metric {metric!r} needs predictions `p` of shape (n, time, "
            f"{spec.units}) and labels `y` (n, longest), n >= 1. Received: "
            f"p.shape={p.shape}, y.shape={y.shape}"
        )
    check_finite(p, metric)
    said = kind.labels(p)
    longest = max(y.shape[1], said.shape[1])
    return padded(y, longest), padded(said, longest)


@register("word_accuracy")
def word_accuracy(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
    """Share of words in [0, 1] of which every character is right, and none is too many.

    Args:
        y: words, see the module.
        p: outputs of the head, `(n, time, C + 1)`.
        spec: the task's `TaskSpec`.

    Raises:
        ValueError: for other kinds, wrong shapes, or predictions not finite.

    >>> from types import SimpleNamespace as Spec
    >>> spec = Spec(kind="sequence", units=3)    # a blank, a and b
    >>> said = np.eye(3)[[[1, 1, 2], [0, 2, 2]]]    # "ab" and "b"
    >>> word_accuracy([[0, 1], [1, 1]], said, spec)
    0.5
    """
    y, said = _words(y, p, spec, "word_accuracy")
    return float((y == said).all(axis=1).mean())


@register("character_error_rate")
def character_error_rate(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
    """Edits that make the words that are read right, for each of their characters.

    The sum over all words of what is put in, left out or changed (Levenshtein), by the
    number of true characters: 0 is best, and it may be above 1.

    Args:
        y: words, see the module.
        p: outputs of the head, `(n, time, C + 1)`.
        spec: the task's `TaskSpec`.

    Raises:
        ValueError: for other kinds, wrong shapes, predictions not finite, or words
            without a character.

    >>> from types import SimpleNamespace as Spec
    >>> spec = Spec(kind="sequence", units=3)
    >>> said = np.eye(3)[[[1, 1, 2], [0, 2, 2]]]    # "ab" and "b"
    >>> character_error_rate([[0, 1], [1, 1]], said, spec)
    0.25
    """
    y, said = _words(y, p, spec, "character_error_rate")
    return float(edits(y, said).sum() / _characters(y, spec))


@register_check("character_error_rate")
def _characters(y: np.ndarray, spec: Any) -> int:
    """How many characters words have."""
    del spec
    total = int((y != PADDING).sum())
    if not total:
        raise ValueError(
            "The metric 'character_error_rate' needs words with characters. Received: "
            f"{len(y)} empty ones"
        )
    return total


def edits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Levenshtein's distance (n,) of words a and b, each (n, longest), then -1.

    >>> edits(np.array([[0, 1, 2]]), np.array([[1, 2, -1]])).tolist()
    [1]
    """
    rows = np.arange(len(a))
    long_a, long_b = ((word != PADDING).sum(axis=1) for word in (a, b))
    table = np.zeros((len(a), a.shape[1] + 1, b.shape[1] + 1), int)
    table[:, :, 0] = np.arange(a.shape[1] + 1)
    table[:, 0] = np.arange(b.shape[1] + 1)
    for i in range(1, a.shape[1] + 1):
        for j in range(1, b.shape[1] + 1):
            changed = table[:, i - 1, j - 1] + (a[:, i - 1] != b[:, j - 1])
            less = np.minimum(table[:, i - 1, j], table[:, i, j - 1]) + 1
            table[:, i, j] = np.minimum(changed, less)
    return table[rows, long_a, long_b]
