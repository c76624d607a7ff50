"""How far a new task is from learned ones, by nearest prototypes (PAR, section 3.1).

Wang, Hu, Chen, Zhang: CVPR 2023. Of a learned task only the mean feature of each class
is kept, its *prototypes*; of the new task some features are needed. Features are those
of any fixed extractor.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> near = rng.normal(size=(200, 8)) + 3 * labels[:, None]
    >>> far = near + 5
    >>> old = prototypes(near, labels)
    >>> task_distance(near, labels, old) < 0.1 < 0.9 < task_distance(far, labels, old)
    True
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

REFERENCES = ("paper", "code", "leave_one_out")
LEAST = 1e-12  # of a norm: a sample may lie on a prototype
MOST_BIAS = 0.25  # by which the paper's estimate may be too large, half of its α


def is_too_few(labels: np.ndarray) -> bool:
    """Whether the paper's estimate, by these samples, would be too large by far.

    A class mean lies nearer to the n samples that it is the mean of: by about
    1/2 (1/n + 1/m) a class, learned from m. That is nothing to α with some hundred
    samples, and more than α with ten classes of ten.

    Args:
        labels: (n,), of the new task, each of 0 ... C-1 at least once.

    >>> is_too_few(np.arange(500) % 10), is_too_few(np.arange(100) % 10)
    (False, True)
    """
    return bool(np.sum(1 / np.bincount(labels)) > MOST_BIAS)


def prototypes(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean feature of each class, (classes, d) (Eq. 2).

    Args:
        features: (n, d), finite.
        labels: integers (n,), each of 0 ... C-1 at least once.

    Raises:
        ValueError: if shapes do not fit, a feature is not finite or a class is absent.
    """
    features, labels = _checked(features, labels)
    counts = np.bincount(labels)
    sums = np.zeros((counts.size, features.shape[1]))
    np.add.at(sums, labels, features)
    return sums / counts[:, None]


def divergence(
    features: np.ndarray,
    labels: np.ndarray,
    old: np.ndarray,
    reference: str = "paper",
) -> float:
    """Estimated divergence of a new task from a learned one, in nats (Eq. 3, 4).

    It is the sum over the new task's classes of the mean of log(ν / ρ), with ρ the
    distance of a sample to its own class' prototype and ν that to the nearest
    prototype of the learned task. It grows with the number of classes and may be
    negative where the learned prototypes are nearer than the task's own.

    Args:
        features, labels: of the new task, as in `prototypes`.
        old: prototypes of the learned task, (classes, d).
        reference: "paper"; "code": the authors' program, in which a class adds nothing
            instead of less than nothing; or "leave_one_out": ρ is measured to the mean
            of the *other* samples of the class, and that of a class of one sample to
            the nearest other prototype of the task. "paper" does so, too, where
            samples are too few for its own estimate (`is_too_few`): tasks of one
            distribution would look unlike. In Eq. 3, of which Eq. 4 is an estimate,
            a sample is not its own neighbour either.

    Raises:
        ValueError: as `prototypes`, or if `old` has another d.
    """
    _check_reference(reference)
    features, labels = _checked(features, labels)
    old = np.asarray(old, float)
    if old.ndim != 2 or old.shape[1] != features.shape[1] or not len(old):
        raise ValueError(
            f"`old` must be prototypes (classes, {features.shape[1]}). "
            f"Received: shape {old.shape}"
        )
    own = prototypes(features, labels)
    rho = np.linalg.norm(features - own[labels], axis=1)
    few = reference == "paper" and is_too_few(labels)
    if few or reference == "leave_one_out":
        rho = _to_others(features, labels, own, rho)
    nu = np.min([np.linalg.norm(features - u, axis=1) for u in old], axis=0)
    logs = np.log(np.maximum(nu, LEAST)) - np.log(np.maximum(rho, LEAST))
    means = np.bincount(labels, logs) / np.bincount(labels)
    return float(np.maximum(means, 0).sum() if reference == "code" else means.sum())


def _to_others(features, labels, own, rho) -> np.ndarray:
    """Distances (n,) to the mean of the other samples of the class.

    Args:
        features, labels: (n, d) and (n,).
        own: prototypes (classes, d).
        rho: distances (n,) to that of the class.

    Raises:
        ValueError: if there is but one sample.
    """
    if len(labels) == 1:
        raise ValueError("`features` must hold two samples or more. Received: one")
    count = np.bincount(labels)[labels]
    rho = rho * count / np.maximum(count - 1, 1)
    for i in np.flatnonzero(count == 1):
        others = np.delete(own, labels[i], axis=0)
        rho[i] = np.linalg.norm(features[i] - others, axis=1).min()
    return rho


def to_unit(kl: float) -> float:
    """A divergence as a distance in [0, 1]: min(KL, 1 - exp(-2 KL)) (Eq. 6).

    The identity from 0 to 0.797, where the two cross; below 0 it is 0.

    >>> [round(to_unit(kl), 3) for kl in (-1.0, 0.5, 0.75, 2.0)]
    [0.0, 0.5, 0.75, 0.982]
    """
    kl = max(kl, 0.0)
    return float(min(kl, 1 - np.exp(-2 * kl)))


def task_distance(
    features: np.ndarray,
    labels: np.ndarray,
    old: np.ndarray,
    reference: str = "paper",
) -> float:
    """Distance in [0, 1] of a new task from a learned one; arguments as `divergence`.

    The authors' program takes a distance of exactly 0 for 1.
    """
    return group_distance(features, labels, [old], reference)


def group_distance(
    features: np.ndarray,
    labels: np.ndarray,
    members: Sequence[np.ndarray],
    reference: str = "paper",
) -> float:
    """Distance in [0, 1] of a new task from the group of tasks of one expert.

    Args:
        features, labels, reference: as in `divergence`.
        members: the prototypes of each task of the group, one or more.

    Returns:
        The mean divergence as a distance (Eq. 5, 6). "code": the mean of the members'
        distances, each of them 1 where it was 0.
    """
    if not len(members):
        raise ValueError("`members` must hold one task or more. Received: none")
    values = [divergence(features, labels, old, reference) for old in members]
    return combined(values, reference)


def combined(values: Sequence[float], reference: str = "paper") -> float:
    """The distance in [0, 1] that divergences from the tasks of a group amount to."""
    if reference != "code":
        return to_unit(float(np.mean(values)))
    distances = [to_unit(value) for value in values]
    return float(np.mean([1.0 if s == 0 else s for s in distances]))


def distance_matrix(
    tasks: Sequence[tuple[np.ndarray, np.ndarray]], reference: str = "paper"
) -> np.ndarray:
    """Distances (T, T) of each task, in the row, from each, in the column.

    Args:
        tasks: features and labels of each.
        reference: as in `divergence`.
    """
    kept = [prototypes(*task) for task in tasks]
    return np.array(
        [[task_distance(*task, old, reference) for old in kept] for task in tasks]
    )


def _check_reference(reference):
    if reference not in REFERENCES:
        raise ValueError(
            f"`reference` must be one of {REFERENCES}. Received: {reference!r}"
        )


def _checked(features, labels):
    features, labels = np.asarray(features, float), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(
            "`features` must be (n, d) and `labels` (n,) with n > 0. "
            f"Received: shapes {features.shape} and {labels.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError("`features` must be finite. Received: NaN or infinity")
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(
            f"`labels` must be integers of 0 or more. Received: {labels.dtype}, "
            f"smallest {labels.min()}"
        )
    if not np.bincount(labels).all():
        missing = np.flatnonzero(np.bincount(labels) == 0).tolist()
        raise ValueError(
            f"`labels` must have every class up to the largest. Received: none of "
            f"{missing}"
        )
    return features, labels
