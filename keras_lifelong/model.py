"""LifelongModel: one network, many tasks."""

from __future__ import annotations

import json
import types
import urllib.parse

import keras
import numpy as np
from keras import ops

from keras_lifelong import metrics as metrics_lib
from keras_lifelong.layers import head as heads
from keras_lifelong.layers.growable import resize_inputs
from keras_lifelong.layers.random import derive_seed
from keras_lifelong.layers.random import seed_config
from keras_lifelong.learning import LearningMixin
from keras_lifelong.streams import TaskSpec
from keras_lifelong.training.joint import JointHeads
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.trainer import Trainer


class _Book:
    """What a model knows beside its weights. Plain data, kept from Keras' tracking."""

    def __init__(self):
        self.tasks: dict[str, TaskSpec] = {}  # in the order they were learned
        self.notes: dict[str, dict] = {}  # of a method, by task: JSON
        self.memory: dict[str, np.ndarray] = {}  # heads and what else is kept by task
        self.growth: list[dict] = []
        self.slots: dict[int, heads.HeadSlot] = {}
        self.active: str | None = None
        self.joint: dict[tuple, JointHeads] = {}
        self.seen: dict = {}  # Tasks by name whose data this process has at hand


class LifelongModel(LearningMixin, keras.Model):
    """A network that learns task after task. The base of all methods and baselines.

    The active network (`network` and `head`) holds one task at a time: what a task has
    for itself, its head at least, is kept in a memory by task and copied in when the
    task is used. A method overrides `learn`, a generator of phases, and where needed
    `build_network`, `own_variables` and `plain_layers`.

    Args:
        backbone: `keras.Sequential` of the hidden layers, with an input shape. It is
            cloned, never changed.
        seed: integer from which everything random is derived: initial weights,
            shuffling, dropout.
        pretrained: whether to begin from the backbone's weights; by default they are
            drawn anew from `seed`.
        name: of the Keras model.
        options: a method's own constructor arguments, kept for its configuration.

    Raises:
        ValueError: if `backbone` is no built Sequential, or holds a layer that the
            method cannot carry.

    Example:

    >>> import keras, keras_lifelong as kl
    >>> stream = kl.streams.get("digits", num_tasks=2)
    >>> backbone = keras.Sequential(
    ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(16, "relu")]
    ... )
    >>> model = kl.Finetune(backbone)
    >>> model.compile("adam", metrics=["accuracy"])
    >>> result = model.fit_stream(stream, epochs=5, batch_size=32, verbose=0)
    >>> len(result.task_names)
    2
    """

    def __init__(
        self,
        backbone,
        seed: int = 0,
        pretrained: bool = False,
        name: str | None = None,
        options: dict | None = None,
    ):
        super().__init__(name=name)
        _check_backbone(backbone)
        self.seed = int(seed)
        self.pretrained = bool(pretrained)
        self._book = _Book()
        self.options = types.SimpleNamespace(**(options or {}))
        config = keras.saving.serialize_keras_object(backbone)
        self._backbone_config = json.dumps(config)
        self.backbone_input_shape = tuple(backbone.input_shape[1:])
        seeded = keras.Sequential.from_config(
            seed_config(backbone.get_config(), self.seed, "backbone")
        )
        if pretrained:
            seeded.set_weights(backbone.get_weights())
        self.network = self.build_network(seeded)
        self.stage = keras.Variable(0, dtype="int32", trainable=False, name="stage")
        self.trainer = Trainer(self)
        self._loss = None
        self._metrics = [metrics_lib.get("accuracy")]
        self.built = True

    # What a method may override

    def build_network(self, backbone) -> keras.layers.Layer:
        """The trainable network made of a freshly cloned and seeded backbone."""
        return backbone

    def learn(self, task):
        """A generator of `Phase`s that learns `task`; it is sent their results."""
        yield self.phase("training", self.network.trainable_variables)

    def own_variables(self) -> list:
        """Variables of the network, beside the head, that each task has for itself."""
        return []

    def features(self, x, training: bool = False):
        """The network's output (batch, width) for the active task."""
        return self.network(x, training=training)

    def begin_task(self, name: str):
        """Called when a new task has been added, before it is first activated."""

    def task_stage(self, name: str) -> int:
        """The stage of growth at which a task is used."""
        return self.task_index(name) + 1

    # Tasks and heads

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order they were learned."""
        return list(self._book.tasks)

    @property
    def growth(self) -> list[dict]:
        """Why every unit exists: dicts of task, layer, kind, count and why."""
        return self._book.growth

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """Arrays kept beside the active network, by name; saved with the model."""
        return self._book.memory

    def log(self, task: str, layer: str, kind: str, count: int, **why):
        """Adds an entry to `growth`."""
        entry = {"task": task, "layer": layer, "kind": kind, "count": int(count)}
        self._book.growth.append({**entry, "why": why})

    def log_initial(self, task: str):
        """Logs the units of the base network with the first task."""
        if not self.growth:
            for layer in self.network.layers:
                units = getattr(layer, "units", getattr(layer, "filters", None))
                if units:
                    self.log(task, layer.name, "initial", units)

    def notes(self, task: str) -> dict:
        """What the method wrote down of a task: a JSON dict, saved with the model."""
        return self._book.notes.setdefault(task, {})

    def task_index(self, name: str) -> int:
        return self.task_names.index(self._known(name))

    def task_spec(self, name: str) -> TaskSpec:
        """The `TaskSpec` of a learned task."""
        return self._book.tasks[self._known(name)]

    def add_task(self, name: str, spec: TaskSpec):
        """Adds a task and its head; `fit` does so by itself.

        Raises:
            ValueError: if the name is taken, or the spec does not fit the network.
        """
        if name in self._book.tasks:
            raise ValueError(
                f"`name` {name!r} is the name of a task already learned. Received a "
                f"second one; learned are {self.task_names}."
            )
        self.check_spec(name, spec)
        self._book.tasks[name] = spec
        self.begin_task(name)
        slot = self._slot(spec.units)
        key = self.head_key(name)
        if f"{key}/kernel" not in self.memory:
            rng = derive_seed(self.seed, key)
            init = keras.initializers.GlorotUniform(seed=rng)
            kernel = init(slot.kernel.shape)
            self.memory[f"{key}/kernel"] = ops.convert_to_numpy(kernel).copy()
            self.memory[f"{key}/bias"] = np.zeros(spec.units, "float32")
        for i, variable in enumerate(self.own_variables()):
            self.memory[f"own/{name}/{i}"] = self.initial_own(i, variable)

    def initial_own(self, index: int, variable) -> np.ndarray:
        """What a new task begins with in its own variable: the value of today."""
        return ops.convert_to_numpy(variable).copy()

    def check_spec(self, name: str, spec: TaskSpec):
        """Refuses a task that this model cannot learn."""
        shape = spec.input_shape
        if shape is not None and tuple(shape) != self.backbone_input_shape:
            raise ValueError(
                f"Task {name!r} has inputs of shape {tuple(shape)}; the backbone "
                f"accepts {self.backbone_input_shape}."
            )
        old = self._book.tasks.get(name, spec)
        if (old.units, old.kind, old.head) != (spec.units, spec.kind, spec.head):
            raise ValueError(
                f"Task {name!r} was learned as {old}. Received the same name with {spec}."
            )
        for other in self._book.tasks.values():
            if spec.head == other.head == "shared" and (spec.units, spec.kind) != (
                other.units,
                other.kind,
            ):
                raise ValueError(
                    f"Task {name!r} shares the head of the others, which is {other}. "
                    f"Received {spec}."
                )

    def activate(self, name: str | None):
        """Copies what a task has for itself into the active network."""
        book = self._book
        if name == book.active:
            return
        self.store_active()
        book.active = name
        if name is None:
            return
        slot = self._slot(book.tasks[name].units)
        key = self.head_key(name)
        slot.kernel.assign(self.fitted_head(f"{key}/kernel"))
        slot.bias.assign(self.memory[f"{key}/bias"])
        for i, variable in enumerate(self.own_variables()):
            variable.assign(_fit_vector(self.memory[f"own/{name}/{i}"], variable.shape))
        self.stage.assign(self.task_stage(name))

    def store_active(self):
        """Copies what the active task has for itself back into memory."""
        name = self._book.active
        if name is None:
            return
        key, slot = self.head_key(name), self.head
        self.memory[f"{key}/kernel"] = ops.convert_to_numpy(slot.kernel).copy()
        self.memory[f"{key}/bias"] = ops.convert_to_numpy(slot.bias).copy()
        for i, variable in enumerate(self.own_variables()):
            self.memory[f"own/{name}/{i}"] = ops.convert_to_numpy(variable).copy()

    def forget_active(self):
        """Lets go of the active task without storing it: memory has newer values."""
        self._book.active = None

    def joint_features(self, x, task, arguments):
        """Features of a batch that mixes tasks; `task` holds their indices (batch,)."""
        del task, arguments
        return self.features(x, training=True)

    def joint_heads(self, capacity: int, units: int) -> JointHeads:
        """Room for that many heads side by side, used again while it fits."""
        key = (capacity, self.feature_width, units)
        if key not in self._book.joint:
            self._book.joint = {key: JointHeads(self, *key)}
        return self._book.joint[key]

    @property
    def seen(self) -> dict:
        """`Task`s by name that this model learned in this process."""
        return self._book.seen

    @property
    def active_task(self) -> str | None:
        return self._book.active

    @property
    def head(self) -> heads.HeadSlot:
        """The slot that holds the active task's head."""
        return self._slot(self.active_spec.units)

    @property
    def active_spec(self) -> TaskSpec:
        return self._book.tasks[self._book.active]

    def head_positions(self) -> int:
        """Rows of a head fed by each unit of the last layer that can grow."""
        return 1

    def fitted_head(self, key):
        """A head's kernel at the width the network has now."""
        kernel = self.memory[key]
        return resize_inputs(kernel, self.feature_width, self.head_positions())

    @property
    def feature_width(self) -> int:
        """Width of the features as stored, spare capacity included."""
        return int(self.network.output_shape[-1])

    def head_key(self, name: str) -> str:
        """Where in `memory` a task's head is kept."""
        spec = self._book.tasks[name]
        return "head/shared" if spec.head == "shared" else f"head/own/{name}"

    def _slot(self, units: int) -> heads.HeadSlot:
        slots = self._book.slots
        width = self.feature_width
        if units not in slots or slots[units].kernel.shape[0] != width:
            slot = heads.HeadSlot(units, name=f"head_{units}")
            slot.build((None, width))
            slots[units] = slot
        return slots[units]

    def _known(self, name: str) -> str:
        if name not in self._book.tasks:
            raise ValueError(
                f"`task` must be the name of a learned task: {self.task_names}. "
                f"Received: {name!r}."
            )
        return name

    # The active network as a whole

    def active_variables(self) -> list:
        """Every variable that the active task's outputs depend on."""
        return [*self.network.variables, *self.head.variables, self.stage]

    def get_active(self) -> list[np.ndarray]:
        """Copies of the values of `active_variables()`."""
        return [ops.convert_to_numpy(v).copy() for v in self.active_variables()]

    def set_active(self, values):
        """Assigns what `get_active` returned."""
        for variable, value in zip(self.active_variables(), values, strict=True):
            variable.assign(value)

    @property
    def weights(self):
        """The network's weights and, while a task is active, its head's."""
        own = [] if self._book.active is None else self.head.weights
        return [*self.network.weights, *own]

    def logits(self, x):
        """Outputs before the activation, (batch, units), of the active task."""
        return self.head(self.features(x))

    def outputs(self, x, training: bool = False):
        """What the active task's head says, (batch, units)."""
        logits = self.head(self.features(x, training=training))
        return keras.activations.get(heads.activation(self.loss_key()[0]))(logits)

    def head_loss(self, y, logits, weight):
        """Mean loss of the active task's head under sample weights (batch,)."""
        return heads.mean_loss(self.loss_key()[0], y, logits, weight)

    def task_loss(self, x, y, weight, arguments):
        """The loss of most phases: forward through network and head."""
        del arguments
        logits = self.head(self.features(x, training=True))
        return self.head_loss(y, logits, weight)

    def loss_key(self) -> tuple:
        """What the compiled loss depends on: the loss's kind and the head's size."""
        spec = self.active_spec
        return heads.loss_kind(spec.kind, self._loss), spec.units

    def phase(self, name: str, variables, **kwargs) -> Phase:
        """A phase that trains `variables` of the network and the active head."""
        kwargs.setdefault("loss", self.task_loss)
        variables = [*variables, *self.head.trainable_variables]
        return Phase(name=name, variables=variables, **kwargs)

    # Keras

    def call(self, inputs, task: str | None = None, training: bool = False):
        """Outputs of one task, (batch, units): probabilities, or values to regress.

        Args:
            inputs: (batch, *input_shape).
            task: name; may be left out when only one is known.
            training: as everywhere in Keras.
        """
        self.activate(self.which(task))
        return self.outputs(inputs, training=training)

    def which(self, task: str | None) -> str:
        """The task meant: the named one, or the only one."""
        if task is None and len(self._book.tasks) != 1:
            raise ValueError(
                f"`task` must name one of {self.task_names}. Received: None."
            )
        return self._known(self.task_names[0] if task is None else task)

    def count_params(self) -> int:
        """Parameters of the whole model: the network's that are used, and all heads."""
        return self.network_params() + self.task_params()

    def network_params(self) -> int:
        """Trainable parameters of the network, those in use only."""
        own = {id(v) for v in self.own_variables()}
        variables = self.network.trainable_variables
        return sum(int(np.prod(v.shape)) for v in variables if id(v) not in own)

    def task_params(self) -> int:
        """Parameters that tasks have for themselves: heads and own variables."""
        keys = {self.head_key(name) for name in self._book.tasks}
        total = sum(
            self.memory[f"{key}/{part}"].size for key in keys for part in ("kernel", "bias")
        )
        own = [i for i, v in enumerate(self.own_variables()) if v.trainable]
        for name in self._book.tasks:
            total += sum(self.memory[f"own/{name}/{i}"].size for i in own)
        return total

    def base_params(self) -> int:
        """Parameters of the backbone as given, with one head: the first task's."""
        backbone = self.backbone_copy()
        width = int(np.prod(backbone.output_shape[1:]))
        units = next(iter(self._book.tasks.values())).units
        return backbone.count_params() + (width + 1) * units

    def backbone_copy(self) -> keras.Sequential:
        """A fresh copy of the backbone as the user gave it, weights not included."""
        return keras.saving.deserialize_keras_object(json.loads(self._backbone_config))

    def get_config(self):
        return {
            "backbone": json.loads(self._backbone_config),
            **vars(self.options),
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        backbone = config.pop("backbone")
        if isinstance(backbone, dict):
            backbone = keras.saving.deserialize_keras_object(
                backbone, custom_objects=custom_objects
            )
        return cls(backbone, **config)

    def build_from_config(self, config):
        """Nothing to do: the constructor builds."""

    def summary(self, print_fn=print, **kwargs):
        """The network's layers, then the tasks with their heads and sizes."""
        self.network.summary(print_fn=print_fn, **kwargs)
        lines = [f'Tasks of "{self.name}" ({type(self).__name__})']
        for name, spec in self._book.tasks.items():
            lines.append(
                f"  {name}: {spec.kind}, {spec.num_classes} classes, "
                f"head {spec.head} of {spec.units} outputs"
            )
        lines.append(f"Parameters: {self.count_params():,}")
        print_fn("\n".join(lines))

    # State: what checkpoints, weight files and roll-back hold

    def structure(self) -> dict:
        """The shape of the network as JSON, for `set_structure` of a fresh model."""
        return {}

    def set_structure(self, structure: dict):
        """Gives a model the shape that another's `structure` described."""

    def get_state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """The whole model as a JSON dict and arrays by name."""
        config, arrays = self._get_book()
        for i, variable in enumerate(self.network.variables):
            arrays[f"network/{i}"] = ops.convert_to_numpy(variable).copy()
        return config, arrays

    def set_state(self, config: dict, arrays: dict[str, np.ndarray]):
        """Makes the model what `get_state` described."""
        self._set_book(config, arrays)
        for i, variable in enumerate(self.network.variables):
            variable.assign(arrays[f"network/{i}"])

    def _get_book(self):
        self.store_active()
        book = self._book
        config = {
            "tasks": {name: spec.to_config() for name, spec in book.tasks.items()},
            "notes": book.notes,
            "growth": book.growth,
            "structure": self.structure(),
        }
        config = json.loads(json.dumps(config))
        return config, {f"memory/{k}": v.copy() for k, v in book.memory.items()}

    def _set_book(self, config, arrays):
        book = self._book
        book.active = None
        self.set_structure(config["structure"])
        book.tasks = {n: TaskSpec.from_config(c) for n, c in config["tasks"].items()}
        book.notes = config["notes"]
        book.growth = config["growth"]
        start = len("memory/")
        book.memory = {
            k[start:]: np.array(v) for k, v in arrays.items() if k.startswith("memory/")
        }

    def save_own_variables(self, store):
        config, arrays = self._get_book()
        store["book"] = np.frombuffer(json.dumps(config).encode(), "uint8")
        for key, array in arrays.items():
            store[urllib.parse.quote(key, safe="")] = array

    def load_own_variables(self, store):
        config = json.loads(np.array(store["book"], "uint8").tobytes())
        keys = [key for key in store.keys() if key != "book"]
        self._set_book(
            config, {urllib.parse.unquote(k): np.array(store[k]) for k in keys}
        )

    # One task as a plain Keras model

    def task_model(self, name: str) -> keras.Sequential:
        """One task's network as a plain `keras.Sequential` of just what it uses.

        It predicts what `predict(x, task=name)` does, and loads and exports without
        this package.

        Args:
            name: of a learned task.
        """
        self.activate(self._known(name))
        layers = [*self.plain_layers(), self._plain_head()]
        safe = "".join(c if c.isalnum() else "_" for c in name).strip("_") or "task"
        model = keras.Sequential(
            [keras.Input(self.backbone_input_shape), *[x for x, _ in layers]],
            name=safe if safe[0].isalpha() else f"task_{safe}",
        )
        for layer, values in layers:
            if values is not None:
                layer.set_weights(values)
        return model

    def plain_layers(self) -> list[tuple]:
        """The active network as pairs of a plain layer and its weights."""
        pairs = []
        for layer in self.network.layers:
            copy = type(layer).from_config(layer.get_config())
            pairs.append((copy, layer.get_weights()))
        return pairs

    def plain_rows(self) -> np.ndarray:
        """Rows of the head that the active task uses."""
        return np.arange(self.feature_width)

    def _plain_head(self):
        kernel, bias = (ops.convert_to_numpy(v) for v in self.head.variables)
        head = keras.layers.Dense(
            kernel.shape[1], heads.activation(self.loss_key()[0]), name="outputs"
        )
        return head, [kernel[self.plain_rows()], bias]


def _fit_vector(array: np.ndarray, shape) -> np.ndarray:
    """An own vector at the length its variable has now."""
    if array.shape == tuple(shape):
        return array
    out = np.zeros(shape, array.dtype)
    out[: len(array)] = array
    return out


def _check_backbone(backbone):
    if not isinstance(backbone, keras.Sequential):
        raise ValueError(
            "`backbone` must be a keras.Sequential of hidden layers. "
            f"Received: {type(backbone).__name__}."
        )
    if not backbone.built or not backbone.layers:
        raise ValueError(
            "`backbone` must begin with keras.Input(shape) and hold a layer. "
            f"Received: {backbone.name!r}, which has no known input shape."
        )
    if len(backbone.output_shape) != 2:
        raise ValueError(
            "`backbone` must end in features of shape (batch, width): add a Flatten or "
            f"a global pooling. Received an output of shape {backbone.output_shape}."
        )
