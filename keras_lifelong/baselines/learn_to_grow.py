"""LearnToGrow: of each layer a task reuses one, adapts one, or learns a new one.

Li, Zhou, Wu, Socher, Xiong: Learn to Grow, A Continual Structure Learning Framework for
Overcoming Catastrophic Forgetting, ICML 2019. Which of them is found by differentiable
architecture search over all layers that there are (section 3.2), and then learned.
"""

from __future__ import annotations

from typing import Annotated
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.checks import Above
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.routes.adapters import AdaptedNet
from keras_lifelong.routes.adapters import Adapters
from keras_lifelong.routes.choices import Choices
from keras_lifelong.routes.parts import find_parts
from keras_lifelong.routes.routed import RoutedModel
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams import columns
from keras_lifelong.training import hooks
from keras_lifelong.training import masks
from keras_lifelong.training.data import filled
from keras_lifelong.training.data import power_of_two
from keras_lifelong.training.importance import examples_of


@register
class LearnToGrow(RoutedModel):
    """Searches for each layer whether to reuse, to adapt or to grow, then learns that.

    A layer with weights is a choice among 2 n + 1: each of its n nodes as it is, each
    with an adapter beside it, and a new one. While α is searched what a layer gives is
    Σ softmax(α)_c of what the choices give; weights follow training data, α held-out
    data. Then the best choice of each layer is trained from the start. Reused nodes
    stay as they are (the paper's "fix"), so nothing is forgotten.

    An adapter of a kernel with places is a convolution of one place, as in the paper;
    of any other the product of two matrices; of a bias another one. Where it would be
    no smaller than the layer it is no choice.

    Departures: sums are of the choices' weights, which is the same for layers of
    products before their activation; of recurrent and attention layers it is not. In
    each step weights and α move together, by the gradients of a batch each (first
    order); the paper takes turns. Adapted nodes are not adapted again. Reused layers
    are not tuned, and nothing is added to the loss for the size of a choice.
    Normalisation and statistics are each task's own. Without validation data the
    training data take their place.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        search_epochs: at least 1. None: as those of `fit`.
        search_batch: held-out examples of a step, at least 1.
        search_rate: how many times the learning rate α moves with, above 0.
        samples: how many held-out examples are taken, at least 1.
        rank: of the adapter of a kernel without places, at most, at least 1.
        parts: which layers are one choice, as in `BindAndGrow`.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    task_forms = (("adapter", str, int, int, int),)

    def __init__(
        self,
        backbone,
        search_epochs: Annotated[int, AtLeast(1)] | None = None,
        search_batch: Annotated[int, AtLeast(1)] = 64,
        search_rate: Annotated[float, Above(0)] = 10.0,
        samples: Annotated[int, AtLeast(1)] = 1000,
        rank: Annotated[int, AtLeast(1)] = 4,
        parts: dict[str, list[str]] | list[list[str]] | None = None,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(LearnToGrow, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def parts_of(self, backbone):
        return find_parts(backbone, together=self.options.parts, by_task=True)

    def net_of(self, network, parts, memory):
        net = AdaptedNet(network, parts, memory, self.options.rank)
        self._rooms: dict[int, Choices] = {}
        self._choices: Any = None  # the one that is searched
        self._adapters = Adapters(net.all_forms, 1)  # of the task that is trained
        place = {id(v): i for i, v in enumerate(network.trainable_variables)}
        self._parts = [u for u in net.decided for _ in net.variables(u)]
        self._places = [place[id(v)] for u in net.decided for v in net.variables(u)]
        return net

    def learn(self, task):
        name, net = task.name, self.joint_net
        if name not in net.routing:  # a task that comes back has chosen
            fresh, start = self.first_nodes("new", name), self.get_active()
            owners, nodes = [name] * len(net.parts), list(fresh)
            chosen: dict = {u: ("new", None) for u in net.decided}
            if net.routing:
                chosen = yield from self.search(task, fresh)
            self.set_active(start)
            for u, (how, owner) in chosen.items():
                if how == "new":
                    continue
                owners[u], nodes[u] = owner, net.node(u, owner)
                if how == "adapt":
                    net.set_adapter(name, u, net.initial_adapter(u, self.seed, name))
            self.route(name, owners, nodes)
            self.log_choices(name, chosen)
        yield self.settling(name)

    def log_choices(self, name, chosen):
        """Logs what is new, and what is adapted."""
        net = self.joint_net
        first = len(net.routing) == 1
        for u, (how, owner) in chosen.items():
            part = net.parts[u].name
            if how == "new":
                self.log(name, part, "initial" if first else "grow", net.params(u))
            elif how == "adapt":
                self.log(name, part, "adapt", net.adapter_params(u), of=owner)

    # Search

    def nodes_there(self, u: int) -> list[str]:
        """The owners of a part's nodes, in the order in which they were learned."""
        return list(dict.fromkeys(owners[u] for owners in self.routing.values()))

    def search(self, task, fresh):
        """Finds of each part what to do, and with whose node."""
        net = self.joint_net
        there = {u: self.nodes_there(u) for u in net.decided}
        room = power_of_two(max(map(len, there.values())))
        if room not in self._rooms:
            self._rooms[room] = Choices(net, room)
        choices = self._choices = self._rooms[room]
        choices.begin(self.seed, task.name)
        net.load(fresh)
        yield self.phase(
            "searching the structure",
            [*self.network.trainable_variables, *choices.variables],
            loss=self.mixed_loss,
            gradients_with=self.on_held_out,
            after_step=self.faster,
            state=[*self.active_variables(), *choices.variables, choices.turn],
            arguments={
                **choices.arguments(there),
                "held": self.held_out(task),
                "rate": np.float32(self.options.search_rate),
            },
            epochs=self.options.search_epochs,
            validate=False,
        )
        chosen, why = choices.best(there)
        self.log(task.name, "joint_net", "search", 0, parts=why)
        return chosen

    def held_out(self, task) -> dict:
        """Examples by which α is learned."""
        split = "train" if task.validation is None else "validation"
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "held out"))
        x, y = examples_of(task, self.options.samples, rng, split=split)
        x = columns.plain(columns.each(filled, x))  # few sizes to compile
        return {"x": x, "y": filled(y), "count": np.int32(len(y))}

    def mixed_loss(self, x, y, weight, arguments):
        """The loss of all choices at once."""
        features = masks.call_with(
            self.network, self._choices.weights(arguments), x, training=True
        )
        return self.head_loss(y, self.head(features), weight)

    def on_held_out(self, gradients, weights, arguments, gradients_of):
        """α's gradient is that of the next held-out examples."""
        del weights
        held, alphas = arguments["held"], self._choices.alphas
        size = self.options.search_batch
        rows = self._choices.turn * size + ops.arange(size, dtype="int32")
        rows = ops.mod(rows, held["count"])
        x, y = keras.tree.map_structure(
            lambda a: ops.take(a, rows, axis=0), (held["x"], held["y"])
        )

        def objective():
            loss = self.mixed_loss(x, y, ops.ones((size,)), arguments)
            return loss, loss

        start = len(gradients) - len(self.head.trainable_variables) - len(alphas)
        changed = list(gradients)
        changed[start : start + len(alphas)] = gradients_of(objective, alphas)[1]
        return changed

    def faster(self, before, weights, arguments, learning_rate):
        """α moves `search_rate` times as far; other held-out examples are next."""
        del learning_rate
        after, alphas = list(weights), self._choices.alphas
        start = len(after) - len(self.head.trainable_variables) - len(alphas)
        for i in range(start, start + len(alphas)):
            step = ops.convert_to_tensor(weights[i]) - before[i]
            after[i] = before[i] + arguments["rate"] * step
        turn = self._choices.turn
        turn.assign(ops.mod(turn + 1, arguments["held"]["count"]))
        return after

    # Training what was chosen

    def settling(self, name):
        """The phase that trains what is a task's alone: its nodes and its adapters."""
        net = self.joint_net
        adapted = net.adapted(name)
        held = {*net.shared(name), *adapted}
        if not adapted:
            return self.holding("training", held)
        arrays = []
        for u in net.decided:
            with_it = u in adapted
            mine = net.adapter(name, u) if with_it else net.initial_adapter(u, 0)
            arrays += [a[None] for parts in mine for a in parts]
        adapters = self._adapters.variables
        for variable, value in zip(adapters, arrays, strict=True):
            variable.assign(value)
        trained = [*self.network.trainable_variables, *adapters]
        still = {id(v): np.zeros(1) for u in held for v in net.variables(u)}
        for u, variables in zip(
            self._parts, self._adapters.by_form(adapters), strict=True
        ):
            if u not in adapted:
                still |= {id(v): np.zeros(1) for v in variables}
        masked = hooks.masked([*trained, *self.head.trainable_variables], still)
        bases = [v for u in net.decided for v in net.node(u, self.routing[name][u])]
        return self.phase(
            "training",
            trained,
            loss=self.adapted_loss,
            gradients=masked["gradients"],
            after_step=hooks.chain(masked["after_step"], self.compose),
            arguments={
                **masked["arguments"],
                "bases": bases,
                "adapted": [np.float32(u in adapted) for u in self._parts],
            },
            state=[*self.active_variables(), *adapters],
            publish=self.keep_adapters,
        )

    def under_adapters(self, weights, arrays, arguments) -> list:
        """The weights of each part's variables, with adapters where there are any."""
        changes = self._adapters.changes(arrays)
        rows = zip(
            self._places, changes, arguments["bases"], arguments["adapted"], strict=True
        )
        return [
            ops.where(adapted > 0, base + change[0], ops.convert_to_tensor(weights[i]))
            for i, change, base, adapted in rows
        ]

    def adapted_loss(self, x, y, weight, arguments):
        """The task's loss, of nodes with their adapters."""
        variables = self.network.trainable_variables
        values = self.under_adapters(variables, self._adapters.variables, arguments)
        pairs = zip(self._places, values, strict=True)
        replaced = {id(variables[i]): value for i, value in pairs}
        features = masks.call_with(self.network, replaced, x, True)
        return self.head_loss(y, self.head(features), weight)

    def compose(self, before, weights, arguments, learning_rate):
        """What is adapted is its node with the adapter in the network, too."""
        del before, learning_rate
        after, count = list(weights), len(self.network.trainable_variables)
        arrays = weights[count : count + len(self._adapters.variables)]
        values = self.under_adapters(weights, arrays, arguments)
        for i, value in zip(self._places, values, strict=True):
            after[i] = value
        return after

    def keep_adapters(self) -> None:
        """Copies the adapters that are trained to memory."""
        net, name = self.joint_net, self.active_task
        arrays = iter(self._adapters.by_form(self._adapters.variables))
        for u in net.decided:
            mine = [next(arrays) for _ in net.variables(u)]
            if name is not None and u in net.adapted(name):
                values = [[ops.convert_to_numpy(v)[0] for v in parts] for parts in mine]
                net.set_adapter(name, u, values)

    # As every model

    def check_state(self, config, shapes):
        super().check_state(config, shapes)
        self.joint_net.check_adapters(list(config["tasks"]), shapes)
