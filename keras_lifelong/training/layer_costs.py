"""What layers add to a loss that is scored, not trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_lifelong.backend import ValuesScope
from keras_lifelong.streams.columns import each
from keras_lifelong.streams.columns import plain
from keras_lifelong.training.layer_losses import flattened


class LayerCosts:
    """The mean of what the layers of a task add to its loss, as `keras.Model` has it.

    That is the regularizers of all variables that may be trained, and what layers add
    as they are called. Nothing of the layers is changed: see `Reading`.

    Args:
        reading: a `Reading` of the task.
        through: `through(body, x, training) -> features`.
        shares: for each of `reading.body.trainable_variables` the part of its
            regularizer that counts. None: all of all.
    """

    def __init__(self, reading: Any, through: Callable, shares: list | None = None):
        self._reading, self._through = reading, through
        self._layers = flattened(reading.body)
        variables = reading.body.trainable_variables
        shares = [1.0] * len(variables) if shares is None else shares
        pairs = zip(variables, shares, strict=True)
        self._pairs = [(v, part) for v, part in pairs if v.regularizer is not None]
        self._looks = any(map(_adds_losses, self._layers))
        self._sum = self._rows = 0.0

    def see(self, x: Any, rows: int) -> None:
        """Takes in examples, if a layer adds something that depends on them.

        Args:
            x: an array (n, …), or `Columns`; all examples are to be seen, in any parts.
            rows: how many are computed at once.
        """
        if self._looks:
            for start in range(0, len(x), rows):
                self._see(x[start : start + rows])

    def _see(self, x: Any) -> None:
        scope = ValuesScope(*self._reading.given())
        scope.collect_losses = True
        with scope:
            x = plain(each(ops.convert_to_tensor, x))
            self._through(self._reading.body, x, False)
        found = sum(_number(ops.sum(loss)) for loss in scope.losses)
        for layer in self._layers:  # Keras notes whose each is, and never forgets
            layer._loss_ids.difference_update(map(id, scope.losses))
        rows = keras.tree.flatten(x)[0].shape[0]
        self._sum, self._rows = self._sum + rows * found, self._rows + rows

    @property
    def mean(self) -> float:
        """Of the regularizers and of what was added by the rows that were seen."""
        total = self._sum / max(self._rows, 1)
        if not self._pairs:
            return total
        with ValuesScope(*self._reading.given()):
            for variable, part in self._pairs:
                cost = variable.regularizer(ops.convert_to_tensor(variable))
                total += part * _number(cost)
        return total


def _number(value) -> float:
    return float(ops.convert_to_numpy(value))  # PyTorch's may want a gradient


def _adds_losses(layer) -> bool:
    """Whether a layer may add to the loss when it is called.

    What a layer of a user's own does is not known.
    """
    kerases = type(layer).__module__.partition(".")[0] in ("keras", "keras_lifelong")
    return layer.activity_regularizer is not None or not kerases
