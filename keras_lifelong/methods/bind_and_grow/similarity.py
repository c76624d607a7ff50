"""How alike two networks represent the same examples (RSA), and what to grow by it.

Kriegeskorte, Mur, Bandettini: Representational similarity analysis, 2008; as in
BindAndGrow (Shaikh, Sinha: CODS-COMAD 2021, sections 3 and 4).

    >>> features = np.random.default_rng(0).normal(size=(20, 8))
    >>> round(similarity(dissimilarities(features), dissimilarities(2 * features)), 6)
    1.0
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

LEAST = 1e-6  # conflict scores keep so far from 0 and 1
TINY = 1e-9


def dissimilarities(
    features: np.ndarray, center: bool = False, block: int = 4096
) -> np.ndarray:
    """The representational dissimilarity matrix (n, n): 1 - Pearson's correlation.

    Args:
        features: (n, …): what a layer says of n examples; flattened.
        center: whether the mean over the examples is subtracted from each feature
            first (Dwivedi and Roig, CVPR 2019). BindAndGrow does not.
        block: features at a time, so that memory stays small however wide a layer is.

    Returns:
        (n, n), float64. An example whose features are all equal has the correlation 0
        with every other.

    Raises:
        ValueError: with fewer than two examples, or if a feature is not finite.
    """
    x = np.asarray(features).reshape(len(features), -1)
    if len(x) < 2:
        raise ValueError(
            f"`features` must be of two examples or more. Received: {len(x)}"
        )
    starts, width = range(0, x.shape[1], block), x.shape[1]

    def blocks():
        for start in starts:
            part = x[:, start : start + block].astype("float64")
            yield part - part.mean(0) if center else part

    means = sum(part.sum(1) for part in blocks()) / width
    product = np.zeros((len(x), len(x)))
    for part in blocks():
        part = part - means[:, None]
        product += part @ part.T
    if not np.isfinite(product).all():
        raise ValueError("`features` must be finite. Received: NaN or infinity")
    norms = np.sqrt(np.diag(product))
    varies = norms > TINY * max(norms.max(), TINY)
    scale = np.where(varies, 1 / np.where(varies, norms, 1), 0)
    return 1 - product * scale[:, None] * scale


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """ρ in [-1, 1]: Spearman's correlation of two dissimilarity matrices.

    Args:
        a, b: (n, n), of the same examples; what is above the diagonal counts.

    Returns:
        ρ; 0, with a warning, if all dissimilarities of one of them are equal.

    Raises:
        ValueError: if shapes differ, or there are fewer than three examples.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 2 or a.shape[0] != a.shape[1] or len(a) < 3:
        raise ValueError(
            "`a` and `b` must be (n, n) with n of 3 or more. "
            f"Received: shapes {a.shape} and {b.shape}"
        )
    above = np.triu_indices(len(a), 1)
    ranks = [_ranks(m[above]) for m in (a, b)]
    ranks = [r - r.mean() for r in ranks]
    norms = [np.sqrt(r @ r) for r in ranks]
    if min(norms) == 0:
        warnings.warn(
            "A layer says the same of all examples: its similarity is taken as 0.",
            stacklevel=2,
        )
        return 0.0
    return float(ranks[0] @ ranks[1] / (norms[0] * norms[1]))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values have the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def conflict(rho) -> np.ndarray:
    """Conflict scores c = (1 - ρ) / 2 in (0, 1) of layers.

    >>> conflict([1.0, 0.0, -1.0]).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    scores = (1 - np.asarray(rho, float)) / 2
    return np.clip(scores, LEAST, 1 - LEAST)


def nucleus(scores: Sequence[float] | np.ndarray, coefficient: float) -> list[int]:
    """The layers to grow: the fewest likely ones whose probabilities reach δ.

    Layers are taken in the order of their scores, the largest first, while what is
    taken so far is below δ: none for 0, all for 1, at least one for anything between.

    Args:
        scores: of each layer, positive; probabilities are proportional to them.
        coefficient: δ in [0, 1].

    Returns:
        Indices of layers, ascending. Of equal scores the lower layer is taken first.

    Raises:
        ValueError: if an argument is out of range.

    >>> nucleus([0.5, 0.3, 0.2], 0.6)
    [0, 1]
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or not len(scores) or not (scores > 0).all():
        raise ValueError(f"`scores` must be positive numbers. Received: {scores}")
    if not 0 <= coefficient <= 1:
        raise ValueError(f"`coefficient` must be in [0, 1]. Received: {coefficient!r}")
    if coefficient >= 1 - TINY:
        return list(range(len(scores)))
    taken, total = [], 0.0
    for layer in np.argsort(-scores, kind="stable"):
        if total >= coefficient - TINY:
            break
        taken.append(int(layer))
        total += scores[layer] / scores.sum()
    return sorted(taken)
