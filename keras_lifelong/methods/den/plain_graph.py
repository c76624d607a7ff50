"""One task of a growable network as a plain Keras model of just the units it uses."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.graph import Graph
from keras_lifelong.graph import Step
from keras_lifelong.layers.growable import ByChannel
from keras_lifelong.layers.growable import Growable
from keras_lifelong.layers.growable import PerUnit
from keras_lifelong.methods.den.growable_network import GrowableNetwork


@dataclasses.dataclass
class PlainGraph:
    """What a plain model is made of.

    Attributes:
        graph: of the growable network: its inputs and output.
        steps: of it.
        layers: by path an ordinary layer, not built, and its arrays.
    """

    graph: Graph
    steps: list[Step]
    layers: dict[str, tuple[Any, list[np.ndarray]]]

    def model(self) -> keras.Model:
        """The functional model, with its weights."""
        inputs = self.graph.symbolic_inputs()
        output = self.graph.run(inputs, call=self._call, steps=self.steps)
        for layer, arrays in self.layers.values():
            if arrays:
                layer.set_weights(arrays)
        return keras.Model(inputs, output)

    def _call(self, step, *args, **kwargs):
        return self.layers[step.path][0](*args, **kwargs)


def plain_layers(
    network: GrowableNetwork, stage: int
) -> dict[str, tuple[Any, list[np.ndarray]]]:
    """By path an ordinary layer of the units of `stage`, and the arrays to give it.

    It reads the network's variables, and builds no layer.
    """
    found: dict[str, tuple[Any, list[np.ndarray]]] = {}
    for step in network.steps:
        layer = step.layer
        if step.path in found:
            continue
        if isinstance(layer, Growable):
            rows = network.rows_at(network.inputs_of(layer), stage)
            found[step.path] = layer.plain(rows, layer.units_at(stage))
        elif isinstance(layer, (ByChannel, PerUnit)):
            rows = network.rows_at(network.inputs_of(layer), stage)
            found[step.path] = layer.plain(rows)
        elif isinstance(layer, keras.layers.Reshape):
            wire = step.outputs[0]
            width = network.rows_at(network.layouts[wire], stage).size
            places = [n or -1 for n in wire.shape[1:-1]]
            copy = keras.layers.Reshape((*places, width), name=layer.name)
            found[step.path] = copy, []
        elif isinstance(layer, keras.layers.Layer):
            values = [ops.convert_to_numpy(v) for v in layer.weights]
            found[step.path] = type(layer).from_config(layer.get_config()), values
        else:
            found[step.path] = layer, []
    policies = {
        step.path: getattr(step.layer, "dtype_policy", None) for step in network.steps
    }
    for path, (layer, _) in found.items():
        if not isinstance(layer, keras.layers.Layer):
            continue
        layer.dtype_policy = policies[path]
        if "/" in path:
            layer.name = path.replace("/", "_")  # those of opened models may be alike
    return found
