"""GeneratedModel: whole sets of parameters, kept in the weights of a hypernetwork."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers import hypernetwork as hypernetworks
from keras_lifelong.methods.ari.stored import Parameters
from keras_lifelong.methods.ari.stored import StoredSets
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.state import AllInMemory
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reseeded
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training.data import filled
from keras_lifelong.training.distillation import features_with
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.weight_decay import decay

GENERATED, DRAWN = "generated", "drawn"


class GeneratedModel(StoredSets, AllInMemory, LifelongModel):
    """A `LifelongModel` that keeps sets of parameters in a hypernetwork.

    The network and head are where a set is put to be used; nothing is learned there
    that lasts. What lasts is the hypernetwork, what batch normalisation saw (a vector
    for each slot), some examples of each task, and what a subclass adds to `memory`.
    A task is used by fine-tuning on its examples a set that `choose` names, each time
    anew and never written back, so that tasks take no memory but for their examples.

    The model's `options` give: memory_budget, exemplars, outputs, head_bias,
    hypernetwork, adaptation, adaptation_scale, weight_decay, storing_steps,
    storing_rate, function.
    """

    def build_network(self, backbone):
        self._store = _Store()
        return backbone

    # The slots

    @property
    def slots(self) -> list[dict]:
        """Of each slot in use: "task" it was last trained on, "source" of its set."""
        return self._store.slots

    @property
    def hypernetwork(self) -> hypernetworks.Hypernetwork:
        """The layer that generates the sets; it is made for the first task."""
        if self._store.hypernetwork is None:
            raise ValueError("The hypernetwork is made when the first task is learned.")
        return self._store.hypernetwork

    @property
    def outputs_per_set(self) -> int:
        """Outputs of the head in every set; tasks of fewer classes use the first."""
        return self.options.outputs or next(iter(self._book.tasks.values())).units

    def make_hypernetwork(self):
        """Makes the hypernetwork, freshly drawn from the model's seed."""
        shapes = [tuple(v.shape) for v in self.network.trainable_variables]
        offsets = [float(v.name == "gamma") for v in self.network.trainable_variables]
        shapes.append((self.feature_width, self.outputs_per_set))
        if self.options.head_bias:
            shapes.append((self.outputs_per_set,))
        offsets += [0.0] * (len(shapes) - len(offsets))
        given = dict(self.options.hypernetwork)
        kind = given.pop("name")
        self._store.hypernetwork = hypernetworks.get(
            kind,
            shapes,
            self.options.memory_budget,
            offsets=offsets,
            seed=derive_seed(self.seed, "hypernetwork"),
            **given,
        )

    def generated(self, slot: int) -> Parameters:
        """The set of parameters in a slot."""
        statistics = [
            self.memory[f"statistics/{i}"][slot] for i in range(len(self.statistics))
        ]
        return Parameters(
            self.hypernetwork.generate(slot),
            statistics,
            self.hypernetwork.embeddings(slot),
            f"slot {slot}",
        )

    def drawn(self, *seed_parts, initializer: str = GENERATED) -> Parameters:
        """A new set.

        Args:
            seed_parts: what it is drawn from.
            initializer: `GENERATED`: what a slot of newly drawn embeddings would hold,
                which has something of all sets that are stored; or the name of a Keras
                initializer for the kernels.
        """
        h = self.hypernetwork
        embeddings = h.draw_embeddings(self.seed, *seed_parts)
        if initializer == GENERATED:
            values = h.generate_from(embeddings)
        else:
            values = [
                _initial(initializer, shape, offset, self.seed, *seed_parts, i)
                for i, (shape, offset) in enumerate(
                    zip(h.shapes, h.offsets, strict=True)
                )
            ]
        return Parameters(
            values,
            [  # a mean of 0, a variance of 1
                np.full(v.shape, "variance" in v.name, "float32")
                for v in self.statistics
            ],
            embeddings,
            DRAWN,
        )

    # A set in use

    def put(self, parameters: Parameters):
        """Makes a set of parameters that of the active network and head."""
        count = len(self.network.trainable_variables)
        for variable, value in zip(
            self.network.trainable_variables, parameters.values[:count], strict=True
        ):
            variable.assign(value)
        for variable, value in zip(self.statistics, parameters.statistics, strict=True):
            variable.assign(value)
        units = self.active_spec.units
        self.head.kernel.assign(parameters.values[count][:, :units])
        bias = np.zeros(units, "float32")
        if self.options.head_bias:
            bias = parameters.values[count + 1][:units]
        self.head.bias.assign(bias)

    def taken(self, start: Parameters, source: str) -> Parameters:
        """The set in use, which began as `start`: outputs of no class stay as there."""
        network = [
            ops.convert_to_numpy(v).copy() for v in self.network.trainable_variables
        ]
        kernel = start.values[len(network)].copy()
        units = self.active_spec.units
        kernel[:, :units] = ops.convert_to_numpy(self.head.kernel)
        values = [*network, kernel]
        if self.options.head_bias:
            bias = start.values[-1].copy()
            bias[:units] = ops.convert_to_numpy(self.head.bias)
            values.append(bias)
        statistics = [ops.convert_to_numpy(v).copy() for v in self.statistics]
        return Parameters(values, statistics, start.embeddings, source)

    def trained_variables(self) -> list:
        """What of a set the active task trains."""
        head = [self.head.kernel, *([self.head.bias] if self.options.head_bias else [])]
        return [*self.network.trainable_variables, *head]

    def accuracy(self, x, y) -> float:
        """Accuracy of the set in use on data of the active task."""
        return accuracy(self.trainer.forward(self.logits, x), y)

    @property
    def statistics(self) -> list:
        """Variables of the network that follow what it sees: of normalisation."""
        return without_seed_states(self.network.non_trainable_variables)

    # Examples

    def keep_exemplars(self, task):
        """Keeps some training examples of a task, and fewer of the others than before.

        The budget is one for all tasks; each has the same part of it, its classes in
        turn.
        """
        x, y = np.asarray(task.train[0], "float32"), np.asarray(task.train[1])
        rng = np.random.default_rng(derive_seed(self.seed, "exemplars", task.name))
        labels = y.reshape(-1)
        groups = [
            rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)
        ]
        place = np.concatenate([np.arange(len(g)) for g in groups])
        order = np.concatenate(groups)[np.argsort(place, kind="stable")]
        self.memory[f"exemplars/{task.name}/x"] = x[order]
        self.memory[f"exemplars/{task.name}/y"] = y[order]
        names = [n for n in self.task_names if f"exemplars/{n}/x" in self.memory]
        each = max(self.options.exemplars // len(names), 1)
        for name in names:
            for part in ("x", "y"):
                key = f"exemplars/{name}/{part}"
                self.memory[key] = self.memory[key][:each].copy()

    def exemplars(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The examples kept of a task."""
        return tuple(self.memory[f"exemplars/{name}/{part}"] for part in ("x", "y"))

    # What a set answers

    def outputs_under(self, parameters: Parameters, x) -> np.ndarray:
        """Outputs (n, outputs) of a set of parameters, whatever is in use."""
        rows = ops.convert_to_tensor(filled(np.asarray(x, "float32")))
        logits = self._outputs(parameters.values, parameters.statistics, rows)
        return ops.convert_to_numpy(logits)[: len(x)]

    def _outputs(self, values, statistics, x, training: bool = False):
        """Outputs of the network and head that these tensors are."""
        count = len(self.network.trainable_variables)
        of = dict(
            zip(map(id, self.network.trainable_variables), values[:count], strict=True)
        )
        of |= dict(zip(map(id, self.statistics), statistics, strict=True))
        ordered = [of.get(id(v), v) for v in self.network.variables]
        features = features_with(self.network, ordered, x, training)
        return self.head_outputs(features, values[count:])

    def head_outputs(self, features, head):
        """Outputs of a head that is a kernel and, if sets have one, a bias."""
        logits = ops.matmul(features, ops.convert_to_tensor(head[0]))
        return logits + head[1] if self.options.head_bias else logits

    # A task in use

    def choose(self, name: str) -> Parameters:
        """The set from which a task is to be adapted."""
        raise NotImplementedError(f"{type(self).__name__} chooses a set.")

    def adapt(self, name: str, parameters: Parameters, epochs: int | None = None):
        """Puts a set in use and fine-tunes it on the examples of the active task."""
        self.put(parameters)
        epochs = self.options.adaptation if epochs is None else epochs
        if epochs == 0:
            return
        x, y = self.exemplars(name)
        phase = self.set_phase(
            "adaptation", data=(x, y), epochs=epochs, batch_size=10, after_step=_shorter
        )
        scale = 1.0 if parameters.source == DRAWN else self.options.adaptation_scale
        phase.arguments["scale"] = np.float32(scale)
        self.trainer.run_alone(phase, derive_seed(self.seed, "adaptation", name))

    def set_phase(self, name: str, **kwargs) -> Phase:
        """A phase that trains a set of parameters on the active task."""
        arguments = {"weight_decay": np.float32(self.options.weight_decay)}
        return Phase(
            name,
            self.trained_variables(),
            loss=self.task_loss,
            gradients=decay,
            arguments=arguments,
            **kwargs,
        )

    def use(self, name: str):
        """Makes a task the active one, with whatever parameters are in use."""
        super().activate(name)

    def activate(self, name):
        if name == self.active_task:
            return
        self.use(name)
        if name is not None and self.slots and f"exemplars/{name}/x" in self.memory:
            self.adapt(name, self.choose(name))

    def store_active(self):
        """Nothing to do: what is in the active network does not last."""

    def head_key(self, name):
        return f"head/{self._book.tasks[name].units}"  # a place, no task's own

    def log_initial(self, task):
        """Lets go of what is in use: the task is used from its examples from now on."""
        self.forget_active()

    # What it holds

    def remember(self, what: str, variables):
        """Copies variables to memory, from which `_set_book` puts them back."""
        for i, variable in enumerate(variables):
            self.memory[f"{what}/{i}"] = ops.convert_to_numpy(variable).copy()

    def recall(self, what: str, variables):
        """The inverse of `remember`."""
        for i, variable in enumerate(variables):
            variable.assign(self.memory[f"{what}/{i}"])

    def network_params(self):
        return (
            0 if self._store.hypernetwork is None else self.hypernetwork.count_params()
        )

    def task_params(self):
        return 0  # tasks have no parameters of their own

    def base_params(self) -> int:
        variables = self.network.trainable_variables
        head = (
            self.feature_width + bool(self.options.head_bias)
        ) * self.outputs_per_set
        return sum(int(np.prod(v.shape)) for v in variables) + head

    def check_spec(self, name, spec):
        super().check_spec(name, spec)
        if spec.kind not in ("categorical", "binary"):
            raise ValueError(
                f"{type(self).__name__} learns categorical and binary tasks. "
                f"Received task {name!r} of kind {spec.kind!r}."
            )
        if self._book.tasks or self.options.outputs:
            accepted = self.outputs_per_set
            if spec.units > accepted:
                raise ValueError(
                    f"Sets of parameters have {accepted} outputs; pass `outputs=` for "
                    f"more. Received task {name!r} with {spec.units}."
                )

    def load_task(self, task):
        loaded = super().load_task(task)
        if is_dataset(loaded.train):
            raise ValueError(
                f"{type(self).__name__} takes arrays. Received task {task.name!r} as a "
                "tf.data.Dataset."
            )
        return loaded

    def task_keys(self, name):
        examples = {f"exemplars/{name}/{part}" for part in ("x", "y")}
        return super().task_keys(name) | examples

    def release(self, name):
        """The sets stay, for any task may use any; `heir` says whose they are now."""
        self._change_options(outputs=self.outputs_per_set)  # as the first task has it
        others = [other for other in self.task_names if other != name]
        if not others:
            self.slots.clear()
        for i, slot in enumerate(self.slots):
            if slot["task"] == name:
                slot["task"] = self.heir(i, others)
        self._store.known.clear()

    def heir(self, slot: int, others: list[str]) -> str:
        """The task that a set is counted to when its own is removed."""
        del slot
        return others[0]

    def shared_with(self, name):
        found = super().shared_with(name)
        others = found.pop("the network", [])
        found.pop("the head", None)  # a place, which all use in turn
        return {"the hypernetwork": others} if others else found

    def check_loaded(self, names):
        """As of every model, without the fine-tuning that using a task takes."""
        for name in names:
            if f"exemplars/{name}/x" not in self.memory:
                continue  # it was added and not learned
            x, y = self.exemplars(name)
            if x.shape[1:] != self.backbone_input_shape or len(x) != len(y):
                raise ValueError(
                    f"examples of task {name!r} have shapes {x.shape} and {y.shape}"
                )
        statistics = [tuple(v.shape) for v in self.statistics]
        for slot in range(len(self.slots)):
            shapes = [s.shape for s in self.generated(slot).statistics]
            if shapes != statistics:
                raise ValueError(
                    f"statistics of slot {slot} have shapes {shapes}, where the "
                    f"network has {statistics}"
                )

    def structure(self):
        return {"slots": self.slots}

    def set_structure(self, structure):
        self._store.slots = [dict(slot) for slot in structure["slots"]]

    def _set_book(self, config, arrays):
        super()._set_book(config, arrays)
        self._store.known.clear()
        self._store.hypernetwork = None
        if "hypernetwork/0" in self.memory:
            self.make_hypernetwork()
            self.recall("hypernetwork", self.hypernetwork.variables)


class _Store:
    """What is no Keras state of a model. A plain object, so that it is not tracked."""

    def __init__(self):
        self.hypernetwork: hypernetworks.Hypernetwork | None = None
        self.slots: list[dict] = []
        self.known: dict = {}  # computed from what is stored now
        self.fixed: dict = {}  # the same for ever


def _initial(initializer, shape, offset, *seed_parts) -> np.ndarray:
    """A fresh tensor: kernels by the initializer, vectors as normalisation has them."""
    if len(shape) == 1:
        return np.full(shape, offset, "float32")
    draw = reseeded(keras.initializers.get(initializer), derive_seed(*seed_parts))
    return ops.convert_to_numpy(draw(shape)).copy()


def _shorter(before, weights, arguments, learning_rate):
    """A phase's `after_step` hook: goes a part of the optimizer's step, by any rule."""
    del learning_rate
    return [
        b + arguments["scale"] * (ops.convert_to_tensor(w) - b)
        for b, w in zip(before, weights, strict=True)
    ]


def accuracy(logits, y) -> float:
    """Part of the answers (n, units) that are right; of one output, above 0 is 1."""
    y = np.asarray(y).reshape(-1)
    if logits.shape[-1] == 1:
        return float(((logits[:, 0] > 0) == (y > 0.5)).mean())
    return float((logits.argmax(-1) == y).mean())
