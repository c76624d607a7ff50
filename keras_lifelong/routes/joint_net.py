"""JointNet: nodes of layers, and a table that says which of them each task uses."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_lifelong.graph import Graph
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.routes.parts import Kept
from keras_lifelong.routes.parts import Part
from keras_lifelong.routes.parts import divided

Node = list[np.ndarray]  # the values of a part, in the order of its variables


class JointNet:
    """The nodes of all tasks, and the network into which those of one are copied.

    A node is an instance of a part, named by the task that it was made for, its owner.
    All tasks have the same parts in the same order, so that one network serves all of
    them, and so does what is compiled for it. Nodes lie in memory, array by array,
    under `("node", part, owner, i)`.

    Args:
        network: a `keras.Sequential` or functional `keras.Model`.
        parts: what `find_parts` gave.
        memory: a function that returns the `TaskMemory` of now.

    Attributes:
        graph: the network's `Graph`.
        decided: numbers of the parts about which is decided whether they grow.
        by_task: those of the parts that each task has for itself.
        frozen: the network's variables that all tasks share.
        routing: dict: for each task the owner of its node of every part.
    """

    def __init__(
        self, network, parts: Sequence[Part], memory: Callable[[], TaskMemory]
    ):
        self.network, self.parts = network, list(parts)
        self.graph = Graph(network)
        self.decided = [u for u, part in enumerate(parts) if not part.by_task]
        self.by_task = [u for u, part in enumerate(parts) if part.by_task]
        kept = divided(self.graph, bool(self.by_task))
        self.frozen = [v for k in kept for v in k.frozen]
        self._variables = [_of_part(kept, part) for part in parts]
        self.routing: dict[str, list[str]] = {}
        self._memory = memory

    # A node

    def variables(self, u: int) -> list:
        """The network's variables that hold a part; of a group all of its layer's."""
        return self._variables[u]

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
        kept = divided(Graph(network), bool(self.by_task))
        return self._values([_of_part(kept, part) for part in self.parts])

    def _values(self, variables: list[list]) -> list[Node]:
        return [
            [part.of(ops.convert_to_numpy(v)).copy() for v in held]
            for part, held in zip(self.parts, variables, strict=True)
        ]

    def active_nodes(self) -> list[Node]:
        """Copies of what the network holds now, one for each part."""
        return self._values(self._variables)

    def load(self, nodes: Sequence[Node], parts: Iterable[int] | None = None) -> None:
        """Copies nodes, one for each part, into the network: all, or those of some."""
        for variable, value in self.assembled(nodes, parts):
            variable.assign(value)

    def assembled(
        self, nodes: Sequence[Node], parts: Iterable[int] | None = None
    ) -> list[tuple]:
        """The network's variables, each with the value that nodes give it.

        Args:
            nodes: one for each part.
            parts: numbers of those that count, of all groups of a layer or of none.
                None: all.
        """
        wanted = range(len(self.parts)) if parts is None else parts
        by_layer: dict[tuple, list[int]] = {}
        for u in wanted:
            part = self.parts[u]
            by_layer.setdefault((part.layers, part.by_task), []).append(u)
        found = []
        for us in by_layer.values():
            groups = zip(*(nodes[u] for u in us), strict=True)
            for variable, pieces in zip(self._variables[us[0]], groups, strict=True):
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


def _of_part(kept: Sequence[Kept], part: Part) -> list:
    """The variables of a part among those of a graph's layers."""
    layers = [kept[place] for place in part.layers]
    return [v for k in layers for v in (k.own if part.by_task else k.weights)]
