"""RoutedModel: layers are nodes, and a table says which nodes each task uses."""

from __future__ import annotations

import dataclasses

import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.state import AllInMemory
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy
from keras_lifelong.seeds import without_seed_states

SPLIT = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.BatchNormalization)


@dataclasses.dataclass(frozen=True)
class Unit:
    """What can be grown by itself: a layer, or a group of its channels.

    Attributes:
        name: of the layer, with the group if there are several.
        layer: its place in the network.
        start, stop: its channels; None: all.
    """

    name: str
    layer: int
    start: int | None = None
    stop: int | None = None

    def of(self, array: np.ndarray) -> np.ndarray:
        """The unit's part of a layer's variable or output."""
        return array if self.start is None else array[..., self.start : self.stop]


class RoutedModel(AllInMemory, LifelongModel):
    """A `LifelongModel` whose tasks go each their own way through shared nodes.

    A node is an instance of a layer, named by the task that it was made for. All tasks
    have the same layers in the same order, so that one network, into which the nodes
    of a task are copied, serves all of them, and so does what is compiled for it.

    Attributes:
        routing: dict: for each task the node of every unit, the name of its owner.
    """

    def build_network(self, backbone):
        self._routes = _Routes()
        self._units = self.find_units(backbone, self.options.groups)
        if not self._units:
            raise ValueError(
                "`backbone` must have a layer with weights, to be grown. Received: none"
            )
        return backbone

    def find_units(self, network, groups: int | None) -> list[Unit]:
        """The units of a network, from the input up."""
        found = []
        for place, layer in enumerate(network.layers):
            if not without_seed_states(layer.variables):
                continue
            if groups is None:
                found.append(Unit(layer.name, place))
                continue
            channels = int(layer.output.shape[-1])
            if not isinstance(layer, SPLIT) or channels % groups:
                raise ValueError(
                    f"`groups` must divide the channels of every layer with weights, "
                    f"which are dense, convolutions or norms. Received: {groups} and "
                    f"layer {layer.name!r} ({type(layer).__name__}, {channels})"
                )
            step = channels // groups
            found += [
                Unit(f"{layer.name}/{g}", place, g * step, (g + 1) * step)
                for g in range(groups)
            ]
        return found

    @property
    def units(self) -> list[Unit]:
        return self._units

    @property
    def routing(self) -> dict[str, list[str]]:
        return self._routes.table

    # Nodes

    def node_variables(self, unit: Unit) -> list:
        """The network's variables that hold a unit, all of its layer's."""
        return without_seed_states(self.network.layers[unit.layer].variables)

    def node(self, index: int, owner: str, memory=None) -> list[np.ndarray]:
        """The values of a node, in the order of its layer's variables."""
        memory = self.memory if memory is None else memory
        count = len(self.node_variables(self.units[index]))
        return [memory["node", index, owner, i] for i in range(count)]

    def set_node(self, index: int, owner: str, values):
        for i, value in enumerate(values):
            self.memory["node", index, owner, i] = np.array(value)

    def active_node(self, index: int) -> list[np.ndarray]:
        """What the network now holds of a unit."""
        unit = self.units[index]
        return [
            unit.of(ops.convert_to_numpy(v)).copy() for v in self.node_variables(unit)
        ]

    def load_nodes(self, nodes: list[list[np.ndarray]]):
        """Copies nodes, one for each unit, into the network."""
        for variable, value in self.assembled(nodes):
            variable.assign(value)

    def assembled(self, nodes: list[list[np.ndarray]]) -> list[tuple]:
        """The network's variables, each with the value that nodes give it."""
        parts: dict[int, list] = {}
        for unit, values in zip(self.units, nodes, strict=True):
            parts.setdefault(unit.layer, []).append(values)
        found = []
        for place, groups in parts.items():
            variables = without_seed_states(self.network.layers[place].variables)
            for variable, pieces in zip(
                variables, zip(*groups, strict=True), strict=True
            ):
                whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, -1)
                found.append((variable, whole))
        return found

    def fresh_nodes(self, *seed_parts) -> list[list[np.ndarray]]:
        """Nodes of newly drawn weights."""
        seed = derive_seed(self.seed, *seed_parts)
        network = seeded_copy(self.backbone_copy(), seed)
        return [
            [
                unit.of(ops.convert_to_numpy(v))
                for v in without_seed_states(network.layers[unit.layer].variables)
            ]
            for unit in self.units
        ]

    def route(self, name: str, owners: list[str]):
        """Makes a task, which is then active, use these nodes."""
        self.activate(None)
        self.routing[name] = list(owners)
        self.activate(name)

    def users(self, index: int, owner: str) -> list[str]:
        """The tasks that use a node."""
        return [t for t, owners in self.routing.items() if owners[index] == owner]

    def node_params(self, index: int) -> int:
        """Trainable parameters of a unit."""
        unit = self.units[index]
        sizes = [tuple(v.shape) for v in self.node_variables(unit) if v.trainable]
        if unit.start is not None:
            sizes = [(*shape[:-1], unit.stop - unit.start) for shape in sizes]
        return sum(int(np.prod(shape)) for shape in sizes)

    # As every model

    shared_forms = (("node", int, str, int),)

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        if name not in self.routing:  # it was added and not learned
            return super().reading_of(name, memory, training)
        routes = enumerate(self.routing[name])
        pairs = self.assembled([self.node(u, owner, memory) for u, owner in routes])
        variables, values = (list(part) for part in zip(*pairs, strict=True))
        head = self._head_of(name, memory, training)
        return Reading(self.network, variables, values, head)

    def activate(self, name):
        if name == self.active_task:
            return
        super().activate(name)
        if name in self.routing:
            nodes = enumerate(self.routing[name])
            self.load_nodes([self.node(u, owner) for u, owner in nodes])

    def store_active(self):
        super().store_active()
        for u, owner in enumerate(self.routing.get(self.active_task, [])):
            self.set_node(u, owner, self.active_node(u))

    def network_params(self):
        nodes = {
            (u, o) for owners in self.routing.values() for u, o in enumerate(owners)
        }
        return sum(self.node_params(u) for u, _ in nodes)

    def task_keys(self, name):
        nodes = {
            ("node", u, owner, i)
            for u, owner in enumerate(self.routing.get(name, []))
            for i in range(len(self.node_variables(self.units[u])))
        }
        return super().task_keys(name) | nodes

    def release(self, name):
        """Nodes that were made for the task are from now on its first heir's."""
        owners = self.routing.pop(name, [])
        for u, owner in enumerate(owners):
            heirs = self.users(u, owner)
            if owner != name or not heirs:
                continue
            for i in range(len(self.node_variables(self.units[u]))):
                if ("node", u, name, i) in self.memory:  # a part may have been loaded
                    value = self.memory.pop(("node", u, name, i))
                    self.memory["node", u, heirs[0], i] = value
            for heir in heirs:
                self.routing[heir][u] = heirs[0]

    def shared_with(self, name):
        found = super().shared_with(name)
        found.pop("the network", None)
        for u, owner in enumerate(self.routing.get(name, [])):
            users = [other for other in self.users(u, owner) if other != name]
            if users:
                found[f"{self.units[u].name} of {owner}"] = users
        return found

    def structure(self):
        return {"routing": self.routing}

    def set_structure(self, structure):
        self._routes.table = structure["routing"]

    def log_initial(self, task):
        """Nothing to do: nodes are logged as they are made."""

    def summarize_network(self, print_fn, **kwargs):
        """Prints the table of nodes, then the network."""
        for name, owners in self.routing.items():
            pairs = zip(self.units, owners, strict=True)
            print_fn(f"{name}: " + ", ".join(f"{u.name} of {o}" for u, o in pairs))
        super().summarize_network(print_fn, **kwargs)


class _Routes:
    """The table. A plain object, so that Keras does not track it."""

    def __init__(self):
        self.table: dict[str, list[str]] = {}
        self.losses: dict = {}  # compiled hooks, one for each set of layers held still
