"""RoutedModel: a model whose tasks go each their own way through a `JointNet`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.reading import Reading
from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.joint_net import Node
from keras_lifelong.routes.parts import Part
from keras_lifelong.routes.parts import find_parts
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy
from keras_lifelong.training import hooks
from keras_lifelong.training.phase import Phase


class RoutedModel(LifelongModel):
    """A `LifelongModel` on a `JointNet`: what a model is asked for is asked of that.

    Attributes:
        joint_net: the `JointNet`.
        routing: dict: for each task the owner of its node of every part.
        units: list of the `Part`s of which tasks have nodes.
    """

    carries_graphs = True
    carries_inputs = True

    def build_network(self, backbone):
        parts = self.parts_of(backbone)
        self.joint_net = self.net_of(backbone, parts, lambda: self.memory)
        if self.pretrained:
            values = [v for node in self.joint_net.active_nodes() for v in node]
            for i, value in enumerate(values):
                self.memory["pretrained", i] = value
        return backbone

    def parts_of(self, backbone) -> list[Part]:
        """The parts of a backbone: what tasks have nodes of."""
        return find_parts(backbone, by_task=True)

    def net_of(self, network, parts: list[Part], memory) -> JointNet:
        """The `JointNet` of these."""
        return JointNet(network, parts, memory)

    @property
    def units(self) -> list[Part]:
        return self.joint_net.parts

    @property
    def routing(self) -> dict[str, list[str]]:
        return self.joint_net.routing

    def first_nodes(self, *seed_parts) -> list[Node]:
        """What a network begins with: the pretrained weights, or newly drawn ones."""
        given = self.pretrained_nodes()
        return self.fresh_nodes(*seed_parts) if given is None else given

    def pretrained_nodes(self) -> list[Node] | None:
        """Nodes of the weights that the backbone came with; None if they do not count.

        They are kept in memory, since a model that is saved and loaded goes on with
        them.
        """
        if ("pretrained", 0) not in self.memory:
            return None
        net, found, i = self.joint_net, [], 0
        for u in range(len(net.parts)):
            count = len(net.variables(u))
            found.append([self.memory["pretrained", i + k] for k in range(count)])
            i += count
        return found

    def node(self, u: int, owner: str) -> Node:
        """Copies of the values of a node; see `JointNet.node`."""
        return [value.copy() for value in self.joint_net.node(u, owner)]

    def fresh_nodes(self, *seed_parts) -> list[Node]:
        """Nodes of newly drawn weights."""
        seed = derive_seed(self.seed, *seed_parts)
        return self.joint_net.nodes_in(seeded_copy(self.backbone_copy(), seed))

    def route(self, name: str, owners: list[str], nodes: list[Node]):
        """Makes a task, which is then active, use these nodes; see `JointNet.add`."""
        self.activate(None)
        self.joint_net.add(name, owners, nodes)
        self.activate(name)

    def holding(self, name: str, held: Iterable[int]) -> Phase:
        """A phase that trains the active network but for some parts.

        Args:
            name: of the phase.
            held: numbers of parts.
        """
        net = self.joint_net
        still = {id(v): np.zeros(1) for u in held for v in net.variables(u)}
        network = self.network.trainable_variables
        variables = [*network, *self.head.trainable_variables]
        return self.phase(name, network, **hooks.masked(variables, still))

    # As every model

    shared_forms = (("node", int, str, int),)

    def shared_variables(self):
        return self.joint_net.frozen  # all else is in memory, by node

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        if name not in self.routing:  # it was added and not learned
            return super().reading_of(name, memory, training)
        pairs = self.joint_net.assembled(self.joint_net.nodes_of(name, memory))
        pairs += [(v, None) for v in self.joint_net.frozen]  # as they stand
        variables, values = (list(part) for part in zip(*pairs, strict=True))
        head = self._head_of(name, memory, training)
        return Reading(self.network, variables, values, head)

    def activate(self, name):
        if name == self.active_task:
            return
        super().activate(name)
        if name in self.routing:
            self.joint_net.load(self.joint_net.nodes_of(name))

    def store_active(self):
        super().store_active()
        self.joint_net.store(self.active_task)

    def network_params(self):
        return self.joint_net.network_params()

    def task_keys(self, name):
        return super().task_keys(name) | self.joint_net.keys(name)

    def release(self, name):
        self.joint_net.remove(name)

    def shared_with(self, name):
        found = super().shared_with(name)
        found.pop("the network", None)
        return {**found, **self.joint_net.users_beside(name)}

    def structure(self):
        return {"routing": self.routing}

    def set_structure(self, structure):
        count = len(self.joint_net.parts)
        for name, owners in structure["routing"].items():
            if len(owners) != count:
                raise ValueError(
                    f"task {name!r} goes through {len(owners)} parts, where the "
                    f"network has {count}: it was saved with other `parts`, `groups` "
                    "or `normalization`"
                )
        self.joint_net.routing = structure["routing"]

    def log_initial(self, task):
        """Nothing to do: nodes are logged as they are made."""

    def summarize_network(self, print_fn, **kwargs):
        """Prints the table of nodes, then the network."""
        for line in self.joint_net.lines():
            print_fn(line)
        super().summarize_network(print_fn, **kwargs)
