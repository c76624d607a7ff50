"""A model's whole state: what checkpoints, weight files and roll-back hold."""

from __future__ import annotations

import json
import urllib.parse

import keras
import numpy as np
from keras import ops

from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.task_memory import TaskRecord
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams.columns import zeros


class StateMixin(keras.Model):
    """Reads and writes the state of a `LifelongModel`, at any stage of growth."""

    def structure(self) -> dict:
        """The shape of the network as JSON, for `set_structure` of a fresh model."""
        return {}

    def set_structure(self, structure: dict):
        """Gives a model the shape that another's `structure` described."""

    def get_state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """The whole model as a JSON dict and arrays by name.

        While a task is learned, the thread that learns gets the model as it is being
        trained, any other the model as it was before.
        """
        stands = self._session.training
        if stands is None or stands.is_mine:
            self.store_active()
            memory, structure = self.memory, self.structure()
            values = self.shared_variables()
        else:
            memory, structure, values = stands.memory, stands.structure, stands.values
        records = memory.records.items()
        config = {
            "tasks": {name: record.spec.to_config() for name, record in records},
            "notes": {name: record.notes for name, record in records if record.notes},
            "growth": memory.growth,
            "structure": structure,
        }
        kept = memory.to_arrays().items()
        arrays = {f"memory/{key}": np.array(array) for key, array in kept}
        for i, value in enumerate(values):
            arrays[f"network/{i}"] = ops.convert_to_numpy(value).copy()
        return json.loads(json.dumps(config)), arrays

    def set_state(self, config: dict, arrays: dict[str, np.ndarray]):
        """Makes the model what `get_state` described.

        The arrays of a task may be missing, if the task is dropped before it is used.
        """
        self._set_memory(config, arrays)
        for i, variable in enumerate(self.shared_variables()):
            variable.assign(np.array(arrays[f"network/{i}"]))  # JAX takes it as it is

    def _set_memory(self, config, arrays):
        """`set_state`, without the network's variables."""
        config = json.loads(json.dumps(config))  # the model goes on to change its own
        memory = TaskMemory(self.task_forms, self.shared_forms)
        for name, spec in config["tasks"].items():
            notes = config["notes"].get(name, {})
            memory.records[name] = TaskRecord(TaskSpec.from_config(spec), notes=notes)
        start = len("memory/")
        memory.load_arrays(
            {
                k[start:]: np.array(v)
                for k, v in arrays.items()
                if k.startswith("memory/")
            }
        )
        memory.growth = config["growth"]
        session = self._session
        session.active = None
        with session.lock:
            session.memory = memory
            self.set_structure(config["structure"])
            self.memory_changed()

    def check_state(self, config: dict, shapes: dict[str, tuple[int, ...]]):
        """Raises a ValueError if arrays of such shapes cannot be this state's.

        To be asked before `set_state` of what comes from elsewhere: it takes no memory.

        Args:
            config: as of `get_state`.
            shapes: of the arrays, by name.
        """
        for name, entry in config["tasks"].items():
            spec = TaskSpec.from_config(entry)
            self.check_spec(name, spec, self.task_specs)
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
            self.reading(name).check(name)
        if names:
            one = zeros(self.backbone_input_shape, 1)
            shape = tuple(self.forward(names[-1], one).shape)
            units = self.task_spec(names[-1]).units
            if (shape[0], shape[-1]) != (1, units):
                raise ValueError(
                    f"task {names[-1]!r} has {units} outputs, the network gives "
                    f"{shape[1:]}"
                )

    def save_own_variables(self, store):
        config, arrays = self.get_state()
        arrays = {k: v for k, v in arrays.items() if k.startswith("memory/")}
        config["phase"], variables = self._beside()
        for i, variable in enumerate(variables):
            arrays[f"phase/{i}"] = ops.convert_to_numpy(variable)
        store["book"] = np.frombuffer(json.dumps(config).encode(), "uint8")
        for key, array in arrays.items():
            store[urllib.parse.quote(key, safe="")] = array

    def load_own_variables(self, store):
        training, name = self._session.training, self.active_task
        config = json.loads(np.array(store["book"], "uint8").tobytes())
        keys = [key for key in store.keys() if key != "book"]
        arrays = {urllib.parse.unquote(k): np.array(store[k]) for k in keys}
        self._set_memory(config, arrays)
        if training is not None and training.is_mine and name in self.memory.records:
            self.activate(name)  # a callback loads what it goes on to train
            phase, variables = self._beside()
            if config.get("phase") == phase:  # else it was saved in another one
                for i, variable in enumerate(variables):
                    variable.assign(arrays[f"phase/{i}"])

    def _beside(self) -> tuple[list | None, list]:
        """What the phase that this thread trains changes beside network and head.

        Returns:
            What tells it from other phases, as JSON, or None; and its variables.
        """
        training, phase = self._session.training, self._session.phase
        if training is None or not training.is_mine or phase is None:
            return None, []
        known = {id(v) for v in [*self.network.variables, *self.head.variables]}
        found = [*self.active_variables(), *phase.variables, *(phase.state or ())]
        found = list({id(v): v for v in found if id(v) not in known}.values())
        shapes = [list(variable.shape) for variable in found]
        return [self.active_task, phase.name, shapes], found


class AllInMemory:
    """For a `LifelongModel` whose network is but where things are put to be trained.

    What lasts lies in `memory`; the network's own values need not be kept.
    """

    def shared_variables(self) -> list:
        return []
