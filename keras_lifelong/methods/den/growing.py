"""GrowingModel: a lifelong model whose hidden layers gain and lose units."""

from __future__ import annotations

import contextlib
import functools

import numpy as np
from keras import ops

from keras_lifelong.layers.growable import ByChannel
from keras_lifelong.methods.den.growable_network import GrowableNetwork
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.task_memory import SHARED_HEAD


class GrowingModel(LifelongModel):
    """A `LifelongModel` on a `GrowableNetwork`.

    Tasks are used at the stage of growth that `task_stage` gives. Batch normalisation
    is kept by task, since its statistics are those of a task's data.
    """

    # what capacities are multiples of, unless the method has an option `bucket`
    bucket = 64

    def build_network(self, backbone):
        return GrowableNetwork(
            backbone, bucket=self.bucket, method=type(self).__name__, name="network"
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
        last = max(others, default=1)  # the first units are the network's
        units = [
            np.setdiff1d(layer.units_at(), layer.units_at(last))
            for layer in self.network.growable
        ]
        for i, gone in enumerate(units):
            self.network.growable[i].remove_units(gone)
            if i + 1 < len(units):
                rows = self.network.rows_of(i + 1, gone)
                self.network.growable[i + 1].clear_inputs(rows)

    def shared_with(self, name):
        found = super().shared_with(name)
        others = found.pop("the network", [])
        last = max((self.task_stage(other) for other in others), default=0)
        for layer in self.network.growable:
            count = layer.units_at(min(self.task_stage(name), last)).size
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
                pairs.append((type(layer).from_config(layer.get_config()), None))
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
