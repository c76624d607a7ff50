"""Parts of a growable network: which weights a phase may move, and what they were."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.layers.growable import resize_inputs
from keras_lifelong.layers.growable import resize_last
from keras_lifelong.methods.den.growable_network import GrowableNetwork


@dataclasses.dataclass(frozen=True)
class Region:
    """The weights between chosen units of adjacent layers, less those of `minus`.

    Indices of units stay what they are when storage is made anew, so that a region
    can be kept while the network grows.

    Args:
        units: for each growable layer, the indices of the chosen units. The inputs of
            the first layer are all chosen.
        minus: a region that is left out.
    """

    units: tuple[np.ndarray, ...]
    minus: Region | None = None

    @classmethod
    def everything(cls, network: GrowableNetwork, stage: int | None = None) -> Region:
        """All units that exist at `stage`, or now."""
        return cls(tuple(layer.units_at(stage) for layer in network.growable))

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
            units[self.units[i]] = 1
            out[id(layer.kernel)] = np.outer(rows, units)
            if layer.use_bias:
                out[id(layer.bias)] = units
        if self.minus is not None:
            less = self.minus.masks(network)
            out = {key: np.clip(mask - less[key], 0, 1) for key, mask in out.items()}
        return out

    def head_rows(self, network: GrowableNetwork) -> np.ndarray:
        """Rows of a head that the chosen units of the last layer feed."""
        return self.rows(network, len(network.growable))

    def rows(self, network: GrowableNetwork, index: int) -> np.ndarray:
        """Rows of growable layer `index`'s kernel that the chosen units below feed."""
        if index == 0:
            return network.input_rows(0)
        return network.rows_of(index, self.units[index - 1])


class Snapshot:
    """The weights of a growable network at one time, and the units it had then.

    Args:
        network: the network, copied at once.
    """

    def __init__(self, network: GrowableNetwork):
        self.region = Region.everything(network)
        self._positions = [1] + [
            network.positions(i) for i in range(1, len(network.growable))
        ]
        self._kernels = [layer.kernel_array() for layer in network.growable]
        self._biases: list[Any] = [  # None for layers without
            layer.bias_array() if layer.use_bias else None for layer in network.growable
        ]

    def kernel(self, network: GrowableNetwork, index: int) -> np.ndarray:
        """A growable layer's kernel then, at the size it is stored at now."""
        layer = network.growable[index]
        kernel = resize_inputs(
            self._kernels[index], layer.kernel.shape[-2], self._positions[index]
        )
        return resize_last(kernel, layer.capacity)

    def bias(self, network: GrowableNetwork, index: int) -> np.ndarray:
        """A growable layer's biases then, at the size they are stored at now."""
        return resize_last(self._biases[index], network.growable[index].capacity)

    def values(self, network: GrowableNetwork) -> dict[int, np.ndarray]:
        """Values then, by `id` of the variable now."""
        out = {}
        for i, layer in enumerate(network.growable):
            out[id(layer.kernel)] = self.kernel(network, i)
            if layer.use_bias:
                out[id(layer.bias)] = self.bias(network, i)
        return out


def soft_threshold(w, threshold):
    """The proximal step of the l1 norm: towards 0 by `threshold`, and 0 within it.

    >>> import numpy as np
    >>> np.array(soft_threshold(np.array([0.5, -0.05]), 0.1)).round(2).tolist()
    [0.4, 0.0]
    """
    return w - ops.clip(w, -threshold, threshold)


def group_threshold(w, mask, threshold):
    """The proximal step of the group lasso, a group being one unit's incoming weights.

    Args:
        w: (..., units).
        mask: broadcasts to `w`: which of the weights are in the groups.
        threshold: by which each group's l2 norm shrinks, down to 0.
    """
    axes = tuple(range(len(w.shape) - 1))
    norm = ops.sqrt(ops.sum(ops.square(w * mask), axis=axes, keepdims=True))
    factor = ops.maximum(1 - threshold / ops.maximum(norm, 1e-20), 0)
    return w * ops.where(mask > 0, factor, 1.0)


def nonzero_inputs(kernel: np.ndarray, units) -> np.ndarray:
    """Rows of a kernel (..., inputs, units) with a weight into any of `units`."""
    into = kernel[..., np.asarray(units, int)]
    lead = tuple(range(into.ndim - 2))
    return np.flatnonzero((into != 0).any(axis=(*lead, -1)))
