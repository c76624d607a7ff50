"""Batch normalisation of many configurations in one pass.

Each configuration is normalised by the mean and variance of its own part of the stacked
batch, as if it were computed alone. What they are on average over the steps is kept for
each configuration, and that of the one in use becomes the layer's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.methods.lasem.stacks import Choices
from keras_lifelong.methods.lasem.stacks import repeated

# What a pass has seen, by path: for each call of the layer means and variances
Seen = dict[str, list[tuple[Any, Any]]]


def learns_statistics(layer: Any) -> bool:
    """Whether a layer normalises by its batch while it is trained."""
    return type(layer) is keras.layers.BatchNormalization and layer.trainable


def normalized(layer: Any, x: Any, count: int) -> tuple[Any, Any, Any]:
    """What batch normalisation gives in training for each of several configurations.

    Args:
        layer: a `keras.layers.BatchNormalization`. Its moving averages are not moved.
        x: (count batch, ...).
        count: how many configurations are stacked on the batch axis.

    Returns:
        The outputs, of the shape of `x`; means and variances, each (count, channels).
    """
    shape = ops.shape(x)
    dtype = keras.backend.result_type(x.dtype, "float32")
    axis = layer.axis % len(shape)
    parts = ops.reshape(ops.cast(x, dtype), (count, -1, *shape[1:]))
    axes = [i for i in range(1, len(shape) + 1) if i != axis + 1]
    mean, variance = ops.moments(parts, axes=axes)
    scale = ops.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * ops.cast(layer.gamma, dtype)
    shift = -mean * scale
    if layer.center:
        shift = shift + ops.cast(layer.beta, dtype)
    along = [count, *[1] * len(shape)]
    along[axis + 1] = -1
    out = parts * ops.reshape(scale, along) + ops.reshape(shift, along)
    out = ops.reshape(ops.cast(out, layer.compute_dtype), shape)
    return out, mean, variance


class Statistics:
    """Moving averages of the batch statistics of every configuration.

    Args:
        layers: `BatchNormalization` layers by path.
        choices: by path, the choices that what they normalise depends on.

    Attributes:
        variables: by layer a mean and a variance, each (2^k, channels) for k choices.
    """

    def __init__(self, layers: dict[str, Any], choices: dict[str, Choices]):
        self._layers, self._choices = layers, choices
        self._tables = {
            path: [
                keras.Variable(
                    np.zeros((2 ** len(choices[path]), *v.shape), "float32"),
                    trainable=False,
                    name=f"{name}_by_configuration",
                )
                for v, name in zip(_moving(x), ("mean", "variance"), strict=True)
            ]
            for path, x in layers.items()
        }

    @property
    def variables(self) -> list:
        return [v for pair in self._tables.values() for v in pair]

    def begin(self) -> None:
        """Every configuration begins with what the layers have."""
        for path, layer in self._layers.items():
            for table, value in zip(self._tables[path], _moving(layer), strict=True):
                start = ops.convert_to_numpy(value)
                table.assign(np.broadcast_to(start, table.shape).copy())

    def after_all(self, seen: Seen, choices: dict[str, list[Choices]]) -> list:
        """The averages after a pass through all configurations.

        Args:
            seen: of the pass.
            choices: by path, for each call, those that its rows stand for.

        Returns:
            Values of `variables`.
        """
        if not self._layers:
            return []
        full = {
            path: [
                tuple(repeated(v, have, self._choices[path]) for v in pair)
                for pair, have in zip(pairs, choices[path], strict=True)
            ]
            for path, pairs in seen.items()
        }
        return self._moved(full, lambda path, value, old: value)

    def after_some(self, seen: Seen, paths: list) -> list:
        """The averages after a pass through some configurations.

        Args:
            seen: of the pass, a row for each configuration.
            paths: their choices, each (d,).

        Returns:
            Values of `variables`.
        """
        if not self._layers:
            return []
        choices_of = ops.stack(paths)
        places = {}
        for path, choices in self._choices.items():
            own = [1 - choices_of[:, choice] for choice in choices]
            number = sum(
                (bit * 2**j for j, bit in enumerate(own)), 0 * choices_of[:, 0]
            )
            places[path] = ops.one_hot(number, 2 ** len(choices), dtype="float32")

        def spread(path, value, old):
            place = places[path]  # (some, 2^k); configurations may be alike up to here
            count = ops.sum(place, axis=0)[:, None]
            mean = ops.matmul(ops.transpose(place), value) / ops.maximum(count, 1.0)
            return ops.where(count > 0, mean, old)

        return self._moved(seen, spread)

    def _moved(self, seen: Seen, spread) -> list:
        values = []
        for path, layer in self._layers.items():
            pair, part = [], layer.momentum
            for k, table in enumerate(self._tables[path]):
                old = ops.convert_to_tensor(table)
                for found in seen[path]:
                    new = spread(path, ops.stop_gradient(found[k]), old)
                    # what was not evaluated stays: its new value is the old one
                    old = old * part + new * (1 - part)
                pair.append(old)
            values += pair
        return values

    def keep(self, values: Iterable[Any], choices: Any) -> None:
        """Assigns what a pass has found; one configuration's averages are the layers'.

        Args:
            values: of `variables`.
            choices: of the configuration in use, (d,).
        """
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)
        for path, layer in self._layers.items():
            number = sum(
                ((1 - choices[c]) * 2**j for j, c in enumerate(self._choices[path])),
                choices[0] * 0,
            )
            for table, own in zip(self._tables[path], _moving(layer), strict=True):
                own.assign(ops.take(ops.convert_to_tensor(table), number, axis=0))


def _moving(layer) -> tuple:
    return layer.moving_mean, layer.moving_variance
