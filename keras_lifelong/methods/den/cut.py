"""Using a task of a growable network through a plain one of just the units it has.

The growable network computes all units that there is room for, and selects: right while
it grows, but a task that is used needs only its own. What is learned later changes
neither the plain network's shape nor, where it is held, a bit of what it computes.
"""

from __future__ import annotations

import collections
import json
import threading
from collections.abc import Callable
from collections.abc import Hashable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.methods.den.plain_graph import PlainGraph
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.reading import same_objects

ROOM = 1 << 28  # bytes of the weights that are kept ready, of all tasks together
FORMS = 32  # plain networks, of which tasks of the same widths share one


class CutTasks:
    """Readings of tasks through plain networks, kept until the model changes.

    Args:
        model: the `GrowingModel`, whose `reading` is of the growable network, and whose
            `plain_layers`, `plain_rows`, `plain_network` cut a task out, as for
            `task_model`.
        forget: called with the name of a task whose reading is let go.
    """

    def __init__(self, model: Any, forget: Callable[[str], None]):
        self._model, self._forget = model, forget
        self._forms: collections.OrderedDict = collections.OrderedDict()
        self._kept: collections.OrderedDict = collections.OrderedDict()
        self._marks: tuple[list, Callable] = ([], backend.marks([]))
        self._lock = threading.Lock()

    def of(self, name: str, version: int) -> Reading:
        """A task's reading through a plain network.

        Args:
            name: of the task.
            version: of the model: what was kept of another is made anew, and so is what
                was of other weights than now stand in the network, or of other arrays
                of the task than now lie in memory.
        """
        arrays = self._model.task_arrays(name)
        with self._lock:
            if name in self._kept:
                (was, marked, marks), of_task, cut, _, _ = self._kept[name]
                same = was == version and same_objects(of_task, arrays)
                if same and marked()[0] == marks:
                    self._kept.move_to_end(name)
                    return cut
        reading = self._model.reading(name)
        pairs = zip(reading.variables, reading.values, strict=True)
        marked = self._marks_of([v for v, value in pairs if value is None])
        marks, held = marked()
        state, stage = (version, marked, marks), self._model.task_stage(name)
        with backend.ValuesScope(*reading.given()):
            layers = self._model.plain_layers(reading.body, stage)
            rows = self._model.plain_rows(stage)
        kernel, bias = (ops.convert_to_numpy(part) for part in reading.head)
        network, values = self._filled(layers)
        variables, head = network.variables, (kernel[rows], bias)
        found = [values.get(id(v)) for v in variables]
        cut = Reading(network, variables, found, head)
        size = sum(int(v.nbytes) for v in [*values.values(), *head])
        with self._lock:
            for other in [n for n, kept in self._kept.items() if kept[0] != state]:
                del self._kept[other]  # it holds weights that are no more
            self._kept[name] = (state, arrays, cut, size, held)
            while len(self._kept) > 1 and self._size() > ROOM:
                self._forget(self._kept.popitem(last=False)[0])
        return cut

    def clear(self) -> None:
        """Lets go of everything, as where weights were set by other ways."""
        with self._lock:
            self._kept.clear()

    def _marks_of(self, variables: list) -> Callable:
        """See `backend.marks`; the same for the same variables as the last time."""
        kept, marked = self._marks
        if not same_objects(kept, variables):
            marked = backend.marks(variables)
            self._marks = variables, marked
        return marked

    def _size(self) -> int:
        return sum(size for *_, size, _ in self._kept.values())

    def _filled(self, layers) -> tuple[keras.Model, dict[int, Any]]:
        """A plain network, and by id of its variables what they are to be.

        Of what is missing there they are it already.
        """
        of_graph = isinstance(layers, PlainGraph)
        pairs = list(layers.layers.values() if of_graph else layers)
        key = tuple(_form(layer, arrays) for layer, arrays in pairs)
        if None in key:
            return self._model.plain_network(layers), {}
        with self._lock:
            form = self._forms.get(key)
        if form is None:
            form = self._model.plain_network(layers), [layer for layer, _ in pairs]
        with self._lock:
            self._forms[key] = form
            self._forms.move_to_end(key)
            while len(self._forms) > FORMS:
                self._forms.popitem(last=False)
        network, same = form
        values: dict[int, Any] = {}
        for layer, (_, arrays) in zip(same, pairs, strict=True):
            if arrays:  # copied: on PyTorch they are what variables hold, and change
                copies = map(np.array, arrays)
                values.update(zip(map(id, layer.weights), copies, strict=True))
        return network, values


def _form(layer, arrays) -> Hashable:
    """What layers have alike that differ in nothing but the numbers they hold.

    None: it stands for several layers, which take its arrays as they are made.
    """
    if hasattr(layer, "plain") or not isinstance(layer, keras.layers.Layer):
        return None if arrays else layer
    config = json.dumps(layer.get_config(), sort_keys=True, default=repr)
    return type(layer), config, tuple(a.shape for a in arrays or ())
