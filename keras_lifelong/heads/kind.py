"""What every kind of head says of itself, and the kinds by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_lifelong.registry import Registry

_KINDS = Registry("kind of head")


class HeadKind:
    """A kind of head. Derive from it and decorate the class with `@register(name)`.

    What is here suits numbers to predict, (n, C), each output by itself; a kind says
    what is otherwise.

    Attributes:
        name: set by `register`.
        losses: names of the losses that `compile(loss=)` may choose from, the kind's
            own first; see `heads.losses`.
        metrics: names of our scores that it may be measured by, the usual one first;
            see `metrics.get`. Keras' metrics and functions fit any kind.
        least, most: of `num_classes`. `most=None`: there is no most.
        by_index: whether labels are indices of classes, (n,), not (n, units).
        has_classes: whether an example is of one class: then validation data are held
            out by class, and training data of one class are refused.
        by_step: whether a head reads each step of features (batch, time, width), not
            features (batch, width).
        distillable: whether the outputs are logits of classes that exclude each other
            (or the one of a yes or no), by which heads can be compared.
        goal: "classification" or "regression", for the model card.

    Example: counts, with the loss of a Poisson distribution.

    ```python
    from keras_lifelong import heads

    @heads.register_loss("poisson")
    class Poisson(heads.HeadLoss):
        activation = "exponential"

        def per_sample(self, y, logits):
            return keras.ops.mean(keras.ops.exp(logits) - y * logits, axis=-1)

    @heads.register("count")
    class Count(heads.HeadKind):
        losses = ("poisson",)

        def check_labels(self, y, spec, require):
            require((y >= 0).all(), "be at least 0", f"down to {y.min()}")
            return super().check_labels(y, spec, require)

    kl.TaskSpec(1, "count")
    ```
    """

    name = ""
    losses: tuple[str, ...] = ("squared",)
    metrics: tuple[str, ...] = ("mse", "mae")
    least: int = 1
    most: int | None = None
    by_index = False
    has_classes = False
    by_step = False
    distillable = False
    goal = "regression"

    @property
    def default_metric(self) -> str:
        """The score by which such tasks are usually measured."""
        return self.metrics[0]

    def units(self, spec: Any) -> int:
        """Outputs of a head; `spec` has `num_classes`."""
        return spec.num_classes

    def loss(self, chosen: str | None) -> str:
        """The name of the loss it is trained with.

        Args:
            chosen: what `compile` was given: if this kind has no such loss, as when
                tasks of several kinds are learned, or for None, it is its own.
        """
        return chosen if chosen in self.losses else self.losses[0]

    def accepts_classes(self, count: Any) -> bool:
        """Whether `num_classes` of a `TaskSpec` may be `count`."""
        is_integer = isinstance(count, int | np.integer)
        return is_integer and self.least <= count <= (self.most or count)

    def accepted_classes(self) -> str:
        """What `num_classes` may be, for people."""
        if self.least == self.most:
            return str(self.least)
        most = "more" if self.most is None else f"up to {self.most}"
        return f"an integer of {self.least} or {most}"

    def label_shapes(self, count: int, spec: Any) -> list[tuple[int, ...]]:
        """The shapes that labels of so many examples may come in; None: any size."""
        if self.by_index or spec.units == 1:
            return [(count,), (count, 1)]
        return [(count, spec.units)]

    def check_labels(self, y: np.ndarray, spec: Any, require: Callable) -> np.ndarray:
        """Checks labels and returns them in standard form.

        Args:
            y: numbers of one of `label_shapes`, all finite.
            spec: the task's `TaskSpec`.
            require: `require(condition, accepted, received)` raises a ValueError that
                says whose labels they are, unless `condition`.

        Returns:
            float32 (n, units); int32 (n,) of a kind that is `by_index`; or what the
            kind says.
        """
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused
            y = y.reshape(len(y), spec.units).astype("float32", copy=False)
        is_finite = bool(np.isfinite([y.min(), y.max()]).all())
        require(is_finite, "be finite", "values beyond float32")
        return y

    def check_steps(self, y: np.ndarray, steps: int, require: Callable) -> None:
        """Checks labels in standard form against the time steps of a network.

        Args:
            y: labels.
            steps: of the features that a head reads, of a kind that is `by_step`.
            require: see `check_labels`.
        """

    def joined(self, parts: list[np.ndarray]) -> np.ndarray:
        """Labels in standard form, one part after the other."""
        return np.concatenate(parts)

    def infer(self, y: np.ndarray) -> int | None:
        """`num_classes` of a task with these labels; None: they are not for this kind.

        Args:
            y: (n,) or (n, C), n at least 1. No two kinds may take the same ones.
        """
        del y
        return None

    def labels(self, outputs: np.ndarray) -> np.ndarray:
        """The labels that outputs (n, units) say, in the form of `check_labels`."""
        return outputs

    def named(self, outputs: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """The names of the classes that outputs mean, (n,).

        Args:
            outputs: (n, …, units), as `predict` returns them.
            names: of the classes.
        """
        found, known = self.labels(outputs), np.array(names)
        if self.has_classes:
            return known[found.reshape(-1).astype("int32")]
        several = np.empty(len(found), object)
        for i, row in enumerate(found > 0):
            several[i] = tuple(known[row].tolist())
        return several


class YesOrNo(HeadKind):
    """What kinds have in common whose outputs each say yes or no."""

    losses = ("sigmoid",)
    metrics = ("accuracy", "auroc")
    goal = "classification"

    def check_labels(self, y, spec, require):
        span = f"labels from {y.min()} to {y.max()}"
        is_label = ((y == 0) | (y == 1)).all()
        require(is_label, f"be 0 or 1 for a {self.name} task", span)
        return super().check_labels(y, spec, require)

    def labels(self, outputs):
        return (outputs > 0.5).astype("float32")


def is_whole(y: np.ndarray) -> bool:
    """Whether labels are whole numbers in one column, floats such as 2.0 included.

    >>> is_whole(np.array([0.0, 2.0])), is_whole(np.array([0.5]))
    (True, False)
    """
    if y.size != len(y):
        return False
    return y.dtype.kind != "f" or bool((np.isfinite(y) & (np.floor(y) == y)).all())


def is_yes_or_no(y: np.ndarray) -> bool:
    """Whether labels have several columns of nothing but 0 and 1."""
    return y.ndim == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all())


def is_one_hot(y: np.ndarray) -> bool:
    """Whether labels have several columns, of which each row has one 1 and else 0.

    >>> is_one_hot(np.eye(3)), is_one_hot(np.array([[1, 1, 0]]))
    (True, False)
    """
    return is_yes_or_no(y) and bool((np.count_nonzero(y, axis=1) == 1).all())


def register(name: str) -> Callable[[type], type]:
    """Class decorator: makes a `HeadKind` known by a name, for `TaskSpec(kind=name)`.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(cls: type[HeadKind]) -> type[HeadKind]:
        cls.name = name
        return _KINDS.register(name)(cls)

    return decorate


def get(name: str) -> HeadKind:
    """The kind of that name.

    Raises:
        ValueError: if there is none, with the nearest ones.
    """
    return _KINDS.get(name)()


def names() -> list[str]:
    """Names of all kinds."""
    return _KINDS.names()


def that(holds: Callable[[HeadKind], Any]) -> list[str]:
    """Names of the kinds of which something holds.

    >>> that(lambda kind: kind.distillable)
    ['binary', 'categorical']
    """
    return [name for name in names() if holds(get(name))]


def loss_choices() -> list[str]:
    """What `compile(loss=)` may be: the losses of kinds that have several.

    >>> loss_choices()
    ['softmax', 'sigmoid']
    """
    several = [get(name).losses for name in that(lambda kind: len(kind.losses) > 1)]
    return list(dict.fromkeys(loss for losses in several for loss in losses))
