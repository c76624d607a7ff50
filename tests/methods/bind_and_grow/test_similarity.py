"""RSA and the nucleus, against their definitions."""

import warnings

import numpy as np
import pytest
from scipy import stats

from keras_lifelong.methods.bind_and_grow import similarity as rsa

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 30))


@pytest.mark.parametrize("block", [4096, 7])
@pytest.mark.parametrize("center", [False, True])
def test_dissimilarities_are_one_minus_pearson(block, center):
    x = FEATURES - FEATURES.mean(0) if center else FEATURES
    found = rsa.dissimilarities(FEATURES, center, block)
    np.testing.assert_allclose(found, 1 - np.corrcoef(x), atol=1e-12)


def test_maps_are_flattened():
    maps = FEATURES.reshape(12, 5, 3, 2)
    np.testing.assert_array_equal(
        rsa.dissimilarities(maps), rsa.dissimilarities(FEATURES)
    )


def test_similarity_is_spearmans_of_what_is_above_the_diagonal():
    other = FEATURES + RNG.normal(size=FEATURES.shape)
    other[:, :5] = np.round(other[:, :5])  # some ties
    a, b = (rsa.dissimilarities(f) for f in (FEATURES, other))
    above = np.triu_indices(12, 1)
    expected = stats.spearmanr(a[above], b[above]).statistic
    assert rsa.similarity(a, b) == pytest.approx(expected)
    ties = np.round(a, 1), np.round(b, 1)
    expected = stats.spearmanr(ties[0][above], ties[1][above]).statistic
    assert rsa.similarity(*ties) == pytest.approx(expected)


def test_what_changes_no_similarity():
    """Scale, shift by example, order of features; any rotation once centred rows."""
    a = rsa.dissimilarities(FEATURES)
    for other in (
        3 * FEATURES,
        FEATURES + 7,
        FEATURES * RNG.uniform(1, 2, size=(12, 1)),
        FEATURES[:, ::-1],
    ):
        assert rsa.similarity(a, rsa.dissimilarities(other)) == pytest.approx(1)
    rotation = np.linalg.qr(RNG.normal(size=(30, 30)))[0]
    rotated = rsa.similarity(a, rsa.dissimilarities(FEATURES @ rotation))
    assert rotated < 1 - 1e-3  # Pearson's, not the cosine: rotations move the mean
    centred = FEATURES - FEATURES.mean(1, keepdims=True)
    keeps = np.linalg.qr(np.column_stack([np.ones(30), RNG.normal(size=(30, 29))]))[0]
    turned = keeps.copy()
    turned[:, 1:] = keeps[:, 1:] @ np.linalg.qr(RNG.normal(size=(29, 29)))[0]
    both = [
        rsa.dissimilarities(centred @ m) for m in (keeps @ keeps.T, turned @ keeps.T)
    ]
    assert rsa.similarity(*both) == pytest.approx(1)


def test_dead_units_and_examples():
    x = FEATURES.copy()
    x[3] = 0  # an example for which every unit is silent
    found = rsa.dissimilarities(x)
    assert np.isfinite(found).all() and (np.delete(found[3], 3) == 1).all()
    silent = rsa.dissimilarities(np.zeros((12, 5)))
    with pytest.warns(UserWarning, match="same of all examples"):
        assert rsa.similarity(found, silent) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert -1 <= rsa.similarity(found, rsa.dissimilarities(FEATURES)) <= 1


def test_conflict_is_never_0_or_1():
    scores = rsa.conflict([1.0, 0.5, -1.0])
    np.testing.assert_allclose(scores, [1e-6, 0.25, 1 - 1e-6])


@pytest.mark.parametrize(
    ("scores", "coefficient", "expected"),
    [
        ([0.5, 0.3, 0.2], 0.0, []),
        ([0.5, 0.3, 0.2], 1e-6, [0]),
        ([0.5, 0.3, 0.2], 0.5, [0]),
        ([0.5, 0.3, 0.2], 0.51, [0, 1]),
        ([0.5, 0.3, 0.2], 0.8, [0, 1]),
        ([0.5, 0.3, 0.2], 0.81, [0, 1, 2]),
        ([0.5, 0.3, 0.2], 1.0, [0, 1, 2]),
        ([0.2, 0.3, 0.5], 0.6, [1, 2]),
        ([1.0, 1.0, 1.0, 1.0], 0.5, [0, 1]),  # ties: the lower layers
        ([4.0, 4.0, 2.0], 0.4, [0]),  # any scale
        ([0.1] * 10, 0.3, [0, 1, 2]),  # 0.1 + 0.1 + 0.1 is no more than 0.3
        ([3e-6, 1e-6], 1 - 1e-10, [0, 1]),
    ],
)
def test_nucleus(scores, coefficient, expected):
    assert rsa.nucleus(scores, coefficient) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rsa.dissimilarities(FEATURES[:1]), "two examples or more.*1"),
        (lambda: rsa.dissimilarities(np.full((3, 2), np.nan)), "finite"),
        (lambda: rsa.similarity(np.eye(3), np.eye(4)), r"\(3, 3\) and \(4, 4\)"),
        (lambda: rsa.similarity(np.eye(2), np.eye(2)), "n of 3 or more"),
        (lambda: rsa.nucleus([], 0.5), "`scores`"),
        (lambda: rsa.nucleus([0.5, 0.0], 0.5), "`scores` must be positive"),
        (lambda: rsa.nucleus([0.5], 1.5), r"`coefficient` must be in \[0, 1\].*1.5"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_features_that_are_masked_add_nothing():
    """Two examples of which each lacks a step, by hand."""
    x = np.array([[[1.0], [2.0], [9.0]], [[3.0], [7.0], [5.0]]])
    mask = np.array([[True, True, False], [True, True, True]])
    a, b = np.array([-0.5, 0.5, 0.0]), np.array([-2.0, 2.0, 0.0])
    expected = a @ b / np.sqrt((a @ a) * (b @ b))  # = 1
    found = rsa.dissimilarities(x, mask=mask)
    np.testing.assert_allclose(
        found, [[0, 1 - expected], [1 - expected, 0]], atol=1e-12
    )
    x[0, 2] = np.nan  # whatever a layer makes of it
    np.testing.assert_array_equal(rsa.dissimilarities(x, mask=mask), found)
    none = mask & np.array([[False], [True]])
    np.testing.assert_allclose(rsa.dissimilarities(x, mask=none)[0, 1], 1.0)
    whole = RNG.normal(size=(5, 4, 2))
    for center in (False, True):
        np.testing.assert_allclose(
            rsa.dissimilarities(whole, center, mask=np.ones((5, 4), bool)),
            rsa.dissimilarities(whole, center),
            atol=1e-12,
        )
