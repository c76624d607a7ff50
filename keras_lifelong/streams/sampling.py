"""Choosing examples by seed, in proportion to the classes."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """A random generator of its own for every purpose, so that none disturbs another.

    >>> bool(generator(0, "noise").random() == generator(0, "noise").random())
    True
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), index])


def check_seed(name: str, value: int) -> None:
    """ValueError unless an argument is an integer of 0 or more."""
    if not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(
            f"`{name}` must be an integer of 0 or more. Received: {value!r}"
        )


def hold_out(
    classes: np.ndarray, amount: float | int, seed: int, purpose: str = "validation"
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and rows to hold out, both ascending.

    Held-out rows are in proportion to the classes, at least one, and never the only
    one of a class.

    Args:
        classes: class of each row; all the same where there are none.
        amount: rows to hold out: a number if integer, else a part in (0, 1).
        seed: integer of 0 or more.
        purpose: what the choice is for.

    Raises:
        ValueError: if every class has only one row.

    Example:

    >>> kept, held = hold_out(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 2, seed=0)
    >>> kept.size, held.size
    (6, 2)
    """
    total = len(classes)
    if not isinstance(amount, int | np.integer):
        amount = max(1, round(amount * total))
    _, strata, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    spare = sizes - 1
    if spare.sum() < 1:
        raise ValueError(
            "No validation data can be held out without losing a class; pass "
            f"`validation`. Received: {total} training examples, one of each class"
        )
    shares = _shares(sizes, min(amount, spare.sum()), 0 * sizes, spare)
    held = _draw(strata.reshape(-1), shares, generator(seed, purpose))
    return np.setdiff1d(np.arange(total), held, assume_unique=True), held


def subset(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Ascending rows of `count` examples, or of all if there are fewer.

    Equal labels count as a class. The choice is in proportion to the classes, at least
    one of each. With more classes than `count`, as with real values, any may be chosen.

    >>> y = np.array([0, 0, 0, 0, 1])
    >>> y[subset(y, 2, seed=0)].tolist()
    [0, 1]
    """
    if count >= len(y):
        return np.arange(len(y))
    rows = y.reshape(len(y), -1)
    _, strata, sizes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    if len(sizes) > count:
        strata, sizes = np.zeros(len(y), int), np.array([len(y)])
    shares = _shares(sizes, count, np.ones_like(sizes), sizes)
    return _draw(strata.reshape(-1), shares, generator(seed, "subset"))


def _shares(sizes, count, least, most):
    """How many rows of each class, `count` in all, by largest remainder."""
    ideal = count * sizes / sizes.sum()
    shares = np.clip(np.floor(ideal).astype(int), least, most)
    while shares.sum() != count:
        short = shares.sum() < count
        lack = np.where(shares < most, ideal - shares, -np.inf)
        excess = np.where(shares > least, shares - ideal, -np.inf)
        shares[np.argmax(lack if short else excess)] += 1 if short else -1
    return shares


def _draw(strata, shares, rng):
    """So many rows of each class: the first of each in a random order."""
    order = rng.permutation(len(strata))
    return np.sort(
        np.concatenate(
            [order[strata[order] == c][:share] for c, share in enumerate(shares)]
        )
    )
