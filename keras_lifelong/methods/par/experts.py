"""ExpertsModel: several networks, each shared by a group of tasks."""

from __future__ import annotations

import json
from typing import TypedDict

import keras
import numpy as np
from keras import ops

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.layers.cell import CellNetwork
from keras_lifelong.layers.switched import SwitchedNetwork
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.state import AllInMemory
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seed_config

GIVEN = ""  # the key of the backbone as it was given


class Expert(TypedDict):
    """One expert, as `structure` keeps it; its weights lie in memory.

    Attributes:
        tasks: the names of those that use it.
        genotype: its cells, as `CellNetwork` takes them; None: the backbone's own.
        largest: the most training examples that a task of it had.
    """

    tasks: list[str]
    genotype: dict | None
    largest: int


class ExpertsModel(AllInMemory, LifelongModel):
    """A `LifelongModel` whose tasks belong to experts: copies of the backbone.

    The backbone is any Sequential or functional model. Experts of one with a
    `CellNetwork` may have cells of their own. One expert is active at a time, in a
    network that all experts of its cells use; the weights of the others lie in
    `memory`. So experts of the same cells share what is compiled.

    With `pretrained` every new expert begins as the backbone given. Its weights are
    kept in `memory`, under `("given", i)`, for experts to come; what of an expert has
    other cells is drawn.

    Attributes:
        experts: list of `Expert`s.
    """

    def build_network(self, backbone):
        if self.pretrained:
            for i, value in enumerate(backbone.get_weights()):
                self.memory["given", i] = value
        self._experts = _Experts()
        return SwitchedNetwork(self.make_network, GIVEN, name="network")

    @property
    def experts(self) -> list[Expert]:
        return self._experts.list

    @property
    def has_cells(self) -> bool:
        """Whether the backbone is one of cells, which can be searched."""
        return self.given_cells() is not None

    def given_cells(self) -> CellNetwork | None:
        """The backbone's own cells; None if it has none."""
        return _cells_in(self.network.of(GIVEN))

    def make_network(self, key: str, *seed_parts) -> keras.Model:
        """A new network of the backbone with the cells of `key`.

        Args:
            key: a genotype as JSON, or `GIVEN`.
            seed_parts: what its weights are drawn from.
        """
        config = self.backbone_copy().get_config()
        for layer in config["layers"]:
            if key != GIVEN and layer["class_name"] == CellNetwork.__name__:
                layer["config"]["genotype"] = json.loads(key)
        seed = derive_seed(self.seed, *seed_parts)
        return networks.from_config(seed_config(config, seed))

    def begin_as_given(self, network: keras.Model, key: str):
        """Gives a new network the weights of the backbone given, if they were kept.

        Args:
            network: of `make_network`.
            key: of its cells; of others than the backbone's, the weights stay.
        """
        given = [v for k, v in self.memory.shared.items() if k[0] == "given"]
        if not given:
            return
        if key == GIVEN:
            network.set_weights(given)
            return
        whole = self.make_network(GIVEN)
        whole.set_weights(given)
        for layer, source in zip(network.layers, whole.layers, strict=True):
            if not isinstance(layer, CellNetwork):
                layer.set_weights(source.get_weights())

    # Experts

    def expert_of(self, name: str) -> int | None:
        """The number of a task's expert; None as long as it has none."""
        for k, expert in enumerate(self.experts):
            if name in expert["tasks"]:
                return k
        return None

    def add_expert(self, name: str, genotype=None) -> int:
        """A new expert for a task, fresh or as given; returns its number."""
        k = len(self.experts)
        self.experts.append({"tasks": [], "genotype": genotype, "largest": 0})
        key = self.cells_key(k)
        fresh = self.make_network(key, "expert", k)
        self.begin_as_given(fresh, key)
        for i, variable in enumerate(fresh.variables):
            self.memory["expert", k, i] = ops.convert_to_numpy(variable).copy()
        self.join(name, k)
        return k

    def join(self, name: str, k: int):
        """Makes a task, which is then active, one of expert `k`'s."""
        self.activate(None)
        self.experts[k]["tasks"].append(name)
        self.activate(name)

    def expert_values(self, k: int) -> list[np.ndarray]:
        """The weights of an expert, in the order of its network's variables."""
        self.store_active()
        count = len(self._network_of(k).variables)
        return [self.memory["expert", k, i] for i in range(count)]

    def expert_params(self, k: int) -> int:
        """Trainable parameters of an expert."""
        variables = self._network_of(k).trainable_variables
        return sum(int(np.prod(v.shape)) for v in variables)

    def cells_key(self, k: int) -> str:
        """The key of an expert's cells, as `make_network` takes it."""
        genotype = self.experts[k]["genotype"]
        return GIVEN if genotype is None else json.dumps(genotype)

    def genotype(self, k: int) -> dict | None:
        """The cells of an expert; None if the backbone has none."""
        cells = _cells_in(self._network_of(k))
        return None if cells is None else cells.genotype

    def _network_of(self, k: int) -> keras.Model:
        return self.network.of(self.cells_key(k))

    # As every model

    def activate(self, name):
        if name == self.active_task:
            return
        self.store_active()
        self.forget_active()
        k = None if name is None else self.expert_of(name)
        if k is not None:
            self.network.use(self.cells_key(k))
        super().activate(name)

    def own_variables(self):
        return self.network.variables

    def own_indices(self, name):
        if self.expert_of(name) is None:
            return range(0)
        return range(len(self.own_variables()))

    def own_values(self, name, memory):
        k, places = self.expert_of(name), self.own_indices(name)
        return {i: memory["expert", k, i] for i in places}

    def keep_own(self, name, index, value):
        self.memory["expert", self.expert_of(name), index] = value

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        k = self.expert_of(name)
        if k is None:  # it was added and not learned
            body = self.network.of(GIVEN)
            values = [None] * len(body.variables)
        else:
            body = self._network_of(k)
            values = [memory["expert", k, i] for i in range(len(body.variables))]
        head = self._head_of(name, memory, training)
        return Reading(body, body.variables, values, head)

    def template_variables(self):
        return self.network.variables  # of the cells that the active task has

    def active_body(self):
        return self.network.current()

    def plain_layers(self, body, stage):
        if isinstance(body, keras.Sequential):
            return super().plain_layers(body, stage)
        weights = [ops.convert_to_numpy(v) for v in body.weights]
        return body.get_config(), weights  # whose cells may be others

    def plain_network(self, layers):
        network = super().plain_network(layers)
        if isinstance(network, keras.Sequential) or _cells_in(network) is None:
            return network

        def call(step, *args, **kwargs):
            if isinstance(step.layer, CellNetwork):
                return step.layer.plain()(*args)
            return step(*args, **kwargs)

        graph = Graph(network)
        given = graph.symbolic_inputs()
        return keras.Model(given, graph.run(given, call))

    def task_keys(self, name):
        k = self.expert_of(name)
        keys = [key for key in self.memory.shared if key[:2] == ("expert", k)]
        return super().task_keys(name) | set(keys)

    def network_params(self):
        return sum(self.expert_params(k) for k in range(len(self.experts)))

    def task_params(self):
        keys = {self.head_key(name) for name in self.task_names}
        parts = [(*key, part) for key in keys for part in ("kernel", "bias")]
        return sum(self.memory[part].size for part in parts)

    def release(self, name):
        """An expert that no other task uses goes; the later ones move up."""
        k = self.expert_of(name)
        if k is None:
            return
        self.experts[k]["tasks"].remove(name)
        if self.experts[k]["tasks"]:
            return
        counts = [len(self._network_of(j).variables) for j in range(len(self.experts))]
        for i in range(counts[k]):
            self.memory.pop(("expert", k, i), None)
        for j in range(k + 1, len(self.experts)):
            for i in range(counts[j]):
                if ("expert", j, i) in self.memory:  # a part may have been loaded
                    value = self.memory.pop(("expert", j, i))
                    self.memory["expert", j - 1, i] = value
        del self.experts[k]

    def shared_with(self, name):
        found = super().shared_with(name)
        k = self.expert_of(name)
        if k is not None and len(self.experts[k]["tasks"]) > 1:
            users = [other for other in self.experts[k]["tasks"] if other != name]
            found[f"expert_{k}"] = users
        return found

    def structure(self):
        return {"experts": self.experts}

    def set_structure(self, structure):
        self._experts.list = structure["experts"]

    def log_initial(self, task):
        """Nothing to do: every expert is logged when it is allocated."""

    def summarize_network(self, print_fn, **kwargs):
        """Prints the experts, their sizes and their tasks."""
        del kwargs
        for k, expert in enumerate(self.experts):
            tasks = ", ".join(expert["tasks"])
            print_fn(f"expert_{k}: {self.expert_params(k):,} parameters, for {tasks}")


def _cells_in(network: keras.Model) -> CellNetwork | None:
    return next((x for x in network.layers if isinstance(x, CellNetwork)), None)


class _Experts:
    """The list of experts. A plain object, so that Keras does not track it."""

    def __init__(self):
        self.list: list[Expert] = []
