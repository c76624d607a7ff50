"""Blocks of a network: a layer with weights and the activation that follows it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.seeds import without_seed_states

ACTIVATIONS = (
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Softmax,
)
ROWS = 100  # examples at a time


def activation_places(network) -> dict[int, int]:
    """For each layer with weights, by place: where its activation is.

    That is its own place, or that of the activation layer that directly follows it.
    """
    places = {}
    for place, layer in enumerate(network.layers):
        if not without_seed_states(layer.variables):
            continue
        end = place
        while end + 1 < len(network.layers) and isinstance(
            network.layers[end + 1], ACTIVATIONS
        ):
            end += 1
        places[place] = end
    return places


def applied(layer, x, training: bool):
    """A layer's output, for layers with and without the argument `training`."""
    takes = "training" in inspect.signature(layer.call).parameters
    return layer(x, training=training) if takes else layer(x)


def block_outputs(
    network, places: dict[int, int], x: np.ndarray, reduce: Callable
) -> Iterator[tuple[int, Any]]:
    """What `reduce(layer, outputs)` makes of each block's outputs, in inference.

    One block's outputs (n, …) are held at a time.

    Args:
        network: a `keras.Sequential`.
        places: what `activation_places` gave.
        x: (n, …).
        reduce: it gets the place of the layer, and the outputs as an array.
    """
    of = {end: place for place, end in places.items()}
    parts = [x[i : i + ROWS] for i in range(0, len(x), ROWS)]
    for end, layer in enumerate(network.layers):
        parts = [ops.convert_to_numpy(applied(layer, p, False)) for p in parts]
        if end in of:
            yield of[end], reduce(of[end], np.concatenate(parts))
