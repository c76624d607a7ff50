"""PathNet: paths through modules, found by tournaments; the best path is frozen.

Fernando, Banarse, Blundell, Zwols, Ha, Rusu, Pritzel, Wierstra: PathNet, Evolution
Channels Gradient Descent in Super Neural Networks, 2017.
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.graph import Graph
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.routes.joint_net import Node
from keras_lifelong.routes.lanes import LaneNet
from keras_lifelong.routes.lanes import in_lanes
from keras_lifelong.routes.parts import divided
from keras_lifelong.routes.parts import find_parts
from keras_lifelong.routes.routed import RoutedModel
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy

Path = list[list[int]]  # of each layer the numbers of its active modules, all different


@register
class PathNet(RoutedModel):
    """Evolves for each task a path through M modules a layer, and freezes it.

    A path has N active modules in each layer, of which what they give is summed. Of a
    population of paths two that are drawn are trained for a while; the better one
    replaces the other, each of its modules moved with a chance of 1 over their number,
    by -2 to 2. The best path is then trained on and frozen, and the modules of no
    frozen path are drawn anew. So nothing is forgotten. Once all modules of a layer are
    frozen, new tasks can but reuse them.

    A module is an instance of a layer with weights, with the activations and the batch
    normalisation that follow it; each is as wide as the layer, so that a path has
    about N times the backbone's weights.

    Departures: the fitness of a path is its training loss in the last epoch of its
    trial, which every kind of task has, not its accuracy. The best path is trained for
    the epochs of `fit` before it is frozen. Normalisation is each task's own, by lane.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        modules: M, of each layer, at least 1.
        active: N, of a path in each layer, at least 1 and at most M.
        population: paths, at least 2.
        generations: tournaments of a task, at least 1.
        trial_epochs: of each of the two paths, at least 1.
        combine: "sum", as in the paper, or "mean" of what active modules give.
        seed, name: see `LifelongModel`.
        pretrained: whether all modules begin with the backbone's weights.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    def __init__(
        self,
        backbone,
        modules: Annotated[int, AtLeast(1)] = 10,
        active: Annotated[int, AtLeast(1)] = 3,
        population: Annotated[int, AtLeast(2)] = 8,
        generations: Annotated[int, AtLeast(1)] = 10,
        trial_epochs: Annotated[int, AtLeast(1)] = 1,
        combine: Literal["sum", "mean"] = "sum",
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(PathNet, locals())
        if active > modules:
            raise ValueError(
                f"`active` must be at most `modules`, {modules}. Received: {active}"
            )
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        options = self.options
        self._lanes = in_lanes(backbone, options.active, options.combine)
        return super().build_network(self._lanes.network)

    def net_of(self, network, parts, memory):
        return LaneNet(self._lanes, parts, memory)

    def parts_of(self, backbone):
        return find_parts(backbone, by_task=True)

    def learn(self, task):
        name, net = task.name, self.joint_net
        if name in net.routing:  # a task that comes back keeps its path
            yield self.holding("training", net.shared(name))
            return
        pool = Pool(self, name)
        net.load(pool.first, net.by_task)
        path, loss = yield from self.evolve(name, pool)
        pool.enter(path)
        yield self.holding("training the path", pool.held(path))
        pool.keep(path)
        grown = [[m for m in path[i] if not pool.is_frozen(i, m)] for i in pool.layers]
        self.route(name, pool.owners(path, name), net.active_nodes())
        told = {net.layers[i]: path[i] for i in pool.layers}
        self.log(name, "joint_net", "path", 0, modules=told, loss=loss)
        kind = "initial" if len(net.routing) == 1 else "grow"
        for i in pool.layers:
            if grown[i]:
                count = len(grown[i]) * net.params(net.lanes_of[i][0])
                self.log(name, net.layers[i], kind, count, modules=grown[i])

    def evolve(self, name, pool):
        """Tournaments of two paths; returns that of the least loss, and the loss."""
        options = self.options
        rng = np.random.default_rng(derive_seed(self.seed, name, "paths"))
        layers = len(self.joint_net.layers)
        paths = [
            drawn(layers, options.modules, options.active, rng)
            for _ in range(options.population)
        ]
        losses: dict[int, float] = {}  # of those that were tried last as they are
        for generation in range(options.generations):
            first, second = (int(i) for i in rng.choice(len(paths), 2, replace=False))
            for i in (first, second):
                pool.enter(paths[i])
                held = pool.held(paths[i])
                phase = self.holding(f"tournament {generation + 1}", held)
                phase.epochs, phase.validate = options.trial_epochs, False
                result = yield phase
                pool.keep(paths[i])
                losses[i] = result.loss
            winner, loser = first, second
            if losses[second] < losses[first]:
                winner, loser = second, first
            paths[loser] = mutated(paths[winner], options.modules, rng)
            del losses[loser]
        best = min(losses, key=lambda i: losses[i])
        return paths[best], losses[best]

    def plain_layers(self, body, stage):
        del stage
        return body.get_config(), [ops.convert_to_numpy(v) for v in body.weights]


class Pool:
    """The modules of all layers while a task is learned: frozen ones, and others drawn.

    Args:
        model: a `PathNet`.
        name: of the task.

    Attributes:
        layers: numbers of the layers.
        first: nodes of the first module in every lane, for what is a task's own.
    """

    def __init__(self, model: PathNet, name: str):
        self.net = net = model.joint_net
        self.layers = range(len(net.layers))
        self._modules: dict[tuple[int, int], Node] = {}
        given = model.pretrained_nodes()
        for m in range(model.options.modules):
            if given is None:
                nodes = self._drawn(model, name, m)
            else:
                nodes = given
            if m == 0:
                self.first = nodes
            for i in self.layers:
                u = net.lanes_of[i][0]
                frozen = self.is_frozen(i, m)
                self._modules[i, m] = net.node(u, str(m)) if frozen else nodes[u]

    def _drawn(self, model, name, m) -> list[Node]:
        """A module of each layer, newly drawn, in every lane."""
        seed = derive_seed(model.seed, "module", name, m)
        graph = Graph(seeded_copy(model.backbone_copy(), seed))
        kept = dict(zip(graph.layers, divided(graph, by_task=True), strict=True))
        found = []
        for part, path in zip(self.net.parts, self.net.place, strict=True):
            variables = kept[path].own if part.by_task else kept[path].weights
            found.append([ops.convert_to_numpy(v).copy() for v in variables])
        return found

    def is_frozen(self, i: int, m: int) -> bool:
        """Whether module m of a layer is one of an earlier task's path."""
        return self.net.is_there(self.net.lanes_of[i][0], str(m))

    def owners(self, path: Path, name: str) -> list[str]:
        """The owner of each part's node on a path."""
        owners = [name] * len(self.net.parts)
        for i in self.layers:
            for u, m in zip(self.net.lanes_of[i], path[i], strict=True):
                owners[u] = str(m)
        return owners

    def enter(self, path: Path) -> None:
        """Copies the modules of a path into the network, one a lane."""
        nodes = list(self.first)
        for i in self.layers:
            for u, m in zip(self.net.lanes_of[i], path[i], strict=True):
                nodes[u] = self._modules[i, m]
        self.net.load(nodes, self.net.decided)

    def keep(self, path: Path) -> None:
        """Takes the modules of a path back as they were trained."""
        nodes = self.net.active_nodes()
        for i in self.layers:
            for u, m in zip(self.net.lanes_of[i], path[i], strict=True):
                if not self.is_frozen(i, m):
                    self._modules[i, m] = nodes[u]

    def held(self, path: Path) -> list[int]:
        """The parts of which a path has frozen modules."""
        return [
            u
            for i in self.layers
            for u, m in zip(self.net.lanes_of[i], path[i], strict=True)
            if self.is_frozen(i, m)
        ]


def drawn(layers: int, modules: int, active: int, rng: np.random.Generator) -> Path:
    """A path drawn at random."""
    return [rng.permutation(modules)[:active].tolist() for _ in range(layers)]


def mutated(path: Path, modules: int, rng: np.random.Generator) -> Path:
    """A path some of whose modules have moved by -2 to 2, to the next that is free.

    Args:
        path: it is not changed.
        modules: of a layer, in a circle.
        rng: each module moves with a chance of 1 over the number of them all.

    >>> path = mutated([[0, 1], [2, 0]], modules=3, rng=np.random.default_rng(0))
    >>> [len(set(active)) for active in path]
    [2, 2]
    """
    chance = 1 / sum(map(len, path))
    found = []
    for active in path:
        active = list(active)
        for k, m in enumerate(active):
            if rng.random() < chance:
                others = active[:k] + active[k + 1 :]
                m = int(m + rng.integers(-2, 3)) % modules
                while m in others:
                    m = (m + 1) % modules
                active[k] = m
        found.append(active)
    return found
