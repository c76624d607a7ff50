"""Scores of predictions: golden numbers, Keras' metrics, refusals."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from keras_lifelong import heads
from keras_lifelong import metrics
from keras_lifelong.metrics.directions import higher_is_better
from keras_lifelong.metrics.directions import sign


def spec(kind, units):
    return SimpleNamespace(kind=kind, units=units)


THREE = spec("categorical", 3)
Y = np.array([0, 1, 2, 2])
P = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.5, 0.4], [0.2, 0.2, 0.6]])


def test_accuracy():
    assert metrics.accuracy(Y, P, THREE) == 0.5
    binary = spec("binary", 1)
    y = np.array([[0.0], [1.0], [1.0], [0.0]])
    # 0.5 itself is a no, as in keras.metrics.BinaryAccuracy.
    assert metrics.accuracy(y, [[0.5], [0.9], [0.4], [0.6]], binary) == 0.5
    two = spec("multilabel", 2)
    assert metrics.accuracy([[1, 0], [1, 1]], [[0.9, 0.8], [0.7, 0.6]], two) == 0.75


def test_auroc():
    # Class 0: 1 > all others -> 1. Class 1: .3 against .2 .5 .2 -> 2/3.
    # Class 2: .4 .6 against .1 .2 -> 1.
    assert metrics.auroc(Y, P, THREE) == pytest.approx((1 + 2 / 3 + 1) / 3)
    y, p = np.array([[0], [0], [1], [1]]), np.array([[0.1], [0.4], [0.35], [0.8]])
    assert metrics.auroc(y, p, spec("binary", 1)) == pytest.approx(0.75)
    # Not probabilities that sum to one, as of sigmoid heads: only the order counts.
    assert metrics.auroc(y, p * 0.1, spec("binary", 1)) == pytest.approx(0.75)


def test_auroc_leaves_out_classes_that_are_absent():
    four = spec("categorical", 4)
    p = np.concatenate([P, [[0.9]] * 4], axis=1)
    assert metrics.auroc(Y, p, four) == pytest.approx(metrics.auroc(Y, P, THREE))
    labels = np.array([[1, 0], [1, 1], [1, 0]])  # first output: all yes
    p = np.array([[0.1, 0.2], [0.2, 0.9], [0.3, 0.1]])
    assert metrics.auroc(labels, p, spec("multilabel", 2)) == 1.0
    with pytest.raises(ValueError, match="two classes.*Received: only one class"):
        metrics.auroc(np.zeros(4, int), P, THREE)


def test_errors_of_regression():
    two = spec("regression", 2)
    y, p = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[1.0, 1.0], [2.0, 6.0]])
    assert metrics.mse(y, p, two) == pytest.approx(10 / 4)
    assert metrics.mae(y, p, two) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["accuracy", "auroc"])
def test_wrong_input_is_refused(name):
    score = metrics.get(name)
    with pytest.raises(
        ValueError,
        match=f"{name!r} is for binary, categorical, multilabel tasks.*Received",
    ):
        score(Y, P, spec("regression", 3))
    with pytest.raises(ValueError, match=r"shape \(n, 3\).*Received: p.shape=\(4, 2\)"):
        score(Y, P[:, :2], THREE)
    with pytest.raises(ValueError, match=r"y.shape=\(3,\)"):
        score(Y[:3], P, THREE)
    with pytest.raises(ValueError, match="n >= 1"):
        score(Y[:0], P[:0], THREE)
    bad = P.copy()
    bad[1, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 12 are NaN or infinite"):
        score(Y, bad, THREE)


def test_get_finds_ours():
    assert metrics.get("acc").name == "acc"  # as Keras names it
    assert metrics.get("acc")(Y, P, THREE) == metrics.accuracy(Y, P, THREE)
    assert metrics.get("auroc")(Y, P, THREE) == metrics.auroc(Y, P, THREE)
    score = metrics.get("mean_squared_error")
    assert (score.name, score.higher_is_better) == ("mean_squared_error", False)
    assert metrics.get("mape").name == "mape" and metrics.get("auc").name == "auc"
    assert metrics.get(score) is score


def test_get_takes_a_function():
    def first(y, p):
        return p[:, 0].mean()

    score = metrics.get(first)
    assert score.name == "first"
    assert score(Y, P, THREE) == pytest.approx(0.375)
    each = metrics.get(lambda y, p: p.argmax(axis=1) == y)
    assert each(Y, P, THREE) == 0.5
    with pytest.raises(ValueError, match=r"one number.*Received shape: \(3,\)"):
        metrics.get(lambda y, p: p.mean(axis=0))(Y, P, THREE)


def test_get_takes_keras_metrics():
    keras = pytest.importorskip("keras")
    top2 = keras.metrics.TopKCategoricalAccuracy(k=2, name="top2")
    score = metrics.get(top2)
    # Of the four, all have the right class among the two best.
    assert (score.name, score(Y, P, THREE)) == ("top2", 1.0)
    # State does not leak from one call to the next.
    assert score(np.array([2, 2, 0, 0]), P, THREE) == pytest.approx(0.25)
    assert score(Y, P, THREE) == 1.0
    sparse = keras.metrics.SparseTopKCategoricalAccuracy(k=2)
    assert metrics.get(sparse)(Y, P, THREE) == 1.0
    for name in ("categorical_accuracy", "sparse_categorical_accuracy"):
        score = metrics.get(name)
        assert (score.name, score.higher_is_better) == (name, True)
        assert score(Y, P, THREE) == 0.5
    for name in ("categorical_crossentropy", "CategoricalCrossentropy"):
        score = metrics.get(name)
        want = -np.log([0.7, 0.3, 0.4, 0.6]).mean()
        assert score(Y, P, THREE) == pytest.approx(want, rel=1e-5)
        assert not score.higher_is_better
    y, p = np.array([[0.0], [1.0], [1.0]]), np.array([[0.6], [0.9], [0.4]])
    assert metrics.get("Precision")(y, p, spec("binary", 1)) == 0.5


def test_keras_metrics_are_fed_in_pieces():
    pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    p = rng.random((9000, 3))
    y = rng.integers(0, 3, 9000)
    want = np.mean(p.argmax(1) == y)
    assert metrics.get("categorical_accuracy")(y, p, THREE) == pytest.approx(want)


def test_own_keras_metric_gets_the_labels_as_they_are():
    keras = pytest.importorskip("keras")

    class Seen(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="seen")
            self.total = self.add_weight(shape=(), initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            assert y_true.shape == (4,)
            self.total.assign_add(keras.ops.sum(keras.ops.cast(y_true, "float32")))

        def result(self):
            return self.total

    assert metrics.get(Seen())(Y, P, THREE) == 5.0


def test_unknown_metrics_are_refused():
    keras = pytest.importorskip("keras")
    with pytest.raises(ValueError, match="'acuracy'.*Did you mean 'accuracy'"):
        metrics.get("acuracy")
    with pytest.raises(ValueError, match="Received: 3 of type int"):
        metrics.get(3)
    with pytest.raises(ValueError, match="compares labels"):
        metrics.get(keras.metrics.Accuracy())
    with pytest.raises(ValueError, match="one number.*macro"):
        metrics.get("F1Score")(Y, P, THREE)


def test_direction_by_name():
    assert higher_is_better("auroc") and higher_is_better("top_k_categorical_accuracy")
    assert not higher_is_better("mse") and not higher_is_better("mean_absolute_error")
    assert not higher_is_better("binary_crossentropy")


@pytest.mark.parametrize(
    "metric, expected",
    [("accuracy", 1), ("mse", -1), ("hinge", -1), (True, 1), (False, -1)],
)
def test_signed_values_are_better_the_greater(metric, expected):
    assert sign(metric) == expected
    if isinstance(metric, str):
        assert sign(metrics.get(metric)) == metrics.get(metric).sign == expected


def rmse(y, p):
    return float(np.sqrt(np.mean((y - p) ** 2)))


@pytest.mark.parametrize(
    "name, up",
    [
        ("rmse", False),
        ("RootMeanSquaredError", False),
        ("FalsePositives", False),
        ("my_loss", False),
        ("log_cosh_error", False),
        ("lossless_share", True),
        ("r2_score", True),
        ("terror_recall", True),
    ],
)
def test_directions_of_names(name, up):
    assert higher_is_better(name) is up


def test_a_function_has_a_direction_and_may_say_it():
    assert metrics.get(rmse).sign == -1

    def kept(y, p):
        return 0.0

    assert metrics.get(kept).higher_is_better
    kept.higher_is_better = False
    assert metrics.get(kept).sign == -1
    kept.higher_is_better = "down"
    with pytest.raises(ValueError, match="`higher_is_better`.*'kept'.*True or False"):
        metrics.get(kept)


@pytest.mark.parametrize(
    "metric, up",
    [
        ("MeanSquaredLogarithmicError", False),
        ("CosineSimilarity", True),
        ("R2Score", True),
        ("mean_absolute_percentage_error", False),
        ("KLDivergence", False),
        ("FalseNegatives", False),
        ("BinaryIoU", True),
    ],
)
def test_keras_metrics_have_a_direction(metric, up):
    pytest.importorskip("keras")
    assert metrics.get(metric).higher_is_better is up


@pytest.mark.parametrize(
    "metric, kinds",
    [
        ("accuracy", {"binary", "categorical", "multilabel"}),
        ("mae", {"regression"}),
        ("sparse_categorical_crossentropy", {"categorical"}),
        ("AUC", {"binary", "categorical", "multilabel"}),
        ("R2Score", {"binary", "categorical", "multilabel", "regression"}),
        (rmse, {"binary", "categorical", "multilabel", "regression", "sequence"}),
    ],
)
def test_metrics_are_for_kinds(metric, kinds):
    score = metrics.get(metric)
    assert {k for k in heads.names() if score.suits(k)} == kinds


def test_a_function_may_say_its_kinds():
    def err(y, p):
        return 0.0

    err.kinds = ("regression",)
    assert metrics.get(err).suits("regression")
    assert not metrics.get(err).suits("binary")


def test_metrics_are_saved_and_loaded():
    keras = pytest.importorskip("keras")
    given = ["mse", keras.metrics.TopKCategoricalAccuracy(k=2, name="top2"), "F1Score"]
    given += [keras.metrics.AUC(name="area"), keras.metrics.mean_squared_error]
    there = json.loads(json.dumps([metrics.to_config(m) for m in given]))
    back = metrics.from_config(there)
    assert [metrics.get(m).name for m in back] == [metrics.get(m).name for m in given]
    assert metrics.get(back[1])(Y, P, THREE) == 1.0 and back[1].get_config()["k"] == 2


def test_a_function_is_saved_by_its_registered_name():
    keras = pytest.importorskip("keras")
    with pytest.warns(UserWarning, match="'rmse'.*register_keras_serializable"):
        assert metrics.from_config([metrics.to_config(rmse)]) == []
    name = "tests>registered_rmse"
    keras.saving.register_keras_serializable("tests", "registered_rmse")(rmse)
    try:
        assert metrics.to_config(rmse) == {"function": name}
        assert metrics.from_config([{"function": name}]) == [rmse]
    finally:
        del keras.saving.get_custom_objects()[name]


def test_a_saved_metric_takes_little_memory():
    keras = pytest.importorskip("keras")
    config = metrics.to_config(keras.metrics.AUC())
    config["config"]["num_thresholds"] = 10**12
    with pytest.raises(ValueError, match="at most 4,096.*AUC with 1,000,000,000,000"):
        metrics.from_config([config])


@pytest.mark.parametrize("config", [3, {"class_name": 3}, None])
def test_what_is_no_saved_metric_is_refused(config):
    keras = pytest.importorskip("keras")
    if config is None:  # a layer that is registered
        config = {"class_name": "Dense", "config": {"units": 2}}
        keras.saving.get_custom_objects()["Dense"] = keras.layers.Dense
    try:
        with pytest.raises(ValueError, match="A saved metric must be.*Received"):
            metrics.from_config([config])
    finally:
        keras.saving.get_custom_objects().pop("Dense", None)
