"""Tensors of several configurations at once, stacked on the batch axis.

What depends on the choices (0, 2) holds four times the batch: the axes in front of it
are (choice 2, choice 0), the largest number outermost, each (shared, own). So row block
i belongs to the configuration whose bit j is 0 where the j-th of its choices is shared.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Choices = tuple[int, ...]


def union(choices: list[Choices]) -> Choices:
    """What depends on all of these depends on.

    >>> union([(0, 2), (1, 2), ()])
    (0, 1, 2)
    """
    return tuple(sorted({choice for some in choices for choice in some}))


def _above(have: Choices, choice: int) -> int:
    """The length of all axes outside that of a choice."""
    return 2 ** sum(other > choice for other in have)


def repeated(x: Any, have: Choices, want: Choices) -> Any:
    """What depends on some choices, as often as what depends on more of them.

    Args:
        x: (2^k batch, ...).
        have: the k choices it depends on, ascending.
        want: those and others, ascending.

    Example:

    >>> import numpy as np
    >>> np.array(repeated(np.array([[1], [2]]), (1,), (0, 1))).ravel().tolist()
    [1, 1, 2, 2]
    >>> np.array(repeated(np.array([[1], [2]]), (1,), (1, 2))).ravel().tolist()
    [1, 2, 1, 2]
    """
    for choice in want:
        if choice in have:
            continue
        x = _inserted(ops.concatenate([x, x]), _above(have, choice))
        have = union([have, (choice,)])
    return x


def doubled(layer: Any, x: Any, have: Choices, choice: int) -> Any:
    """Outputs of a `TransferLayer` where its choice was not made below.

    Args:
        layer: a `TransferLayer`.
        x: (2^k batch, ...).
        have: the k choices it depends on.
        choice: the layer's.

    Returns:
        (2^(k+1) batch, ...), which depends on this choice as well.
    """
    return _inserted(layer.both(x), _above(have, choice))


def selected(layer: Any, x: Any, have: Choices, choice: int) -> Any:
    """As `doubled`, where its choice was made below: (2^k batch, ...)."""
    above = _above(have, choice)
    if above == 1:
        return layer.halves(x)
    rest = ops.shape(x)[1:]
    parts = ops.reshape(x, (above, 2, -1, *rest))
    shared, own = (ops.reshape(parts[:, i], (-1, *rest)) for i in (0, 1))
    shared, own = layer.call(shared, shared=1), layer.call(own, shared=0)
    return _inserted(ops.concatenate([shared, own]), above)


def _inserted(x: Any, above: int) -> Any:
    """Moves the outermost axis, of 2, to its place inside those `above` it."""
    if above == 1:
        return x
    rest = ops.shape(x)[1:]
    parts = ops.reshape(x, (2, above, -1, *rest))
    order = (1, 0, *range(2, len(rest) + 3))
    return ops.reshape(ops.transpose(parts, order), (-1, *rest))
