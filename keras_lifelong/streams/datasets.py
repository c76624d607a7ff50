"""A `tf.data.Dataset`, batched or not, read a block at a time.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_lifelong.streams.columns import are_several
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.streams.weights import checked_weights


def _leaves(element) -> list:
    return list(element) if isinstance(element, tuple | list) else [element]


def check_elements(
    data: Any, what: str, parts: tuple[int, ...], input_shape: Any = None
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
    accepted = {1: "x", 2: "(x, y)", 3: "(x, y, sample_weight)"}
    wanted = " or ".join(accepted[count] for count in parts)
    raise ValueError(
        f"{what}: elements of a tf.data.Dataset must be {wanted}, each a tensor. "
        f"Received: {spec}."
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


def has_weights(data: Any) -> bool:
    """Whether elements of a `tf.data.Dataset` have a third part: `sample_weight`."""
    return len(_leaves(getattr(data, "element_spec", None))) == 3


def with_weights(element: tuple, what: str) -> tuple:
    """A block `(x, y)` or `(x, y, sample_weight)` as x, y, and weights or None.

    Raises:
        ValueError: if the weights are not one for each example, naming `what`.
    """
    x, y, *rest = element
    return x, y, checked_weights(rest[0], len(y), what) if rest else None


def examples(
    data: Any,
    input_shape: tuple | None,
    what: str,
    parts: tuple[int, ...] = (2, 3),
    of_labels: Callable | None = None,
) -> Examples:
    """The examples of a `tf.data.Dataset`, which may be batched.

    Args:
        data: the data set.
        input_shape: of one example; None if it isn't known: it is taken as it is.
        what: whose data these are, for messages.
        parts: how many tensors an element may have.
        of_labels: see `Examples`.

    Raises:
        ValueError: if its elements are something else, or there are none.
    """
    check_elements(data, what, parts, input_shape)
    if int(data.cardinality()) == 0:
        raise ValueError(
            f"{what} must hold at least one example. Received: an empty "
            "tf.data.Dataset."
        )
    batched = input_shape is not None and is_batched(data, input_shape, what)
    return Examples(data, batched, what, of_labels)


class Examples:
    """A `tf.data.Dataset` as one of single examples, in blocks and in batches.

    It offers what a data set of single examples does. Batches of another size are cut
    from whole batches: examples are not taken apart and put together again one by one.

    Args:
        data: of `(x, y)` or `(x, y, sample_weight)`.
        batched: whether its elements are batches of examples.
        what: whose data these are, for messages.
        of_labels: `of_labels(y) -> (n,)`: what weights are multiplied by, such as
            those of the classes; None: nothing.
    """

    def __init__(
        self,
        data: Any,
        batched: bool = False,
        what: str = "data",
        of_labels: Callable | None = None,
    ):
        self._data, self._batched = data, batched
        self._what, self._of_labels = what, of_labels
        self._own_size: int | None = None
        self._steps: int | None = None  # of a pass over data that are endless
        self._live: dict[tuple, Iterator] = {}

    def _single(self) -> Any:
        return self._data.unbatch() if self._batched else self._data

    def batch(self, batch_size: int) -> Any:
        """A data set of batches of so many examples."""
        if self._batched:
            return self._data.rebatch(batch_size)
        return self._data.batch(batch_size)

    def count_batches(self, batch_size: int) -> int | None:
        """How many batches of so many examples a pass has; None if nobody can tell."""
        data = self._data if batch_size == self._own_size else self.batch(batch_size)
        count = int(data.cardinality())
        return count if count >= 0 else None

    def as_numpy_iterator(self) -> Iterator:
        """Single examples, as arrays."""
        return self._single().as_numpy_iterator()

    def __iter__(self) -> Iterator:
        return iter(self._single())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # while it is copied
            raise AttributeError(name)
        return getattr(self._single(), name)

    def take(self, count: int) -> Examples:
        """The first examples."""
        return Examples(self._single().take(count), False, self._what, self._of_labels)

    def blocks(self, size: int) -> Iterator[tuple]:
        """`(x, y, weights)`, so many examples at a time; the last has what is left.

        The weights are float32 (n,), or None: all count alike.
        """
        return map(self._weighed, self.batch(size).as_numpy_iterator())

    def _weighed(self, element) -> tuple:
        x, y, weights = with_weights(element, self._what)
        if self._of_labels is not None:
            own = self._of_labels(y)
            weights = own if weights is None else weights * own
        return x, y, weights

    def trained_by(self, batch_size: int, steps: int | None) -> Examples:
        """These examples as `stacks` are to give them.

        If batches of the data set have this size, they are trained on as they are: one
        with fewer examples, as where a `repeat()` begins anew, is not filled up.

        Args:
            batch_size: of a step.
            steps: of a pass. Each goes on where the one before it ended, as it does
                under `Model.fit`. None: a pass takes all.
        """
        found = copy.copy(self)
        found._steps, found._live = steps, {}
        if self._batched:
            first = next(iter(self._data.take(1)), None)
            if first is not None and int(first[1].shape[0]) == batch_size:
                found._own_size = batch_size
        return found

    def stacks(self, batch_size: int, most: int) -> Iterator[tuple]:
        """One pass, in stacks of batches.

        Args:
            batch_size: rows of a batch.
            most: batches of a stack.

        Yields:
            `(x, y, weights, sizes)`: the rows of up to so many batches after each
            other, and how many each has.
        """
        if self._steps is None:
            yield from self._stacks(batch_size, most)
            return
        together = max(d for d in range(1, most + 1) if self._steps % d == 0)
        key = batch_size, together
        if key not in self._live:
            self._live[key] = self._stacks(batch_size, together)
        yield from itertools.islice(self._live[key], self._steps // together)

    def _stacks(self, batch_size, most):
        if batch_size == self._own_size:
            batches = map(self._weighed, self._data.as_numpy_iterator())
            while group := list(itertools.islice(batches, most)):
                sizes = np.array([len(y) for _, y, _ in group], "int32")
                xs, ys, weights = zip(*group, strict=True)
                joined = None if weights[0] is None else np.concatenate(weights)
                yield _joined(xs), np.concatenate(ys), joined, sizes
            return
        for x, y, weights in self.blocks(batch_size * most):
            sizes = np.full(-(-len(y) // batch_size), batch_size, "int32")
            sizes[-1] = len(y) - (len(sizes) - 1) * batch_size
            yield x, y, weights, sizes


def _joined(parts):
    """The rows of several blocks of inputs, in the form that they have."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
    return np.concatenate(parts)
