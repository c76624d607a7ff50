"""Scores of one prediction: `(y, p, spec) -> float`, all on the host.

`y` are canonical labels (`streams.check_split`): int `(n,)` for categorical,
`(n, 1)` in {0, 1} for binary, `(n, C)` for multilabel and regression. `p` are the
outputs of the head, `(n, units)`: probabilities, or values for regression.
`spec` needs `kind` and `units` only, so a `streams.TaskSpec` will do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.metrics.directions import direction
from keras_lifelong.metrics.directions import sign
from keras_lifelong.metrics.followed import Followed
from keras_lifelong.metrics.followed import copied
from keras_lifelong.metrics.followed import of_keras
from keras_lifelong.metrics.followed import of_ours
from keras_lifelong.metrics.predictions import check_finite
from keras_lifelong.metrics.predictions import kind_of
from keras_lifelong.registry import Registry

_OURS = Registry("metric")
register = _OURS.register  # of functions (y, p, spec) -> float
_CHECKS = Registry("check of a metric")
register_check = _CHECKS.register  # of functions (y, spec): see `Score`

# Bounds the memory of thresholded metrics (keras.metrics.AUC: 200 x n x C).
_ROWS = 4096


def _check(y: Any, p: Any, spec: Any, metric: str):
    """Returns y and p as arrays of the shapes that `spec` says, and its kind."""
    kind = kind_of(spec, metric)
    y, p = np.asarray(y), np.asarray(p, dtype="float64")
    if not kind.by_index and y.ndim == 1:
        y = y[:, None]
    if p.ndim == 1 and spec.units == 1:
        p = p[:, None]
    expected = (len(p),) if kind.by_index else (len(p), spec.units)
    if p.shape != (len(p), spec.units) or y.shape != expected or not len(p):
        raise ValueError(
            f"The metric {metric!r} needs predictions `p` of shape (n, {spec.units}) "
            f"and labels `y` to match, n >= 1, for a {spec.kind} task. Received: "
            f"p.shape={p.shape}, y.shape={y.shape}"
        )
    check_finite(p, metric)
    return y, p, kind


@register("accuracy")
def accuracy(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
    """Share of right answers in [0, 1].

    Categorical: the largest output is the answer. Binary and multilabel: an
    output above 0.5 says yes, and every output counts once.

    Args:
        y: labels, see the module.
        p: outputs of the head, `(n, units)`.
        spec: the task's `TaskSpec`.

    Raises:
        ValueError: for regression, wrong shapes, or predictions not finite.

    >>> from types import SimpleNamespace as Spec
    >>> accuracy([0, 1], [[0.9, 0.1], [0.8, 0.2]], Spec(kind="categorical", units=2))
    0.5
    """
    y, p, kind = _check(y, p, spec, "accuracy")
    return float(np.mean(kind.labels(p) == (y if kind.by_index else kind.labels(y))))


@register("auroc")
def auroc(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
    """Area under the ROC curve in [0, 1], 0.5 being chance.

    The unweighted mean over the outputs, each class against the rest (DEN, Yoon
    et al. 2018, section 4, for its sigmoid heads). An output whose labels are
    all yes or all no in `y` has no ROC curve and is left out of the mean.

    Args:
        y: labels, see the module.
        p: outputs of the head, `(n, units)`; only their order matters.
        spec: the task's `TaskSpec`.

    Raises:
        ValueError: if no output has both classes in `y`; for regression, wrong
            shapes, or predictions not finite.

    >>> from types import SimpleNamespace as Spec
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], Spec(kind="binary", units=1))
    0.75
    """
    from sklearn.metrics import roc_auc_score

    y, p, _ = _check(y, p, spec, "auroc")
    y, scored = _with_both(y, spec)
    return float(np.mean([roc_auc_score(y[:, c], p[:, c]) for c in scored]))


@register_check("auroc")
def _with_both(y: np.ndarray, spec: Any) -> tuple[np.ndarray, list[int]]:
    """Labels as yes or no to each output, and the outputs that have both."""
    if heads.get(spec.kind).by_index:
        y = y[:, None] == np.arange(spec.units)
    y = y > 0.5
    scored = [c for c in range(spec.units) if 0 < y[:, c].sum() < len(y)]
    if not scored:
        raise ValueError(
            "The metric 'auroc' needs examples of two classes. Received: only one "
            f"class among {len(y)} examples (positives of each output: "
            f"{y.sum(axis=0).tolist()})"
        )
    return y, scored


@register("mse")
def mse(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
    """Mean squared error of a regression task, over examples and outputs.

    >>> from types import SimpleNamespace as Spec
    >>> mse([[1.0], [2.0]], [[1.0], [4.0]], Spec(kind="regression", units=1))
    2.0
    """
    y, p, _ = _check(y, p, spec, "mse")
    return float(np.mean((y - p) ** 2))


@register("mae")
def mae(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
    """Mean absolute error of a regression task, over examples and outputs.

    >>> from types import SimpleNamespace as Spec
    >>> mae([[1.0], [2.0]], [[1.0], [4.0]], Spec(kind="regression", units=1))
    1.0
    """
    y, p, _ = _check(y, p, spec, "mae")
    return float(np.mean(np.abs(y - p)))


class Score:
    """A named score.

    Args:
        name: its key in `results.json`.
        function: `function(y, p, spec) -> float`, see the module.
        higher_is_better: False for errors and losses.
        kinds: names of the kinds of head whose tasks it scores. None: any.
        follow: `follow(spec) -> Followed`, which computes it while a task is trained.
            None: it needs all predictions at once, or is a function of NumPy.
        exact: whether what follows it counts every row it is given: then no batch is
            filled up.
        check: `check(y, spec)` raises a ValueError if such labels can't be scored.

    Attributes:
        name, higher_is_better: as given.
        sign: 1, or -1 for errors and losses; see `sign`.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., float],
        higher_is_better: bool = True,
        kinds: Sequence[str] | None = None,
        follow: Callable[[Any], Followed] | None = None,
        exact: bool = False,
        check: Callable[[np.ndarray, Any], Any] | None = None,
    ):
        self.name = name
        self.follow, self.exact, self.check = follow, exact, check
        self.higher_is_better = higher_is_better
        self._function = function
        self._kinds = None if kinds is None else tuple(kinds)

    @property
    def sign(self) -> int:
        return sign(self)

    def suits(self, kind: str) -> bool:
        """Whether tasks of that kind of head are scored by it.

        >>> get("mse").suits("regression"), get("mse").suits("binary")
        (True, False)
        """
        return self._kinds is None or kind in self._kinds

    def __call__(self, y: np.ndarray, p: np.ndarray, spec: Any) -> float:
        return self._function(y, p, spec)

    def __repr__(self) -> str:
        return f"Score({self.name!r})"


_ALIASES = {
    "acc": "accuracy",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}


def get(metric: Any) -> Score:
    """Returns the `Score` that `metric` stands for.

    Args:
        metric: one of
            - `"accuracy"` (or `"acc"`), `"auroc"`, `"mse"`, `"mae"`: ours. What is
              given by name is called so, as by Keras;
            - any other name that `keras.metrics.get` knows, a `keras.metrics`
              instance, class or config: reset, updated on the host with all
              data, and read. Keras' own metrics get one-hot labels for
              categorical tasks, unless their name starts with "sparse";
              metrics of your own class get the labels as they are;
            - a function `(y, p) -> number`, or one number per example, of which
              the mean is taken;
            - a `Score`, which is returned.

            A function or metric may have an attribute `higher_is_better`, True or
            False, if its name does not tell (see `directions.direction`), and
            `kinds`, the names of the kinds of head whose tasks it is for.

    Raises:
        ValueError: if there is no such metric; names the nearest ones. The score
            itself raises one if the metric gives several numbers.

    ```python
    score = get("top_k_categorical_accuracy")
    score.name, score(y, p, task.spec)
    get(lambda y, p: np.mean(p[:, 0] > 0.5))
    ```
    """
    if isinstance(metric, Score):
        return metric
    if isinstance(metric, str):
        name = _ALIASES.get(metric, metric)
        if name in _OURS:
            function = _OURS.get(name)
            up = direction(function, name)
            follow = of_ours(name, metric)
            check = _CHECKS.get(name) if name in _CHECKS else None
            return Score(metric, function, up, _kinds_of(name), follow, check=check)
    elif not callable(metric) and not isinstance(metric, dict):
        raise ValueError(
            "`metric` must be the name of a metric, a keras.metrics.Metric or a "
            f"function (y, p) -> number. Received: {metric!r} of type "
            f"{type(metric).__name__}"
        )

    import keras

    is_builtin, given = isinstance(metric, str), metric
    if is_builtin and metric.lower() != metric:
        # "F1Score" and "f1_score" alike; Keras itself knows the class names.
        metric = getattr(keras.metrics, metric, metric)
    if isinstance(metric, str | dict) or inspect.isclass(metric):
        label = metric
        try:
            metric = keras.metrics.get(metric)
        except (ValueError, TypeError) as error:
            raise _unknown(label, error) from error
    if isinstance(metric, keras.metrics.Metric):
        if is_builtin:
            metric.name = given
        return _keras_score(metric)
    if not callable(metric):
        raise _unknown(metric, None)
    name = given if is_builtin else getattr(metric, "__name__", type(metric).__name__)
    if is_builtin or _is_kerases(metric):
        mean = keras.metrics.MeanMetricWrapper(metric, name=name)
        return _keras_score(mean, metric)
    down_or_up, kinds = direction(metric, name), getattr(metric, "kinds", None)
    return Score(name, _of_function(metric, name), down_or_up, kinds)


def _kinds_of(name: str) -> list[str] | None:
    """The kinds that list one of our scores; of one that none lists, any."""
    return heads.that(lambda kind: name in kind.metrics) or None


def usual(kind: str) -> str:
    """The name of the score by which tasks of a kind of head are usually measured."""
    return heads.get(kind).default_metric


def _unknown(metric: Any, error: Exception | None) -> ValueError:
    import keras

    return _OURS.unknown(
        metric,
        unlisted=[*_ALIASES, *(n for n in dir(keras.metrics) if n[0] != "_")],
        reason=f" ({error})" if error and not isinstance(metric, str) else "",
        also=", the names in keras.metrics, a keras.metrics.Metric or a function "
        "(y, p) -> number",
    )


def _is_kerases(function: Any) -> bool:
    module = inspect.getmodule(function)
    return getattr(module, "__name__", "").split(".")[0] == "keras"


def _keras_score(metric: Any, function: Callable | None = None) -> Score:
    """Score of a `keras.metrics.Metric` (that averages `function`, if given)."""
    subject = function if function is not None else type(metric)
    own = _is_kerases(subject) and subject.__name__ not in _WRAPPERS
    is_sparse = subject.__name__.lower().startswith("sparse")
    one_hot = own and not (is_sparse or getattr(metric, "sparse_y_true", False))
    if subject.__name__ in ("Accuracy", "accuracy") and own:
        raise ValueError(
            "keras.metrics.Accuracy compares labels, not probabilities. "
            "Use the name 'accuracy'"
        )

    of_shape: dict[tuple, Any] = {}

    def score(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
        y, p = np.asarray(y), np.asarray(p, dtype="float32")
        if one_hot and heads.get(spec.kind).by_index:
            y = (y[:, None] == np.arange(spec.units)).astype("float32")
        shape = y.shape[1:], p.shape[1:]  # by which some have arrays of their own
        if shape not in of_shape:
            of_shape[shape] = copied(metric) if of_shape else metric
        one = of_shape[shape]
        one.reset_state()
        for start in range(0, len(p), _ROWS):
            one.update_state(y[start : start + _ROWS], p[start : start + _ROWS])
        return _one_number(one.result(), metric.name)

    said = metric if function is None else _Told(metric, function)
    kinds = getattr(metric, "kinds", _kinds_for(subject.__name__) if own else None)
    up = direction(said, subject.__name__)
    follow = of_keras(metric, one_hot, weighs=own)
    return Score(metric.name, score, up, kinds, follow, exact=not own)


class _Told:
    """What the mean of a function is told of, by the function first."""

    def __init__(self, metric: Any, function: Callable):
        for name in ("_direction", "higher_is_better"):
            value = getattr(function, name, getattr(metric, name, None))
            setattr(self, name, value)


# Of Keras' own, by words of their names: those of classes told by their index, and
# others of classes. What is left, errors above all, is computed for any kind.
_OF_ONE_CLASS = ("categorical", "topk", "top_k", "sparse")
_OF_CLASSES = (
    *("accuracy", "auc", "precision", "recall", "score", "crossentropy", "iou"),
    *("positives", "negatives", "sensitivity", "specificity", "hinge"),
)


def _kinds_for(name: str) -> list[str] | None:
    """The kinds of head that one of Keras' own metrics is for; None: any."""
    name = name.lower()
    if any(word in name for word in _OF_ONE_CLASS):
        return heads.that(lambda kind: kind.by_index)
    if name != "r2score" and any(word in name for word in _OF_CLASSES):
        return heads.that(lambda k: k.goal == "classification" and not k.by_step)
    return heads.that(lambda kind: not kind.by_step)


# These say nothing about the labels that the function inside them wants.
_WRAPPERS = ("MeanMetricWrapper", "Mean", "Sum", "Metric")


def _of_function(function: Callable, name: str) -> Callable[..., float]:
    def score(y: np.ndarray, p: np.ndarray, spec: Any) -> float:
        value = _to_host(function(y, p))
        if value.size != 1 and value.shape[:1] != (len(y),):
            return _one_number(value, name)
        return float(value.mean())

    return score


def _to_host(value: Any) -> np.ndarray:
    from keras import ops

    is_tensor = hasattr(value, "shape") and not isinstance(value, np.ndarray)
    return np.asarray(ops.convert_to_numpy(value) if is_tensor else value, "float64")


def _one_number(value: Any, name: str) -> float:
    value = np.asarray(_to_host(value))
    if value.size != 1:
        raise ValueError(
            f"The metric {name!r} must give one number (of keras.metrics.F1Score "
            f'use F1Score(average="macro")). Received shape: {value.shape}'
        )
    return float(value.reshape(()))
