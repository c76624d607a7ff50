"""How groups of layers of one width gain and lose units."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.layers.growable import ByChannel
from keras_lifelong.layers.growable import Growable
from keras_lifelong.layers.growable import PerUnit
from keras_lifelong.methods.den.width_groups import Layout
from keras_lifelong.seeds import derive_seed


@dataclasses.dataclass(frozen=True)
class Group:
    """Layers of one width, whose units come and go together.

    Attributes:
        number: its place among the network's groups.
        name: the path of its first layer, under which its growth is logged.
        paths: those of `members` and `followers`.
        members: the growable layers that give its units, in order, at least one. All
            have the same timestamps and the same capacity.
        followers: layers with weights for each unit that read it alone.
    """

    number: int
    name: str
    paths: tuple[str, ...]
    members: tuple[Growable, ...]
    followers: tuple[PerUnit, ...]

    @property
    def capacity(self) -> int:
        return self.members[0].capacity

    def units_at(self, stage: int | Sequence[int] | None = None) -> np.ndarray:
        """See `Growable.units_at`."""
        return self.members[0].units_at(stage)

    def births(self) -> np.ndarray:
        return self.members[0].births()


class GroupGrowth:
    """Growth of a `GrowableNetwork`: a group is one decision.

    A group's layers change together, and the rows of all that read them follow.
    """

    groups: list[Group]

    @property
    def growable(self) -> list[Growable]:
        """The growable layers, from the input up."""
        raise NotImplementedError(f"{type(self).__name__} has the layers.")

    @property
    def by_channel(self) -> list[ByChannel]:
        """Normalisations and the like, whose variables each task has for itself."""
        raise NotImplementedError(f"{type(self).__name__} has the layers.")

    @property
    def per_unit(self) -> list[PerUnit]:
        """Depthwise convolutions."""
        raise NotImplementedError(f"{type(self).__name__} has the layers.")

    def capacities(self) -> list[int]:
        """Room for units, by group."""
        return [group.capacity for group in self.groups]

    def inputs_of(self, layer) -> Layout:
        """The layout of what a layer of the network takes."""
        raise NotImplementedError(f"{type(self).__name__} has the layouts.")

    def rows_at(self, layout: Layout, stage: int | None = None) -> np.ndarray:
        """Rows of a layout that exist at `stage`, or now."""
        units = {g: self.groups[g].units_at(stage) for g in layout.groups}
        return layout.rows(self.capacities(), units)

    def set_capacities(self, capacities):
        """Sets the storage of every group, and of what depends on it."""
        with self._fitting():
            for group, capacity in zip(self.groups, capacities, strict=True):
                for layer in group.members:
                    if layer.capacity != capacity:
                        layer.set_capacity(layer.kernel.shape[-2], capacity)

    def add_units(self, index: int, count: int, stage: int, seed: int = 0):
        """Adds units to a group, the same ones in each of its layers, and draws them.

        Args:
            index: of the group.
            count, stage, seed: see `Growable.add_units`.

        Returns:
            Their indices, (count,).
        """
        new = self.reserve_units(index, count, stage)
        self.draw_units(index, new, seed)
        return new

    def reserve_units(self, index: int, count: int, stage: int):
        """Adds units to a group, all weights into and out of which are zero."""
        with self._fitting():
            for layer in self.groups[index].members:
                new = layer.reserve_units(count, stage)
        return new

    def draw_units(self, index: int, units, seed: int = 0):
        """Draws the weights into units of a group, from all inputs that exist now."""
        for i, layer in enumerate(self.groups[index].members):
            own = derive_seed(seed, i) if i else seed
            layer.draw_units(units, self.rows_at(self.inputs_of(layer)), own)
        for i, layer in enumerate(self.per_unit):
            layout = self.inputs_of(layer)
            rows = layout.rows_of(index, self.capacities(), units)
            if rows.size:
                others = np.setdiff1d(self.rows_at(layout), rows)
                own = derive_seed(seed, "per unit", i)
                layer.draw(np.concatenate([others, rows]), rows.size, own)

    def split_units(self, index: int, units, stage: int):
        """Duplicates units of a group; see `Growable.split_units`.

        The copies have what their originals have in every layer of the group.
        """
        with self._fitting():
            for layer in self.groups[index].members:
                copies = layer.split_units(units, stage)
        for follower in self.per_unit:
            self._copy_channels(follower, index, units, copies)
        return copies

    def copy_channels(self, index: int, units, copies):
        """Gives copies of units the normalisation of their originals."""
        for layer in self.by_channel:
            self._copy_channels(layer, index, units, copies)

    def _copy_channels(self, layer, index, units, copies):
        layout, capacities = self.inputs_of(layer), self.capacities()
        old = layout.rows_of(index, capacities, units)
        new = layout.rows_of(index, capacities, copies)
        if not new.size:
            return
        for variable in layer.variables:
            values = ops.convert_to_numpy(variable).copy()
            values[..., new] = values[..., old]
            variable.assign(values)

    def remove_units(self, index: int, units):
        """Frees units of a group, and the weights into and out of them."""
        for layer in self.groups[index].members:
            layer.remove_units(units)
        capacities = self.capacities()
        for follower in self.per_unit:
            rows = self.inputs_of(follower).rows_of(index, capacities, units)
            if rows.size:
                follower.clear(rows)
        for layer in self.growable:
            rows = self.inputs_of(layer).rows_of(index, capacities, units)
            if rows.size:
                layer.clear_inputs(rows)

    def retire_units(self, index: int, units, stage: int | None):
        """See `Growable.retire_units`."""
        for layer in self.groups[index].members:
            layer.retire_units(units, stage)

    @contextlib.contextmanager
    def _fitting(self) -> Iterator[None]:
        """Within it layers change their capacity; what reads them is then resized."""
        before = self.capacities()
        yield
        after = self.capacities()
        readers: list[Any] = [*self.growable, *self.by_channel, *self.per_unit]
        for layer in readers if before != after else []:
            layout = self.inputs_of(layer)
            if all(before[g] == after[g] for g in layout.groups):
                continue
            moved, width = layout.moved(before, after), layout.width(after)
            if isinstance(layer, Growable):
                kernel = layer.kernel_array()
                layer.set_capacity(width, layer.capacity)
                fitted = np.zeros(layer.kernel.shape, kernel.dtype)
                fitted[..., moved[1], :] = kernel[..., moved[0], :]
                layer.kernel.assign(fitted)
            else:
                layer.set_channels(width, moved)
