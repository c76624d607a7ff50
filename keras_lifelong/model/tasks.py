"""What a model keeps by task, and how one task at a time becomes the active one."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers import head as heads
from keras_lifelong.layers.growable import resize_inputs
from keras_lifelong.metrics.growth import GrowthEntry
from keras_lifelong.model.session import Training
from keras_lifelong.model.task_memory import OWN_HEAD
from keras_lifelong.model.task_memory import SHARED_HEAD
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.task_memory import TaskRecord
from keras_lifelong.streams import TaskSpec
from keras_lifelong.training.joint import JointHeads
from keras_lifelong.training.phase import Phase


class TasksMixin(keras.Model):
    """Tasks and heads of a `LifelongModel`.

    The active network (`network` and `head`) is the trainer's: `training_on` copies
    what a task has for itself into it and, once the task is learned, back to `memory`.
    Whoever uses a task reads `memory` (see `model/reading.py`).
    """

    # which keys of the memory hold the name of a task: see `TaskMemory`
    task_forms: tuple = ()
    shared_forms: tuple = ()

    # Tasks and heads

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order they were learned."""
        return list(self.memory.records)

    @property
    def growth(self) -> list[GrowthEntry]:
        """Why every unit exists: dicts of task, layer, kind, count and why."""
        return self.memory.growth

    @property
    def memory(self) -> TaskMemory:
        """What is kept by task, beside the network; saved with the model.

        While a task is learned: to the thread that learns, what it has changed; to
        others, what was there before.
        """
        training = self._session.training
        if training is None or training.is_mine:
            return self._session.memory
        return training.memory

    def log(self, task: str, layer: str, kind: str, count: int, **why: Any) -> None:
        """Adds an entry to `growth`."""
        count = int(count)
        entry = GrowthEntry(task=task, layer=layer, kind=kind, count=count, why=why)
        self.growth.append(entry)

    def log_initial(self, task: str) -> None:
        """Logs the units of the base network with the first task."""
        if not self.growth:
            for layer in self.network.layers:
                units = getattr(layer, "units", getattr(layer, "filters", None))
                if units:
                    self.log(task, layer.name, "initial", units)

    def notes(self, task: str) -> dict:
        """What the method wrote down of a task: a JSON dict, saved with the model."""
        return self.memory.records[task].notes

    def task_index(self, name: str) -> int:
        """How many tasks were learned before this one."""
        self._record(name)
        return self.task_names.index(name)

    def task_spec(self, name: str) -> TaskSpec:
        """The `TaskSpec` of a learned task."""
        return self._record(name).spec

    def add_task(self, name: str, spec: TaskSpec) -> None:
        """Adds a task and its head; `fit` does so by itself.

        Raises:
            ValueError: if the name is taken, or the spec does not fit the network.
        """
        if name in self.memory.records:
            raise ValueError(
                f"`name` {name!r} is the name of a task already learned. Received a "
                f"second one; learned are {self.task_names}."
            )
        self.check_spec(name, spec)
        self.memory.records[name] = TaskRecord(spec)
        self.begin_task(name)
        self.draw_head(name, spec)
        own = self.own_variables()
        for i in self.own_indices(name):
            self.keep_own(name, i, self.initial_own(i, own[i]))

    def draw_head(self, name: str, spec: TaskSpec) -> None:
        """Gives a new task its head, unless it shares one that is there."""
        key = self.head_key(name)
        if (*key, "kernel") in self.memory:
            return
        width, rows = self.feature_width, self.head_rows()
        kernel = np.zeros((width, spec.units), "float32")
        parts = (self.seed, "/".join(key))
        kernel[rows] = heads.draw(rows.size, spec.units, *parts)
        self.memory[*key, "kernel"] = kernel
        self.memory[*key, "bias"] = np.zeros(spec.units, "float32")

    def own_indices(self, name: str) -> Sequence[int]:
        """Which of `own_variables()` a task has; the others are of no use to it."""
        del name
        return range(len(self.own_variables()))

    def own_values(self, name: str, memory: TaskMemory) -> dict[int, np.ndarray]:
        """A task's values of its own variables, by their place among them."""
        return memory.records[name].own

    def keep_own(self, name: str, index: int, value: np.ndarray) -> None:
        """Keeps a task's value of one of its own variables in memory."""
        self.memory["own", name, index] = value

    def initial_own(self, index: int, variable: Any) -> np.ndarray:
        """What a new task begins with in its own variable: the value of today."""
        return ops.convert_to_numpy(variable).copy()

    def check_spec(self, name: str, spec: TaskSpec) -> None:
        """Refuses a task that this model cannot learn."""
        shape = spec.input_shape
        if shape is not None and tuple(shape) != self.backbone_input_shape:
            raise ValueError(
                f"Task {name!r} has inputs of shape {tuple(shape)}; the backbone "
                f"accepts {self.backbone_input_shape}."
            )
        specs = {n: record.spec for n, record in self.memory.records.items()}
        old = specs.get(name, spec)
        if (old.units, old.kind, old.head) != (spec.units, spec.kind, spec.head):
            raise ValueError(
                f"Task {name!r} was learned as {old}. "
                f"Received the same name with {spec}."
            )
        for other in specs.values():
            if spec.head == other.head == "shared" and (spec.units, spec.kind) != (
                other.units,
                other.kind,
            ):
                raise ValueError(
                    f"Task {name!r} shares the head of the others, which is {other}. "
                    f"Received {spec}."
                )

    # The active network: one task's to train

    @contextlib.contextmanager
    def training_on(self, name: str, spec: TaskSpec) -> Iterator[None]:
        """Makes the active network a task's to train: `with model.training_on(...):`.

        At its end what was learned is written back, all of it; if anything is raised
        in it, nothing is, and the model answers as before. Other threads read the
        model as it was until the end; this one sees what is being learned.

        Args:
            name: of the task; it is added if it is new.
            spec: its `TaskSpec`.

        Raises:
            RuntimeError: if the model is learning a task already.
        """
        session = self._session
        if session.training is not None:
            if session.training.running:
                raise RuntimeError(
                    f"The model is learning task {session.training.name!r}; it learns "
                    f"one at a time. Received: {name!r}."
                )
            self._put_back(session.training)  # an interrupt came while it was
        self.activate(None)
        training = Training(self, name)
        try:
            session.training = training
            session.memory = training.memory.copy()
            if name not in self.memory.records:
                self.add_task(name, spec)
            self.activate(name)
            yield
            self.activate(None)
            session.training = None
        except BaseException:
            training.running = False
            self._put_back(training)
            raise

    def _put_back(self, training: Training):
        """Makes the model what it was before `training`; may be done twice."""
        session = self._session
        session.active = None
        session.memory = training.memory
        with session.lock:
            self.set_structure(copy.deepcopy(training.structure))
            pairs = zip(self.shared_variables(), training.values, strict=True)
            for variable, value in pairs:
                variable.assign(value)
            self.memory_changed()
        session.training = None

    def shared_variables(self) -> list:
        """Variables whose values are the model's, and not in its memory."""
        return self.network.variables

    def memory_changed(self) -> None:
        """Called when `memory` is another: what follows from it is to be made anew."""

    def activate(self, name: str | None) -> None:
        """Copies what a task has for itself into the active network.

        What the task that was active has there is stored first. To use a task takes
        none of this: it is for training, and for surgery on a network.
        """
        session = self._session
        if name == session.active:
            return
        self.store_active()
        session.active = None
        if name is None:
            return
        spec, key = self.task_spec(name), self.head_key(name)
        slot = self._slot(spec.units)
        slot.kernel.assign(self.fitted_head(self.memory[*key, "kernel"]))
        slot.bias.assign(self.memory[*key, "bias"])
        own = self.own_variables()
        for i, value in self.own_values(name, self.memory).items():
            own[i].assign(fitted(value, own[i]))
        self.stage.assign(self.task_stage(name))
        session.active = name

    def store_active(self) -> None:
        """Copies what the active task has for itself back into memory."""
        name = self.active_task
        if name is None:
            return
        key, slot = self.head_key(name), self.head
        self.memory[*key, "kernel"] = ops.convert_to_numpy(slot.kernel).copy()
        self.memory[*key, "bias"] = ops.convert_to_numpy(slot.bias).copy()
        own = self.own_variables()
        for i in self.own_indices(name):
            self.keep_own(name, i, ops.convert_to_numpy(own[i]).copy())

    def forget_active(self) -> None:
        """Lets go of the active task without storing it: memory has newer values."""
        self._session.active = None

    def joint_features(self, x: Any, task: Any, arguments: Any) -> Any:
        """Features of a batch that mixes tasks; `task` holds their indices (batch,)."""
        del task, arguments
        return self.features(x, training=True)

    def joint_heads(self, capacity: int, units: int) -> JointHeads:
        """Room for that many heads side by side, used again while it fits."""
        key = (capacity, self.feature_width, units)
        if key not in self._session.joint:
            self._session.joint = {key: JointHeads(self, *key)}
        return self._session.joint[key]

    # whether the data of tasks is kept, as `Joint` needs it
    keeps_data = False

    @property
    def seen(self) -> dict:
        """`Task`s by name whose data this model keeps: none, unless it `keeps_data`."""
        return self._session.seen

    @property
    def active_task(self) -> str | None:
        """The task in the active network: while it is learned, else None."""
        return self._session.active

    @property
    def head(self) -> heads.HeadSlot:
        """The slot that holds the active task's head; of none active, the last's."""
        name = self.active_task or self.task_names[-1]
        return self._slot(self.memory.records[name].spec.units)

    @property
    def active_spec(self) -> TaskSpec:
        """The `TaskSpec` of the active task, which there must be."""
        name: Any = self.active_task
        return self.memory.records[name].spec

    def head_rows(self) -> np.ndarray:
        """Rows of a head's kernel that carry existing features."""
        return np.arange(self.feature_width)

    def head_positions(self) -> int:
        """Rows of a head fed by each unit of the last layer that can grow."""
        return 1

    def fitted_head(self, kernel: Any, width: int | None = None) -> Any:
        """A head's kernel at the width that the network has now, or at another."""
        width = self.feature_width if width is None else width
        if kernel.shape[-2] == width:
            return kernel
        return resize_inputs(kernel, width, self.head_positions())

    @property
    def feature_width(self) -> int:
        """Width of the features as stored, spare capacity included."""
        return int(self.network.output_shape[-1])

    def head_key(self, name: str) -> tuple:
        """Under which key of `memory` a task's head is kept."""
        spec = self.memory.records[name].spec
        return SHARED_HEAD if spec.head == "shared" else (*OWN_HEAD, name)

    def _slot(self, units: int) -> heads.HeadSlot:
        slots = self._session.slots
        width = self.feature_width
        if units not in slots or slots[units].kernel.shape[0] != width:
            slot = heads.HeadSlot(units, name=f"head_{units}")
            slot.build((None, width))
            slots[units] = slot
        return slots[units]

    def _record(self, name: str, memory: TaskMemory | None = None) -> TaskRecord:
        """The record of a learned task, or a refusal that names those there are."""
        records = (self.memory if memory is None else memory).records
        if not isinstance(name, str) or name not in records:
            raise ValueError(
                f"`task` must be the name of a learned task: {list(records)}. "
                f"Received: {name!r}."
            )
        return records[name]

    # The active network as a whole

    def active_variables(self) -> list:
        """Every variable that the active task's outputs depend on."""
        return [*self.network.variables, *self.head.variables, self.stage]

    def get_active(self) -> list[np.ndarray]:
        """Copies of the values of `active_variables()`."""
        return [ops.convert_to_numpy(v).copy() for v in self.active_variables()]

    def set_active(self, values: Iterable) -> None:
        """Assigns what `get_active` returned."""
        for variable, value in zip(self.active_variables(), values, strict=True):
            variable.assign(value)

    @property
    def weights(self) -> list:
        """The network's weights and, while a task is active, its head's."""
        own = [] if self.active_task is None else self.head.weights
        return [*self.network.weights, *own]

    def logits(self, x: Any) -> Any:
        """Outputs before the activation, (batch, units), of the active task."""
        return self.head(self.features(x))

    def outputs(self, x: Any, training: bool = False) -> Any:
        """What the active task's head says, (batch, units)."""
        logits = self.head(self.features(x, training=training))
        return keras.activations.get(heads.activation(self.loss_key()[0]))(logits)

    def head_loss(self, y: Any, logits: Any, weight: Any) -> Any:
        """Mean loss of the active task's head under sample weights (batch,)."""
        return heads.mean_loss(self.loss_key()[0], y, logits, weight)

    def task_loss(self, x: Any, y: Any, weight: Any, arguments: Any) -> Any:
        """The loss of most phases: forward through network and head."""
        del arguments
        logits = self.head(self.features(x, training=True))
        return self.head_loss(y, logits, weight)

    def loss_key(self) -> tuple:
        """What the compiled loss depends on: the loss's kind and the head's size."""
        name: Any = self.active_task  # there is one
        return self.loss_kind(name), self.active_spec.units

    def loss_kind(self, name: str) -> str:
        """What a task's head is trained with; see `layers.head.loss_kind`."""
        return heads.loss_kind(self.task_spec(name).kind, self._loss)

    def phase(self, name: str, variables: Iterable, **kwargs: Any) -> Phase:
        """A phase that trains `variables` of the network and the active head."""
        kwargs.setdefault("loss", self.task_loss)
        variables = [*variables, *self.head.trainable_variables]
        return Phase(name=name, variables=variables, **kwargs)


def fitted(array: np.ndarray, like: Any) -> np.ndarray:
    """An own value at the length of another; what is new is as there."""
    if tuple(array.shape) == tuple(like.shape):
        return array
    out = ops.convert_to_numpy(like).copy()
    out[: len(array)] = array[: len(out)]
    return out
