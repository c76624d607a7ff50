"""Old examples in the steps of a new task: drawn in the compiled loop, read by heads.

Every example is read by the head of its own task. The heads of earlier tasks stand side
by side in a `HeadStack`, and beside them the head of the task that is learned.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import heads as kinds
from keras_lifelong.layers import head as heads
from keras_lifelong.training.buffers import LOGITS
from keras_lifelong.training.buffers import WEIGHT
from keras_lifelong.training.buffers import Buffer
from keras_lifelong.training.buffers import X
from keras_lifelong.training.buffers import Y
from keras_lifelong.training.data import power_of_two
from keras_lifelong.training.distillation import ABSENT
from keras_lifelong.training.distillation import filled_up
from keras_lifelong.training.distillation import own_logits
from keras_lifelong.training.distillation import stacked_logits

PARTS = ("kernel", "bias")


class Draws:
    """The random numbers of a step.

    Attributes:
        state: the variable that holds where they are; the phase's `state` needs it.
    """

    def __init__(self, seed: int):
        self._generator = keras.random.SeedGenerator(seed)
        self.state = self._generator.state

    def rows(self, count: int, limit):
        """Row numbers (count,) of int32 below `limit`, a scalar tensor, with return."""
        chance = keras.random.uniform((count,), seed=self._generator)
        limit = ops.cast(limit, "int32")
        row = ops.cast(chance * ops.cast(limit, "float32"), "int32")
        return ops.minimum(row, limit - 1)


class HeadStack:
    """Room for the heads of earlier tasks side by side.

    Args:
        capacity: heads that it has room for.
        width, units: of a head; those of fewer outputs are filled up with outputs that
            are never an answer.

    Attributes:
        variables: "kernel" (capacity, width, units) and "bias" (capacity, units).
    """

    def __init__(self, capacity: int, width: int, units: int):
        shapes = ((capacity, width, units), (capacity, units))
        self.variables = [
            keras.Variable(np.zeros(shape, "float32"), name=f"old_{part}")
            for shape, part in zip(shapes, PARTS, strict=True)
        ]

    def load(self, found: list[tuple]) -> None:
        """Copies heads in: pairs of a kernel (width, outputs) and a bias (outputs,)."""
        stacked = filled_up(found, tuple(self.variables[0].shape))
        for variable, value in zip(self.variables, stacked, strict=True):
            variable.assign(value)

    def get(self, index: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """The kernel and the bias of a head."""
        kernel, bias = (ops.convert_to_numpy(v[index]) for v in self.variables)
        return kernel[:, :outputs].copy(), bias[:outputs].copy()

    def logits(self, features, mine, index):
        """Outputs (batch, …, units) of features, each by its own head.

        Args:
            features: (batch, …, width).
            mine: outputs (batch, …, outputs) of the head that is learned, of the index
                `capacity`.
            index: of the head of each, (batch,).
        """
        stacked = dict(zip(PARTS, self.variables, strict=True))
        others = stacked_logits(stacked, ops.cast(features, "float32"))
        missing = others.shape[-1] - mine.shape[-1]
        widths = [(0, 0)] * (len(mine.shape) - 1) + [(0, missing)]
        mine = ops.pad(mine, widths, constant_values=ABSENT)
        return own_logits(ops.concatenate([others, mine[:, None]], axis=1), index)


class Replayed:
    """The examples of earlier tasks, as a phase takes them.

    Args:
        model: the `LifelongModel`, with `FORMS` of buffers, a task active.
        name: of that task, whose own examples do not count.
        stacks: dict of `HeadStack`s by shape, used again: what is compiled holds them.
        room: for how many examples there is to be room.

    Attributes:
        names: the earlier tasks of which there are examples.
        stack: the `HeadStack` with their heads, or None if there are none.
        arguments: of a phase: "x", "y", "weight", "logits" (if kept), "head" (index in
            the stack) and "count", filled up to `room` rows; "present" has the outputs
            that each head has.
    """

    def __init__(self, model, name: str, stacks: dict, room: int):
        self._model, self._mine = model, model.head_key(name)
        found = Buffer.names(model.memory)
        self.names = [other for other in found if other != name]
        self.stack: Any = None
        self.arguments: dict = {}
        if not self.names:
            return
        keys = [model.head_key(other) for other in self.names]
        self.keys = list(dict.fromkeys(k for k in keys if k != self._mine))
        self._sizes = [model.memory[*k, "bias"].size for k in self.keys]
        units = max([model.active_spec.units, *self._sizes])
        shape = (power_of_two(len(self.keys), 1), model.feature_width, units)
        if shape not in stacks:
            stacks[shape] = HeadStack(*shape)
        self.stack, self.capacity = stacks[shape], shape[0]
        self.stack.load(
            [
                (
                    model.fitted_head(model.memory[*k, "kernel"]),
                    model.memory[*k, "bias"],
                )
                for k in self.keys
            ]
        )
        self.arguments = self._arguments(keys, units, room)

    def _arguments(self, keys, units, room):
        of = [Buffer.of(self._model.memory, name) for name in self.names]
        count = sum(len(columns[Y]) for columns in of)
        kind = kinds.get(self._model.active_spec.kind)
        size = max(room, count)

        def filled(arrays, joined=np.concatenate):
            whole = joined(arrays)
            out = np.zeros((size, *whole.shape[1:]), whole.dtype)
            out[: len(whole)] = whole
            return out

        index = [self.keys.index(k) if k in self.keys else self.capacity for k in keys]
        present = np.zeros((self.capacity + 1, units), "float32")
        sizes = [*enumerate(self._sizes)]
        for i, outputs in [*sizes, (self.capacity, self._model.active_spec.units)]:
            present[i, :outputs] = 1
        arguments = {
            "x": filled([columns[X] for columns in of]),
            "y": filled([columns[Y] for columns in of], kind.joined),
            "head": filled(
                [
                    np.full(len(columns[Y]), i, "int32")
                    for i, columns in zip(index, of, strict=True)
                ]
            ),
            "weight": filled(
                [c.get(WEIGHT, np.ones(len(c[Y]), "float32")) for c in of]
            ),
            "count": np.int32(count),
            "present": present,
        }
        if all(LOGITS in columns for columns in of):
            arguments["logits"] = filled([_widened(c[LOGITS], units) for c in of])
        return arguments

    def publish(self) -> None:
        """Copies the heads of earlier tasks from the stack to the model's memory."""
        for i, (key, outputs) in enumerate(zip(self.keys, self._sizes, strict=True)):
            head = self.stack.get(i, outputs)
            for part, value in zip(PARTS, head, strict=True):
                self._model.memory[*key, part] = value


def _widened(logits: np.ndarray, units: int) -> np.ndarray:
    """Logits (n, …, outputs) with zeros for further outputs, (n, …, units)."""
    widths = [(0, 0)] * (logits.ndim - 1) + [(0, units - logits.shape[-1])]
    return np.pad(logits, widths)


def drawn(arguments, rows) -> dict:
    """The examples of some rows, all that is known of them."""
    columns = (k for k in ("x", "y", "weight", "head", "logits") if k in arguments)
    return {k: ops.take(arguments[k], rows, axis=0) for k in columns}


def mean_over_both(loss, weight, replayed, rows: int) -> tuple:
    """The mean loss over the examples of a batch and those that are replayed.

    Args:
        loss: mean over the batch under `weight` (batch,).
        replayed: mean over `rows` examples.

    Returns:
        A pair as a `Phase`'s loss may give it: the part of the batch, and the other.
    """
    total = ops.sum(weight)
    return total * loss / (total + rows), rows * replayed / (total + rows)


def check_alike(method: str, name: str, spec, loss, others: dict) -> None:
    """Raises a ValueError if heads of tasks cannot stand side by side.

    Args:
        method: its name.
        name, spec: of a new task.
        loss: of its head: a name, or a loss of Keras.
        others: the `TaskSpec`s of the tasks learned, by name.
    """
    for other, old in others.items():
        any_size = loss in ("softmax", "ctc")  # further outputs are never an answer
        if old.kind == spec.kind and (any_size or old.units == spec.units):
            continue
        raise ValueError(
            f"{method} replays examples of all tasks together: they must be of one "
            "kind and, unless the loss is 'softmax' or 'ctc', of as many outputs. "
            "Received: "
            f"task {name!r}, {spec}, with the loss {loss!r}; and {other!r}, {old}."
        )


def replayed_loss(kind, old: dict, logits):
    """Mean loss of the examples of `drawn`, from the logits of their heads.

    As in a batch, the mean of weight times loss.
    """
    return ops.mean(heads.per_sample_loss(kind, old["y"], logits) * old["weight"])
