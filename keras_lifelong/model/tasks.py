"""What a model keeps by task, and how one task at a time becomes the active one."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers import head as heads
from keras_lifelong.layers.growable import resize_inputs
from keras_lifelong.streams import TaskSpec
from keras_lifelong.training.joint import JointHeads
from keras_lifelong.training.phase import Phase


class Book:
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
        self.results: list = []  # what was measured on streams
        self.origin: dict | None = None  # the preset that this model comes from


class TasksMixin:
    """Tasks and heads of a `LifelongModel`.

    The active network (`network` and `head`) holds one task at a time. What a task has
    for itself lies in `memory` and is copied in by `activate`.
    """

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
            kernel = np.zeros(slot.kernel.shape, "float32")
            rows = self.head_rows()
            kernel[rows] = heads.draw(rows.size, spec.units, self.seed, key)
            self.memory[f"{key}/kernel"] = kernel
            self.memory[f"{key}/bias"] = np.zeros(spec.units, "float32")
        own = self.own_variables()
        for i in self.own_indices(name):
            self.memory[self.own_key(name, i)] = self.initial_own(i, own[i])

    def own_key(self, name: str, index: int) -> str:
        """Where in `memory` a task's value of `own_variables()[index]` is kept."""
        return f"own/{name}/{index}"

    def own_indices(self, name: str):
        """Which of `own_variables()` a task has; the others are of no use to it."""
        del name
        return range(len(self.own_variables()))

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
                f"Task {name!r} was learned as {old}. "
                f"Received the same name with {spec}."
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
        own = self.own_variables()
        for i in self.own_indices(name):
            own[i].assign(_fitted_vector(self.memory[self.own_key(name, i)], own[i]))
        self.stage.assign(self.task_stage(name))

    def store_active(self):
        """Copies what the active task has for itself back into memory."""
        name = self._book.active
        if name is None:
            return
        key, slot = self.head_key(name), self.head
        self.memory[f"{key}/kernel"] = ops.convert_to_numpy(slot.kernel).copy()
        self.memory[f"{key}/bias"] = ops.convert_to_numpy(slot.bias).copy()
        own = self.own_variables()
        for i in self.own_indices(name):
            self.memory[self.own_key(name, i)] = ops.convert_to_numpy(own[i]).copy()

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

    def head_rows(self) -> np.ndarray:
        """Rows of a head's kernel that carry existing features."""
        return np.arange(self.feature_width)

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


def _fitted_vector(array: np.ndarray, variable) -> np.ndarray:
    """An own value at the length its variable has now; what is new is as there."""
    if array.shape == tuple(variable.shape):
        return array
    out = ops.convert_to_numpy(variable).copy()
    out[: len(array)] = array[: len(out)]
    return out
