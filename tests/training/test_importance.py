"""What importance is measured on."""

import numpy as np

from keras_lifelong.training.importance import drawn_labels
from keras_lifelong.training.importance import log_likelihood_scale
from keras_lifelong.training.importance import some_examples

RNG = np.random.default_rng(0)


def test_labels_are_drawn_from_the_predictions():
    logits = np.log(np.tile([[0.2, 0.3, 0.5]], (20000, 1)))
    drawn = drawn_labels(logits, "softmax", RNG)
    np.testing.assert_allclose(np.bincount(drawn) / 20000, [0.2, 0.3, 0.5], atol=0.02)
    drawn = drawn_labels(np.log(logits * 0 + 3), "sigmoid", RNG)
    np.testing.assert_allclose(drawn.mean(0), 0.75, atol=0.02)
    drawn = drawn_labels(logits * 0 + 3, "squared", RNG)
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [3, 1], atol=0.02)


def test_some_examples_are_no_more_than_there_are():
    x, y = np.arange(5)[:, None], np.arange(5)
    found, labels = some_examples((x, y), 9, np.random.default_rng(0))
    assert sorted(labels) == [0, 1, 2, 3, 4] and (found[:, 0] == labels).all()
    assert len(some_examples((x, y), 3, np.random.default_rng(0))[1]) == 3


def test_the_log_likelihood_sums_where_a_loss_averages():
    scales = [log_likelihood_scale(k, 4) for k in ("softmax", "sigmoid", "squared")]
    assert scales == [1, 4, 2]
