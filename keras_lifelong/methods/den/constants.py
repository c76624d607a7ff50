"""What units of a growable network give where nothing comes in."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.graph import Wire
from keras_lifelong.layers.growable import Growable
from keras_lifelong.layers.growable import table
from keras_lifelong.methods.den.growable_network import GrowableNetwork


def constant_outputs(network: GrowableNetwork, index: int) -> np.ndarray:
    """What each unit of a group gives, at most, if no weight leads into it.

    A unit that hears nothing may still say something: its bias, and what activations
    make of 0. Only one that says 0 wherever it is read can go without a trace.

    Args:
        network: where all growable layers are taken to hear nothing.
        index: of the group.

    Returns:
        (capacity,): the largest absolute value of all places where a layer or the head
        reads the group; 1 where it is not known.
    """
    values: dict[Wire, Any] = {}
    read = {network.graph.output}
    capacities = network.capacities()
    for step in network.steps:
        if isinstance(step.layer, Growable):
            read.add(step.inputs[0])
        value = _value(network, step, [values.get(wire) for wire in step.inputs])
        values.update(dict.fromkeys(step.outputs, value))
    found = np.zeros(network.groups[index].capacity, "float32")
    for wire in read & values.keys():
        value, start = ops.convert_to_numpy(values[wire]), 0
        for block in network.layouts[wire].blocks:
            size = block.size(capacities)
            if block.group == index:
                found = np.maximum(found, np.abs(value[start : start + size]))
            start += size
    return found


def _value(network, step, given) -> Any:
    """What a step gives in each channel, of what it is given: (width,)."""
    layer, layouts = step.layer, network.layouts
    if isinstance(layer, Growable):
        bias = layer.bias_array() if layer.use_bias else np.zeros(layer.capacity)
        return layer.activation(ops.convert_to_tensor(bias, "float32"))
    unknown = ops.ones((layouts[step.outputs[0]].width(network.capacities()),))
    if not given or any(value is None for value in given):
        return unknown
    kind, _ = table.role(step)
    if kind == "folds":
        blocks = (layouts[w].blocks for w in (step.outputs[0], step.inputs[0]))
        after, before = map(len, blocks)
        return ops.tile(given[0], [after // before])
    if kind == "ties":  # no more than this
        whole = [value for value in given if value.shape == unknown.shape]
        return unknown if len(whole) < len(given) else sum(map(ops.abs, whole))
    if kind == "joins" and len(unknown) > len(given[0]):
        return ops.concatenate(given)
    if table.facts(layer).pointwise:
        return layer(given[0])
    if table.facts(layer).moves_zero:
        return unknown
    return given[0] if kind in ("follows", "joins") else unknown
