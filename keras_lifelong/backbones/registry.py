"""The registry of backbones, and what their functions have in common."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from keras_lifelong.registry import Registry

if TYPE_CHECKING:
    import keras

Shape = tuple[int, ...]

_BACKBONES = Registry("backbone")


def register(name: str) -> Callable:
    """Adds the decorated function to the backbones under `name`.

    The function takes `input_shape` first, then what a configuration may set.

    Raises:
        ValueError: if the name is taken.
    """
    return _BACKBONES.register(name)


def names() -> list[str]:
    """The names that `get` knows, sorted."""
    return _BACKBONES.names()


def function(name: str) -> Callable[..., keras.Model]:
    """The function behind a name; its signature says what it accepts.

    Raises:
        ValueError: if no backbone has this name, with the nearest ones.
    """
    return _BACKBONES.get(name)


def get(name: str, input_shape: Sequence[int], **arguments: Any) -> keras.Model:
    """Builds the backbone `name` for inputs of `input_shape` (without the batch).

    Example:

    ```python
    backbone = keras_lifelong.backbones.get("cnn", (32, 32, 3), filters=[16, 32])
    ```

    Raises:
        ValueError: for an unknown name or an argument out of range.
    """
    return function(name)(tuple(input_shape), **arguments)


class Stack:
    """Collects layers, naming each after its class and place, and makes the model."""

    def __init__(self, name: str, input_shape: Shape):
        import keras

        self.name = name
        self.layers = [keras.Input(input_shape)]
        self._counts: collections.Counter[str] = collections.Counter()

    def name_for(self, class_name: str) -> str:
        """Keras' own naming, counted within this backbone: `conv2d`, `conv2d_1`."""
        base = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
        base = re.sub("([a-z])([A-Z])", r"\1_\2", base).lower()
        index = self._counts[base]
        self._counts[base] += 1
        return f"{base}_{index}" if index else base

    def add(self, class_name: str, *args: Any, **kwargs: Any) -> None:
        import keras

        layer = getattr(keras.layers, class_name)
        self.layers.append(layer(*args, name=self.name_for(class_name), **kwargs))

    def add_dense(self, units: Sequence[int], activation: str, dropout: float) -> None:
        for count in units:
            self.add("Dense", count, activation=activation)
            if dropout:
                self.add("Dropout", dropout)

    def build(self) -> keras.Sequential:
        import keras

        return keras.Sequential(self.layers, name=self.name)


def check_sizes(argument: str, sizes: Any, empty: bool = False) -> None:
    whole = isinstance(sizes, list | tuple) and all(
        isinstance(size, int) and not isinstance(size, bool) and size > 0
        for size in sizes
    )
    if not whole or not (sizes or empty):
        least = "a list" if empty else "a list of one or more"
        raise ValueError(
            f"`{argument}` must be {least} of positive integers. Received: {sizes!r}"
        )


def check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout!r}")


def check_image(backbone: str, input_shape: Shape) -> None:
    if len(input_shape) != 3:
        raise ValueError(
            f"`{backbone}` takes images, (height, width, channels). "
            f"Received: input_shape={input_shape}"
        )
