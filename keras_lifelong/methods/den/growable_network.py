"""A backbone remade with growable layers: a chain of them, or any graph."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.graph import Step
from keras_lifelong.layers.growable import ByChannel
from keras_lifelong.layers.growable import Growable
from keras_lifelong.layers.growable import PerUnit
from keras_lifelong.layers.growable import table
from keras_lifelong.methods.den.group_growth import Group
from keras_lifelong.methods.den.group_growth import GroupGrowth
from keras_lifelong.methods.den.separable import separated
from keras_lifelong.methods.den.width_groups import Layout
from keras_lifelong.methods.den.width_groups import Role
from keras_lifelong.methods.den.width_groups import WidthGroups


@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableNetwork(GroupGrowth, keras.layers.Layer):
    """A backbone whose layers grow, in groups of one width.

    Args:
        backbone: built `keras.Sequential` or functional `keras.Model` of one input. Its
            weights are not copied (see `take_weights`); its initializers are.
        bucket: capacities are multiples of this.
        method: named in refusals.

    Call arguments:
        x: (batch, *input_shape).
        stage: integer: the units born until then take part. Or (batch,), one for each.
        training: as everywhere in Keras.

    Raises:
        ValueError: if a layer cannot be carried, with its path and the reason.

    Attributes:
        steps: of the backbone, each with the layer that stands for its own.
        layers_in_order: these layers, each once.
        growable: those of them that can grow, in order; also those that are read as
            such, and have a width that is fixed.
        groups: list of `Group`s.
        ungrown: dict by path of the layers that do not grow, with the reason.
    """

    def __init__(self, backbone, bucket: int = 64, method: str = "DEN", **kwargs):
        super().__init__(**kwargs)
        self.graph = Graph(backbone)
        if isinstance(self.graph.inputs, (list, tuple, dict)):
            raise ValueError(
                f"{method} needs a `backbone` of one input tensor. "
                f"Received: {backbone.name!r}, whose inputs are {self.graph.inputs}."
            )
        steps = separated(self.graph.steps)
        widths = self._widths(steps, method)
        self.layouts, self.ungrown = widths.layouts, widths.ungrown
        self.layers_in_order: list[Any] = []
        twins: dict[str, Any] = {}
        for step in steps:
            if step.path not in twins:
                fixed = table.role(step)[0] in ("fixed", "mixes")
                room = 1 if step.path in self.ungrown else bucket
                twin = table.grown(step.layer, room, method, step.path, fixed)
                twins[step.path] = twin
                if isinstance(twin, keras.layers.Layer):
                    self.layers_in_order.append(twin)
        self.steps = [dataclasses.replace(s, layer=twins[s.path]) for s in steps]
        self.graph.steps = self.steps  # and lets go of the backbone's layers
        self._find_groups(widths.groups, twins)
        if not self.groups:
            known = " or ".join(c.__name__ for c in table.plain_classes(Growable))
            reasons = "".join(f" {p!r}: {why}." for p, why in self.ungrown.items())
            raise ValueError(
                f"{method} needs a `backbone` with at least one {known} layer that can "
                f"grow. Received layers: {list(twins)}.{reasons}"
            )
        self.bucket = bucket
        self.method = method
        self._input_shape = tuple(backbone.input_shape)
        self._backbone = json.dumps(keras.saving.serialize_keras_object(backbone))
        self.build(self._input_shape)

    @staticmethod
    def _widths(steps, method) -> WidthGroups:
        layers = {step.path: step.layer for step in steps}
        try:
            made = {w for step in steps for w in step.outputs}
            inputs = [w for step in steps for w in step.inputs if w not in made]
            inputs = list(dict.fromkeys(inputs))
            return WidthGroups(steps, inputs, lambda step: Role(*table.role(step)))
        except ValueError as error:
            path, why = str(error).split(": ", 1)
            raise table.refusal(method, path, layers[path], why) from error

    def _find_groups(self, groups, twins):
        self._inputs_of: dict[int, Layout] = {}  # by id of the layer
        for step in self.steps:
            if step.inputs:
                self._inputs_of.setdefault(id(step.layer), self.layouts[step.inputs[0]])
        self._number: dict[int, int] = {}
        self.groups: list[Group] = []
        for number, paths in enumerate(groups):
            members = tuple(twins[path] for path in paths)
            followers = {
                path: twin
                for path, twin in twins.items()
                if isinstance(twin, PerUnit)
                and self._inputs_of[id(twin)].single == number
            }
            self._number.update({id(layer): number for layer in members})
            self.groups.append(
                Group(
                    number,
                    paths[0],
                    (*paths, *followers),
                    members,
                    tuple(followers.values()),
                )
            )

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": json.loads(self._backbone),
            "bucket": self.bucket,
            "method": self.method,
            "capacities": self.capacities(),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        capacities = config.pop("capacities")
        backbone = networks.deserialized(config.pop("backbone"))
        network = cls(backbone, **config)
        network.set_capacities(capacities)
        return network

    # What it is made of

    @property
    def growable(self) -> list[Growable]:
        return [x for x in self.layers_in_order if isinstance(x, Growable)]

    @property
    def by_channel(self) -> list[ByChannel]:
        """Normalisations and the like, whose variables each task has for itself."""
        return [x for x in self.layers_in_order if isinstance(x, ByChannel)]

    @property
    def per_unit(self) -> list[PerUnit]:
        """Depthwise convolutions."""
        return [x for x in self.layers_in_order if isinstance(x, PerUnit)]

    @property
    def carried_variables(self) -> list:
        """Trainable variables of layers that do not grow: shared, as kernels are."""
        kinds = (Growable, ByChannel, PerUnit)
        rest = [x for x in self.layers_in_order if not isinstance(x, kinds)]
        return [v for layer in rest for v in layer.trainable_variables]

    def group_of(self, layer: Growable) -> int | None:
        """The number of a layer's group; None: its width is fixed."""
        return self._number.get(id(layer))

    def inputs_of(self, layer: keras.layers.Layer) -> Layout:
        return self._inputs_of[id(layer)]

    def layout(self, index: int) -> Layout:
        """What growable layer `index` takes; one past the last: what a head takes."""
        if index == len(self.growable):
            return self.layouts[self.graph.output]
        return self.inputs_of(self.growable[index])

    @property
    def output_width(self) -> int:
        return self.layout(len(self.growable)).width(self.capacities())

    def build(self, input_shape):
        del input_shape
        capacities = self.capacities()
        for step in self.steps:
            layer = step.layer
            if not isinstance(layer, keras.layers.Layer) or layer.built:
                continue
            if not step.inputs or not table.builds_alone(layer):
                args, kwargs = step.filled(
                    {w: keras.KerasTensor(w.shape, w.dtype) for w in step.inputs}
                )
                layer(*args, **kwargs)
                continue
            wire = step.inputs[0]
            width = self.layouts[wire].width(capacities)
            layer.build((*wire.shape[:-1], width))
        self.built = True
        for index, layer in enumerate(self.growable):
            if self.layout(index).grows:
                layer.draw_kernel(self.input_rows(index))
        for follower in self.per_unit:
            rows = self.rows_at(self.inputs_of(follower))
            follower.clear(np.arange(follower.kernel.shape[-1]))
            follower.draw(rows, rows.size)

    def take_weights(self, backbone):
        """Gives the units that exist the weights of the backbone they were made from.

        Args:
            backbone: a model of the same layers, with weights.
        """
        seen, twins = set(), {step.path: step.layer for step in self.steps}
        for step in separated(Graph(backbone).steps):
            twin = twins[step.path]
            if step.path in seen or not isinstance(twin, keras.layers.Layer):
                continue
            seen.add(step.path)
            arrays = step.layer.get_weights()
            if isinstance(twin, Growable):
                rows = self.rows_at(self.inputs_of(twin))
                twin.take(arrays, rows, twin.units_at())
            elif isinstance(twin, (ByChannel, PerUnit)):
                twin.take(arrays, self.rows_at(self.inputs_of(twin)))
            else:
                twin.set_weights(arrays)

    # Use

    def call(self, x, stage, training=False):
        @functools.cache
        def alive(layout: Layout, rank: int):
            return self.alive(layout, stage, rank)

        def run(step: Step, *args, **kwargs):
            layer = step.layer
            layout = self.layouts[step.outputs[0]]
            if isinstance(layer, Growable):
                return layer(*args, stage=stage)
            if isinstance(layer, ByChannel):
                now = kwargs.get("training", training)
                return layer(args[0], alive(layout, len(args[0].shape)), training=now)
            if isinstance(layer, PerUnit):
                return layer(args[0], alive(layout, len(args[0].shape)))
            if isinstance(layer, keras.layers.Reshape):
                return self._reshaped(step, args[0])
            out = step(*args, **{"training": training, **kwargs})
            if table.facts(layer).moves_zero and layout.grows:
                out = table.masked(out, alive(layout, len(out.shape)))
            return out

        return self.graph.run(x, call=run, steps=self.steps)

    def _reshaped(self, step, x):
        """A `Reshape` to the width that its output has now."""
        places = list(step.outputs[0].shape[1:-1])
        width = self.layouts[step.outputs[0]].width(self.capacities())
        lead = -1 if None not in places else ops.shape(x)[0]
        return ops.reshape(x, (lead, *(n or -1 for n in places), width))

    def alive(self, layout: Layout, stage, rank: int):
        """Mask of what exists at `stage` on a wire; None: all of it, always.

        Args:
            layout: of the wire.
            stage: integer, or (batch,).
            rank: of the wire's tensors, to which it broadcasts.
        """
        if not layout.grows:
            return None
        if layout.single is not None:
            return self.groups[layout.single].members[0].alive(stage, rank)
        by_group = {g: self.groups[g].members[0].alive(stage, 2) for g in layout.groups}
        some = by_group[layout.groups[0]]
        lead = some.shape[:-1]

        def part(block):
            if block.group is not None:
                return by_group[block.group]
            ones = ops.ones((block.width,), some.dtype)
            return ops.broadcast_to(ones, (*lead, block.width))

        if layout.is_uniform:
            whole = ops.tile(some, [1] * len(lead) + [len(layout.blocks)])
        else:
            whole = ops.concatenate([part(block) for block in layout.blocks], axis=-1)
        if not lead:
            return whole
        return ops.reshape(whole, (-1, *[1] * (rank - 2), whole.shape[-1]))

    def compute_output_shape(self, input_shape, **kwargs):
        return (*input_shape[:-1][:1], self.output_width)

    # Rows of kernels

    def input_rows(self, index: int, stage: int | None = None) -> np.ndarray:
        """Rows of growable layer `index`'s kernel that carry existing inputs.

        `index` may be one past the last layer: the rows of a head.
        """
        return self.rows_at(self.layout(index), stage)

    def rows_of(self, index: int, units, group: int | None = None) -> np.ndarray:
        """Rows of growable layer `index`'s kernel fed by `units` of a group.

        Args:
            index: as in `input_rows`.
            units: indices.
            group: of which they are. None: the only one that the layer takes.
        """
        layout = self.layout(index)
        if group is None:
            (group,) = layout.groups
        return layout.rows_of(group, self.capacities(), units)

    def positions(self, index: int) -> int:
        """How many rows each unit below feeds: more than 1 after a Flatten."""
        layout = self.layout(index)
        return len(layout.blocks) if layout.is_uniform and layout.grows else 1
