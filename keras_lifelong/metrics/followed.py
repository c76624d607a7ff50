"""Scores followed in training: a Keras metric is updated by every batch."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong import heads


class Followed:
    """A Keras metric that a compiled step updates, as `keras.Model.fit` does.

    Args:
        metric: a `keras.metrics.Metric` of its own.
        classes: for labels by index, how many columns the metric wants them in; None:
            it takes them as they are.
        weighs: whether it is told which rows count. One of a user's own is not, as
            under Keras, and may not know the argument: its batches are not filled up.
    """

    def __init__(self, metric: Any, classes: int | None = None, weighs: bool = True):
        self.metric = metric
        self._classes, self._weighs = classes, weighs

    def update(self, y: Any, outputs: Any, weight: Any) -> None:
        """Takes in a batch.

        Args:
            y: labels in standard form.
            outputs: (batch, units): probabilities, or values to regress.
            weight: (batch,), 0 for rows that fill a batch up.
        """
        from keras import ops

        if self._classes is not None:
            y = ops.one_hot(y, self._classes)
        weights = {"sample_weight": weight} if self._weighs else {}
        self.metric.update_state(y, outputs, **weights)


def of_ours(name: str, shown: str = "") -> Callable[[Any], Followed] | None:
    """What follows one of our scores, by a task's spec; None: nothing does.

    Args:
        name: of the score.
        shown: the name that it goes by in logs, if another.

    >>> of_ours("auroc") is None
    True
    """

    def follow(spec: Any) -> Followed:
        import keras

        by_index = heads.get(spec.kind).by_index
        classes = {
            "accuracy": keras.metrics.SparseCategoricalAccuracy
            if by_index
            else keras.metrics.BinaryAccuracy,
            "mse": keras.metrics.MeanSquaredError,
            "mae": keras.metrics.MeanAbsoluteError,
        }
        return Followed(classes[name](name=shown or name))

    return follow if name in ("accuracy", "mse", "mae") else None


def of_keras(
    metric: Any, one_hot: bool, weighs: bool = True
) -> Callable[[Any], Followed]:
    """What follows a score that is a Keras metric: a copy of it, by a task's spec.

    Args:
        metric: a `keras.metrics.Metric`.
        one_hot: whether it wants labels by index in columns.
        weighs: see `Followed`.
    """

    def follow(spec: Any) -> Followed:
        by_index = heads.get(spec.kind).by_index
        copy = copied(metric)
        classes = spec.units if one_hot and by_index else None
        followed = Followed(copy, classes, weighs)
        if not copy.variables:  # some are made by the first batch: not within a step
            y = np.zeros(1, "int32") if by_index else np.zeros((1, spec.units))
            followed.update(y, np.zeros((1, spec.units), "float32"), np.ones(1))
            copy.reset_state()
        return followed

    return follow


def copied(metric: Any) -> Any:
    """A metric like another one, that has seen nothing.

    Raises:
        ValueError: if its configuration does not make one.
    """
    try:
        return type(metric).from_config(metric.get_config())
    except TypeError as error:
        raise ValueError(
            f"The metric {metric.name!r} must have a `get_config` that gives all "
            f"arguments of {type(metric).__name__}, so that each task has its own. "
            f"Received: {error}."
        ) from error


class AllFollowed:
    """The scores of `compile` that are followed in a phase.

    Args:
        followed: `Followed`s.
        activation: of the head, by Keras' name.
    """

    def __init__(self, followed: Sequence[Followed] = (), activation: str = "linear"):
        self._followed = list(followed)
        self._activation = activation
        self._fed = False

    @property
    def variables(self) -> list:
        """What a step updates."""
        return [v for each in self._followed for v in each.metric.variables]

    def update(self, y: Any, logits: Any, weight: Any) -> None:
        """See `Followed.update`; `logits` are the head's outputs."""
        if not self._followed:
            return
        import keras

        self._fed = True  # by the compiled step of this program, now and later
        outputs = keras.activations.get(self._activation)(logits)
        for each in self._followed:
            each.update(y, outputs, weight)

    def reset(self) -> None:
        """An epoch begins."""
        for each in self._followed:
            each.metric.reset_state()

    def results(self) -> dict[str, float]:
        """By name, of the batches since `reset`; of a step without outputs none."""
        if not self._fed:
            return {}
        found = ((each.metric.name, each.metric.result()) for each in self._followed)
        return {name: float(value) for name, value in found if not len(value.shape)}
