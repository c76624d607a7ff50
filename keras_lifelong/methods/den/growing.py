"""GrowingModel: a lifelong model whose hidden layers gain and lose units."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.layers import head as heads
from keras_lifelong.layers.growable import ByChannel
from keras_lifelong.methods.den.growable_network import GrowableNetwork
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import nonzero_inputs
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.task_memory import SHARED_HEAD
from keras_lifelong.seeds import derive_seed


class GrowingModel(LifelongModel):
    """A `LifelongModel` on a `GrowableNetwork`.

    Tasks are used at the stage of growth that `task_stage` gives. Batch normalisation
    is kept by task, since its statistics are those of a task's data.
    """

    carries_graphs = False

    def build_network(self, backbone, bucket: int = 64):
        """A method hands over what capacities are multiples of."""
        return GrowableNetwork(
            backbone, bucket=bucket, method=type(self).__name__, name="network"
        )

    def through(self, body, x, training=False):
        return body(x, stage=ops.convert_to_tensor(self.stage), training=training)

    def template_variables(self):
        return [*self.network.variables, self.stage]

    def placed(self, name):
        return {id(self.stage): _stage(self.task_stage(name))}

    def own_variables(self):
        """Batch normalisation: every task keeps its own scales and statistics."""
        return [
            v
            for layer in self.network.layers_in_order
            if isinstance(layer, ByChannel)
            for v in layer.variables
        ]

    def latest_stage(self) -> int:
        """Of tasks and of units: of those whose task was removed, as well."""
        noted = [self.notes(name).get("stage", 0) for name in self.task_names]
        born = [int(layer.births().max()) for layer in self.network.growable]
        return max(*noted, *born) if any(noted) else 0

    def everything(self) -> Region:
        """All units that the active task may use."""
        return Region.everything(self.network, int(self.stage.value))

    @property
    def feature_width(self):
        return self.network.output_width

    def head_rows(self):
        return self.network.input_rows(len(self.network.growable))

    def head_positions(self):
        return self.network.positions(len(self.network.growable))

    @contextlib.contextmanager
    def restructured(self):
        """Within it the network's storage may change; the active head is refitted."""
        task = self.active_task
        self.activate(None)
        with self._session.lock:  # nobody reads it meanwhile
            yield
        self.activate(task)

    # Units that come and go

    def insert_units(self, task: str, count: int, stage: int) -> list[np.ndarray]:
        """Adds units to every hidden layer, and the active head's rows above them.

        Args:
            task: the active one; with the model's seed it gives the new weights.
            count: how many in each layer.
            stage: at which they are born.

        Returns:
            Their indices by layer, (count,).
        """
        layers = range(len(self.network.growable))
        seeds = [derive_seed(self.seed, task, "add", i) for i in layers]
        with self.restructured():
            added = [self.network.add_units(i, count, stage, seeds[i]) for i in layers]
        head = ops.convert_to_numpy(self.head.kernel).copy()
        drawn = heads.draw(*head[self.head_rows()].shape, self.seed, task, "add")
        rows = self.network.rows_of(len(layers), added[-1])
        head[rows] = drawn[-rows.size :]
        self.head.kernel.assign(head)
        self.store_active()
        return added

    def remove_units(self, choose) -> list[np.ndarray]:
        """Removes the units that `choose(layer index)` gives, from the top down."""
        network = self.network
        removed: list[Any] = [None] * len(network.growable)
        for i in reversed(range(len(network.growable))):
            removed[i] = choose(i)
            network.growable[i].remove_units(removed[i])
            rows = network.rows_of(i + 1, removed[i])
            if i + 1 < len(network.growable):
                network.growable[i + 1].clear_inputs(rows)
            else:
                head = ops.convert_to_numpy(self.head.kernel).copy()
                head[rows] = 0
                self.head.kernel.assign(head)
        self.store_active()
        return removed

    def has_incoming(self, index) -> np.ndarray:
        """Mask (capacity,) of units with a non-zero weight from below."""
        kernel = self.network.growable[index].kernel_array()
        return (kernel != 0).any(axis=tuple(range(kernel.ndim - 1)))

    def has_outgoing(self, index) -> np.ndarray:
        """Mask (capacity,) of units with a non-zero weight to what is above."""
        network = self.network
        if index + 1 < len(network.growable):
            kernel = network.growable[index + 1].kernel_array()
        else:
            kernel = ops.convert_to_numpy(self.head.kernel)
        rows = nonzero_inputs(kernel, range(kernel.shape[-1]))
        mask = np.zeros(network.growable[index].capacity, bool)
        mask[np.unique(rows % mask.size)] = True
        return mask

    def clear_free_head_rows(self):
        """Zeroes what learned heads hold for units that do not exist.

        Later units take those places, and mean nothing to these heads.
        """
        self.activate(None)
        exist = self.head_rows()
        for record in self.memory.records.values():
            if record.head:  # else it is shared
                kernel = self.fitted_head(record.head["kernel"])
                cleared = np.zeros_like(kernel)
                cleared[exist] = kernel[exist]
                record.head["kernel"] = cleared

    def structure(self):
        return {"capacities": self.network.capacities()}

    def check_state(self, config, shapes):
        super().check_state(config, shapes)
        stored = {shape[-1] for k, shape in shapes.items() if k.startswith("network/")}
        capacities = config["structure"]["capacities"]
        if len(capacities) != len(self.network.growable) or set(capacities) - stored:
            raise ValueError(
                f"layers have room for {capacities} units, the stored kernels for "
                f"{sorted(stored)}"
            )

    def release(self, name):
        """Frees the units that only this task is late enough to use."""
        others = [self.task_stage(other) for other in self.task_names if other != name]
        stages = others or [1]  # the first units are the network's
        units = [
            np.setdiff1d(layer.units_at(), _units_of(layer, stages))
            for layer in self.network.growable
        ]
        for i, gone in enumerate(units):
            layer = self.network.growable[i]
            layer.retire_units(layer.units_retired_after(max(stages)), None)
            layer.remove_units(gone)
            if i + 1 < len(units):
                rows = self.network.rows_of(i + 1, gone)
                self.network.growable[i + 1].clear_inputs(rows)

    def shared_with(self, name):
        found = super().shared_with(name)
        others = found.pop("the network", [])
        stages = [self.task_stage(other) for other in others]
        for layer in self.network.growable:
            used = layer.units_at(self.task_stage(name))
            count = np.intersect1d(used, _units_of(layer, stages)).size
            if count:
                found[f"{layer.name} with {count} units"] = others
        return found

    def set_structure(self, structure):
        self.network.set_capacities(structure["capacities"])

    def network_params(self):
        total = 0
        for i, layer in enumerate(self.network.growable):
            window = int(np.prod(layer.kernel.shape[:-2]))
            units = layer.units_at().size
            total += window * self.network.input_rows(i).size * units
            total += units * layer.use_bias
        return total

    def task_params(self):
        """Heads at the width of their time, and batch normalisation of units in use."""
        network, total, counted = self.network, 0, set()
        for name in self.task_names:
            key, stage = self.head_key(name), self.task_stage(name)
            units = self.task_spec(name).units
            if key not in counted:
                counted.add(key)
                top = len(network.growable)
                if key == SHARED_HEAD:
                    stage = None
                total += (network.input_rows(top, stage).size + 1) * units
            below = None
            for layer in network.layers_in_order:
                if layer in network.growable:
                    below = layer
                elif isinstance(layer, ByChannel):
                    width = (
                        layer.variables[0].shape[0]
                        if below is None
                        else below.units_at(stage).size
                    )
                    total += width * layer.params_by_channel
        return total

    def summarize_network(self, print_fn, **kwargs):
        """Prints the growable layers: units in use, and the storage they lie in."""
        del kwargs
        for i, layer in enumerate(self.network.growable):
            inputs = self.network.input_rows(i).size
            print_fn(
                f"{layer.name} ({type(layer).__name__}): {layer.units_at().size} units "
                f"of {inputs} inputs, room for {layer.capacity}"
            )

    def plain_layers(self, body, stage):
        network, pairs, units = body, [], None
        for layer in network.layers_in_order:
            if layer in network.growable:
                rows = network.input_rows(network.growable.index(layer), stage)
                units = layer.units_at(stage)
                pairs.append(layer.plain(rows, units))
            elif isinstance(layer, ByChannel):
                pairs.append(layer.plain(units))
            else:
                values = [ops.convert_to_numpy(v) for v in layer.weights]
                pairs.append((type(layer).from_config(layer.get_config()), values))
        return pairs

    def plain_rows(self, stage):
        return self.network.input_rows(len(self.network.growable), stage)

    def joint_features(self, x, task, arguments):
        """Each sample with the units of its own task's time."""
        stage = ops.take(arguments["stages"], task, axis=0)
        return self.network(x, stage=stage, training=True)


@functools.cache
def _stage(number: int) -> np.ndarray:
    """One array for each stage, so that it is copied to the device once."""
    return np.array(number, "int32")


def _units_of(layer, stages) -> np.ndarray:
    """Indices of a layer's units that exist at any of the stages."""
    found = [layer.units_at(stage) for stage in stages]
    return np.unique(np.concatenate(found)) if found else np.array([], int)
