"""A Sequential backbone remade with growable layers."""

from __future__ import annotations

import contextlib
import itertools
import json

import keras
import numpy as np
from keras import ops

from keras_lifelong import networks
from keras_lifelong.layers.growable import ByChannel
from keras_lifelong.layers.growable import Growable
from keras_lifelong.layers.growable import table


@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableNetwork(keras.layers.Layer):
    """A Sequential backbone whose Dense and Conv2D layers grow.

    Args:
        backbone: `keras.Sequential` with an input shape. Its weights are not copied;
            its initializers are.
        bucket: capacities are multiples of this.
        method: named in refusals.

    Call arguments:
        x: (batch, *input_shape).
        stage: integer: the units born until then take part.
        training: as everywhere in Keras.

    Raises:
        ValueError: if a layer cannot be carried, with its name and the reason.
    """

    def __init__(self, backbone, bucket: int = 64, method: str = "DEN", **kwargs):
        super().__init__(**kwargs)
        self.layers_in_order = []
        for layer in backbone.layers:
            grown = table.grown(layer, bucket, method, below=bool(self.growable))
            self.layers_in_order.append(grown)
        if not self.growable:
            known = " or ".join(c.__name__ for c in table.plain_classes(Growable))
            raise ValueError(
                f"{method} needs a `backbone` with at least one {known} layer. "
                f"Received layers: {[x.name for x in backbone.layers]}."
            )
        self._check_order(method)
        self.bucket = bucket
        self.method = method
        self._input_shape = tuple(backbone.input_shape)
        self._backbone = json.dumps(keras.saving.serialize_keras_object(backbone))
        self.build(self._input_shape)

    def _check_order(self, method):
        flat = False
        for layer in self.layers_in_order:
            flat = (flat or table.facts(layer).flattens) and not isinstance(
                layer, Growable
            )
            if flat and isinstance(layer, ByChannel):
                raise ValueError(
                    f"{method} cannot carry the layer {layer.name!r} of `backbone`: "
                    "batch normalisation after Flatten. Put it before."
                )
        for index, layer in enumerate(self.growable[1:], 1):
            if layer.spatial and not self.growable[index - 1].spatial:
                raise ValueError(
                    f"{method} cannot carry the layer {layer.name!r} of `backbone`: a "
                    "convolution after a Dense layer."
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

    @property
    def growable(self) -> list[Growable]:
        """The growable layers, from the input up."""
        return [x for x in self.layers_in_order if isinstance(x, Growable)]

    def build(self, input_shape):
        for layer in self.layers_in_order:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)
        self.output_width = input_shape[-1]
        self.built = True
        for index, layer in enumerate(self.growable[1:], 1):
            layer.draw_kernel(self.input_rows(index))

    def call(self, x, stage, training=False):
        alive = None
        for layer in self.layers_in_order:
            facts = table.facts(layer)
            if isinstance(layer, Growable):
                x, alive = layer(x, stage=stage), layer.alive(stage)
            elif isinstance(layer, ByChannel):
                x = layer(x, alive, training=training)
            else:
                places = x.shape[1:-1]
                x = layer(x, training=training) if facts.random else layer(x)
                if alive is not None and facts.flattens:
                    alive = _repeated(alive, int(np.prod(places)))
                elif alive is not None and facts.moves_zero:
                    x = x * alive
        return x

    def compute_output_shape(self, input_shape, **kwargs):
        return (*input_shape[:-1][:1], self.output_width)

    def input_rows(self, index: int, stage: int | None = None) -> np.ndarray:
        """Rows of growable layer `index`'s kernel that carry existing inputs.

        `index` may be one past the last layer: the rows of a head.
        """
        if index == 0:
            return np.arange(self.growable[0].kernel.shape[-2])
        below = self.growable[index - 1]
        return self.rows_of(index, below.units_at(stage))

    def rows_of(self, index: int, units) -> np.ndarray:
        """Rows of growable layer `index`'s kernel fed by `units` of the layer below."""
        below = self.growable[index - 1]
        positions = self.positions(index)
        units = np.asarray(units, int)
        return (np.arange(positions)[:, None] * below.capacity + units).ravel()

    def positions(self, index: int) -> int:
        """How many rows each unit below feeds: more than 1 after a Flatten."""
        if index == 0:
            return 1
        rows = (
            self.growable[index].kernel.shape[-2]
            if index < len(self.growable)
            else self.output_width
        )
        return rows // self.growable[index - 1].capacity

    def capacities(self) -> list[int]:
        return [layer.capacity for layer in self.growable]

    def set_capacities(self, capacities):
        """Sets the storage of every growable layer, and of what depends on it."""
        for index, capacity in enumerate(capacities):
            layer = self.growable[index]
            if layer.capacity == capacity:
                continue
            with self._following(index):
                layer.set_capacity(
                    layer.kernel.shape[-2], capacity, self.positions(index)
                )

    def add_units(self, index: int, count: int, stage: int, seed: int = 0):
        """Adds units to growable layer `index`; see `Growable.add_units`."""
        with self._following(index) as layer:
            return layer.add_units(count, stage, self.input_rows(index), seed)

    def split_units(self, index: int, units, stage: int):
        """Duplicates units of growable layer `index`; see `Growable.split_units`."""
        with self._following(index) as layer:
            return layer.split_units(units, stage)

    def copy_channels(self, index: int, units, copies):
        """Gives copies of units the batch normalisation of their originals."""
        for layer in self._until_next(index):
            if isinstance(layer, ByChannel):
                for variable in layer.variables:
                    values = ops.convert_to_numpy(variable).copy()
                    values[copies] = values[units]
                    variable.assign(values)

    def constant_outputs(self, index: int) -> np.ndarray:
        """What each unit of growable layer `index` gives if nothing comes in.

        Returns:
            (capacity,), after the activations that follow the layer.
        """
        layer = self.growable[index]
        bias = layer.bias_array() if layer.use_bias else np.zeros(layer.capacity)
        x = layer.activation(ops.convert_to_tensor(bias, "float32"))
        for following in self._until_next(index):
            if table.facts(following).pointwise:
                x = following(x)
        return ops.convert_to_numpy(x)

    def _until_next(self, index: int) -> list:
        """The layers between growable layer `index` and the next one."""
        start = self.layers_in_order.index(self.growable[index]) + 1
        rest = self.layers_in_order[start:]
        return list(itertools.takewhile(lambda x: not isinstance(x, Growable), rest))

    @contextlib.contextmanager
    def _following(self, index):
        """Lets a layer change its capacity and resizes what reads it."""
        layer = self.growable[index]
        capacity, positions = layer.capacity, self.positions(index + 1)
        yield layer
        if layer.capacity != capacity:
            self._propagate(index, positions)

    def _propagate(self, index: int, positions: int):
        """Resizes what reads growable layer `index` after its capacity changed.

        Args:
            index: of the growable layer.
            positions: `self.positions(index + 1)` before the change.
        """
        capacity = self.growable[index].capacity
        start = self.layers_in_order.index(self.growable[index]) + 1
        for layer in self.layers_in_order[start:]:
            if isinstance(layer, Growable):
                rows = capacity * positions
                layer.set_capacity(rows, layer.capacity, input_positions=positions)
                return
            if isinstance(layer, ByChannel):
                layer.set_channels(capacity)
        self.output_width = capacity * positions


def _repeated(alive, positions: int):
    """The mask of units side by side at every place, as a Flatten lays them out."""
    lead = [] if len(alive.shape) == 1 else [-1]
    alive = ops.reshape(alive, (*lead, alive.shape[-1]))
    return ops.tile(alive, [1] * len(lead) + [positions])
