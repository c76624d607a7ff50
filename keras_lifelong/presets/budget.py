"""What a network from a stranger may take: asked of its shapes, before any memory.

All bounds are of what the files hold, by their own sizes, and not of what they say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_lifelong import networks
from keras_lifelong.presets import allowed

SLACK = 16_000_000  # numbers of a network that need no weights to be believed
RATIO = 64  # numbers of a network for each stored one: hypernetworks compress
ACTIVATIONS = 2**25  # numbers that one layer makes of one example


def check_network(config: dict[str, Any], stored: Callable[[], int]) -> None:
    """Refuses a network that is far larger than what is stored of it.

    It is built without values, so that a lie takes no memory.

    Args:
        config: of a serialized `keras.Sequential` that `check_objects` has passed.
        stored: gives the numbers in the preset's files; asked of large networks only.

    Raises:
        ValueError: if it holds more than `SLACK` numbers and `RATIO` times the stored,
            or a layer makes more than `ACTIVATIONS` numbers of one example.
    """
    if not isinstance(config, dict) or config.get("class_name") != "Sequential":
        raise ValueError("config.backbone must be a Sequential")
    with keras.StatelessScope(initialize_variables=False):
        network = networks.deserialized(config)
        size = sum(math.prod(v.shape) for v in network.variables)
        _check_activations(network)
    if size > SLACK and size > RATIO * stored():
        raise ValueError(
            f"config.backbone is a network of {size:,} numbers, where the preset "
            f"stores {stored():,}"
        )


def _check_activations(network: keras.Sequential) -> None:
    for layer in network.layers:
        if isinstance(layer, keras.Sequential):
            _check_activations(layer)
        for tensor in keras.tree.flatten([layer.input, layer.output]):
            made = math.prod(d for d in tensor.shape if d is not None)
            if made > ACTIVATIONS:
                raise ValueError(
                    f"config.backbone: layer {layer.name[:80]!r} would make {made:,} "
                    f"numbers of one example, where {ACTIVATIONS:,} are the most"
                )
        if getattr(layer, "unroll", False) and layer.input.shape[1] is not None:
            steps = layer.input.shape[1]
            if steps > allowed.UNROLLED:
                raise ValueError(
                    f"config.backbone: layer {layer.name[:80]!r} writes out {steps:,} "
                    f"steps, where {allowed.UNROLLED} are the most"
                )
