"""What a model keeps by task, and how one task at a time becomes the active one."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import heads as kinds
from keras_lifelong.layers import head as heads
from keras_lifelong.layers.growable import resize_inputs
from keras_lifelong.layers.keras_loss import KerasLoss
from keras_lifelong.layers.keras_loss import loss_of
from keras_lifelong.metrics.growth import GrowthEntry
from keras_lifelong.model.task_memory import OWN_HEAD
from keras_lifelong.model.task_memory import SHARED_HEAD
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.task_memory import TaskRecord
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import columns
from keras_lifelong.streams.numbers import require


class TasksMixin(keras.Model):
    """Tasks and heads of a `LifelongModel`.

    The memory holds what a task has for itself. It is trained in the active network
    (`model/active.py`) and used by reading (`model/using.py`).
    """

    # which keys of the memory hold the name of a task: see `TaskMemory`
    task_forms: tuple = ()
    shared_forms: tuple = ()
    feature_shape: tuple  # of one example, as the backbone was given
    carries_sequences: bool

    # Tasks and heads

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order they were learned."""
        return list(self.memory.records)

    @property
    def task_specs(self) -> dict[str, TaskSpec]:
        """What the labels of each task mean, by name, in the same order."""
        return {name: record.spec for name, record in self.memory.records.items()}

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
        return self._record(task).notes

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
        self.check_spec(name, spec, self.task_specs)
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

    def check_spec(
        self, name: str, spec: TaskSpec, others: Mapping[str, TaskSpec]
    ) -> None:
        """Refuses a task that this model cannot learn.

        Args:
            name, spec: of the task.
            others: what `task_specs` is by then.
        """
        shape = spec.input_shape
        if shape is not None and not columns.fits(shape, self.backbone_input_shape):
            raise ValueError(
                f"Task {name!r} has inputs of shape {shape}; the backbone "
                f"accepts {self.backbone_input_shape}."
            )
        self._check_features(name, spec)
        old = others.get(name, spec)
        if (old.units, old.kind, old.head) != (spec.units, spec.kind, spec.head):
            raise ValueError(
                f"Task {name!r} was learned as {old}. "
                f"Received the same name with {spec}."
            )
        for other in others.values():
            if spec.head == other.head == "shared" and (spec.units, spec.kind) != (
                other.units,
                other.kind,
            ):
                raise ValueError(
                    f"Task {name!r} shares the head of the others, which is {other}. "
                    f"Received {spec}."
                )

    def _check_features(self, name, spec):
        """Refuses a head of a kind that does not read such features as there are."""
        kind, shape = kinds.get(spec.kind), self.feature_shape
        if kind.by_step != (len(shape) == 2):
            wanted = "(batch, time, width)" if kind.by_step else "(batch, width)"
            method = type(self).__name__
            carried = not kind.by_step or self.carries_sequences
            why = "" if carried else f", which {method} does not carry"
            hint = "" if kind.by_step else ' Of words write TaskSpec(C, "sequence").'
            raise ValueError(
                f"Task {name!r} is a {spec.kind} task, whose head reads features "
                f"{wanted}{why}. Received: a backbone that ends in {(None, *shape)}."
                f"{hint}"
            )
        if kind.by_step and isinstance(self._loss, keras.losses.Loss):
            raise ValueError(
                f"`loss` of `compile` must be None, or a function, to learn task "
                f"{name!r}: a {spec.kind} task has one of its own. "
                f"Received: {self._loss!r}."
            )

    @property
    def time_steps(self) -> int:
        """Steps of the features that a head reads; 1 where they have no time."""
        return int(self.feature_shape[0]) if len(self.feature_shape) == 2 else 1

    def check_steps(self, y: np.ndarray, spec: TaskSpec, what: str) -> None:
        """Refuses labels that heads on this network's time steps cannot say.

        Args:
            y: in standard form.
            spec: the task's `TaskSpec`.
            what: whose labels these are, for messages.
        """

        def about_labels(condition, accepted, received):
            require(condition, what, "y", accepted, received)

        kinds.get(spec.kind).check_steps(y, self.time_steps, about_labels)

    # whether the data of tasks is kept, as `Joint` needs it
    keeps_data = False
    takes_weights = True  # of examples, in the loss

    @property
    def seen(self) -> dict:
        """`Task`s by name whose data this model keeps: none, unless it `keeps_data`."""
        return self._session.seen

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

    def _record(self, name: str, memory: TaskMemory | None = None) -> TaskRecord:
        """The record of a learned task, or a refusal that names those there are."""
        records = (self.memory if memory is None else memory).records
        if not isinstance(name, str) or name not in records:
            raise ValueError(
                f"`task` must be the name of a learned task: {list(records)}. "
                f"Received: {name!r}."
            )
        return records[name]

    def loss_kind(self, name: str) -> str | KerasLoss:
        """What a task's head is trained with; see `layers.keras_loss.loss_of`."""
        return loss_of(self.task_spec(name).kind, self._loss)
