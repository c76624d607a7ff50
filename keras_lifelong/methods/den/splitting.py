"""What the split of a unit does to the weights around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.methods.den.group_growth import Group
from keras_lifelong.methods.den.growable_network import GrowableNetwork
from keras_lifelong.methods.den.regions import Snapshot


def drifts(network: GrowableNetwork, previous: Snapshot, group: Group) -> np.ndarray:
    """How far the incoming weights of each old unit of a group moved, as l2 norms.

    Of all layers of the group together: a unit is one, whatever its weights lie in.

    Args:
        network: as it is now.
        previous: as it was.
        group: of the network.

    Returns:
        (units then,).
    """
    old = previous.region.units[group.number]
    squares: Any = 0.0
    for i, layer in enumerate(network.growable):
        if layer in group.members:
            moved = layer.kernel_array() - previous.kernel(network, i)
            moved = moved[..., previous.region.rows(network, i), :][..., old]
            squares = squares + np.sum(moved**2, axis=tuple(range(moved.ndim - 1)))
    for i, layer in enumerate(network.per_unit):
        if layer in group.followers:
            moved = (
                ops.convert_to_numpy(layer.kernel) - previous.per_unit(network, i)[0]
            )
            moved = moved[..., old]
            squares = squares + np.sum(moved**2, axis=tuple(range(moved.ndim - 1)))
    return np.sqrt(squares)


def restore(
    network: GrowableNetwork, previous: Snapshot, units: Sequence[np.ndarray]
) -> None:
    """Gives units the incoming weights and biases that they had.

    Args:
        network: as it is now.
        previous: as it was.
        units: by group.
    """
    for i, layer in enumerate(network.growable):
        group = network.group_of(layer)
        if group is None:
            continue
        kernel, chosen = layer.kernel_array(), units[group]
        kernel[..., chosen] = previous.kernel(network, i)[..., chosen]
        layer.kernel.assign(kernel)
        if layer.use_bias:
            bias = layer.bias_array()
            bias[chosen] = previous.bias(network, i)[chosen]
            layer.bias.assign(bias)
    for i, layer in enumerate(network.per_unit):
        layout = network.inputs_of(layer)
        rows = [
            layout.rows_of(g, network.capacities(), units[g]) for g in layout.groups
        ]
        for variable, was in zip(
            layer.variables, previous.per_unit(network, i), strict=True
        ):
            values = ops.convert_to_numpy(variable).copy()
            for chosen in rows:
                values[..., chosen] = was[..., chosen]
            variable.assign(values)


def rewire(
    network: GrowableNetwork,
    index: int,
    originals: np.ndarray,
    copies: np.ndarray,
    stage: int,
    retired: bool = False,
) -> None:
    """Lets units born now hear the copies, and older ones the originals.

    Args:
        network: where `originals` were split.
        index: of their group.
        originals, copies: their indices.
        stage: at which the copies were born.
        retired: whether the originals are not there from this stage on: then older
            units hear the copies, which are all they can hear, as they heard them.
    """
    for layer in network.growable:
        layout = network.inputs_of(layer)
        if index not in layout.groups or not originals.size:
            continue
        from_rows, to_rows = (
            layout.rows_of(index, network.capacities(), units)[:, None]
            for units in (originals, copies)
        )
        kernel = layer.kernel_array()
        now = np.flatnonzero(layer.births() == stage)
        if network.group_of(layer) is None:
            now = now[:0]
        if retired:
            kernel[..., to_rows[:, 0], :] = kernel[..., from_rows[:, 0], :]
        kernel[..., to_rows, now] = kernel[..., from_rows, now]
        kernel[..., from_rows, now] = 0
        layer.kernel.assign(kernel)
