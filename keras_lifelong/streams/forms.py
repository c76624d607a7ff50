"""The forms that data come in, and how each is read.

| form | how it is read |
|---|---|
| arrays, tensors of any backend, pandas | as arrays, not copied where NumPy need not |
| `tf.data.Dataset` | a block at a time: see `datasets` |
| `keras.utils.PyDataset`, PyTorch's `DataLoader` | once, whole, into arrays |

Nothing here imports TensorFlow, PyTorch or pandas: a form is known by what it offers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def is_dataset(data: Any) -> bool:
    """Whether `data` is a `tf.data.Dataset` (without importing TensorFlow)."""
    return hasattr(data, "as_numpy_iterator") and hasattr(data, "batch")


def is_loader(data: Any) -> bool:
    """Whether `data` is a `PyDataset` or a `DataLoader`: what gives whole batches."""
    return _is_py_dataset(data) or _is_torch_loader(data)


def _is_py_dataset(data):
    return hasattr(data, "num_batches") and hasattr(data, "__getitem__")


def _is_torch_loader(data):
    return hasattr(data, "dataset") and hasattr(data, "collate_fn")


def as_array(values: Any) -> np.ndarray:
    """Arrays, lists and tensors of any backend as a NumPy array.

    Raises:
        ValueError: if the rows differ in length.

    >>> as_array([1, 2]).tolist()
    [1, 2]
    """
    if hasattr(values, "detach"):  # a tensor of PyTorch, which may need a gradient
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def batch_size_of(data: Any) -> int | None:
    """Rows of the first batch of what comes in batches; None if it does not.

    Args:
        data: a batched `tf.data.Dataset`, a `PyDataset` or a `DataLoader`; else None.
    """
    if is_dataset(data):
        for element in data.take(1):
            x = element[0] if isinstance(element, tuple | list) else element
            while isinstance(x, dict | tuple | list):  # of several inputs
                x = next(iter(x.values() if isinstance(x, dict) else x))
            return int(x.shape[0])
    if _is_torch_loader(data):
        return data.batch_size  # None: it is not batched by the loader
    if _is_py_dataset(data):
        return len(as_array(_parts(data[0], "data")[0]))
    return None


def read_loader(
    data: Any, what: str, parts: tuple[int, ...] = (1, 2, 3)
) -> tuple[np.ndarray, ...]:
    """All batches of a `PyDataset` or `DataLoader`, once, as arrays.

    It takes the memory of all its examples. What it draws at random, such as an
    augmentation, is drawn once.

    Args:
        data: gives `(x, y)` or `(x, y, sample_weight)`; or `x` alone, to predict from.
        what: whose data these are, for messages.
        parts: how many parts a batch may have.

    Returns:
        As many arrays (n, …) as a batch has parts.

    Raises:
        ValueError: if its length is not known, it is empty, or a batch is nothing of
            what is said here.
    """
    columns: list[list] | None = None
    for batch in _batches(data, what):
        found = _parts(batch, what)
        columns = [[] for _ in found] if columns is None else columns
        if len(found) not in parts or len(found) != len(columns):
            raise ValueError(
                f"{what}: each batch must have as many parts, one of {parts}. "
                f"Received: {len(found)}."
            )
        for column, part in zip(columns, found, strict=True):
            column.append(as_array(part))
    if columns is None:
        raise ValueError(f"{what}: it must give a batch. Received: {data!r}, empty.")
    return tuple(np.concatenate(column) for column in columns)


def _batches(data, what) -> Iterator:
    try:
        count = data.num_batches if _is_py_dataset(data) else len(data)
    except TypeError:
        count = None
    if count is None:
        raise ValueError(
            f"{what}: it is read whole, so its number of batches must be known. "
            f"Received: {type(data).__name__} of unknown length."
        )
    if _is_py_dataset(data):
        return (data[i] for i in range(count))
    if data.batch_size is None and getattr(data, "batch_sampler", None) is None:
        raise ValueError(
            f"{what}: a DataLoader must give batches. Received: batch_size=None."
        )
    return iter(data)


def _parts(batch, what) -> tuple:
    if isinstance(batch, dict):
        raise ValueError(
            f"{what}: a batch must be x, (x, y) or (x, y, sample_weight). "
            f"Received: a dict of {list(batch)}."
        )
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    if not 1 <= len(parts) <= 3 or any(isinstance(p, dict | tuple) for p in parts):
        found = [type(part).__name__ for part in parts]
        raise ValueError(
            f"{what}: a batch must be x, (x, y) or (x, y, sample_weight), each an "
            f"array. Received: {found}."
        )
    return tuple(part for part in parts if part is not None)
