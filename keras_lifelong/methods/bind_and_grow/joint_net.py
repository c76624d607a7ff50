"""JointNet: nodes of layers, and a table that says which of them each task uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.seeds import without_seed_states

SPLIT = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.BatchNormalization)
Node = list[np.ndarray]  # the values of a part, in the order of its layer's variables


@dataclasses.dataclass(frozen=True)
class Part:
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
        """What belongs to the part of a layer's variable or output (…, channels)."""
        return array if self.start is None else array[..., self.start : self.stop]


def find_parts(network, groups: int | None = None) -> list[Part]:
    """The parts of a network, from the input up.

    Args:
        network: a `keras.Sequential`.
        groups: how many each layer has; None: it is one part.

    Raises:
        ValueError: if no layer has weights, or one cannot be divided.
    """
    found = []
    for place, layer in enumerate(network.layers):
        if not without_seed_states(layer.variables):
            continue
        if groups is None:
            found.append(Part(layer.name, place))
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
            Part(f"{layer.name}/{g}", place, g * step, (g + 1) * step)
            for g in range(groups)
        ]
    if not found:
        raise ValueError(
            "`backbone` must have a layer with weights, to be grown. Received: none"
        )
    return found


class JointNet:
    """The nodes of all tasks, and the network into which those of one are copied.

    A node is an instance of a part, named by the task that it was made for, its owner.
    All tasks have the same parts in the same order, so that one network serves all of
    them, and so does what is compiled for it. Nodes lie in memory, array by array,
    under `("node", part, owner, i)`.

    Args:
        network: a `keras.Sequential`.
        parts: what `find_parts` gave.
        memory: a function that returns the `TaskMemory` of now.

    Attributes:
        routing: dict: for each task the owner of its node of every part.
    """

    def __init__(
        self, network, parts: Sequence[Part], memory: Callable[[], TaskMemory]
    ):
        self.network, self.parts = network, list(parts)
        self.routing: dict[str, list[str]] = {}
        self._memory = memory

    # A node

    def variables(self, u: int) -> list:
        """The network's variables that hold a part, all of its layer's."""
        return without_seed_states(self.network.layers[self.parts[u].layer].variables)

    def node(self, u: int, owner: str, memory: TaskMemory | None = None) -> Node:
        """A node as a memory has it, that of now if none is given."""
        memory = self._memory() if memory is None else memory
        return [memory["node", u, owner, i] for i in range(len(self.variables(u)))]

    def set_node(self, u: int, owner: str, node: Node) -> None:
        """Keeps a node in memory."""
        memory = self._memory()
        for i, value in enumerate(node):
            memory["node", u, owner, i] = np.array(value)

    def params(self, u: int) -> int:
        """Trainable parameters of a part."""
        part = self.parts[u]
        sizes = [tuple(v.shape) for v in self.variables(u) if v.trainable]
        if part.start is not None and part.stop is not None:
            sizes = [(*shape[:-1], part.stop - part.start) for shape in sizes]
        return sum(int(np.prod(shape)) for shape in sizes)

    # The nodes of a task

    def nodes_of(self, name: str, memory: TaskMemory | None = None) -> list[Node]:
        """The nodes that a task uses, one for each part."""
        owners = enumerate(self.routing[name])
        return [self.node(u, owner, memory) for u, owner in owners]

    def nodes_in(self, network) -> list[Node]:
        """Copies of what a network of the same layers holds, one for each part."""
        return [
            [
                part.of(ops.convert_to_numpy(v)).copy()
                for v in without_seed_states(network.layers[part.layer].variables)
            ]
            for part in self.parts
        ]

    def active_nodes(self) -> list[Node]:
        """Copies of what the network holds now, one for each part."""
        return self.nodes_in(self.network)

    def load(self, nodes: Sequence[Node]) -> None:
        """Copies nodes, one for each part, into the network."""
        for variable, value in self.assembled(nodes):
            variable.assign(value)

    def assembled(self, nodes: Sequence[Node]) -> list[tuple]:
        """The network's variables, each with the value that nodes give it."""
        by_layer: dict[int, list] = {}
        for part, node in zip(self.parts, nodes, strict=True):
            by_layer.setdefault(part.layer, []).append(node)
        found = []
        for place, groups in by_layer.items():
            variables = without_seed_states(self.network.layers[place].variables)
            for variable, pieces in zip(
                variables, zip(*groups, strict=True), strict=True
            ):
                whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, -1)
                found.append((variable, whole))
        return found

    def store(self, name: str) -> None:
        """Keeps what the network holds now as the nodes of a task, if it has any."""
        if name in self.routing:
            active = self.active_nodes()
            for u, owner in enumerate(self.routing[name]):
                self.set_node(u, owner, active[u])

    # The table

    def add(self, name: str, owners: Sequence[str], nodes: Sequence[Node]) -> None:
        """Routes a task through nodes; its own nodes are new."""
        for u, owner in enumerate(owners):
            if owner == name:
                self.set_node(u, name, nodes[u])
        self.routing[name] = list(owners)

    def users(self, u: int, owner: str) -> list[str]:
        """The tasks that use a node."""
        return [t for t, owners in self.routing.items() if owners[u] == owner]

    def shared(self, name: str) -> list[int]:
        """Parts of which others use the task's node, too."""
        owners = enumerate(self.routing[name])
        return [u for u, owner in owners if len(self.users(u, owner)) > 1]

    def network_params(self) -> int:
        """Trainable parameters of all nodes, each counted once."""
        nodes = {
            (u, o) for owners in self.routing.values() for u, o in enumerate(owners)
        }
        return sum(self.params(u) for u, _ in nodes)

    def keys(self, name: str) -> set[tuple]:
        """Keys in memory of the nodes that a task uses."""
        return {
            ("node", u, owner, i)
            for u, owner in enumerate(self.routing.get(name, []))
            for i in range(len(self.variables(u)))
        }

    def remove(self, name: str) -> None:
        """Lets go of a task: nodes made for it are from now on its first heir's."""
        memory = self._memory()
        for u, owner in enumerate(self.routing.pop(name, [])):
            heirs = self.users(u, owner)
            if owner != name or not heirs:
                continue
            for i in range(len(self.variables(u))):
                if ("node", u, name, i) in memory:  # a part may have been loaded
                    memory["node", u, heirs[0], i] = memory.pop(("node", u, name, i))
            for heir in heirs:
                self.routing[heir][u] = heirs[0]

    def users_beside(self, name: str) -> dict[str, list[str]]:
        """Of the task's nodes that others use, too: who, by the node in words."""
        found = {}
        for u, owner in enumerate(self.routing.get(name, [])):
            others = [other for other in self.users(u, owner) if other != name]
            if others:
                found[f"{self.parts[u].name} of {owner}"] = others
        return found

    def lines(self) -> list[str]:
        """The table as text, a line for each task."""
        lines = []
        for name, owners in self.routing.items():
            pairs = zip(self.parts, owners, strict=True)
            lines.append(f"{name}: " + ", ".join(f"{p.name} of {o}" for p, o in pairs))
        return lines
