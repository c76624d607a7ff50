"""Digests of a task's data: whether a run that goes on has the data it began with.

Arrays are digested whole. Of a data set: what its elements are, how many they are, and
the first `SAMPLE` of them; these only if they are the same when they are read again,
as those of a data set that is shuffled anew each time are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong.streams.columns import Columns

SAMPLE = 64  # elements of a data set


def of_task(name: str, splits: Mapping[str, Any], how: Sequence[Any] = ()) -> str:
    """A digest of all that a task learns from.

    Args:
        name: of the task.
        splits: split -> None, a pair of arrays, or a data set.
        how: what else makes its data: numbers and texts.

    >>> x = np.zeros((3, 2), "float32")
    >>> one = of_task("t", {"train": (x, [0, 1, 0])})
    >>> one == of_task("t", {"train": (x.copy(), np.array([0, 1, 0]))})
    True
    >>> one == of_task("t", {"train": (x + 1, [0, 1, 0])})
    False
    """
    digest = hashlib.sha256(repr((name, list(how))).encode())
    for split, data in splits.items():
        digest.update(repr(split).encode())
        if hasattr(data, "as_numpy_iterator"):
            digest.update(_of_dataset(data).encode())
        else:
            _add(digest, data)
    return digest.hexdigest()


def _of_dataset(data: Any) -> str:
    said = [str(getattr(data, "element_spec", None))]
    if hasattr(data, "cardinality"):
        said.append(str(int(data.cardinality())))
    first, again = (_sampled(data) for _ in range(2))
    said.append(first if first == again else "another each time")
    return repr(said)


def _sampled(data: Any) -> str:
    digest = hashlib.sha256()
    for element in data.take(SAMPLE).as_numpy_iterator():
        _add(digest, element)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Adds arrays, and what holds arrays, in order."""
    if value is None:
        digest.update(b"none")
    elif isinstance(value, Columns):
        _add(digest, value.tree)
    elif isinstance(value, list) and value and hasattr(value[0], "shape"):
        _add(digest, tuple(value))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(repr(key).encode())
            _add(digest, value[key])
    elif isinstance(value, tuple):
        digest.update(b"%d parts" % len(value))
        for part in value:
            _add(digest, part)
    else:
        _add_array(digest, value)


def _add_array(digest: Any, value: Any) -> None:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different length, which are refused when they are used
        array = np.array([repr(row) for row in value])
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    if array.dtype.hasobject:
        array = np.array([repr(item) for item in array.ravel()])
    # Piece by piece: a copy of large data in another order would take as much again.
    if array.flags.c_contiguous:
        digest.update(array.data if array.size and array.ndim else array.tobytes())
        return
    for row in array:
        digest.update(np.ascontiguousarray(row).tobytes())
