"""GrowingModel: a lifelong model whose hidden layers gain and lose units."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.den.cut import CutTasks
from keras_lifelong.methods.den.growable_network import GrowableNetwork
from keras_lifelong.methods.den.plain_graph import PlainGraph
from keras_lifelong.methods.den.plain_graph import plain_layers
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import nonzero_inputs
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.task_memory import SHARED_HEAD
from keras_lifelong.seeds import derive_seed


class GrowingModel(LifelongModel):
    """A `LifelongModel` on a `GrowableNetwork`.

    Tasks are used at the stage of growth that `task_stage` gives. Normalisation is kept
    by task, since its statistics are those of a task's data.
    """

    carries_graphs = True

    def build_network(self, backbone, bucket: int = 64):
        """A method hands over what capacities are multiples of."""
        network = GrowableNetwork(
            backbone, bucket=bucket, method=type(self).__name__, name="network"
        )
        if self.pretrained:
            network.take_weights(backbone)
        return network

    def through(self, body, x, training=False):
        if body is not self.network:  # it has the units of one stage alone
            return body(x, training=training)
        return body(x, stage=ops.convert_to_tensor(self.stage), training=training)

    def template_variables(self):
        return [*self.network.variables, self.stage]

    def placed(self, name):
        return {id(self.stage): _stage(self.task_stage(name))}

    def reading_to_use(self, name):
        """Through a plain network; but what is in the active network is seen there."""
        session, training = self._session, self._session.training
        mine = training is None or training.is_mine
        if mine and (training is not None or self.active_task == name):
            return self.reading(name)
        version = session.changes if training is None else training.began
        return self._cuts.of(name, version)

    def task_arrays(self, name: str) -> list[np.ndarray]:
        """What memory holds of a task: it changes where another is put there."""
        memory, key = self.memory, self.head_key(name)
        head = [memory[*key, part] for part in ("kernel", "bias")]
        return [*head, *self.own_values(name, memory).values()]

    @functools.cached_property
    def _cuts(self) -> CutTasks:
        return CutTasks(self, self._reader.forget)

    def memory_changed(self):
        super().memory_changed()
        self._cuts.clear()

    def own_variables(self):
        """Normalisations: every task keeps its own scales and statistics."""
        return [v for layer in self.network.by_channel for v in layer.variables]

    def latest_stage(self) -> int:
        """Of tasks and of units: of those whose task was removed, as well."""
        noted = [self.notes(name).get("stage", 0) for name in self.task_names]
        born = [int(group.births().max()) for group in self.network.groups]
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
        task, before = self.active_task, self.network.capacities()
        self.activate(None)
        with self._session.lock:  # nobody reads it meanwhile
            yield
        self._refit(before)
        self.activate(task)

    def _refit(self, before: list[int]):
        """Moves what is kept by task to where its units are now.

        Where all blocks of a layout are of one group, a width says how many units an
        array was made for, and it is fitted when it is used. Else it is done here, so
        that what is kept always fits the network.
        """
        network, after = self.network, self.network.capacities()

        def moves(layout):
            changed = any(before[g] != after[g] for g in layout.groups)
            return changed and not layout.is_uniform

        top = network.layout(len(network.growable))
        if moves(top):
            keys = {self.head_key(name) for name in self.task_names}
            for key in sorted(keys):
                self.memory[*key, "kernel"] = _moved(
                    self.memory[*key, "kernel"].T,
                    np.zeros((self.memory[*key, "bias"].size, top.width(after))),
                    top.moved(before, after),
                ).T
        index = 0
        for layer in network.by_channel:
            layout = network.inputs_of(layer)
            changed = any(before[g] != after[g] for g in layout.groups)
            changed = changed and layout.single is None
            for variable in layer.variables:
                for name in self.task_names if changed else []:
                    own = self.memory.records[name].own
                    if index in own:
                        fresh = ops.convert_to_numpy(variable)
                        moved = layout.moved(before, after)
                        self.keep_own(name, index, _moved(own[index], fresh, moved))
                index += 1

    # Units that come and go

    def log_group(self, task, group, kind, count, **why):
        """Logs what became of a group, under the path of its first layer."""
        if len(group.paths) > 1:
            why["members"] = list(group.paths)
        self.log(task, group.name, kind, count, **why)

    def log_initial(self, task):
        for group in () if self.growth else self.network.groups:
            self.log_group(task, group, "initial", group.units_at().size)

    def insert_units(self, task: str, count: int, stage: int) -> list[np.ndarray]:
        """Adds units to every group of layers, and the active head's rows above them.

        Args:
            task: the active one; with the model's seed it gives the new weights.
            count: how many in each group.
            stage: at which they are born.

        Returns:
            Their indices by group, (count,).
        """
        network = self.network
        groups = range(len(network.groups))
        seeds = [derive_seed(self.seed, task, "add", i) for i in groups]
        with self.restructured():
            added = [network.reserve_units(i, count, stage) for i in groups]
            for i in groups:  # when all are there: groups may feed each other
                network.draw_units(i, added[i], seeds[i])
        head = ops.convert_to_numpy(self.head.kernel).copy()
        drawn = heads.draw(*head[self.head_rows()].shape, self.seed, task, "add")
        rows = self.head_rows_of(dict(enumerate(added)))
        if rows.size:
            head[rows] = drawn[-rows.size :]
        self.head.kernel.assign(head)
        self.store_active()
        return added

    def head_rows_of(self, units: dict[int, np.ndarray]) -> np.ndarray:
        """A head's rows that some units of the groups that it hears feed."""
        top = len(self.network.growable)
        groups = self.network.layout(top).groups
        found = [self.network.rows_of(top, units[g], g) for g in groups]
        return np.concatenate(found) if found else np.array([], int)

    def remove_units(self, choose) -> list[np.ndarray]:
        """Removes the units that `choose(group)` gives, from the top down."""
        network = self.network
        removed: list[Any] = [None] * len(network.groups)
        none = dict.fromkeys(range(len(removed)), np.array([], int))
        for i in reversed(range(len(removed))):
            removed[i] = choose(i)
            network.remove_units(i, removed[i])
            rows = self.head_rows_of({**none, i: removed[i]})
            head = ops.convert_to_numpy(self.head.kernel).copy()
            head[rows] = 0
            self.head.kernel.assign(head)
        self.store_active()
        return removed

    def has_incoming(self, index) -> np.ndarray:
        """Mask (capacity,) of units of a group with a non-zero weight from below."""
        mask: Any = False
        for layer in self.network.groups[index].members:
            kernel = layer.kernel_array()
            mask = mask | (kernel != 0).any(axis=tuple(range(kernel.ndim - 1)))
        return mask

    def has_outgoing(self, index) -> np.ndarray:
        """Mask (capacity,) of units of a group with a non-zero weight out of them."""
        network = self.network
        kernels = [layer.kernel_array() for layer in network.growable]
        kernels.append(ops.convert_to_numpy(self.head.kernel))
        mask = np.zeros(network.groups[index].capacity, bool)
        for i, kernel in enumerate(kernels):
            layout = network.layout(i)
            if index in layout.groups:
                rows = nonzero_inputs(kernel, range(kernel.shape[-1]))
                mask[layout.units_of(rows, network.capacities())[index]] = True
        return mask

    def hand_over_head(self, originals, copies, stage) -> set[int]:
        """Gives copies of units that the head hears the rows of their originals.

        Returns:
            The groups whose originals are retired in place of that: see
            `DEN.split_drifted`.
        """
        network = self.network
        heard = network.layout(len(network.growable)).groups
        head = ops.convert_to_numpy(self.head.kernel).copy()
        from_rows, to_rows = (
            self.head_rows_of(dict(enumerate(units))) for units in (originals, copies)
        )
        head[to_rows] = head[from_rows]
        shared = self.active_spec.head == "shared"
        if shared:
            for group in heard:
                network.retire_units(group, originals[group], stage)
        else:
            head[from_rows] = 0
        self.head.kernel.assign(head)
        self.store_active()
        return set(heard) if shared else set()

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
        if len(capacities) != len(self.network.groups) or set(capacities) - stored:
            raise ValueError(
                f"layers have room for {capacities} units, the stored kernels for "
                f"{sorted(stored)}"
            )

    def release(self, name):
        """Frees the units that only this task is late enough to use."""
        self._cuts.clear()
        others = [self.task_stage(other) for other in self.task_names if other != name]
        stages = others or [1]  # the first units are the network's
        network = self.network
        unused = [
            np.setdiff1d(group.units_at(), group.units_at(stages))
            for group in network.groups
        ]
        for group, units in zip(network.groups, unused, strict=True):
            late = group.members[0].units_retired_after(max(stages))
            network.retire_units(group.number, late, None)
            network.remove_units(group.number, units)

    def shared_with(self, name):
        found = super().shared_with(name)
        others = found.pop("the network", [])
        stages = [self.task_stage(other) for other in others]
        for group in self.network.groups:
            used = group.units_at(self.task_stage(name))
            count = np.intersect1d(used, group.units_at(stages)).size
            if count:
                found[f"{group.name} with {count} units"] = others
        if others and (self.network.ungrown or self.network.carried_variables):
            found["what does not grow"] = others
        return found

    def set_structure(self, structure):
        self.network.set_capacities(structure["capacities"])

    def network_params(self):
        network, total = self.network, 0
        for i, layer in enumerate(network.growable):
            window = int(np.prod(layer.kernel.shape[:-2]))
            units = layer.units_at().size
            total += window * network.input_rows(i).size * units
            total += units * layer.use_bias
        for layer in network.per_unit:
            window = int(np.prod(layer.kernel.shape[:-1]))
            channels = network.rows_at(network.inputs_of(layer)).size
            total += channels * (window + (layer.bias is not None))
        return total + sum(int(np.prod(v.shape)) for v in network.carried_variables)

    def task_params(self):
        """Heads at the width of their time, and normalisation of units in use."""
        network, total, counted = self.network, 0, set()
        for name in self.task_names:
            key, stage = self.head_key(name), self.task_stage(name)
            units = self.task_spec(name).units
            if key not in counted:
                counted.add(key)
                top = len(network.growable)
                shared = None if key == SHARED_HEAD else stage
                total += (network.input_rows(top, shared).size + 1) * units
            for layer in network.by_channel:
                width = network.rows_at(network.inputs_of(layer), stage).size
                total += width * layer.params_by_channel
        return total

    def summarize_network(self, print_fn, **kwargs):
        """Prints the growable layers: units in use, and the storage they lie in."""
        del kwargs
        network = self.network
        paths = {id(step.layer): step.path for step in network.steps}
        for i, layer in enumerate(network.growable):
            path, group = paths[id(layer)], network.group_of(layer)
            line = (
                f"{path} ({type(layer).__name__}): {layer.units_at().size} units "
                f"of {network.input_rows(i).size} inputs, "
            )
            if group is None:
                line += f"does not grow: {network.ungrown[path]}"
            else:
                line += f"room for {layer.capacity}"
                name = network.groups[group].name
                line += f", as wide as {name}" if name != path else ""
            print_fn(line)

    def plain_layers(self, body, stage):
        layers = plain_layers(body, stage)
        chained = isinstance(self.backbone_copy(), keras.Sequential)
        if chained and body.graph.is_chain and not _has_parts(layers):
            return list(layers.values())
        return PlainGraph(body.graph, body.steps, layers)

    def plain_network(self, layers):
        if isinstance(layers, PlainGraph):
            return layers.model()
        return super().plain_network(layers)

    def plain_rows(self, stage):
        return self.network.input_rows(len(self.network.growable), stage)

    def joint_features(self, x, task, arguments):
        """Each sample with the units of its own task's time."""
        stage = ops.take(arguments["stages"], task, axis=0)
        return backend.by_rows(
            lambda parts: self.network(parts[0], stage=parts[1], training=True),
            (x, stage),
        )


@functools.cache
def _stage(number: int) -> np.ndarray:
    """One array for each stage, so that it is copied to the device once."""
    return np.array(number, "int32")


def _moved(array, fresh, moved) -> np.ndarray:
    """A copy of `fresh` with the last axis of `array` moved to its places there."""
    out = np.array(fresh, array.dtype)
    out[..., moved[1]] = array[..., moved[0]]
    return out


def _has_parts(layers) -> bool:
    """Whether what stands for a layer is no layer, but a piece of a graph."""
    return any(not isinstance(x, keras.layers.Layer) for x, _ in layers.values())
