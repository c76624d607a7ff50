"""How alike two networks represent the same examples (RSA), and what to grow by it.

Kriegeskorte, Mur, Bandettini: Representational similarity analysis, 2008; as in
BindAndGrow (Shaikh, Sinha: CODS-COMAD 2021, sections 3 and 4).

    >>> features = np.random.default_rng(0).normal(size=(20, 8))
    >>> round(similarity(dissimilarities(features), dissimilarities(2 * features)), 6)
    1.0
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

LEAST = 1e-6  # conflict scores keep so far from 0 and 1
TINY = 1e-9


def dissimilarities(
    features: np.ndarray,
    center: bool = False,
    block: int = 4096,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """The representational dissimilarity matrix (n, n): 1 - Pearson's correlation.

    Args:
        features: (n, …): what a layer says of n examples; flattened.
        center: whether the mean over the examples is subtracted from each feature
            first (Dwivedi and Roig, CVPR 2019). BindAndGrow does not.
        block: features at a time, so that memory stays small however wide a layer is.
        mask: (n, …), of the first axes of `features`: False where they say nothing, as
            at the steps of a sequence that fill it up. Such a feature is no part of its
            example's mean and adds nothing to a correlation. None: all count.

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
    if mask is not None:
        return 1 - _masked(x, wide(mask, features), center)

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
    return 1 - _correlations(product)


def _correlations(product: np.ndarray) -> np.ndarray:
    """Of rows of which these are the products (n, n); 0 of one that is 0."""
    norms = np.sqrt(np.diag(product))
    varies = norms > TINY * max(norms.max(), TINY)
    scale = np.where(varies, 1 / np.where(varies, norms, 1), 0)
    return product * scale[:, None] * scale


def wide(mask: np.ndarray, features: np.ndarray) -> np.ndarray:
    """A mask (n, …) of the first axes of features (n, …), as (n, width) of each."""
    found, shape = np.asarray(mask, bool), np.shape(features)
    found = found.reshape(found.shape + (1,) * (len(shape) - found.ndim))
    return np.broadcast_to(found, shape).reshape(shape[0], -1)


def _masked(x: np.ndarray, mask: np.ndarray, center: bool) -> np.ndarray:
    """Correlations of rows (n, width) of features that count where the mask is."""
    x = np.where(mask, x, 0).astype("float64")
    if center:
        x -= x.sum(0) / np.maximum(mask.sum(0), 1)
    means = (x * mask).sum(1) / np.maximum(mask.sum(1), 1)
    x = np.where(mask, x - means[:, None], 0)
    product = x @ x.T
    if not np.isfinite(product).all():
        raise ValueError("`features` must be finite. Received: NaN or infinity")
    return _correlations(product)


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The dissimilarities of a matrix as ranks, which many others are compared with.

    Attributes:
        ranks: (n (n - 1) / 2,), less their mean.
        norm: of the ranks.
    """

    ranks: np.ndarray
    norm: float


def ranked(matrix: np.ndarray) -> Ranked:
    """The ranks of what is above the diagonal of a dissimilarity matrix (n, n)."""
    values = np.asarray(matrix, float)
    ranks = _ranks(values[np.triu_indices(len(values), 1)])
    ranks -= ranks.mean()
    return Ranked(ranks, float(np.sqrt(ranks @ ranks)))


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
    return agreement(ranked(a), ranked(b))


def agreement(a: Ranked, b: Ranked) -> float:
    """As `similarity`, of matrices (n, n) of the same examples as ranks."""
    if min(a.norm, b.norm) == 0:
        warnings.warn(
            "A layer says the same of all examples: its similarity is taken as 0.",
            stacklevel=2,
        )
        return 0.0
    return float(a.ranks @ b.ranks / (a.norm * b.norm))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values have the mean of theirs."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    counts = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(np.cumsum(counts) - (counts - 1) / 2, counts)
    return ranks


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
