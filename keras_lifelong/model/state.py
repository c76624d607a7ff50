"""A model's whole state: what checkpoints, weight files and roll-back hold."""

from __future__ import annotations

import json
import urllib.parse

import numpy as np
from keras import ops

from keras_lifelong.streams import TaskSpec


class StateMixin:
    """Reads and writes the state of a `LifelongModel`, at any stage of growth."""

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

    def check_state(self, config: dict, shapes: dict[str, tuple[int, ...]]):
        """Raises a ValueError if arrays of such shapes cannot be this state's.

        To be asked before `set_state` of what comes from elsewhere: it takes no memory.

        Args:
            config: as of `get_state`.
            shapes: of the arrays, by name.
        """
        for name, entry in config["tasks"].items():
            spec = TaskSpec.from_config(entry)
            self.check_spec(name, spec)
            for key in (f"memory/head/own/{name}", "memory/head/shared"):
                bias = shapes.get(f"{key}/bias")
                mine = (spec.head == "shared") == key.endswith("/shared")
                if mine and bias is not None and bias != (spec.units,):
                    raise ValueError(
                        f"task {name!r} has {spec.units} outputs, its head {bias[0]}"
                    )

    def check_loaded(self, names: list[str]):
        """Raises a ValueError if a task cannot be used with what was loaded."""
        for name in names:
            self.activate(name)
        if names:
            one = ops.zeros((1, *self.backbone_input_shape))
            shape = tuple(self.outputs(one).shape)
            if shape != (1, self.active_spec.units):
                raise ValueError(
                    f"task {names[-1]!r} has {self.active_spec.units} outputs, the "
                    f"network gives {shape[1:]}"
                )
        self.activate(None)

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
        config = json.loads(json.dumps(config))  # the model goes on to change its own
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


class AllInMemory:
    """For a `LifelongModel` whose network is but where things are put to be used.

    What lasts lies in `memory`; the network's own values need not be kept.
    """

    def get_state(self):
        return self._get_book()

    def set_state(self, config, arrays):
        self._set_book(config, arrays)
