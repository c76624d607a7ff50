"""Gates on the units of a network, and which weights lie between closed units.

A gate multiplies a unit of a dense or convolutional layer, after the activations and
the batch normalisation that follow the layer, and before anything else reads it. A
normalisation that mixes units is given gated ones, and what it makes of them is gated
again. So a closed unit, of gate 0, is 0 for all layers that follow.

Serrà et al.: Overcoming Catastrophic Forgetting with Hard Attention to the Task, 2018.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.graph import Step
from keras_lifelong.graph import Wire
from keras_lifelong.graph import with_mask_of
from keras_lifelong.training.projection import NORMALIZATIONS
from keras_lifelong.training.projection import ProjectedLayers

_ACTIVATIONS = (layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Activation)
_NOISE = (
    *(layers.Dropout, layers.AlphaDropout, layers.GaussianDropout),
    *(layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
)
_MIXING = ("softmax", "log_softmax")
# What merges give is 0 where all that they are given is; operations are known by name.
_MERGES: tuple[str, ...] = (
    "Add",
    "Average",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
)
_BY_CHANNEL: tuple[str, ...] = (
    "MaxPooling",
    "AveragePooling",
    "GlobalMax",
    "GlobalAverage",
)
_BY_CHANNEL += ("MaxPool", "AvgPool", "ZeroPadding", "Cropping", "UpSampling")


class Gates:
    """Where the gates of a network are.

    Args:
        network: a built network.
        method: named in messages.

    Attributes:
        layers: dict of the gated layers, by path.
        own: variables of trained normalisation, which are each task's own.
        units: how many each gated layer has.

    Raises:
        ValueError: if there are trained weights in a layer that is neither dense,
            convolutional nor normalisation; if units of a layer are not on the last
            axis, or mixed by its activation.
    """

    def __init__(self, network: keras.Model, method: str):
        found = ProjectedLayers(network, method, "gates the units of")
        self.graph, self.layers, self.own = found.graph, found.layers, found.own
        for path, layer in self.layers.items():
            if not _is_last(layer):
                why = "units on the last axis (`data_format='channels_last'`)"
            elif layer.get_config()["activation"] in _MIXING:
                why = "an activation of each unit by itself, not softmax"
            else:
                continue
            raise ValueError(
                f"{method} cannot carry the layer {path!r}: it needs {why}."
            )
        self.units = [layer.kernel.shape[-1] for layer in self.layers.values()]
        self._number = {path: i for i, path in enumerate(self.layers)}
        self._waiting: dict[Wire, int] = {}  # wires that their reader is to gate
        for step in self.graph.steps:
            self._follow(step)

    def _follow(self, step: Step) -> None:
        given = step.inputs
        if step.path in self._number:
            self._waiting[step.outputs[0]] = self._number[step.path]
        elif len(given) == 1 and given[0] in self._waiting:
            if by_unit(step) or isinstance(step.layer, NORMALIZATIONS):
                self._waiting[step.outputs[0]] = self._waiting[given[0]]

    def gated_by(self, step: Step) -> dict[Wire, int]:
        """Which of its inputs a step gates before it reads them, and by which layer."""
        if by_unit(step):
            return {}
        return {w: self._waiting[w] for w in step.inputs if w in self._waiting}

    @property
    def last(self) -> int | None:
        """The layer whose gates the network's output waits for."""
        return self._waiting.get(self.graph.output)

    def run(self, x, gates, training: bool = False, call=None, gate=None) -> Any:
        """What the network gives under gates.

        Args:
            x: of the network's one input.
            gates: for each layer (units,).
            training: as everywhere in Keras.
            call: `call(step, *args, **kwargs)`. None: calls the step.
            gate: `gate(tensor, i)`: how layer i's gates are applied. None: by product.
        """
        values: dict[Wire, Any] = self.graph.bound(x)

        def times(tensor, i):
            return with_mask_of(tensor, tensor * ops.cast(gates[i], tensor.dtype))

        gate = gate or times
        kept: dict[Wire, Any] = {}  # what several steps read is gated once
        for step in self.graph.steps:
            here = dict(values)
            for wire, i in self.gated_by(step).items():
                if wire not in kept:
                    kept[wire] = gate(values[wire], i)
                here[wire] = kept[wire]
            args, kwargs = step.filled(here)
            if call is None:
                outputs = step(*args, training=training, **kwargs)
            else:
                outputs = call(step, *args, **kwargs)
            values.update(zip(step.outputs, keras.tree.flatten(outputs), strict=True))
        found = values[self.graph.output]
        return found if self.last is None else gate(found, self.last)

    # Which weights are between units

    def between(self, open_units: list[np.ndarray]) -> list[list[np.ndarray]]:
        """How open the units are between which each weight lies, in [0, 1].

        Of a kernel min(a_out, a_in), of a bias a_out. What comes from no gated unit,
        as the network's input or what mixes units, counts as open.

        Args:
            open_units: a of each layer, (units,).

        Returns:
            Of each layer: (inputs, units) for its kernel, and (units,) for its bias if
            it has one.
        """
        opened: dict[Wire, np.ndarray] = {}
        incoming: list[Any] = [0.0] * len(self.layers)
        for step in self.graph.steps:
            given = [opened.get(w, _all_open(w)) for w in step.inputs]
            i = self._number.get(step.path)
            for wire in step.outputs:
                gated = self._waiting.get(wire)
                opened[wire] = (
                    _through(step, given, wire) if gated is None else open_units[gated]
                )
            if i is not None:
                rows = step.layer.kernel.shape[-2]
                fits = given[0].shape == (rows,)
                incoming[i] = np.maximum(incoming[i], given[0] if fits else 1.0)
        found = []
        for layer, a, rows in zip(
            self.layers.values(), open_units, incoming, strict=True
        ):
            size = layer.kernel.shape[-2:]
            pairs = np.minimum(a[None], np.broadcast_to(rows, size[:1])[:, None])
            parts = [np.broadcast_to(pairs, size).astype("float32")]
            found.append([*parts, *([a] if layer.use_bias else [])])
        return found


def by_unit(step: Step) -> bool:
    """Whether a step does the same with each unit, whatever the others are."""
    layer, wire = step.layer, step.outputs[0]
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis in (-1, len(wire.shape) - 1) and len(step.inputs) == 1
    if isinstance(layer, layers.Activation):
        return layer.get_config()["activation"] not in _MIXING
    return isinstance(layer, (*_ACTIVATIONS, *_NOISE))


def by_channel(layer) -> bool:
    """Whether a layer does the same with each channel of places: pools, pads, cuts."""
    return type(layer).__name__.startswith(_BY_CHANNEL) and _is_last(layer)


def _keeps_zero(layer) -> bool:
    """Whether a layer that does the same with each unit gives 0 for 0."""
    if isinstance(layer, layers.Activation):
        return float(ops.max(ops.abs(layer.activation(ops.zeros((1,)))))) == 0
    return isinstance(layer, (*_ACTIVATIONS, *_NOISE))


def _all_open(wire: Wire) -> np.ndarray:
    return np.ones(wire.shape[-1] or 1, "float32")


def _through(step: Step, given: list[np.ndarray], wire: Wire) -> np.ndarray:
    """How open the channels of what a step gives are, from those that it is given."""
    layer, name, size = step.layer, type(step.layer).__name__, wire.shape[-1]
    if len(given) == 1 and len(step.inputs[0].shape) > 1:
        if by_unit(step) and _keeps_zero(layer):
            return given[0]
        if by_channel(layer):
            return given[0]
        if isinstance(layer, layers.Flatten) and _is_last(layer):
            places = step.inputs[0].shape[1:-1]
            return np.tile(given[0], math.prod(n or 1 for n in places))
    flat = keras.tree.flatten((step.args, step.kwargs))
    if name in _MERGES and len(given) > 1 and all(isinstance(x, Wire) for x in flat):
        if all(part.shape == (size,) for part in given):
            return np.max(given, axis=0)
    if isinstance(layer, layers.Concatenate):
        if layer.axis in (-1, len(wire.shape) - 1):
            return np.concatenate(given)
    return _all_open(wire)


def _is_last(layer) -> bool:
    return getattr(layer, "data_format", None) != "channels_first"
