"""What objects keep in a `TaskMemory`, and what was computed from it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.model.task_memory import Key
from keras_lifelong.model.task_memory import TaskMemory


def numbered(what: str, variables) -> dict[Key, keras.Variable]:
    """Variables by the keys under which a memory keeps them: `(what, 0)` and on."""
    return {(what, i): v for i, v in enumerate(variables)}


def remember(
    memory: dict[Key, np.ndarray] | TaskMemory, kept: Mapping[Key, keras.Variable]
) -> None:
    """Copies the values of variables to a memory."""
    for key, variable in kept.items():
        memory[key] = ops.convert_to_numpy(variable).copy()


def recall(
    memory: Mapping[Key, np.ndarray], kept: Mapping[Key, keras.Variable]
) -> None:
    """The inverse of `remember`."""
    for key, variable in kept.items():
        variable.assign(memory[key])


class ByMemory:
    """What was computed from a memory: kept by the memory, and gone with it.

    So a thread that looks at a model as it was before finds what followed from that.

    Attributes:
        lock: to be held where two threads are not to compute the same.
    """

    def __init__(self):
        self.lock = threading.RLock()
        self._found: weakref.WeakKeyDictionary[Any, dict] = weakref.WeakKeyDictionary()

    def of(self, memory) -> dict:
        """What was computed from a memory, by any key; to be added to."""
        return self._found.setdefault(memory, {})

    def clear(self) -> None:
        """Forgets all: a memory, or what is computed with it, has changed."""
        self._found.clear()
