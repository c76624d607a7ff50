"""Parts of a growable network: which weights a phase may move, and what they were."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.layers.growable import resize_last
from keras_lifelong.methods.den.growable_network import GrowableNetwork


@dataclasses.dataclass(frozen=True)
class Region:
    """The weights between chosen units of groups, less those of `minus`.

    Indices of units stay what they are when storage is made anew, so that a region
    can be kept while the network grows.

    Args:
        units: for each group, the indices of the chosen units. What has a fixed width,
            as the network's input, is all chosen, and so are the weights of layers
            that do not grow.
        minus: a region that is left out.
    """

    units: tuple[np.ndarray, ...]
    minus: Region | None = None

    @classmethod
    def everything(cls, network: GrowableNetwork, stage: int | None = None) -> Region:
        """All units that exist at `stage`, or now."""
        return cls(tuple(group.units_at(stage) for group in network.groups))

    def without(self, other: Region) -> Region:
        return Region(self.units, other)

    def masks(self, network: GrowableNetwork) -> dict[int, np.ndarray]:
        """Masks by `id` of the variable: 1 where a weight is in the region.

        A convolution's mask is (inputs, filters) and broadcasts over its window.
        """
        out: dict[int, np.ndarray] = {}
        for i, layer in enumerate(network.growable):
            rows = np.zeros(layer.kernel.shape[-2], "float32")
            rows[self.rows(network, i)] = 1
            units = np.zeros(layer.capacity, "float32")
            units[self.units_of(network, layer)] = 1
            out[id(layer.kernel)] = np.outer(rows, units)
            if layer.use_bias:
                out[id(layer.bias)] = units
        for follower in network.per_unit:
            channels = np.zeros(follower.kernel.shape[-1], "float32")
            channels[self._rows(network, network.inputs_of(follower))] = 1
            out[id(follower.kernel)] = channels[None]
            if follower.bias is not None:
                out[id(follower.bias)] = channels
        for variable in network.carried_variables:
            out[id(variable)] = np.ones(variable.shape, "float32")
        if self.minus is not None:
            less = self.minus.masks(network)
            out = {key: np.clip(mask - less[key], 0, 1) for key, mask in out.items()}
        return out

    def units_of(self, network: GrowableNetwork, layer) -> np.ndarray:
        """The chosen units of a growable layer: all, if their number is fixed."""
        group = network.group_of(layer)
        return np.arange(layer.capacity) if group is None else self.units[group]

    def head_rows(self, network: GrowableNetwork) -> np.ndarray:
        """Rows of a head that the chosen units feed."""
        return self.rows(network, len(network.growable))

    def rows(self, network: GrowableNetwork, index: int) -> np.ndarray:
        """Rows of growable layer `index`'s kernel that the chosen units feed."""
        return self._rows(network, network.layout(index))

    def _rows(self, network, layout) -> np.ndarray:
        return layout.rows(network.capacities(), dict(enumerate(self.units)))


class Snapshot:
    """The weights of a growable network at one time, and the units it had then.

    Args:
        network: the network, copied at once.
    """

    def __init__(self, network: GrowableNetwork):
        self.region = Region.everything(network)
        self._capacities = network.capacities()
        self._kernels = [layer.kernel_array() for layer in network.growable]
        self._biases: list[Any] = [  # None for layers without
            layer.bias_array() if layer.use_bias else None for layer in network.growable
        ]
        self._per_unit = [
            [ops.convert_to_numpy(v).copy() for v in layer.variables]
            for layer in network.per_unit
        ]
        self._carried = [
            ops.convert_to_numpy(v).copy() for v in network.carried_variables
        ]

    def kernel(self, network: GrowableNetwork, index: int) -> np.ndarray:
        """A growable layer's kernel then, at the size it is stored at now."""
        kernel, layer = self._kernels[index], network.growable[index]
        old, new = self._moved(network, network.layout(index))
        shape = (*kernel.shape[:-2], layer.kernel.shape[-2], kernel.shape[-1])
        resized = np.zeros(shape, kernel.dtype)
        resized[..., new, :] = kernel[..., old, :]
        return resize_last(resized, layer.capacity)

    def bias(self, network: GrowableNetwork, index: int) -> np.ndarray:
        """A growable layer's biases then, at the size they are stored at now."""
        return resize_last(self._biases[index], network.growable[index].capacity)

    def per_unit(self, network: GrowableNetwork, index: int) -> list[np.ndarray]:
        """Kernel and bias then of a layer with weights for each unit, as stored now."""
        layer, found = network.per_unit[index], []
        old, new = self._moved(network, network.inputs_of(layer))
        for array in self._per_unit[index]:
            width = layer.kernel.shape[-1]
            resized = np.zeros((*array.shape[:-1], width), array.dtype)
            resized[..., new] = array[..., old]
            found.append(resized)
        return found

    def _moved(self, network, layout):
        return layout.moved(self._capacities, network.capacities())

    def values(self, network: GrowableNetwork) -> dict[int, np.ndarray]:
        """Values then, by `id` of the variable now."""
        out = {}
        for i, layer in enumerate(network.growable):
            out[id(layer.kernel)] = self.kernel(network, i)
            if layer.use_bias:
                out[id(layer.bias)] = self.bias(network, i)
        for i, follower in enumerate(network.per_unit):
            arrays = self.per_unit(network, i)
            out.update(zip(map(id, follower.variables), arrays, strict=True))
        carried = map(id, network.carried_variables)
        out.update(zip(carried, self._carried, strict=True))
        return out


def soft_threshold(w, threshold):
    """The proximal step of the l1 norm: towards 0 by `threshold`, and 0 within it.

    >>> import numpy as np
    >>> np.array(soft_threshold(np.array([0.5, -0.05]), 0.1)).round(2).tolist()
    [0.4, 0.0]
    """
    return w - ops.clip(w, -threshold, threshold)


def group_norms(kernels, masks):
    """The l2 norm of each unit's incoming weights, of all its kernels: (units,).

    Args:
        kernels: list of (..., units).
        masks: as many, each of which broadcasts: which of the weights count.
    """
    squares = 0.0
    for w, mask in zip(kernels, masks, strict=True):
        axes = tuple(range(len(w.shape) - 1))
        squares = squares + ops.sum(ops.square(w * mask), axis=axes)
    return ops.sqrt(squares)


def group_threshold(w, mask, threshold, norm=None):
    """The proximal step of the group lasso, a group being one unit's incoming weights.

    Args:
        w: (..., units).
        mask: broadcasts to `w`: which of the weights are in the groups.
        threshold: by which each group's l2 norm shrinks, down to 0.
        norm: of the groups, (units,), where they have weights elsewhere. None: of `w`.
    """
    axes = tuple(range(len(w.shape) - 1))
    if norm is None:
        norm = ops.sqrt(ops.sum(ops.square(w * mask), axis=axes, keepdims=True))
    factor = ops.maximum(1 - threshold / ops.maximum(norm, 1e-20), 0)
    return w * ops.where(mask > 0, factor, 1.0)


def nonzero_inputs(kernel: np.ndarray, units) -> np.ndarray:
    """Rows of a kernel (..., inputs, units) with a weight into any of `units`."""
    into = kernel[..., np.asarray(units, int)]
    lead = tuple(range(into.ndim - 2))
    return np.flatnonzero((into != 0).any(axis=(*lead, -1)))
