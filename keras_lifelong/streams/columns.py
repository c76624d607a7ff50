"""Several inputs of one example, row by row.

A network of several inputs takes a dict of arrays, or a list. `Columns` is that with
what the package asks of arrays of examples: a length, and rows. What is computed on
gets the plain dict or list.

The shape of an example is then a dict of shapes, or a tuple of shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np


def are_several(shape: Any) -> bool:
    """Whether the shape of an example is one of several inputs.

    >>> [are_several(shape) for shape in (None, (3,), {"a": (3,)}, ((3,), (2, 2)))]
    [False, False, True, True]
    """
    if isinstance(shape, Mapping):
        return True
    return bool(shape) and isinstance(shape[0], tuple | list)


def checked_shape(shape: Any) -> Any:
    """The shape of an example, of lists as JSON gives it or of tuples, as tuples.

    >>> checked_shape([3, 2]), checked_shape({"a": [3]}), checked_shape([[3], [2]])
    ((3, 2), {'a': (3,)}, ((3,), (2,)))
    """
    if isinstance(shape, Mapping):
        return {key: tuple(value) for key, value in shape.items()}
    if are_several(shape):
        return tuple(tuple(value) for value in shape)
    return tuple(shape)


def shape_config(shape: Any) -> Any:
    """The inverse of `checked_shape`, as JSON has it."""
    if isinstance(shape, Mapping):
        return {key: list(value) for key, value in shape.items()}
    return [list(d) if isinstance(d, tuple) else d for d in shape]


def fits(shape: Any, expected: Any) -> bool:
    """Whether the shape of an example is what is expected; None stands for any size.

    >>> fits((3, 2), (None, 2)), fits((3,), {"a": (3,)}), fits({"a": (3,)}, {"a": (3,)})
    (True, False, True)
    """
    if are_several(expected) or are_several(shape):
        named = isinstance(expected, Mapping)
        if named != isinstance(shape, Mapping) or len(shape) != len(expected):
            return False
        if named:
            return set(shape) == set(expected) and all(
                fits(shape[key], expected[key]) for key in expected
            )
        return all(map(fits, shape, expected))
    return len(shape) == len(expected) and all(
        e in (None, s) for s, e in zip(shape, expected, strict=True)
    )


class Columns:
    """Arrays, or tensors, of as many rows each.

    Args:
        tree: a dict or a list of them.

    Attributes:
        tree: what was given.

    Example:

    >>> both = Columns({"a": np.arange(4), "b": np.ones((4, 2))})
    >>> len(both), both[1:3].tree["a"].tolist(), both.example_shape
    (4, [1, 2], {'a': (), 'b': (2,)})
    """

    def __init__(self, tree: dict[str, Any] | list):
        self.tree = tree

    @property
    def leaves(self) -> list:
        """The arrays, in the order of the keys or of the list."""
        return list(self.tree.values() if isinstance(self.tree, dict) else self.tree)

    def packed(self, leaves: Sequence) -> Any:
        """Others in the structure of these, as a plain dict or list."""
        if isinstance(self.tree, dict):
            return dict(zip(self.tree, leaves, strict=True))
        return list(leaves)

    def map(self, function: Callable[[Any], Any]) -> Columns:
        """The function of each array."""
        return Columns(self.packed([function(x) for x in self.leaves]))

    @property
    def shape(self) -> tuple[int]:
        """The number of rows, alone."""
        return (len(self),)

    @property
    def example_shape(self) -> Any:
        """The shapes of one example, see `are_several`."""
        shapes = [tuple(x.shape[1:]) for x in self.leaves]
        found = self.packed(shapes)
        return found if isinstance(found, dict) else tuple(found)

    def __len__(self) -> int:
        return int(self.leaves[0].shape[0])

    def __getitem__(self, rows: Any) -> Columns:
        return self.map(lambda x: x[rows])


def columns(x: Any, shape: Any, what: str = "data") -> Any:
    """What a network of several inputs is given, as `Columns`; others as they are.

    Args:
        x: a dict, list or tuple of arrays or tensors, or `Columns`.
        shape: of one example.
        what: whose data these are, for messages.

    Raises:
        ValueError: if it holds not what `shape` says.
    """
    if not are_several(shape):
        return x
    if isinstance(x, Columns):
        x = x.tree
    if isinstance(shape, Mapping):
        if not isinstance(x, Mapping) or set(x) != set(shape):
            found = type(x).__name__
            if isinstance(x, Mapping):
                found = str(sorted(map(str, x)))
            raise ValueError(
                f"{what}: `x` must be a dict of {sorted(shape)}. Received: {found}."
            )
        return Columns({key: x[key] for key in shape})
    if not isinstance(x, list | tuple) or len(x) != len(shape):
        length = f" of {len(x)}" if hasattr(x, "__len__") else ""
        found = f"{type(x).__name__}{length}"
        raise ValueError(
            f"{what}: `x` must be a list of {len(shape)} arrays. Received: {found}."
        )
    return Columns(list(x))


def seen_columns(x: Any, rows: int | None = None) -> Any:
    """As `columns`, of data alone: a dict, or a list of arrays of so many rows each.

    A list of as many arrays as there are rows is one input.
    """
    if isinstance(x, Mapping):
        return Columns(dict(x))
    is_list = isinstance(x, list | tuple) and len(x) != rows
    if is_list and x and all(hasattr(part, "shape") and part.shape for part in x):
        if all(part.shape[0] == rows for part in x):
            return Columns(list(x))
    return x


def zeros(shape: Any, rows: int) -> Any:
    """Inputs of nothing but 0, plain; what is free in a shape is of size 1."""

    def one(part):
        return np.zeros((rows, *(size or 1 for size in part)), "float32")

    if not are_several(shape):
        return one(shape)
    if isinstance(shape, Mapping):
        return {key: one(part) for key, part in shape.items()}
    return [one(part) for part in shape]


def each(function: Callable[[Any], Any], x: Any) -> Any:
    """The function of an array, or of each of `Columns`."""
    return x.map(function) if isinstance(x, Columns) else function(x)


def plain(x: Any) -> Any:
    """What is computed on: the dict or list of `Columns`, or the array itself."""
    return x.tree if isinstance(x, Columns) else x


def leaves(x: Any) -> list:
    """The arrays of `Columns`, or the one."""
    return x.leaves if isinstance(x, Columns) else [x]


def packed(like: Any, parts: Sequence) -> Any:
    """The inverse of `leaves`, plain: what is computed on, in the form of `like`."""
    return like.packed(parts) if isinstance(like, Columns) else parts[0]


def concatenated(parts: Sequence) -> Any:
    """The rows of several after each other."""
    if not isinstance(parts[0], Columns):
        return np.concatenate(parts)
    joined = [np.concatenate(xs) for xs in zip(*(p.leaves for p in parts), strict=True)]
    return Columns(parts[0].packed(joined))
