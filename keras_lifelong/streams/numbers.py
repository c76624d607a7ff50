"""Data as arrays of numbers, and what is said of those that are none."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_lifelong.streams.forms import as_array


def require(condition: Any, what: str, argument: str, accepted: str, received: str):
    """Raises a ValueError about an argument of some data unless `condition`."""
    if not condition:
        raise data_error(what, argument, accepted, received)


def data_error(what: str, argument: str, accepted: str, received: str) -> ValueError:
    """The error that names the data, the argument, what is accepted and received."""
    return ValueError(f"{what}: `{argument}` must {accepted}. Received: {received}")


def as_numbers(values: Any, what: str, argument: str) -> np.ndarray:
    """Data as an array of numbers with a row for each example.

    Raises:
        ValueError: if they are none.
    """
    try:
        array = as_array(values)
    except ValueError:  # NumPy's word for rows of different length
        array = np.empty((), object)
    if array.dtype.name == "bfloat16":  # of which NumPy itself knows nothing
        array = array.astype("float32")
    received = f"{type(values).__name__} of dtype {array.dtype}, shape {array.shape}"
    accepted = "be an array of numbers with a row for each example"
    is_fit = array.dtype.kind in "biuf" and array.ndim > 0
    require(is_fit, what, argument, accepted, received)
    return array


def is_finite(array: np.ndarray) -> bool:
    """Whether no number is NaN or infinite.

    >>> is_finite(np.full(4, 3e38, "float32")), is_finite(np.array([1.0, np.nan]))
    (True, False)
    """
    if array.dtype in ("float32", "float64") and array.flags.c_contiguous:
        flat = array.reshape(-1)  # the sum of squares takes one pass
        with np.errstate(all="ignore"):
            if np.isfinite(np.dot(flat, flat)):
                return True  # else it may be that the sum alone is infinite
    # min and max pass NaN on, and need no array of booleans.
    return array.size == 0 or bool(np.isfinite([array.min(), array.max()]).all())
