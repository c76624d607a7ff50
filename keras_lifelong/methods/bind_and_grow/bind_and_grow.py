"""BindAndGrow (L2BG): binds a task to a similar one, grows the layers in conflict.

Shaikh, Sinha: Learn to Bind and Grow Neural Structures, CODS-COMAD 2021. A new task is
first learned alone. How alike that network and those of earlier tasks represent its
examples, layer by layer, says which task to bind to and which layers to grow.

Where the paper's text and its published numbers contradict each other, there is a
switch: the text says that the most *dissimilar* layers grow, but only growing the most
similar ones first gives the published sizes (its Figure 6), and the first layer is the
one that pays off on permuted digits. That is the default, `grow_score="similarity"`.
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.bind_and_grow import similarity as rsa
from keras_lifelong.methods.bind_and_grow.representations import FEWEST
from keras_lifelong.methods.bind_and_grow.representations import Conflict
from keras_lifelong.methods.bind_and_grow.representations import Representations
from keras_lifelong.methods.bind_and_grow.retention import Retention
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.routes.joint_net import Node
from keras_lifelong.routes.parts import find_parts
from keras_lifelong.routes.routed import RoutedModel
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.hooks import retained

Share = Annotated[float, In(0, 1)]
Rank = Annotated[int, AtLeast(0)]


@register
class BindAndGrow(RoutedModel):
    """Binds each new task to an earlier one and grows some layers of their network.

    Of the layers that are not grown the task uses those of the task it is bound to,
    which may be an older task's still.

    Args:
        backbone: `keras.Sequential` or functional `keras.Model` of hidden layers, of
            any kind. Each layer with weights is a node wherever it stands, in a branch
            or a nested model, and one that is called several times is one node. Layers
            that are not trainable are never grown nor trained: all tasks share them.
        grow_coefficient: δ in [0, 1], or a dict of them by the name of the task: 0
            shares all layers, 1 grows all.
        retention: what becomes of shared layers while a new task is learned: "slow":
            they are trained with `slow_ratio` times the learning rate; "freeze": not at
            all; "same": as the new ones.
        slow_ratio: in (0, 1]; the paper gives none.
        grow_score: which layers are grown first: "similarity", the most similar (what
            was published), or "dissimilarity" (what the paper's text says).
        bind: "similar": to the task of the smallest conflict, as in the text; or
            "released": to that of the smallest similarity, as the authors' program.
        grow_init: what a grown layer begins with: "bound": the weights of the layer it
            replaces; "root": those that the first task has now; "independent": those of
            the network that learned the task alone; "fresh": newly drawn ones;
            "pretrained": those that `backbone` came with, where `pretrained`.
        normalization: "per_task": each task has its own scale, shift and statistics of
            batch normalisation, and of other layers their statistics, which nothing
            is decided about; normalisation then belongs to the layer before it. Under
            "freeze" earlier tasks stay what they are to the last bit. "shared": it is
            a layer as others are, whose statistics become those of the task that
            was learned last.
        parts: which layers are grown together, as one: lists of names of layers, of
            beginnings of their paths ("stage_1" is all of a nested model's), or of
            patterns ("block_1_*"); in a dict, by a name for each. The other layers are
            parts of their own. Not together with `groups`.
        groups: None: whole layers are grown. A number, at least 2: each layer is
            divided into so many groups of channels, each grown by itself. Channels of
            networks that were learned apart do not correspond, so that the scores of
            groups tell less than those of layers.
        candidates: None: a task may be bound to any earlier one. Or a dict of lists of
            their names, by the name of the task.
        bind_to: None, or a dict of the one to bind to, by the name of the task: nothing
            is compared to choose it.
        bind_rank: 0: the best task is bound to; 1: the next best, and so on; or a dict
            of such numbers by the name of the task, as a search tries them.
        random_growth: the paper's ablation: bound to a candidate drawn at random, and a
            number of layers drawn at random, from none to all, are grown. `bind_rank`
            and `grow_coefficient` then say nothing.
        random_layers: an ablation of ours: as many layers are grown as the nucleus
            holds, but drawn at random; the task is bound as ever.
        samples: N: examples on which layers are compared, at least 3.
        center: see `similarity.dissimilarities`.
        seed, name: see `LifelongModel`.
        pretrained: whether the weights that `backbone` comes with are what the network
            of the first task, and that of each task alone, begins with.

    Raises:
        ValueError: if an argument is of another type or range, naming it.

    Example:

    ```python
    model = kl.BindAndGrow(backbone, grow_coefficient=0.55)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), metrics=["accuracy"])
    result = model.fit_stream(kl.streams.get("split_cifar100"), epochs=5)
    model.routing
    ```
    """

    carries_sequences = True

    def __init__(
        self,
        backbone,
        grow_coefficient: Share | dict[str, Share] = 0.55,
        retention: Literal["slow", "freeze", "same"] = "slow",
        slow_ratio: Annotated[float, In(0, 1, open_low=True)] = 0.1,
        grow_score: Literal["similarity", "dissimilarity"] = "similarity",
        bind: Literal["similar", "released"] = "similar",
        grow_init: Literal[
            "bound", "root", "independent", "fresh", "pretrained"
        ] = "bound",
        normalization: Literal["per_task", "shared"] = "per_task",
        parts: dict[str, list[str]] | list[list[str]] | None = None,
        groups: Annotated[int, AtLeast(2)] | None = None,
        candidates: dict[str, list[str]] | None = None,
        bind_to: dict[str, str] | None = None,
        bind_rank: Rank | dict[str, Rank] = 0,
        random_growth: bool = False,
        random_layers: bool = False,
        samples: Annotated[int, AtLeast(FEWEST)] = 500,
        center: bool = False,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(BindAndGrow, locals())
        if groups is not None and parts is not None:
            raise ValueError(
                "`parts` joins layers and `groups` divides them: give one of the two. "
                f"Received: parts={parts!r}, groups={groups!r}"
            )
        if random_growth and random_layers:
            raise ValueError(
                "`random_growth` draws the layers, too: give one of it and "
                "`random_layers`. Received: True for both"
            )
        super().__init__(backbone, seed, pretrained, name, options)
        self.recall = None  # of what was learned before; see `search.grow_sequence`
        o, net = self.options, self.joint_net
        self.representations = Representations(net, o.samples, o.center, self.seed)
        self.retention = Retention(net, o.retention, o.slow_ratio, self.feature_loss)

    def parts_of(self, backbone):
        o = self.options
        by_task = o.normalization == "per_task"
        return find_parts(backbone, o.groups, o.parts, by_task)

    # Algorithm 1

    def learn(self, task):
        name, net = task.name, self.joint_net
        if self.options.grow_init == "pretrained" and self.pretrained_nodes() is None:
            raise ValueError(
                "`grow_init` may be 'pretrained' where `pretrained` is True. Received: "
                "a backbone whose weights do not count"
            )
        if name in net.routing:  # a task that comes back keeps its nodes
            yield from self.train(task, net.shared(name))
            return
        alone, head = yield from self.learn_alone(task)  # the task-net G_t, by itself
        if not net.routing:  # the first
            self.route(name, [name] * len(net.parts), alone)
            self.set_head(head)
            self.log_nodes(name, "initial", range(len(net.parts)))
            return
        others = {other: net.nodes_of(other) for other in self.candidates(name)}
        conflicts = self.representations.conflicts(task, alone, others)
        bound = self.choose(name, conflicts)
        grown, why = self.choose_parts(name, conflicts[bound])
        owners, nodes = list(net.routing[bound]), net.nodes_of(bound)
        fresh = self.grown_nodes(name, bound, alone)
        made = sorted([*grown, *net.by_task])
        for u in made:
            owners[u], nodes[u] = name, fresh[u]
        self.route(name, owners, nodes)
        names = [net.parts[u].name for u in net.decided]
        told = {"to": bound, "units": names, "conflicts": conflicts, **why}
        self.log(name, "joint_net", "bind", 0, **told)
        self.log_nodes(name, "grow", made, conflicts[bound]["rho"], **why)
        shared = [u for u in range(len(owners)) if u not in made]
        yield from self.learn_together(task, shared)

    def log_nodes(self, name, kind, parts, rho=None, **why):
        """Logs a node of the task's own for each of these parts.

        Args:
            name, kind: of the task, and of what was done.
            parts: numbers of parts.
            rho: ρ of those that are decided about, where one was.
            why: of the decision.
        """
        net = self.joint_net
        for u in parts:
            own = {}
            if rho is not None and u in net.decided:
                place = net.decided.index(u)
                own["rho"] = rho[place]
                if "probability" in why:
                    own["probability"] = why["probability"][place]
            self.log(name, net.parts[u].name, kind, net.params(u), **own)

    # The task alone

    def learn_alone(self, task):
        """Trains a network of the task's own; returns its nodes and its head.

        The active network and its head are afterwards as they were.
        """
        known = None if self.recall is None else self.recall.get(("alone", task.name))
        if known is not None:
            self.notes(task.name)["single_task"] = dict(known[2])
            return known[:2]
        start = self.get_active()
        self.joint_net.load(self.first_nodes("alone", task.name))
        if self.active_spec.head == "shared":  # it has learned already
            kernel = self.head.kernel
            drawn = heads.draw(*kernel.shape, self.seed, "alone", task.name)
            self.set_head([drawn, np.zeros(kernel.shape[-1:], "float32")])
        yield from self.train(task, [], "the task alone", owned=True)
        self.note_single(task)
        alone = self.joint_net.active_nodes()
        head = [ops.convert_to_numpy(v).copy() for v in self.head.variables]
        self.set_active(start)
        self.store_active()
        if self.recall is not None:
            single = self.notes(task.name)["single_task"]
            self.recall.put(("alone", task.name), (alone, head, single))
        return alone, head

    def note_single(self, task):
        """Writes down how good the active network is: a single-task net."""
        notes = self.notes(task.name)
        metric = self.main_metric.name
        notes["single_task"] = {
            split: self.score(task, split, main_only=True)[metric]
            for split in ("validation", "test")
            if getattr(task, split) is not None
        }

    def single_task_scores(self, split: str = "test") -> dict[str, float]:
        """The main metric of the networks that learned each task alone.

        With `metrics.multi_task_gain` they tell what learning together gained.
        """
        return {n: self.notes(n)["single_task"][split] for n in self.routing}

    # Bind

    def candidates(self, name) -> list[str]:
        """The tasks to which one may be bound, in the order they were learned."""
        fixed, listed = self.options.bind_to or {}, self.options.candidates or {}
        names = [fixed[name]] if name in fixed else listed.get(name, [*self.routing])
        unknown = [n for n in names if n not in self.routing]
        if unknown or not names:
            raise ValueError(
                f"Task {name!r} must be bound to one of {[*self.routing]}. "
                f"Received: {names}"
            )
        return [n for n in self.routing if n in names]

    def choose(self, name, conflicts: dict[str, Conflict]) -> str:
        """The task to bind to, by rank; of equals the earlier."""
        if self.options.random_growth:
            return str(self.drawn(name, "bound").choice(list(conflicts)))
        released = self.options.bind == "released"
        key: Literal["similarity_norm", "norm"]
        key = "similarity_norm" if released else "norm"
        order = sorted(conflicts, key=lambda other: conflicts[other][key])
        given = self.options.bind_rank
        rank = given.get(name, 0) if isinstance(given, dict) else given
        return order[min(rank, len(order) - 1)]

    # Grow

    def coefficient(self, name) -> float:
        """δ of a task."""
        given = self.options.grow_coefficient
        if not isinstance(given, dict):
            return given
        if name not in given:
            raise ValueError(
                f"`grow_coefficient` has no δ for task {name!r}. "
                f"Received: those of {sorted(given)}"
            )
        return given[name]

    def choose_parts(self, name, conflict: Conflict) -> tuple[list[int], dict]:
        """The nucleus of parts to grow, and what it was found by."""
        decided = self.joint_net.decided
        scores = np.array(conflict["conflict"])
        if self.options.grow_score == "similarity":
            scores = 1 - scores
        why: dict = {"probability": (scores / scores.sum()).tolist()}
        draw = self.drawn(name, "grown")
        if self.options.random_growth:
            count = int(draw.integers(len(decided) + 1))
        else:
            delta = self.coefficient(name)
            grown = [decided[i] for i in rsa.nucleus(scores, delta)]
            why = {"coefficient": delta, **why}
            if not self.options.random_layers:
                return grown, why
            count = len(grown)
        grown = sorted(draw.permutation(decided)[:count].tolist())
        return grown, {**why, "random": True}

    def drawn(self, name, what: str) -> np.random.Generator:
        """Draws what is random of a task's binding and growing."""
        return np.random.default_rng(derive_seed(self.seed, "random", what, name))

    def grown_nodes(self, name, bound, alone) -> list[Node]:
        """What every part would begin with, if it is grown."""
        how = self.options.grow_init
        if how == "independent":
            return alone
        if how == "fresh":
            return self.fresh_nodes("grown", name)
        if how == "pretrained":
            return self.pretrained_nodes() or []  # `learn` has asked for them
        source = bound if how == "bound" else next(iter(self.routing))
        return self.joint_net.nodes_of(source)

    # Together

    def learn_together(self, task, shared: list[int]):
        """Trains the task's nodes, of which some are shared, or recalls them."""
        if self.recall is None:
            yield from self.train(task, shared)
            return
        to = {e["task"]: e["why"]["to"] for e in self.growth if e["kind"] == "bind"}
        table = tuple(
            (name, to.get(name), *owners) for name, owners in self.routing.items()
        )
        known = self.recall.get(("together", table))
        if known is None:
            yield from self.train(task, shared)
            self.recall.put(("together", table), self.get_state())
            return
        log = self.growth  # how it came about may be another time another
        self.set_state(*known)
        self.growth[:] = log
        self.activate(task.name)

    def train(self, task, shared: list[int], name="training", owned=False):
        """Trains the active network, in which the parts `shared` are others' as well.

        Args:
            task: it learns.
            shared: parts that retention is for.
            name: of the phase.
            owned: whether a shared head is for this task alone.
        """
        retention = self.retention
        kept = retention.kept(shared)
        others_head = self.active_spec.head == "shared" and len(self.routing) > 1
        head = retention.factor if others_head and not owned else 1.0
        scales = retention.scales(shared)
        scales += [
            np.full((1,), head, "float32") for _ in self.head.trainable_variables
        ]
        yield self.phase(
            name,
            self.network.trainable_variables,
            loss=retention.loss(kept) or self.task_loss,
            after_step=retained,
            arguments={"scales": scales},
            seed=derive_seed(self.seed, name, task.name),
        )
        if kept:
            retention.put_back(kept)
            self.store_active()

    def feature_loss(self, y, features, weight):
        """The active head's mean loss on features (batch, width)."""
        return self.head_loss(y, self.head(features), weight)
