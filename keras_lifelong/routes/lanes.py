"""Lanes: a network in which several instances of each layer stand side by side.

What they give is summed, or averaged, after the activations and the batch normalisation
that follow a layer, and before anything else reads it.
"""

from __future__ import annotations

import dataclasses
from typing import Any
from typing import Literal

import keras

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.graph import Wire
from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.parts import divided
from keras_lifelong.training.gates import by_unit

Combine = Literal["sum", "mean"]


@dataclasses.dataclass
class Lanes:
    """A network in lanes.

    Attributes:
        network: functional `keras.Model` of the same inputs and features.
        places: of each of its layers, by name, the path of the one it is a copy of.
    """

    network: keras.Model
    places: dict[str, str]


def in_lanes(network: keras.Model, count: int, combine: Combine) -> Lanes:
    """A network in which each layer with weights to be trained has several instances.

    All begin with the layer's weights. Frozen layers, and those without weights, are
    there once, but for what follows each lane by itself.

    Args:
        network: a built `keras.Sequential` or functional `keras.Model`.
        count: lanes, at least 1.
        combine: "sum" or "mean".
    """
    graph = Graph(network)
    layers = list(graph.layers.items())
    kept = zip(layers, divided(graph, by_task=True), strict=True)
    modules = {path for (path, _), k in kept if k.weights}
    names = _names([path for path, _ in layers])
    made: dict[tuple[str, int | None], Any] = {}
    places: dict[str, str] = {}
    merge = keras.layers.Add if combine == "sum" else keras.layers.Average

    def instance(path: str, lane: int | None) -> Any:
        layer = graph.layers[path]
        if not isinstance(layer, keras.layers.Layer):
            return layer  # one of `keras.ops`: it holds nothing
        if (path, lane) not in made:
            name = names[path] if lane is None else f"{names[path]}_lane_{lane}"
            copy = type(layer).from_config({**layer.get_config(), "name": name})
            made[path, lane] = copy
            places[name] = path
        return made[path, lane]

    inputs = graph.symbolic_inputs()
    values: dict[Wire, Any] = graph.bound(inputs)
    apart: dict[Wire, list] = {}  # what each lane gave, still to be put together

    def together(wire: Wire, path: str) -> None:
        given = apart.pop(wire)
        values[wire] = given[0]
        if count > 1:
            name = f"{names[path]}_together_{wire.number}"
            values[wire] = merge(name=name)(given)

    for step in graph.steps:
        wires = step.inputs
        follows = (
            len(wires) == 1
            and wires[0] in apart
            and by_unit(step)
            and len(graph.readers(wires[0])) == 1
        )
        if not follows:
            for wire in [w for w in dict.fromkeys(wires) if w in apart]:
                together(wire, step.path)
        if follows or step.path in modules:
            outputs = []
            for lane in range(count):
                if follows:
                    values[wires[0]] = apart[wires[0]][lane]
                args, kwargs = step.filled(values)
                found = instance(step.path, lane)(*args, **kwargs)
                outputs.append(keras.tree.flatten(found))
            by_wire = [list(lanes) for lanes in zip(*outputs, strict=True)]
            apart |= dict(zip(step.outputs, by_wire, strict=True))
            if len(step.outputs) > 1:
                for wire in step.outputs:
                    together(wire, step.path)
            continue
        args, kwargs = step.filled(values)
        outputs = keras.tree.flatten(instance(step.path, None)(*args, **kwargs))
        values.update(zip(step.outputs, outputs, strict=True))
    if graph.output in apart:
        together(graph.output, "output")
    for (path, _), copy in made.items():
        copy.set_weights(graph.layers[path].get_weights())
    return Lanes(keras.Model(inputs, values[graph.output]), places)


def _names(paths: list[str]) -> dict[str, str]:
    """Names by path, no two the same."""
    found: dict[str, str] = {"output": "output"}
    for path in paths:
        found[path] = networks.unused(path.replace("/", "_"), found.values())
    return found


class LaneNet(JointNet):
    """A `JointNet` of lanes: a node of a layer fits each of its lanes.

    Owners of nodes are numbers of modules, as texts; what is each task's own is kept by
    lane, under the task's name.

    Args:
        lanes: what `in_lanes` gave.
        parts: of its network.
        memory: as in `JointNet`.

    Attributes:
        layers: paths of the layers of which there are modules, in their order.
        lanes_of: the parts of each of these, one a lane.
        place: of each part the path of the layer that it is an instance of.
    """

    def __init__(self, lanes: Lanes, parts, memory):
        super().__init__(lanes.network, parts, memory)
        names = list(self.graph.layers)
        self.place = [lanes.places[names[part.layers[0]]] for part in parts]
        self.layers = list(dict.fromkeys(self.place[u] for u in self.decided))
        self.lanes_of = [
            [u for u in self.decided if self.place[u] == path] for path in self.layers
        ]
        self._first = list(range(len(parts)))
        for us in self.lanes_of:
            for u in us:
                self._first[u] = us[0]

    def node(self, u, owner, memory=None):
        return super().node(self._first[u], owner, memory)

    def set_node(self, u, owner, node):
        super().set_node(self._first[u], owner, node)

    def is_there(self, u: int, owner: str) -> bool:
        """Whether a node is kept."""
        return ("node", self._first[u], owner, 0) in self._memory()

    def add(self, name, owners, nodes):
        """Routes a task through nodes; those that are not there yet are kept."""
        for u, owner in enumerate(owners):
            if not self.is_there(u, owner):
                self.set_node(u, owner, nodes[u])
        self.routing[name] = list(owners)

    def users(self, u, owner):
        lanes = [v for v, first in enumerate(self._first) if first == self._first[u]]
        table = self.routing.items()
        return [t for t, owners in table if any(owners[v] == owner for v in lanes)]

    def network_params(self):
        table = self.routing.values()
        nodes = {(self._first[u], o) for owners in table for u, o in enumerate(owners)}
        return sum(self.params(u) for u, _ in nodes)

    def keys(self, name):
        return {
            ("node", self._first[u], owner, i)
            for u, owner in enumerate(self.routing.get(name, []))
            for i in range(len(self.variables(u)))
        }

    def remove(self, name):
        """Lets go of a task: modules that others use stay under their numbers."""
        self.routing.pop(name, None)
