"""RoutedModel: a model whose tasks go each their own way through a `JointNet`."""

from __future__ import annotations

from keras_lifelong.methods.bind_and_grow.joint_net import JointNet
from keras_lifelong.methods.bind_and_grow.joint_net import Node
from keras_lifelong.methods.bind_and_grow.joint_net import Part
from keras_lifelong.methods.bind_and_grow.joint_net import find_parts
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.state import AllInMemory
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy


class RoutedModel(AllInMemory, LifelongModel):
    """A `LifelongModel` on a `JointNet`: what a model is asked for is asked of that.

    Attributes:
        joint_net: the `JointNet`.
        routing: dict: for each task the owner of its node of every part.
        units: list of the `Part`s that can be grown.
    """

    carries_graphs = False

    def build_network(self, backbone):
        parts = find_parts(backbone, self.options.groups)
        self.joint_net = JointNet(backbone, parts, lambda: self.memory)
        return backbone

    @property
    def units(self) -> list[Part]:
        return self.joint_net.parts

    @property
    def routing(self) -> dict[str, list[str]]:
        return self.joint_net.routing

    def fresh_nodes(self, *seed_parts) -> list[Node]:
        """Nodes of newly drawn weights."""
        seed = derive_seed(self.seed, *seed_parts)
        return self.joint_net.nodes_in(seeded_copy(self.backbone_copy(), seed))

    def route(self, name: str, owners: list[str], nodes: list[Node]):
        """Makes a task, which is then active, use these nodes; see `JointNet.add`."""
        self.activate(None)
        self.joint_net.add(name, owners, nodes)
        self.activate(name)

    # As every model

    shared_forms = (("node", int, str, int),)

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        if name not in self.routing:  # it was added and not learned
            return super().reading_of(name, memory, training)
        pairs = self.joint_net.assembled(self.joint_net.nodes_of(name, memory))
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
        self.joint_net.routing = structure["routing"]

    def log_initial(self, task):
        """Nothing to do: nodes are logged as they are made."""

    def summarize_network(self, print_fn, **kwargs):
        """Prints the table of nodes, then the network."""
        for line in self.joint_net.lines():
            print_fn(line)
        super().summarize_network(print_fn, **kwargs)
