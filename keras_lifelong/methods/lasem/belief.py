"""Configurations, and what is believed of them.

A *configuration* is the list of its choices, 1 to share. There are 2^d of d choices;
number i shares choice l if bit l of i is 0, so number 0 shares everything.

What is believed is a probability of each of them, or, where they are too many, of each
choice by itself: q(c) = prod_i q_i(c_i), 2d numbers in place of 2^d.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

MOST = 12  # choices of which all configurations are kept
NAMED = ("all", "top2", "bottom2", "alternating")


def configuration_bits(choices: int) -> np.ndarray:
    """All configurations, (2^d, d) of 0 and 1; 1: shared.

    >>> configuration_bits(2).tolist()
    [[1, 1], [0, 1], [1, 0], [0, 0]]
    """
    index = np.arange(2**choices)[:, None]
    return 1 - (index >> np.arange(choices)) % 2


def named_configuration(configuration, choices: int) -> np.ndarray:
    """The choices (d,) that a name or a list means.

    Args:
        configuration: "all", "top2", "bottom2", "alternating" (the lowest is not
            shared, the next is, and so on: section 3's c = {2, 4}) or a list of 0 and
            1.
        choices: d.

    >>> named_configuration("top2", 4).tolist()
    [0, 0, 1, 1]
    >>> named_configuration("alternating", 4).tolist()
    [0, 1, 0, 1]
    """
    bits = np.zeros(choices, int)
    if isinstance(configuration, str) and configuration in NAMED:
        if configuration == "all":
            bits[:] = 1
        elif configuration == "top2":
            bits[-2:] = 1
        elif configuration == "bottom2":
            bits[:2] = 1
        else:
            bits[1::2] = 1
        return bits
    given = [] if isinstance(configuration, str) else list(configuration)
    if len(given) != choices or any(c not in (0, 1) for c in given):
        raise ValueError(
            f"`configuration` must be one of {NAMED} or a list of {choices} choices, 1 "
            f"to share and 0 not to. Received: {configuration!r}."
        )
    return np.array(given, int)


class Belief:
    """What is believed of configurations of d choices, as arrays of a shape.

    *Evidence* is what has been added up; a *posterior* and a *prior* are probabilities.

    Args:
        choices: d.
    """

    shape: tuple[int, ...]

    def __init__(self, choices: int):
        self.choices = choices

    def uniform(self) -> np.ndarray:
        """Every configuration alike."""
        return np.full(self.shape, 1 / self.shape[-1], "float32")

    def prior(self, evidence: Any) -> Any:
        """Probabilities in proportion to evidence; where there is none, alike."""
        total = ops.sum(evidence, axis=-1, keepdims=True)
        uniform = ops.ones_like(evidence) / self.shape[-1]
        return ops.where(total > 0, evidence / ops.maximum(total, 1e-30), uniform)

    def considered(self, prior: Any, part: float) -> Any:
        """A prior, with 0 where it is less than a part of the largest."""
        largest = ops.max(prior, axis=-1, keepdims=True)
        return ops.where(prior >= part * largest, prior, 0.0)

    def counted(self, posterior: Any) -> Any:
        """1 for what is most likely, 0 for the rest."""
        return ops.one_hot(ops.argmax(posterior, axis=-1), self.shape[-1])

    def best(self, evidence: Any) -> Any:
        """The configuration (d,) of the most evidence; ties go to what shares more."""
        raise NotImplementedError

    def certain(self, choices: Any) -> np.ndarray:
        """All probability on the configuration (d,)."""
        raise NotImplementedError

    def sharing(self, probabilities: Any) -> Any:
        """The probability (d,) that each choice is to share."""
        raise NotImplementedError


class Exact(Belief):
    """Of every configuration by itself: (2^d,).

    Attributes:
        configurations: all of them, (2^d, d).
    """

    def __init__(self, choices: int):
        super().__init__(choices)
        self.shape = (2**choices,)
        self.configurations = configuration_bits(choices)

    def bits(self) -> Any:
        """All configurations, (2^d, d), as a tensor."""
        return ops.convert_to_tensor(self.configurations, "int32")

    def best(self, evidence: Any) -> Any:
        return ops.take(self.bits(), ops.argmax(evidence), axis=0)

    def certain(self, choices: Any) -> np.ndarray:
        return (self.configurations == choices).all(axis=1).astype("float32")

    def sharing(self, probabilities: Any) -> Any:
        return ops.matmul(probabilities, ops.cast(self.bits(), "float32"))


class Factorised(Belief):
    """Of every choice by itself: (d, 2), to share and not to."""

    def __init__(self, choices: int):
        super().__init__(choices)
        self.shape = (choices, 2)

    def best(self, evidence: Any) -> Any:
        return ops.cast(evidence[:, 0] >= evidence[:, 1], "int32")

    def certain(self, choices: Any) -> np.ndarray:
        shared = np.asarray(choices, "float32")
        return np.stack([shared, 1 - shared], axis=1)

    def sharing(self, probabilities: Any) -> Any:
        return probabilities[:, 0]


def belief_of(choices: int, posterior: str) -> Belief:
    """What is kept of d choices.

    Args:
        choices: d.
        posterior: "exact", "factorised" or "auto": exact of up to twelve choices.

    Raises:
        ValueError: if an exact one would be too large.
    """
    if posterior == "exact" and choices > MOST:
        raise ValueError(
            f"2^{choices} configurations are too many for `posterior='exact'`; join "
            f"layers by `groups` so that at most {MOST} choices are left, or use "
            "'factorised'. Received: 'exact'."
        )
    small = choices <= MOST and posterior != "factorised"
    return Exact(choices) if small else Factorised(choices)


def choices_of(evidence: np.ndarray, choices: int) -> np.ndarray | None:
    """The configuration (d,) of the most evidence, of either kind of belief.

    Args:
        evidence: of an exact belief (2^d,), or of a factorised one (d, 2).
        choices: d.

    Returns:
        None if it is of neither shape.

    >>> choices_of(np.array([0, 1, 0, 0]), 2).tolist()
    [0, 1]
    >>> choices_of(np.array([[0, 1], [2, 0]]), 2).tolist()
    [0, 1]
    """
    if evidence.shape == (choices, 2):
        belief: Belief = Factorised(choices)
    elif choices <= MOST and evidence.shape == (2**choices,):
        belief = Exact(choices)
    else:
        return None
    return ops.convert_to_numpy(belief.best(ops.convert_to_tensor(evidence)))
