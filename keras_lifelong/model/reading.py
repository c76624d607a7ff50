"""Using a task: a pure function of the input and of the weights that the task has.

Nothing here assigns a variable. The network, its layers and variables serve as the
form of the computation; the values come from the model's memory, or, of what all tasks
share, from the variables as they stand. So any thread, compiled function, callback or
interrupt may use any task at any time.
"""

from __future__ import annotations

import collections
import dataclasses
import operator
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.streams import columns
from keras_lifelong.training.program import Programs
from keras_lifelong.training.trainer import evaluation_rows

# Lists of values kept as tensors, so that a switch copies nothing, and programs.
READY = 64


@dataclasses.dataclass
class Reading:
    """What the outputs of a task are a function of, beside the input.

    Attributes:
        body: the network that the input goes through.
        variables: the variables that it reads.
        values: what they are for the task: arrays or tensors, as many; None: what the
            variable holds, as it stands.
        head: its head's kernel (width, units) and bias (units,).
    """

    body: keras.layers.Layer
    variables: list
    values: list
    head: tuple

    def check(self, name: str) -> None:
        """Raises a ValueError if a value has not the shape of its variable."""
        for variable, value in zip(self.variables, self.values, strict=True):
            if value is not None and tuple(value.shape) != tuple(variable.shape):
                raise ValueError(
                    f"task {name!r} has a value of shape {tuple(value.shape)} for "
                    f"{variable.path}, which has shape {tuple(variable.shape)}"
                )

    def given(self) -> tuple[list, list]:
        """The variables that have values of the task's own, and these as tensors."""
        all_pairs = zip(self.variables, self.values, strict=True)
        pairs = [(v, ops.convert_to_tensor(x)) for v, x in all_pairs if x is not None]
        return [v for v, _ in pairs], [x for _, x in pairs]


class Reader:
    """Compiled functions of weights, and values that are on the device already.

    Args:
        through: `through(body, x, training) -> features`, of the model.
        lock: held while a function is traced, and by whoever changes the network's
            structure.
        uses_xla: `uses_xla(variables)`: how functions of them are compiled; see
            `Trainer.uses_xla`.
        shape: of one example, or of several inputs of one.
    """

    def __init__(self, through: Callable, lock, uses_xla: Callable, shape: Any = ()):
        self._shape = shape
        self._through, self._uses_xla = through, uses_xla
        self._programs = Programs(READY)
        self._ready: collections.OrderedDict = collections.OrderedDict()
        self._lock = lock

    def outputs(
        self, name, reading: Reading, activation: str, x, training=False, traced=False
    ):
        """Outputs (batch, units) of a task, as a list of the tensors of parts.

        Args:
            name: of the task, under which its values are kept ready.
            reading: a `Reading`.
            activation: of the head, by name.
            x: (batch, *input_shape), or `Columns` of such. A value is computed in
                blocks of a few fixed sizes, so that few shapes are compiled.
            training: as everywhere in Keras; what layers would update is dropped.
            traced: whether this is part of what is being compiled: then nothing is kept
                of it, and x may have no value yet.

        Returns:
            List of pairs of a tensor and the number of its first rows that count.
        """
        if traced:
            function = self._function(reading.body, activation, training)
            values = [
                stands if value is None else ops.convert_to_tensor(value)
                for value, stands in zip(
                    reading.values, backend.snapshot(reading.variables), strict=True
                )
            ]
            with backend.ValuesScope(reading.variables, values):
                return [(function(*columns.leaves(x), *reading.head), None)]
        run = self._compiled(reading, activation, training)
        values, head = self._tensors(name, reading)
        n = x.shape[0]
        rows = 1 if n == 1 else evaluation_rows(n)  # a row alone is often asked for
        parts = []
        for start in range(0, n, rows):
            part = x[start : start + rows]
            count = part.shape[0]
            if count < rows:
                part = columns.each(lambda a: _filled(a, rows), part)
            parts.append((run(values, *columns.leaves(part), *head), count))
        return parts

    def _function(self, body, activation, training):
        through, act = self._through, keras.activations.get(activation)

        form = columns.columns(self._shape, self._shape)

        def function(*args):
            *inputs, kernel, bias = args
            x = columns.packed(form, inputs)
            features = ops.cast(through(body, x, training), "float32")
            return act(ops.add(ops.matmul(features, kernel), bias))

        return function

    def _compiled(self, reading, activation, training):
        key = (id(reading.body), activation, training, *map(id, reading.variables))

        def make():
            return backend.compile_function(
                self._function(reading.body, activation, training),
                reading.variables,
                self._uses_xla(reading.variables),
                self._lock,
            )

        return self._programs.get(key, make, owns=(reading.body, reading.variables))

    def _tensors(self, name, reading):
        """The values and the head as tensors; arrays are copied to the device once."""
        given = [*reading.values, *reading.head]
        with self._lock:
            kept = self._ready.get(name)
            if kept is None or len(kept[0]) != len(given):
                kept = ([None] * len(given), [None] * len(given), None, None)
            was, tensors, values, head = kept
            if values is None or not same_objects(was, given):
                tensors = [
                    tensor if old is value else _on_device(value)
                    for old, value, tensor in zip(was, given, tensors, strict=True)
                ]
                values, head = backend.Values(tensors[:-2]), tensors[-2:]
            self._ready[name] = (given, tensors, values, head)
            self._ready.move_to_end(name)
            while len(self._ready) > READY:
                self._ready.popitem(last=False)
        return values, head

    def forget_programs(self) -> None:
        """Lets go of what is compiled, as when it is to be compiled otherwise."""
        self._programs = Programs(READY)

    def forget(self, name: str | None = None) -> None:
        """Lets go of what is kept ready of a task, or of all."""
        with self._lock:
            if name is None:
                self._ready.clear()
            else:
                self._ready.pop(name, None)


def same_objects(some: Sequence, others: Sequence) -> bool:
    """Whether two sequences hold the same objects, in the same order."""
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _on_device(value):
    return None if value is None else ops.convert_to_tensor(value)


def joined(parts):
    """The rows that count of what `Reader.outputs` gave, as one tensor."""
    cut = [out if count is None else out[:count] for out, count in parts]
    return cut[0] if len(cut) == 1 else ops.concatenate(cut)


def joined_array(parts) -> np.ndarray:
    """As `joined`, as an array."""
    cut = [ops.convert_to_numpy(out)[:count] for out, count in parts]
    return cut[0] if len(cut) == 1 else np.concatenate(cut)


def _filled(x, rows: int):
    """Rows of zeros added up to `rows`."""
    missing = (rows - x.shape[0], *x.shape[1:])
    if isinstance(x, np.ndarray):
        return np.concatenate([x, np.zeros(missing, x.dtype)])
    return ops.concatenate([x, ops.zeros(missing, x.dtype)])


def by_task(task: Sequence, rows: int) -> dict[Any, np.ndarray]:
    """The rows of each task, in the order in which the tasks first come.

    Raises:
        ValueError: if there is not one name for each row.

    >>> {name: rows.tolist() for name, rows in by_task(["b", "a", "b"], 3).items()}
    {'b': [0, 2], 'a': [1]}
    """
    names = list(task)
    if len(names) != rows:
        raise ValueError(
            f"`task` must be a name, or one for each of the {rows} rows of `x`. "
            f"Received: {len(names)} names."
        )
    found: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return {name: np.array(places) for name, places in found.items()}
