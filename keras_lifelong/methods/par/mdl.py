"""Multinomial distribution learning (MDL): probabilities of a cell's operations.

Zheng et al.: Multinomial Distribution Learning for Effective Neural Architecture
Search, ICCV 2019, as PAR uses it (Wang et al., CVPR 2023). An operation that was tried
less often than another of its edge and is more accurate gains probability.
"""

from __future__ import annotations

import itertools

import numpy as np

from keras_lifelong.layers.cell import NODES
from keras_lifelong.layers.cell import check_genotype
from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.methods.par.search_network import EDGES
from keras_lifelong.methods.par.search_network import KINDS
from keras_lifelong.seeds import derive_seed

RULES = ("difference", "softmax")
SAMPLED = ("edges", "cells")
EDGES_INTO = [[k for k, (i, _) in enumerate(EDGES) if i == n] for n in range(NODES)]
LEAST = 1e-6  # of a probability that is divided by


class MDL:
    """The distributions over operations, and how they are learned.

    Args:
        rule: "difference": where an operation has been tried no more often than
            another of its edge and is more accurate, it takes `step` of the other's
            probability (the rule of the authors of MDL). "softmax": it gains `step`
            for each operation it so surpasses, loses it for each that surpasses it,
            and the probabilities are then put through a softmax, every time (PAR's
            program). The softmax draws them back to nearly equal after each epoch, so
            that the last epochs alone decide.
        step: how much probability moves.
        memory: in [0, 1): how much of what was known of an operation's accuracy stays
            when it is used again. 0: the last accuracy alone counts, as published.
        sampled: "edges": an operation for every edge, each on its own, as published.
            "cells": such as `genotype_of` gives: the same distribution, given that just
            two edges into every node are not "none".
        seed: of the sampling.

    Attributes:
        probabilities: (2, 14, 6): of the operations of each edge of both cells.

    Example:

    >>> mdl, accuracy = MDL(seed=0), np.array([0.4, 0.5, 0.5, 0.6, 0.7, 0.5])
    >>> for epoch in range(100):
    ...     choice = mdl.sample()
    ...     mdl.update(choice, accuracy[choice])
    >>> mdl.genotype()["normal"][0][0]
    'sep_conv_3x3'
    """

    def __init__(
        self,
        rule: str = "difference",
        step: float = 0.01,
        memory: float = 0.0,
        sampled: str = "edges",
        seed: int = 0,
    ):
        if sampled not in SAMPLED:
            raise ValueError(
                f"`sampled` must be one of {SAMPLED}. Received: {sampled!r}"
            )
        if rule not in RULES:
            raise ValueError(f"`rule` must be one of {RULES}. Received: {rule!r}")
        if not 0 < step < 1:
            raise ValueError(f"`step` must be in (0, 1). Received: {step!r}")
        if not 0 <= memory < 1:
            raise ValueError(f"`memory` must be in [0, 1). Received: {memory!r}")
        self.rule, self.step, self.memory, self.seed = rule, step, memory, seed
        self.sampled = sampled
        shape = (len(KINDS), len(EDGES), len(OPERATIONS))
        self.probabilities = np.full(shape, 1 / len(OPERATIONS))
        self.times = np.zeros(shape, int)
        self.accuracy = np.zeros(shape)
        self.epoch = 0

    def sample(self, number=None) -> np.ndarray:
        """An architecture: an operation (2, 14) for every edge.

        Args:
            number: of the draw. None: the updates so far.
        """
        number = self.epoch if number is None else number
        rng = np.random.default_rng(derive_seed(self.seed, "mdl", number))
        p = self.probabilities
        if self.sampled == "cells":
            p = _two_edges(p, rng)
        draw = rng.random(p.shape[:2])
        below = np.cumsum(p, -1) <= draw[..., None]
        return np.minimum(below.sum(-1), len(OPERATIONS) - 1)

    def update(self, choice: np.ndarray, accuracy) -> None:
        """Takes note of how an architecture did, and moves the probabilities.

        Args:
            choice: operations (2, 14), as of `sample`.
            accuracy: of the architecture; or (2, 14), of its edges.
        """
        used = np.arange(len(OPERATIONS)) == choice[..., None]
        self.times += used
        accuracy = np.broadcast_to(accuracy, choice.shape)[..., None]
        kept = np.where(self.times > 1, self.memory, 0)
        seen = kept * self.accuracy + (1 - kept) * accuracy
        self.accuracy = np.where(used, seen, self.accuracy)
        self.epoch += 1
        he, ha, p = self.times, self.accuracy, self.probabilities
        better = ha[..., :, None] > ha[..., None, :]  # [j, i]: j than i
        # nothing is known of what was never tried, where accuracies are differences
        better &= (he > 0)[..., :, None] & (he > 0)[..., None, :]
        if self.rule == "softmax":
            fewer = he[..., :, None] < he[..., None, :]
            wins = (fewer & better).sum(-1)  # v1
            losses = (fewer & better).sum(-2)  # v2
            p = np.exp(p + self.step * (wins - losses))
            self.probabilities = p / p.sum(-1, keepdims=True)
            return
        takes = (he[..., :, None] <= he[..., None, :]) & better
        for j in range(len(OPERATIONS)):
            for i in range(len(OPERATIONS)):
                moved = np.minimum(self.step, p[..., i]) * takes[..., j, i]
                p[..., i] -= moved
                p[..., j] += moved

    def genotype(self) -> dict[str, list[tuple[str, int]]]:
        """The cells found: see `genotype_of`."""
        return genotype_of(self.probabilities)


def _two_edges(probabilities, rng) -> np.ndarray:
    """The distributions, given which two edges into each node are used; see `MDL`.

    Of a pair (a, b) the probability is proportional to (1 - p_a) (1 - p_b) and p of all
    others, where p is that of "none".
    """
    none = OPERATIONS.index("none")
    given = probabilities + LEAST
    given[..., none] = 0
    given /= given.sum(-1, keepdims=True)
    p = np.clip(probabilities[..., none], LEAST, 1 - LEAST)
    odds = (1 - p) / p
    for k in range(len(KINDS)):
        for edges in EDGES_INTO:
            pairs = list(itertools.combinations(edges, 2))
            weights = np.array([odds[k, a] * odds[k, b] for a, b in pairs])
            used = pairs[rng.choice(len(pairs), p=weights / weights.sum())]
            unused = [e for e in edges if e not in used]
            given[k, unused] = np.eye(len(OPERATIONS))[none]
    return given


def genotype_of(probabilities) -> dict[str, list[tuple[str, int]]]:
    """The two most probable edges into each node, each with its best operation.

    "none" is no answer. Ties go to the earlier operation and input.

    Args:
        probabilities: (2, 14, 6).
    """
    some = np.array(probabilities, float)
    some[..., OPERATIONS.index("none")] = -np.inf
    genotype: dict[str, list[tuple[str, int]]] = {}
    for kind, table in zip(KINDS, some, strict=True):
        genotype[kind] = []
        for node in range(NODES):
            best = sorted(EDGES_INTO[node], key=lambda k: -table[k].max())[:2]
            genotype[kind] += [
                (OPERATIONS[int(table[k].argmax())], EDGES[k][1]) for k in sorted(best)
            ]
    return check_genotype(genotype)
