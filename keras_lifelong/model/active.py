"""The active network: where one task at a time is trained."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers import head as heads
from keras_lifelong.model.session import Training
from keras_lifelong.streams import TaskSpec
from keras_lifelong.training.importance import values_of
from keras_lifelong.training.joint import JointHeads
from keras_lifelong.training.phase import Phase


class ActiveMixin(keras.Model):
    """The active network of a `LifelongModel`: `network`, and a slot for a head.

    It is the trainer's. `training_on` copies what a task has for itself into it and,
    once the task is learned, back to memory.
    """

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
        training = None
        try:
            with session.lock:  # two that begin at once: one finds the other at it
                self._refuse_second(name)
                self.activate(None)
                training = Training(self, name)
                session.training = training
            session.changes += 1
            session.memory = training.memory.copy()
            if name not in self.memory.records:
                self.add_task(name, spec)
            self.activate(name)
            yield
            self.activate(None)
            session.training, session.last = None, training
            session.changes += 1
        except BaseException:
            if training is not None and session.training is training:
                training.running = False
                self._put_back(training)
            raise

    @contextlib.contextmanager
    def undone_if_it_fails(self, name: str) -> Iterator[None]:
        """Makes the model what it was before it learned `name`, if the block fails."""
        session = self._session
        before, session.last = session.last, None
        try:
            yield
        except BaseException:
            if before is not None and before.name == name and session.training is None:
                self._put_back(before)
            raise

    def _refuse_second(self, name: str):
        """Raises a RuntimeError if a task is being learned; see `training_on`."""
        training = self._session.training
        if training is None:
            return
        if training.running:
            raise RuntimeError(
                f"The model is learning task {training.name!r}; it learns one at a "
                f"time. Received: {name!r}."
            )
        self._put_back(training)  # an interrupt came while it was

    def _put_back(self, training: Training):
        """Makes the model what it was before `training`; may be done twice."""
        session = self._session
        session.active = None
        session.memory, session.seen = training.memory, dict(training.seen)
        with session.lock:
            self.set_structure(copy.deepcopy(training.structure))
            pairs = zip(self.shared_variables(), training.values, strict=True)
            for variable, value in pairs:
                variable.assign(value)
            self.memory_changed()
        session.training = None
        session.changes += 1

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
        self.publish()
        key, slot = self.head_key(name), self.head
        self.memory[*key, "kernel"] = ops.convert_to_numpy(slot.kernel).copy()
        self.memory[*key, "bias"] = ops.convert_to_numpy(slot.bias).copy()
        own = self.own_variables()
        for i in self.own_indices(name):
            self.keep_own(name, i, ops.convert_to_numpy(own[i]).copy())
        if self._session.training is None:
            self._session.changes += 1

    def set_head(self, values: list) -> None:
        """Gives the active head these weights."""
        for variable, value in zip(self.head.variables, values, strict=True):
            variable.assign(value)
        self.store_active()

    def phase_began(self, phase: Phase) -> None:
        """Makes the variables of a phase the model's until `phase_ended`."""
        self._session.phase = phase

    def phase_ended(self) -> None:
        """The end of what `phase_began` began."""
        self._session.phase = None

    def publish(self) -> None:
        """Copies what the phase trains beside the active network to memory."""
        phase = self._session.phase
        if phase is not None and phase.publish is not None:
            phase.publish()

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

    def _slot(self, units: int) -> heads.HeadSlot:
        slots = self._session.slots
        width = self.feature_width
        if units not in slots or slots[units].kernel.shape[0] != width:
            slot = heads.HeadSlot(units, name=f"head_{units}")
            slot.build((None, width))
            slots[units] = slot
        return slots[units]

    # The active network as a whole

    def active_variables(self) -> list:
        """Every variable that the active task's outputs depend on."""
        return [*self.network.variables, *self.head.variables, self.stage]

    def get_active(self) -> list[np.ndarray]:
        """Copies of the values of `active_variables()`."""
        return values_of(self.active_variables())

    def set_active(self, values: Iterable) -> None:
        """Assigns what `get_active` returned."""
        for variable, value in zip(self.active_variables(), values, strict=True):
            variable.assign(value)

    @property
    def weights(self) -> list:
        """The network's weights and, while a task is active, its head's.

        While a phase lasts, all others that it trains, too.
        """
        found = list(self.network.weights)
        if self.active_task is not None:
            found += self.head.weights
        if self._session.phase is not None:
            found += self._session.phase.variables
        return list({id(v): v for v in found}.values())

    def logits(self, x: Any) -> Any:
        """Outputs before the activation, (batch, units), of the active task."""
        return self.head(self.features(x))

    def outputs(self, x: Any, training: bool = False) -> Any:
        """What the active task's head says, (batch, units)."""
        logits = self.head(self.features(x, training=training))
        return keras.activations.get(heads.activation(self.loss_key()[0]))(logits)

    def head_loss(self, y: Any, logits: Any, weight: Any) -> Any:
        """Mean loss of the active task's head under sample weights (batch,)."""
        if self._session.noted is not None:
            self._session.noted.append((y, logits))
        return heads.mean_loss(self.loss_key()[0], y, logits, weight)

    @contextlib.contextmanager
    def noting_outputs(self) -> Iterator[list]:
        """Within it, what `head_loss` is given (labels, outputs) goes into a list."""
        session = self._session
        before, session.noted = session.noted, []
        try:
            yield session.noted
        finally:
            session.noted = before

    def task_loss(self, x: Any, y: Any, weight: Any, arguments: Any) -> Any:
        """The loss of most phases: forward through network and head."""
        del arguments
        logits = self.head(self.features(x, training=True))
        return self.head_loss(y, logits, weight)

    def loss_key(self) -> tuple:
        """What the compiled loss depends on: the loss's kind and the head's size."""
        name: Any = self.active_task  # there is one
        return self.loss_kind(name), self.active_spec.units

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
