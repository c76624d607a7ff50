"""Fronts, hypervolume and its expected growth, against brute force."""

import numpy as np
import pytest

from keras_lifelong.search import ehvi
from keras_lifelong.search import pareto

RNG = np.random.default_rng(0)
REFERENCE = (1.0, 1.0)


def counted(points, n=400):
    """Hypervolume within (1, 1) by counting the cells of a grid."""
    axis = (np.arange(n) + 0.5) / n
    x, y = np.meshgrid(axis, axis)
    beaten = np.zeros((n, n), bool)
    for a, b in points:
        beaten |= (x > a) & (y > b)
    return beaten.mean()


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_is_the_area(seed):
    points = np.random.default_rng(seed).random((12, 2)) * 1.1
    points = np.vstack([points, points[:2]])  # some twice
    found = pareto.hypervolume(points, REFERENCE)
    assert found == pytest.approx(counted(points), abs=0.006)
    others = [
        found - pareto.hypervolume(np.delete(points, i, 0), REFERENCE)
        for i in range(len(points))
    ]
    np.testing.assert_allclose(pareto.contributions(points, REFERENCE), others)


def test_hypervolume_of_nothing():
    assert pareto.hypervolume(np.empty((0, 2)), REFERENCE) == 0
    assert pareto.hypervolume([[2.0, 0.0]], REFERENCE) == 0


def test_fronts_by_definition():
    points = RNG.integers(0, 6, (40, 2)).astype(float)
    best = pareto.non_dominated(points)
    for i, p in enumerate(points):
        beaten = any((q <= p).all() and (q < p).any() for q in points)
        assert best[i] == (not beaten)
    ranks = pareto.ranks(points)
    assert (ranks[best] == 0).all() and (ranks[~best] > 0).all()
    for rank in range(ranks.max()):
        rest = points[ranks >= rank]
        np.testing.assert_array_equal(
            pareto.non_dominated(rest), ranks[ranks >= rank] == rank
        )
    three = RNG.random((20, 3))
    assert pareto.non_dominated(three).any()


@pytest.mark.parametrize("seed", range(4))
def test_expected_improvement_is_the_mean_of_samples(seed):
    rng = np.random.default_rng(seed)
    front = pareto.staircase(rng.random((6, 2)), REFERENCE)
    mean, deviation = rng.random((3, 2)), 0.05 + 0.3 * rng.random((3, 2))
    found = ehvi.expected_improvement(mean, deviation, front, np.array(REFERENCE))
    before = pareto.hypervolume(front, REFERENCE)
    for m, d, value in zip(mean, deviation, found, strict=True):
        draws = m + d * rng.normal(size=(4000, 2))
        gains = [
            pareto.hypervolume(np.vstack([front, draw]), REFERENCE) - before
            for draw in draws
        ]
        error = np.std(gains) / np.sqrt(len(gains))
        assert value == pytest.approx(np.mean(gains), abs=4 * error + 1e-6)


def test_a_sure_point_gains_what_it_adds():
    front = pareto.staircase([[0.2, 0.8], [0.6, 0.4]], REFERENCE)
    for point in ([0.4, 0.5], [0.7, 0.7], [0.1, 0.1]):
        expected = pareto.hypervolume(
            np.vstack([front, point]), REFERENCE
        ) - pareto.hypervolume(front, REFERENCE)
        found = ehvi.expected_improvement(
            [point], [[1e-9, 1e-9]], front, np.array(REFERENCE)
        )
        assert found[0] == pytest.approx(expected, abs=1e-6)
    empty = ehvi.expected_improvement(
        [[0.5, 0.5]], [[1e-9, 1e-9]], np.empty((0, 2)), np.array(REFERENCE)
    )
    assert empty[0] == pytest.approx(0.25)
