"""Weights of examples: how much each counts in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.streams.numbers import as_numbers
from keras_lifelong.streams.numbers import is_finite
from keras_lifelong.streams.numbers import require
from keras_lifelong.streams.spec import TaskSpec


def checked_weights(weights: Any, count: int, what: str) -> np.ndarray:
    """Weights of examples as float32 (n,).

    Args:
        weights: (n,) or (n, 1), finite numbers of 0 or more.
        count: n.
        what: whose they are, for messages.

    Raises:
        ValueError: if they are something else.

    >>> checked_weights([1, 2], 2, "train").tolist()
    [1.0, 2.0]
    """
    name = "sample_weight"
    array = as_numbers(weights, what, name)
    shapes = [(count,), (count, 1)]
    accepted = f"have shape {shapes[0]}: one weight for each example"
    require(array.shape in shapes, what, name, accepted, f"shape {array.shape}")
    is_fine = is_finite(array) and (array >= 0).all()
    require(is_fine, what, name, "be finite and at least 0", "something else")
    return array.reshape(-1).astype("float32", copy=False)


def checked_class_weight(class_weight: Any) -> dict[int | str, float]:
    """A dict from classes, by index or name, to numbers of 0 or more.

    Raises:
        ValueError: if it is something else.
    """
    is_fine = isinstance(class_weight, Mapping) and all(
        isinstance(key, int | str | np.integer)
        and not isinstance(key, bool)
        and isinstance(value, int | float | np.number)
        and np.isfinite(value)
        and value >= 0
        for key, value in class_weight.items()
    )
    if not is_fine:
        raise ValueError(
            "`class_weight` must be a dict from classes to finite numbers of 0 or "
            f"more. Received: {str(class_weight)[:200]}"
        )
    return {
        key if isinstance(key, str) else int(key): float(value)
        for key, value in class_weight.items()
    }


def of_classes(
    class_weight: Mapping, y: np.ndarray, spec: TaskSpec, what: str
) -> np.ndarray:
    """The weight of each example by its class, float32 (n,); 1 of classes not named.

    Args:
        class_weight: as `checked_class_weight` gives it.
        y: labels in standard form.
        spec: the task's.
        what: whose they are, for messages.

    Raises:
        ValueError: if the task has no classes, or has not one of those named.

    >>> of_classes({1: 3.0}, np.array([0, 1]), TaskSpec(2), "train").tolist()
    [1.0, 3.0]
    """
    if not heads.get(spec.kind).has_classes:
        raise ValueError(
            f"{what}: `class_weight` goes with categorical and binary tasks. "
            f"Received: one of kind {spec.kind!r}"
        )
    table = np.ones(spec.num_classes, "float32")
    names = list(spec.class_names or ())
    for key, value in class_weight.items():
        index = names.index(key) if key in names else key
        if not isinstance(index, int) or not 0 <= index < spec.num_classes:
            classes = names or f"0 ... {spec.num_classes - 1}"
            raise ValueError(
                f"{what}: `class_weight` must name classes of the task: {classes}. "
                f"Received: {key!r}"
            )
        table[index] = value
    return table[y.reshape(-1).astype("int32")]
