"""Batch normalisation of a network whose weights are given from outside."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_lifelong.seeds import without_seed_states

TINY = 1e-5  # of a variance, so that one of 0 can grow


def batch_normalizations(network) -> list[keras.layers.BatchNormalization]:
    """Those of a network that follow the batches they are trained on."""
    return [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
        and layer.momentum < 1
    ]


def batch_statistics(network, weights: Sequence, x) -> dict[int, np.ndarray]:
    """What batch normalisation sees when these weights answer inputs.

    Args:
        network: a built Keras model.
        weights: instead of its trainable variables, in their order.
        x: (batch, …).

    Returns:
        Dict by the `id` of every moving mean and moving variance.
    """
    kept = {}  # the part of a moving average that stays; they begin at 0 here
    for layer in batch_normalizations(network):
        kept[id(layer.moving_mean)] = layer.momentum
        kept[id(layer.moving_variance)] = layer.momentum
    variables = network.non_trainable_variables
    zeros = [ops.zeros(v.shape) if id(v) in kept else v for v in variables]
    weights = [ops.convert_to_tensor(w) for w in weights]
    x = ops.convert_to_tensor(np.asarray(x, "float32"))
    _, moved = network.stateless_call(weights, zeros, x, training=True)
    return {
        id(v): ops.convert_to_numpy(m) / (1 - kept[id(v)])
        for v, m in zip(variables, moved, strict=True)
        if id(v) in kept
    }


def moved_statistics(
    network,
    statistics: Sequence[np.ndarray],
    before: Sequence,
    after: Sequence,
    x,
    variables: Sequence | None = None,
) -> list[np.ndarray]:
    """What the running statistics become when the weights become others.

    A mean moves by as much, and a variance grows as many times, as it does on some
    inputs. So few inputs are enough, and the same weights have the same statistics.

    Args:
        network: a built Keras model.
        statistics: its non-trainable weights but for seeds', that belong to `before`.
        before, after: weights instead of its trainable variables, in their order.
        x: inputs (batch, …).
        variables: that `statistics` are of. None: all that are not trained.

    Returns:
        List of arrays as `statistics`.
    """
    if not batch_normalizations(network):
        return list(statistics)
    old, new = (batch_statistics(network, w, x) for w in (before, after))
    found = []
    if variables is None:
        variables = without_seed_states(network.non_trainable_variables)
    for variable, value in zip(variables, statistics, strict=True):
        key = id(variable)
        if key not in old:
            found.append(value)
        elif "variance" in variable.name:
            found.append(value * ((new[key] + TINY) / (old[key] + TINY)))
        else:
            found.append(value + (new[key] - old[key]))
    return found
