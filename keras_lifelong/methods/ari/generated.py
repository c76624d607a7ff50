"""GeneratedModel: whole sets of parameters, kept in the weights of a hypernetwork."""

from __future__ import annotations

import contextlib
import threading
import weakref

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.layers import head as heads
from keras_lifelong.layers import hypernetwork as hypernetworks
from keras_lifelong.methods.ari.stored import Parameters
from keras_lifelong.methods.ari.stored import StoredSets
from keras_lifelong.methods.ari.workbench import DRAWN
from keras_lifelong.methods.ari.workbench import Adaptation
from keras_lifelong.methods.ari.workbench import Workbench
from keras_lifelong.methods.ari.workbench import accuracy
from keras_lifelong.methods.ari.workbench import twin
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.state import AllInMemory
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reseeded
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training.data import filled
from keras_lifelong.training.distillation import check_kind
from keras_lifelong.training.distillation import features_with
from keras_lifelong.training.hooks import decay
from keras_lifelong.training.phase import Phase

GENERATED = "generated"


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
        training = self._session.training
        if training is None or training.is_mine:
            return self._store.slots
        return training.structure["slots"]

    @property
    def hypernetwork(self) -> hypernetworks.Hypernetwork:
        """The layer that generates the sets; it is made for the first task."""
        if self._store.hypernetwork is None:
            raise ValueError("The hypernetwork is made when the first task is learned.")
        return self._store.hypernetwork

    @property
    def outputs_per_set(self) -> int:
        """Outputs of the head in every set; tasks of fewer classes use the first."""
        return self.options.outputs or self.task_spec(self.task_names[0]).units

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
            self.memory["statistics", i][slot] for i in range(len(self.statistics))
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

    @property
    def bench(self) -> Workbench:
        """The active network and head, in which sets are explored."""
        kind, bias = self.loss_key()[0], self.options.head_bias
        return Workbench(self.network, self.head, kind, bias)

    def put(self, parameters: Parameters):
        """Makes a set of parameters that of the active network and head."""
        self.bench.put(parameters)

    def taken(self, start: Parameters, source: str) -> Parameters:
        """The set in use, which began as `start`: outputs of no class stay as there."""
        return self.bench.taken(start, source)

    def trained_variables(self) -> list:
        """The variables of a set that training on the active task moves."""
        return self.bench.trained_variables

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
        self.memory["exemplars", task.name, "x"] = x[order]
        self.memory["exemplars", task.name, "y"] = y[order]
        names = [n for n in self.task_names if ("exemplars", n, "x") in self.memory]
        each = max(self.options.exemplars // len(names), 1)
        for name in names:
            for part in ("x", "y"):
                key = ("exemplars", name, part)
                self.memory[key] = self.memory[key][:each].copy()

    def exemplars(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The examples kept of a task."""
        return tuple(self.memory["exemplars", name, part] for part in ("x", "y"))

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

    def adapted(self, name: str) -> Parameters:
        """The set that a task is used with: chosen, and fine-tuned on its examples.

        It is made when the task is first used, and kept until something is learned.
        """
        o, store = self.options, self._store
        key = (name, o.selection, o.adaptation, o.adaptation_scale)
        with store.lock:
            known = store.known_of(self.memory)
            if key not in known:
                with self._as_remembered():
                    chosen = self.choose(name)
                known[key] = self.adapt(name, chosen)
            return known[key]

    def adapt(self, name: str, parameters: Parameters, epochs: int | None = None):
        """A set as fine-tuning on the examples of a task makes it; nothing is changed.

        Args:
            name: of the task.
            parameters: the set.
            epochs: None: those of the option `adaptation`.
        """
        o = self.options
        scale = 1.0 if parameters.source == DRAWN else o.adaptation_scale
        epochs = o.adaptation if epochs is None else epochs
        bench = self.adaptation.bench(self.task_spec(name).units, self.loss_kind(name))
        x, y = self.exemplars(name)
        return self.adaptation.adapt(name, bench, parameters, x, y, epochs, scale)

    @property
    def adaptation(self) -> Adaptation:
        """Where sets are fine-tuned so that tasks can be used."""
        store, o = self._store, self.options
        with store.lock:
            if store.adaptation is None:
                network = twin(self.network)
                store.adaptation = Adaptation(
                    self.trainer, network, o.head_bias, o.weight_decay, self.seed
                )
        return store.adaptation

    @contextlib.contextmanager
    def _as_remembered(self):
        """Within it the hypernetwork generates what this thread's memory says.

        While another thread trains it, that is what it was before.
        """
        training, variables = self._session.training, []
        if training is not None and not training.is_mine:
            variables = self._remembered()
        pairs = [(v, self.memory[key]) for key, v in variables if key in self.memory]
        values = [ops.convert_to_tensor(value) for _, value in pairs]
        with backend.ValuesScope([v for v, _ in pairs], values):
            yield

    def _remembered(self) -> list[tuple]:
        """The variables of networks that are kept in memory, each with its key."""
        return [
            (("hypernetwork", i), v) for i, v in enumerate(self.hypernetwork.variables)
        ]

    def reading(self, name):
        training = self._session.training
        if training is None or not training.is_mine or name == self.active_task:
            return super().reading(name)
        with training.looking_back():  # what is half stored answers nothing
            return super().reading(name)

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        units, network = self.task_spec(name).units, self.network
        if not self.slots or ("exemplars", name, "x") not in memory:
            kernel = heads.draw(self.feature_width, units, self.seed, f"head/{units}")
            values = backend.snapshot(network.variables)  # it was added and not learned
            bias = np.zeros(units, "float32")
            return Reading(network, network.variables, values, (kernel, bias))
        found, count = self.adapted(name), len(network.trainable_variables)
        bias = found.values[-1] if self.options.head_bias else np.zeros(units)
        head = found.values[count][:, :units], bias[:units].astype("float32")
        variables = [*network.trainable_variables, *self.statistics]
        values = [*found.values[:count], *found.statistics]
        return Reading(network, variables, values, head)

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

    def activate(self, name):
        """Makes a task the active one, with whatever parameters are in use."""
        if name is not None:
            self._slot(self.task_spec(name).units)
        self._session.active = name

    def store_active(self):
        """Nothing to do: what is in the active network does not last."""

    def head_key(self, name):
        """A place that all tasks of as many outputs have in turn, and no task's own."""
        return ("head", self.memory.records[name].spec.units)

    def draw_head(self, name, spec):
        """Nothing to do: every set has a head."""

    def log_initial(self, task):
        """Nothing to do: every set is logged as it is kept."""

    # What it holds

    def remember(self, what: str, variables):
        """Copies variables to memory, from which `memory_changed` puts them back."""
        for i, variable in enumerate(variables):
            self.memory[what, i] = ops.convert_to_numpy(variable).copy()

    def recall(self, what: str, variables):
        """The inverse of `remember`."""
        for i, variable in enumerate(variables):
            variable.assign(self.memory[what, i])

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
        check_kind(type(self).__name__, name, spec)
        if self.task_names or self.options.outputs:
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

    task_forms = (
        ("exemplars", str, "x"),
        ("exemplars", str, "y"),
        ("signature", str),
    )

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
            if ("exemplars", name, "x") not in self.memory:
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

    def memory_changed(self):
        self._store.known.clear()
        self._store.hypernetwork = None
        if ("hypernetwork", 0) in self.memory:
            self.make_hypernetwork()
            self.recall("hypernetwork", self.hypernetwork.variables)


class _Store:
    """What is no Keras state of a model. A plain object, so that it is not tracked."""

    def __init__(self):
        self.hypernetwork: hypernetworks.Hypernetwork | None = None
        self.slots: list[dict] = []
        # computed from what a memory holds, by memory, and gone with it
        self.known: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
        self.fixed: dict = {}  # the same for ever
        self.adaptation: Adaptation | None = None
        self.lock = threading.RLock()  # one thread computes, the others wait for it

    def known_of(self, memory) -> dict:
        """What was computed from a memory."""
        return self.known.setdefault(memory, {})


def _initial(initializer, shape, offset, *seed_parts) -> np.ndarray:
    """A fresh tensor: kernels by the initializer, vectors as normalisation has them."""
    if len(shape) == 1:
        return np.full(shape, offset, "float32")
    draw = reseeded(keras.initializers.get(initializer), derive_seed(*seed_parts))
    return ops.convert_to_numpy(draw(shape)).copy()
