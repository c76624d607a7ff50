"""What importance is measured on."""

import numpy as np

from keras_lifelong.model.scoring import LoadedTask
from keras_lifelong.training.importance import drawn_labels
from keras_lifelong.training.importance import examples_of
from keras_lifelong.training.importance import log_likelihood_scale

RNG = np.random.default_rng(0)


def test_labels_are_drawn_from_the_predictions():
    logits = np.log(np.tile([[0.2, 0.3, 0.5]], (20000, 1)))
    drawn = drawn_labels(logits, "softmax", RNG)
    np.testing.assert_allclose(np.bincount(drawn) / 20000, [0.2, 0.3, 0.5], atol=0.02)
    drawn = drawn_labels(np.log(logits * 0 + 3), "sigmoid", RNG)
    np.testing.assert_allclose(drawn.mean(0), 0.75, atol=0.02)
    drawn = drawn_labels(logits * 0 + 3, "squared", RNG)
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [3, 1], atol=0.02)


def test_examples_are_no_more_than_there_are_and_count_something():
    x, y = np.arange(5)[:, None], np.arange(5)
    weight = np.array([0, 1, 2, 0, 3], "float32")
    task = LoadedTask("a", None, (x, y), (x + 9, y), None, None, weight)
    rng = np.random.default_rng
    found, labels = examples_of(task, 9, rng(0))
    assert sorted(labels) == [0, 1, 2, 3, 4] and (found[:, 0] == labels).all()
    assert len(examples_of(task, 3, rng(0))[1]) == 3
    found, labels, own = examples_of(task, 9, rng(0), True, "validation")
    assert sorted(labels) == [1, 2, 4] and (found[:, 0] == labels + 9).all()
    assert (own == weight[labels]).all()


def test_the_log_likelihood_sums_where_a_loss_averages():
    scales = [log_likelihood_scale(k, 4) for k in ("softmax", "sigmoid", "squared")]
    assert scales == [1, 4, 2]
