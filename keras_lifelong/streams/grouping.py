"""Which classes of a data set make which task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Literal

import numpy as np

from keras_lifelong.streams.sampling import check_seed
from keras_lifelong.streams.sampling import generator

ClassOrder = list[int] | Literal["random"] | None


def groups(
    num_classes: int,
    classes_per_task: int | Sequence[int] = 2,
    first_task: int | None = None,
    class_order: ClassOrder = None,
    seed: int = 0,
) -> list[list[int]]:
    """The classes of each task.

    Args:
        num_classes: of the data set, which are 0, 1, ...
        classes_per_task: 2 or more, in every task, of classes that it divides evenly;
            or a number for each task, of as many classes at most as there are.
        first_task: so many classes in the first task, 2 or more; those that are left
            make the others. None: as in all tasks.
        class_order: the classes in the order that tasks take them, each once; "random":
            in an order drawn by `seed`. None: 0, 1, ...
        seed: integer of 0 or more.

    Raises:
        ValueError: naming the argument, what was received and what is accepted.

    Example:

    >>> groups(6, 2, class_order=[5, 4, 3, 2, 1, 0])
    [[5, 4], [3, 2], [1, 0]]
    >>> groups(6, 2, first_task=4)
    [[0, 1, 2, 3], [4, 5]]
    >>> groups(6, [3, 2])
    [[0, 1, 2], [3, 4]]
    """
    sizes = _sizes(num_classes, classes_per_task, first_task)
    order = in_order(num_classes, class_order, seed)
    ends = np.cumsum(sizes)
    return [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _sizes(num_classes, each, first) -> list[int]:
    """How many classes each task has."""
    if isinstance(each, Sequence):
        if first is not None:
            raise ValueError(
                "`first_task` must be None where `classes_per_task` says how many "
                f"classes each task has. Received: {first!r} and {list(each)}"
            )
        few = [n for n in each if not _is_count(n)]
        if not each or few or sum(each) > num_classes:
            raise ValueError(
                "`classes_per_task` must hold numbers of 2 or more, of "
                f"{num_classes} classes at most in all. Received: {list(each)}"
            )
        return list(each)
    if first is None:
        start, rest = [], num_classes
    elif _is_count(first) and first <= num_classes:
        start, rest = [first], num_classes - first
    else:
        raise ValueError(
            f"`first_task` must be an integer in 2 ... {num_classes}. "
            f"Received: {first!r}"
        )
    if start and not rest:
        return start
    accepted = [n for n in range(2, rest + 1) if rest % n == 0]
    if each not in accepted or not _is_count(each):
        raise ValueError(
            f"`classes_per_task` must be one of {accepted}, which divide {rest} "
            "classes evenly, or a list of the number of classes of each task. "
            f"Received: {each!r}"
        )
    return start + [each] * (rest // each)


def _is_count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 2


def in_order(
    count: int,
    given: ClassOrder,
    seed: int,
    argument: str = "class_order",
    what: str = "classes",
) -> list[int]:
    """Numbers 0 ... count - 1 in the order that an argument says.

    Args:
        count: how many there are.
        given: the numbers, each once; "random": an order drawn by `seed`. None: 0, 1,
            ...
        seed: integer of 0 or more.
        argument: its name, for messages.
        what: the numbers stand for; another thing is drawn in another order.

    Raises:
        ValueError: if `given` is none of these.

    Example:

    >>> in_order(3, [2, 0, 1], seed=0)
    [2, 0, 1]
    """
    if given is None:
        return list(range(count))
    if given == "random":
        check_seed("seed", seed)
        return generator(seed, f"order of the {what}").permutation(count).tolist()
    if isinstance(given, str) or sorted(given) != list(range(count)):
        raise ValueError(
            f"`{argument}` must be 'random', or hold each of 0 ... {count - 1} once. "
            f"Received: {given!r}"
        )
    return list(given)
