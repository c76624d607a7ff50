"""HAT: Overcoming Catastrophic Forgetting with Hard Attention to the Task.

Serrà, Surís, Miron, Karatzoglou, ICML 2018: a task has an embedding e of each unit, and
a gate a = σ(s e) on it (Eq. 1); weights between units that earlier tasks use move less,
g' = [1 - min(a_i^{<t}, a_j^{<t})] g (Eq. 2), and new tasks are to use few more (Eq. 5).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training.gates import Gates
from keras_lifelong.training.layer_losses import refuse_constraints

MOST_E, MOST_SE = 6.0, 50.0  # |e| is held to the first, |s e| in a cosh to the second


class Attention:
    """The embeddings of the active task, and where a step is in its epoch."""

    def __init__(self, units: list[int]):
        self.embeddings = [
            keras.Variable(np.zeros(n, "float32"), name=f"embedding_{i}")
            for i, n in enumerate(units)
        ]
        self.batch = keras.Variable(0, dtype="int32", trainable=False, name="batch")


@dataclasses.dataclass
class Gated:
    """What a plain model with gates is made of.

    Attributes:
        layers: by path an ordinary layer, not built, and its arrays.
        gates: of each gated layer (units,).
    """

    layers: dict[str, tuple[Any, list[np.ndarray]]]
    gates: list[np.ndarray]


@register
class HAT(LifelongModel):
    """Gates units for each task, and holds what earlier tasks' units compute.

    In each epoch s goes from 1 / s_max to s_max, a batch at a time (Eq. 3), and the
    gradient of e is set right for it (Eq. 4). A task is used with s_max. Gates are at
    dense and convolutional layers, after the activations and the batch normalisation
    that follow; what a layer is given by no gated unit counts as used by all tasks.

    The paper scales gradients; here the whole step is scaled, momentum and adaptive
    rates included: of plain SGD that is the same. Normalisation is each task's own.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        s_max: at least 1; the paper's is 400.
        strength: c, how much new units cost, at least 0; the paper's is 0.75.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if there is a
            trained layer that is neither dense, convolutional nor normalisation, or one
            whose units are not on the last axis, or mixed by its activation; before a
            task is trained, if it is not known how many batches its data have.
    """

    def __init__(
        self,
        backbone,
        s_max: Annotated[float, AtLeast(1)] = 400.0,
        strength: Annotated[float, AtLeast(0)] = 0.75,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(HAT, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        self._gates = Gates(backbone, type(self).__name__)
        refuse_constraints(
            type(self).__name__,
            [v for layer in self._gates.layers.values() for v in layer.weights],
            "each of its numbers takes a part of its step",
            (keras.constraints.NonNeg,),
        )
        self._attention = Attention(self._gates.units)
        self._steps: int | None = None  # batches of an epoch
        return backbone

    # A task has its embeddings, and its normalisation

    def own_variables(self):
        return [*self._attention.embeddings, *self._gates.own]

    def begin_task(self, name):
        """Draws e from a normal distribution."""
        rng = np.random.default_rng(derive_seed(self.seed, name, "attention"))
        drawn = [rng.normal(size=n).astype("float32") for n in self._gates.units]
        self._drawn = drawn

    def initial_own(self, index, variable):
        if index < len(self._gates.units):
            return self._drawn[index]
        return super().initial_own(index, variable)

    def attention(self, name: str) -> list[np.ndarray]:
        """a of each gated layer for a task, (units,) in [0, 1]."""
        own = self.memory.records[name].own
        e = [own[i].astype("float64") for i in range(len(self._gates.units))]
        s = self.options.s_max
        return [(0.5 * (1 + np.tanh(s * x / 2))).astype("float32") for x in e]

    def uses(self, name: str) -> list[np.ndarray]:
        """Of each unit how far a task needs it as it is, (units,) in [0, 1]."""
        return self.attention(name)

    def used(self, names: list[str] | None = None) -> list[np.ndarray]:
        """a^{<t}: of each unit the most that a task needs it; 0 where there is none.

        Args:
            names: of the tasks that count. None: all.
        """
        found = [np.zeros(n, "float32") for n in self._gates.units]
        for name in self.memory.records if names is None else names:
            pairs = zip(found, self.uses(name), strict=True)
            found = [np.maximum(most, a) for most, a in pairs]
        return found

    # Learning

    def check_settings(self, task, settings):
        steps, data, size = settings.steps_per_epoch, task.train, settings.batch_size
        if steps is None and is_dataset(data):
            steps = data.count_batches(size)
            if steps is None:
                raise ValueError(
                    f"{type(self).__name__} anneals s over the batches of an epoch: "
                    "`steps_per_epoch` must say how many there are. Task "
                    f"{task.name!r} is a data set of unknown length."
                )
        self._steps = -(-len(data[1]) // size) if steps is None else steps

    def learn(self, task):
        others = [name for name in self.task_names if name != task.name]
        yield self.gated_phase(self.used(others), self.used(others), self.gated_loss)

    def gated_phase(self, used, held, loss, more=()):
        """The training of a task and its gates.

        Args:
            used: of each unit how far it is used: as far it costs nothing.
            held: of each unit how far weights between such units are held.
            loss: a hook.
            more: further variables that are trained.
        """
        embeddings, batch = self._attention.embeddings, self._attention.batch
        batch.assign(0)
        return self.phase(
            "training with attention",
            [*self.network.trainable_variables, *embeddings, *more],
            loss=loss,
            penalty=self.sparsity,
            gradients=self.compensate,
            after_step=self.hold,
            state=[*self.active_variables(), batch],
            arguments={
                "steps": np.int32(self._steps),
                "used": used,
                "free": [[1 - p for p in parts] for parts in self._gates.between(held)],
            },
        )

    def scale(self, arguments):
        """s of the batch b of B: 1 / s_max + (s_max - 1 / s_max) (b - 1) / (B - 1)."""
        most, steps = self.options.s_max, ops.convert_to_tensor(arguments["steps"])
        b = ops.cast(ops.mod(self._attention.batch, steps), "float32")
        last = ops.cast(steps, "float32") - 1
        part = ops.where(last > 0, b / ops.maximum(last, 1.0), 1.0)
        return 1 / most + (most - 1 / most) * part

    def gates(self, s) -> list:
        """a = σ(s e) of each layer."""
        return [
            ops.sigmoid(s * ops.convert_to_tensor(e))
            for e in self._attention.embeddings
        ]

    def gated(self, x, gates):
        """Features while a task is learned, under gates."""
        return backend.by_rows(
            lambda rows: self._gates.run(rows, gates, training=True), x
        )

    def gated_loss(self, x, y, weight, arguments):
        gates = self.gates(self.scale(arguments))
        features = self.gated(x, gates)
        return self.head_loss(y, self.head(features), weight)

    def sparsity(self, weights, arguments):
        """c Σ a (1 - a^{<t}) / Σ (1 - a^{<t})."""
        del weights
        new, left = ops.zeros(()), ops.zeros(())
        gates = self.gates(self.scale(arguments))
        for a, used in zip(gates, arguments["used"], strict=True):
            new, left = new + ops.sum(a * (1 - used)), left + ops.sum(1 - used)
        return self.options.strength * new / ops.maximum(left, 1e-6)

    def compensate(self, gradients, weights, arguments):
        """q' = s_max (cosh(s e) + 1) / (s (cosh(e) + 1)) q, of the embeddings."""
        s, most = self.scale(arguments), self.options.s_max
        mine = {id(e) for e in self._attention.embeddings}
        found = []
        for gradient, e in zip(gradients, weights, strict=True):
            if id(e) in mine:
                e = ops.convert_to_tensor(e)
                wide = ops.cosh(ops.clip(s * e, -MOST_SE, MOST_SE)) + 1
                gradient = gradient * most * wide / (s * (ops.cosh(e) + 1))
            found.append(gradient)
        return found

    def hold(self, before, weights, arguments, learning_rate):
        """θ moves by the part 1 - min(a_i^{<t}, a_j^{<t}) of its step."""
        del learning_rate
        after, place = [ops.convert_to_tensor(w) for w in weights], {}
        for i, v in enumerate(weights):
            place[id(v)] = i
        layers = self._gates.layers.values()
        for layer, free in zip(layers, arguments["free"], strict=True):
            for v, part in zip(layer.trainable_variables, free, strict=True):
                i = place[id(v)]
                after[i] = before[i] + part * (after[i] - before[i])
        for e in self._attention.embeddings:
            after[place[id(e)]] = ops.clip(after[place[id(e)]], -MOST_E, MOST_E)
        self._attention.batch.assign(self._attention.batch + 1)
        return after

    # Using a task

    def through(self, body, x, training=False):
        del body
        return self._gates.run(x, self.gates(self.options.s_max), training)

    def active_variables(self):
        return [*super().active_variables(), *self._attention.embeddings]

    def template_variables(self):
        return [*super().template_variables(), *self._attention.embeddings]

    def plain_layers(self, body, stage):
        del body, stage
        gates = self.gates(self.options.s_max)
        found: dict[str, tuple[Any, list[np.ndarray]]] = {}
        for path, layer in self._gates.graph.layers.items():
            arrays = []
            if isinstance(layer, keras.layers.Layer):
                arrays = [ops.convert_to_numpy(v) for v in layer.weights]
                config = {**layer.get_config(), "name": path.replace("/", "_")}
                layer = type(layer).from_config(config)
            found[path] = layer, arrays
        return Gated(found, [ops.convert_to_numpy(a) for a in gates])

    def plain_network(self, layers):
        """The layers, and a `Rescaling` wherever a gate is."""
        network = self.plain_passes(layers, [layers.gates])
        if not self._gates.graph.is_chain:
            return network
        return keras.Sequential([*network.inputs, *network.layers[1:]])

    def plain_passes(self, gated: Gated, passes: list) -> keras.Model:
        """A plain model that goes through the same layers under several gates.

        Args:
            gated: its layers, not built.
            passes: of each output of the model the gates of each gated layer, (units,).
        """
        graph, made = self._gates.graph, list(gated.layers.values())
        names, gated_paths = list(gated.layers), list(self._gates.layers)
        count = [0] * len(gated_paths)

        def call(step, *args, **kwargs):
            return made[names.index(step.path)][0](*args, **kwargs)

        def output(inputs, gates):
            def gate(tensor, i):
                path, count[i] = gated_paths[i], count[i] + 1
                name = f"{path}_gate_{count[i]}".replace("/", "_")
                dtype, scale = gated.layers[path][0].dtype_policy, gates[i].tolist()
                return keras.layers.Rescaling(scale, dtype=dtype, name=name)(tensor)

            return self._gates.run(inputs, gates, call=call, gate=gate)

        inputs = graph.symbolic_inputs()
        outputs = [output(inputs, gates) for gates in passes]
        for layer, arrays in made:
            if arrays:
                layer.set_weights(arrays)
        return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs)
