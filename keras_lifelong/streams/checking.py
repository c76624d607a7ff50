"""Checking data against what a task's labels mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.streams import labels
from keras_lifelong.streams.columns import Columns
from keras_lifelong.streams.columns import columns
from keras_lifelong.streams.columns import fits
from keras_lifelong.streams.numbers import as_numbers
from keras_lifelong.streams.numbers import is_finite
from keras_lifelong.streams.numbers import require
from keras_lifelong.streams.spec import TaskSpec


def check_split(
    x: Any, y: Any, spec: TaskSpec, what: str = "data", trained: bool = False
) -> tuple[np.ndarray | Columns, np.ndarray]:
    """Checks data against a spec and returns them in standard form.

    Args:
        x: inputs (n, *spec.input_shape): arrays, or tensors of any backend, of numbers;
            of several inputs a dict or list of those, which becomes `Columns`.
            Floats of any width become float32; integers stay integers (int32), for
            embeddings: images are to be scaled to [0, 1] before.
        y: labels as in `TaskSpec`'s table.
        spec: the task's `TaskSpec`.
        what: which data these are, for messages, as "train of task 'task_3'".
        trained: whether a task is learned from these data alone: then they must have
            two classes at least, unless the head is shared.

    Returns:
        `(x, y)`; y is int32 (n,) for categorical, int32 (n, longest) for sequence, and
        float32 (n, units) for other kinds. Arrays that are so already are not copied.

    Raises:
        ValueError: naming the data and argument, what was received and what is
            accepted: wrong shape or dtype, different lengths, NaN or infinity, labels
            out of range, no examples, or training data of one class.

    Example:

    >>> x, y = check_split([[0.5], [1.0]], [0, 1], TaskSpec(2, "binary"))
    >>> y.tolist()
    [[0.0], [1.0]]
    """

    x, y = check_form(x, y, spec, what)
    return check_inputs(x, spec, what), check_labels(y, spec, what, trained)


def check_form(
    x: Any, y: Any, spec: TaskSpec, what: str = "data"
) -> tuple[np.ndarray, np.ndarray]:
    """What of `check_split` costs nothing: both as arrays of numbers, not converted.

    Raises:
        ValueError: if they are none, x has another shape or length, or no rows.
    """
    x = _numbers(x, spec, what)
    y = labels.coded(y, spec, what)
    require(len(x) > 0, what, "x", "hold at least one example", f"shape {x.shape}")
    counts = f"{len(y)} labels for {len(x)} examples"
    require(len(x) == len(y), what, "y", "hold one label for each example", counts)
    return x, y


def check_inputs(x: Any, spec: TaskSpec, what: str = "data") -> np.ndarray | Columns:
    """The inputs alone of `check_split`, in standard form.

    Raises:
        ValueError: see `check_split`.
    """
    x = _numbers(x, spec, what)
    if isinstance(x, Columns):
        return x.map(lambda part: _standard(part, what))
    return _standard(x, what)


def _numbers(x: Any, spec: TaskSpec, what: str) -> Any:
    """Inputs as an array, or `Columns`, of numbers; their shape is checked."""
    x = columns(x, spec.input_shape, what)
    if not isinstance(x, Columns):
        x = as_numbers(x, what, "x")
        _check_shape(x.shape[1:], spec.input_shape, x.shape, what)
        return x
    x = x.map(lambda part: as_numbers(part, what, "x"))
    lengths = [len(part) for part in x.leaves]
    same = len(set(lengths)) == 1
    require(same, what, "x", "hold inputs of as many rows each", f"rows {lengths}")
    expected, found = spec.input_shape, x.example_shape
    fit = expected is None or fits(found, expected)
    require(fit, what, "x", f"hold examples of shape {expected}", f"{found}")
    return x


def _standard(x: np.ndarray, what: str) -> np.ndarray:
    if x.dtype.kind in "iu":
        top = np.iinfo("int32").max
        fits = -top <= x.min(initial=0) and x.max(initial=0) <= top
        received = f"up to {np.abs(x).max(initial=0)}"
        require(fits, what, "x", "fit into int32", received)
        x = x.astype("int32", copy=False)
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused
        x = x if x.dtype == "int32" else x.astype("float32", copy=False)
    accepted = "NaN, infinity or beyond float32"
    require(is_finite(x), what, "x", "be finite", accepted)
    return x


def check_labels(
    y: Any, spec: TaskSpec, what: str = "data", trained: bool = False
) -> np.ndarray:
    """The labels alone of `check_split`, in standard form.

    Raises:
        ValueError: see `check_split`.
    """

    def about_labels(condition, accepted, received):
        require(condition, what, "y", accepted, received)

    kind = heads.get(spec.kind)
    y = labels.coded(y, spec, what)
    shapes = kind.label_shapes(len(y), spec)
    said = " or ".join(map(str, shapes)).replace("None", "any")
    accepted = f"have shape {said} for a {spec.kind} task"
    about_labels(any(fits(y.shape, s) for s in shapes), accepted, f"shape {y.shape}")
    about_labels(is_finite(y), "be finite", "NaN or infinity")
    y = kind.check_labels(y, spec, about_labels)
    # under a shared head the other classes are those of other tasks
    if kind.has_classes and trained and spec.head != "shared":
        alone = f"{len(y)} labels, all {y.min():g}"
        about_labels(y.min() != y.max(), "hold two classes at least", alone)
    return y


def _check_shape(shape, expected, received, what):
    if expected is None:
        require(shape, what, "x", "have shape (n, ...)", f"shape {received}")
        return
    sizes = ", ".join("any" if e is None else str(e) for e in expected)
    fit = fits(shape, expected)
    require(fit, what, "x", f"have shape (n, {sizes})", f"shape {received}")
