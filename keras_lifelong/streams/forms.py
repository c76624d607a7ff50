"""The forms that data come in, and how each is read.

| form | how it is read |
|---|---|
| arrays, tensors of any backend, pandas | as arrays, not copied where NumPy need not |
| `tf.data.Dataset` | a block at a time; one that is batched is taken apart first |
| `keras.utils.PyDataset`, PyTorch's `DataLoader` | once, whole, into arrays |

Nothing here imports TensorFlow, PyTorch or pandas: a form is known by what it offers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_lifelong.streams.columns import are_several

LONGEST_BLOCK = 64  # batches of an endless data set that are drawn at once


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
            x = _leaves(element)[0]
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


# Of tf.data


def _leaves(element) -> list:
    return list(element) if isinstance(element, tuple | list) else [element]


def check_elements(
    data: Any, what: str, parts: tuple[int, ...] = (2,), input_shape: Any = None
) -> None:
    """Refuses a `tf.data.Dataset` whose elements are not as many tensors.

    Args:
        data: the data set.
        what: whose data these are, for messages.
        parts: how many an element may have.
        input_shape: of one example; of several inputs the first is a dict or tuple.

    Raises:
        ValueError: naming `what`.
    """
    spec = getattr(data, "element_spec", None)
    if spec is None:
        return
    leaves = _leaves(spec)
    if are_several(input_shape) and len(leaves) in parts:
        leaves = [_first_input(leaves[0], input_shape, what), *leaves[1:]]
    if all(hasattr(leaf, "shape") for leaf in leaves) and len(leaves) in parts:
        return
    hint = ""
    if len(leaves) == 3 and isinstance(spec, tuple | list):
        hint = " Weights of examples go with arrays: `fit(x, y, sample_weight=…)`."
    accepted = {1: "x", 2: "(x, y)", 3: "(x, y, sample_weight)"}
    wanted = " or ".join(accepted[count] for count in parts)
    raise ValueError(
        f"{what}: elements of a tf.data.Dataset must be {wanted}, each a tensor."
        f"{hint} Received: {spec}."
    )


def is_batched(data: Any, input_shape: tuple, what: str) -> bool:
    """Whether the elements of a `tf.data.Dataset` are batches of examples.

    Args:
        data: of `(x, y)`, or of `x` alone.
        input_shape: of one example.
        what: whose data these are, for messages.

    Raises:
        ValueError: if x is neither an example nor a batch of them.
    """
    spec = getattr(data, "element_spec", None)
    if spec is None:
        return False
    shape = _first_input(_leaves(spec)[0], input_shape, what).shape
    if shape.rank is None:  # of a function in Python that says nothing of shapes
        for element in data.take(1):
            shape = _first_input(_leaves(element)[0], input_shape, what).shape
    if are_several(input_shape):
        input_shape = _first_input(input_shape, input_shape, what)
    if shape.rank is None or shape.rank == len(input_shape):
        return False
    if shape.rank == len(input_shape) + 1:
        return True
    sizes = ", ".join(map(str, input_shape))
    raise ValueError(
        f"{what}: `x` must have shape {tuple(input_shape)}, or (batch, {sizes}). "
        f"Received: elements of shape {tuple(shape)}."
    )


def _first_input(x: Any, input_shape: Any, what: str) -> Any:
    """Of several inputs, or of what is said of them, the first."""
    if not are_several(input_shape):
        return x
    key = next(iter(input_shape)) if isinstance(input_shape, dict) else 0
    kind = dict if isinstance(input_shape, dict) else tuple
    if not isinstance(x, kind) or len(x) != len(input_shape):
        raise ValueError(
            f"{what}: `x` of a tf.data.Dataset must be a {kind.__name__} of "
            f"{len(input_shape)} inputs. Received: {x}."
        )
    return x[key]


def is_endless(data: Any) -> bool:
    """Whether a `tf.data.Dataset` is known to repeat for ever."""
    return is_dataset(data) and int(data.cardinality()) == -1


def examples(
    data: Any, input_shape: tuple | None, what: str, parts: tuple[int, ...] = (2,)
) -> Any:
    """A `tf.data.Dataset` of single examples, of one that may be batched.

    Args:
        data: the data set.
        input_shape: of one example; None if it isn't known: it is taken as it is.
        what: whose data these are, for messages.
        parts: how many tensors an element may have.

    Raises:
        ValueError: if its elements are something else.
    """
    check_elements(data, what, parts, input_shape)
    if input_shape is not None and is_batched(data, input_shape, what):
        return Unbatched(data)
    return data


class Unbatched:
    """A batched `tf.data.Dataset` as one of single examples.

    It offers what that one does. Batches of another size are cut from whole batches:
    examples are not taken apart and put together again one by one.

    Args:
        data: the batched data set.
    """

    def __init__(self, data: Any):
        self._data = data

    def batch(self, batch_size: int) -> Any:
        """Batches of so many examples."""
        return self._data.rebatch(batch_size)

    def as_numpy_iterator(self) -> Iterator:
        """Single examples, as arrays."""
        return self._data.unbatch().as_numpy_iterator()

    def __iter__(self) -> Iterator:
        return iter(self._data.unbatch())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data.unbatch(), name)


def by_epoch(data: Any, batch_size: int, steps: int) -> Any:
    """An endless `tf.data.Dataset`, of which each pass gives the next examples.

    As under `Model.fit`, an epoch goes on where the one before it ended.

    Args:
        data: of single examples.
        batch_size, steps: a pass has so many batches of so many examples.
    """
    import tensorflow as tf

    together = max(d for d in range(1, LONGEST_BLOCK + 1) if steps % d == 0)
    live = iter(data.batch(batch_size * together))

    def one_pass():
        for _ in range(steps // together):
            yield next(live)

    def batched(spec):
        return tf.TensorSpec((None, *spec.shape), spec.dtype)

    signature = tf.nest.map_structure(batched, tuple(data.element_spec))
    return tf.data.Dataset.from_generator(
        one_pass, output_signature=signature
    ).unbatch()
