"""Labels as people have them: names of classes, whole-number floats, one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.streams.forms import as_array
from keras_lifelong.streams.numbers import as_numbers
from keras_lifelong.streams.numbers import data_error
from keras_lifelong.streams.numbers import require


def class_names(y: Any) -> tuple[str, ...] | None:
    """The names of the classes that labels are given by; None if they are numbers.

    Strings are sorted; a categorical of pandas says its categories and their order.

    >>> class_names(["dog", "cat", "dog"])
    ('cat', 'dog')
    """
    categories = _categories(y)
    if categories is not None:
        return tuple(str(category) for category in categories)
    names = _texts(y)
    return None if names is None else tuple(np.unique(names).tolist())


def coded(y: Any, spec: Any, what: str) -> np.ndarray:
    """Labels as numbers: names of classes as their indices.

    Args:
        y: numbers, or names of classes (n,).
        spec: the task's `TaskSpec`.
        what: whose labels these are, for messages.

    Raises:
        ValueError: if they are neither, or names that the task does not have.
    """
    given = class_names(y) if heads.get(spec.kind).has_classes else None
    if given is None:
        return as_numbers(y, what, "y")
    names = spec.class_names
    if names is None:
        write = f"TaskSpec({max(len(given), 2)}, class_names={_few(given)})"
        accepted = f"be numbers, as the TaskSpec names no classes; or write {write}"
        raise data_error(what, "y", accepted, f"the names {_few(given)}")
    place = {name: i for i, name in enumerate(names)}
    table = np.array([place.get(name, -1) for name in given], "int32")
    if _categories(y) is None:
        index = np.searchsorted(np.array(given), _texts(y))
    else:
        index = np.asarray(getattr(y, "cat", y).codes)
        accepted = "be a category for each example"
        require((index >= 0).all(), what, "y", accepted, "missing ones")
    found = table[index] if len(table) else index.astype("int32")
    strange = [given[i] for i in np.unique(index[found < 0]).tolist()]
    accepted = f"be of the classes {_few(names)}"
    require(not strange, what, "y", accepted, _few(strange))
    return found


def named(outputs: np.ndarray, spec: Any, task: str) -> np.ndarray:
    """The names of the classes that outputs mean.

    Args:
        outputs: (n, …, units), probabilities.
        spec: the task's `TaskSpec`.
        task: its name, for messages.

    Returns:
        Array of texts (n,): of a sequence task words; of a multilabel task, tuples.

    Raises:
        ValueError: if the classes have no names.
    """
    if spec.class_names is None:
        raise ValueError(
            f"The classes of task {task!r} have no names: learn it with labels that "
            "are names, or with a TaskSpec that has `class_names`. Received: "
            "names=True."
        )
    return heads.get(spec.kind).named(outputs, spec.class_names)


def _categories(y):
    """The categories of a categorical of pandas, or of a column of one."""
    y = getattr(y, "cat", y)
    if hasattr(y, "categories") and hasattr(y, "codes"):
        return list(y.categories)
    return None


def _texts(y):
    """Labels as an array of texts (n,); None if they are anything else."""
    try:
        array = as_array(y)
    except ValueError:  # rows of different length
        return None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not array.size:
        return None
    if array.dtype.kind == "S" or (
        array.dtype.kind == "O" and all(isinstance(v, bytes) for v in array)
    ):
        return np.array([v.decode("utf-8", "replace") for v in array.tolist()])
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind in "OT" and all(isinstance(v, str) for v in array):
        return array.astype(str)
    return None


def _few(names: Sequence[str], most: int = 8) -> str:
    shown = [repr(str(name)[:40]) for name in list(names)[:most]]
    more = f", … {len(names)} in all" if len(names) > most else ""
    return f"[{', '.join(shown)}{more}]"
