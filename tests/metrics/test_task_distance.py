"""Task distance: the formulas by hand, and against divergences that are known."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong.metrics import task_distance as td

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
X = RNG.normal(size=(60, 5)) + 2 * LABELS[:, None]


def by_hand(x, y, old, clamp):
    total = 0.0
    for c in np.unique(y):
        own = x[y == c].mean(0)
        logs = [
            np.log(
                min(np.linalg.norm(row - u) for u in old) / np.linalg.norm(row - own)
            )
            for row in x[y == c]
        ]
        total += max(np.mean(logs), 0) if clamp else np.mean(logs)
    return total


def test_prototypes_are_the_means_of_classes():
    found = td.prototypes(X, LABELS)
    for c in range(3):
        np.testing.assert_allclose(found[c], X[LABELS == c].mean(0))


@pytest.mark.parametrize("reference", ["paper", "code"])
def test_divergence_is_the_formula(reference):
    other = RNG.normal(size=(4, 5))
    other[0] = X[LABELS == 1].mean(0) + 1e-3  # nearer than some: a negative class
    expected = by_hand(X, LABELS, other, reference == "code")
    assert td.divergence(X, LABELS, other, reference) == pytest.approx(expected)


def test_where_paper_and_code_differ():
    own = td.prototypes(X, LABELS)
    shifted = [own + 0.4, own + 1.5]
    kl = [td.divergence(X, LABELS, old) for old in shifted]
    assert td.group_distance(X, LABELS, shifted) == pytest.approx(
        td.to_unit(np.mean(kl))
    )
    kl = [td.divergence(X, LABELS, old, "code") for old in shifted]
    expected = np.mean([td.to_unit(value) for value in kl])
    found = td.group_distance(X, LABELS, shifted, "code")
    assert found == pytest.approx(expected)
    assert found != pytest.approx(td.group_distance(X, LABELS, shifted))
    assert td.task_distance(X, LABELS, own) == 0
    assert td.task_distance(X, LABELS, own, "code") == 1  # its zero means unlike


def test_the_map_crosses_at_797():
    below, above = 0.796, 0.798
    assert td.to_unit(below) == below
    assert td.to_unit(above) < above
    assert td.to_unit(-0.3) == 0
    assert td.to_unit(50) == pytest.approx(1)


def nearest(x, y, k):
    squares = (x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1)[None]
    return np.sqrt(np.maximum(np.sort(squares, axis=1)[:, k], 0))


def knn_divergence(x, y):
    """KL(p || q) of samples by nearest neighbours (Wang, Kulkarni, Verdu 2009)."""
    rho, nu = nearest(x, x, 1), nearest(x, y, 0)  # itself aside
    return x.shape[1] * np.mean(np.log(nu / rho)) + np.log(len(y) / (len(x) - 1))


def test_it_orders_gaussians_as_their_known_divergence_does():
    known, by_neighbours, found = [], [], []
    x = np.random.default_rng(1).normal(size=(2000, 3))
    labels = np.zeros(2000, int)
    for shift in (0.0, 0.5, 1.0, 1.5, 2.0):
        y = np.random.default_rng(2).normal(size=(2000, 3))
        y[:, 0] += shift
        known.append(shift**2 / 2)
        by_neighbours.append(knn_divergence(x, y))
        old = td.prototypes(y, labels)
        found.append(td.divergence(x, labels, old))
    np.testing.assert_allclose(by_neighbours, known, atol=0.25)
    assert np.all(np.diff(found) > 0) and np.all(np.diff(by_neighbours) > 0)
    assert abs(found[0]) < 0.02  # equal distributions
    assert np.corrcoef(found, by_neighbours)[0, 1] > 0.95


def test_few_samples_look_far_but_for_leaving_one_out():
    """Tasks of one distribution: the paper's estimate is too large by about
    1/2 (1/n + 1/m) a class, so that it is not asked where these sum to much."""

    def mean(reference, classes=2, n=8):
        values = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            centres = 5 * rng.normal(size=(classes, 16))
            labels = np.repeat(np.arange(classes), n)
            draw = [centres[labels] + rng.normal(size=(len(labels), 16)) for _ in "ab"]
            old = td.prototypes(draw[0], labels)
            values.append(td.divergence(draw[1], labels, old, reference))
        return np.mean(values)

    assert mean("paper") == pytest.approx(2 * (1 / 8 + 1 / 8) / 2, rel=0.15)
    assert abs(mean("leave_one_out")) < 0.25 * mean("paper")
    assert mean("code", 10, 10) == pytest.approx(10 * (1 / 10 + 1 / 10) / 2, rel=0.15)
    assert mean("paper", 10, 10) == mean("leave_one_out", 10, 10) < 0.25
    assert mean("paper", 10, 1) < 0 < 0.9 < td.to_unit(mean("code", 10, 1))


def test_leaving_one_out_by_hand():
    """Of (0,), (2,) and (8,), the first two of a class: to each other, and the lone
    one to the mean of the others; the old prototype lies at 4."""
    x, y = np.array([[0.0], [2.0], [8.0]]), np.array([0, 0, 1])
    expected = (np.log(4 / 2) + np.log(2 / 2)) / 2 + np.log(4 / 7)
    for reference in ("paper", "leave_one_out"):
        found = td.divergence(x, y, np.array([[4.0]]), reference)
        assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match="two samples or more. Received: one"):
        td.divergence(x[:1], y[:1], np.array([[4.0]]))


def test_more_classes_are_further():
    x = X + 50 * LABELS[:, None]  # so far apart that no other prototype is near
    old = td.prototypes(x, LABELS) + 1
    first = LABELS == 0
    one = td.divergence(x[first], LABELS[first], old)
    assert td.divergence(x, LABELS, old) > 2 * one > 0


def test_a_class_of_one_sample_is_finite():
    x = np.concatenate([X, RNG.normal(size=(1, 5))])
    labels = np.append(LABELS, 3)
    assert np.isfinite(td.divergence(x, labels, td.prototypes(X, LABELS)))


def test_the_matrix_is_0_on_its_diagonal():
    tasks = [(X, LABELS), (X + 4, LABELS), (X[::-1] * 2, LABELS[::-1])]
    matrix = td.distance_matrix(tasks)
    assert matrix.shape == (3, 3) and not np.diag(matrix).any()
    assert matrix[0, 1] == td.task_distance(X, LABELS, td.prototypes(X + 4, LABELS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, LABELS[:5], X[:2]), r"shapes \(60, 5\) and \(5,\)"),
        ((X * np.nan, LABELS, X[:2]), "must be finite"),
        ((X, LABELS + 1, X[:2]), r"none of \[0\]"),
        ((X, LABELS + 0.5, X[:2]), "integers.*float64"),
        ((X, LABELS, X[:2, :3]), r"prototypes \(classes, 5\).*\(2, 3\)"),
        ((X, LABELS, X[:2], "papers"), "'papers'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        td.divergence(*arguments)


def test_an_empty_group_is_refused():
    with pytest.raises(ValueError, match="one task or more"):
        td.group_distance(X, LABELS, [])
