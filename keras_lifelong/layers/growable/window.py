"""The window of a convolution over places: what it is told by, as of Keras' layers."""

from __future__ import annotations

from typing import Any

WINDOW = ("kernel_size", "strides", "padding", "dilation_rate")


def by_dimension(value: Any, rank: int) -> tuple[int, ...]:
    """A size for each of so many dimensions, of one for all or of one for each.

    >>> by_dimension(3, 2), by_dimension([1, 2], 2)
    ((3, 3), (1, 2))
    """
    return (value,) * rank if isinstance(value, int) else tuple(value)


def window_of(layer: Any) -> dict[str, Any]:
    """The arguments of a layer that its window follows from."""
    return {key: getattr(layer, key) for key in WINDOW}
