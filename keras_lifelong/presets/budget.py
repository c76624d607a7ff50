"""What a network from a stranger may take: asked of its shapes, before any memory.

All bounds are of what the files hold, by their own sizes, and not of what they say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_lifelong import networks
from keras_lifelong.backend.scope import ShapesScope
from keras_lifelong.graph import Graph
from keras_lifelong.graph import calls_of
from keras_lifelong.graph import is_graph
from keras_lifelong.presets import allowed
from keras_lifelong.presets import graphs

SLACK = 16_000_000  # numbers of a network that need no weights to be believed
RATIO = 64  # numbers of a network for each stored one: hypernetworks compress
LAYERS = 250  # and calls of them: two seconds of Keras' time, for a preset of any size
A_LAYER = 128  # numbers that are stored for each more
ACTIVATIONS = 2**25  # numbers that one layer makes of one example


def check_network(config: dict[str, Any], stored: Callable[[], int]) -> None:
    """Refuses a network that is far larger than what is stored of it.

    It is built without values, so that a lie takes no memory.

    Args:
        config: of a serialized `keras.Sequential` or functional model that
            `check_objects` has passed.
        stored: gives the numbers in the preset's files; asked of large networks only.

    Raises:
        ValueError: if it holds more than `SLACK` numbers and `RATIO` times the stored,
            more than `LAYERS` layers and one for each `A_LAYER` stored, or a layer that
            makes more than `ACTIVATIONS` numbers of one example.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise ValueError("config.backbone must be a Sequential or a functional model")
    check_calls(config, stored)
    with ShapesScope():
        network = networks.deserialized(config)
        if not is_graph(network):
            raise ValueError(
                "config.backbone must be a Sequential or a functional model"
            )
        size = sum(math.prod(v.shape) for v in network.variables)
        _check_activations(network)
    if size > SLACK and size > RATIO * stored():
        raise ValueError(
            f"config.backbone is a network of {size:,} numbers, where the preset "
            f"stores {stored():,}"
        )


def check_calls(config: dict[str, Any], stored: Callable[[], int]) -> None:
    """Refuses a network of more calls of layers than its files are worth.

    Args:
        config, stored: see `check_network`.

    Raises:
        ValueError: if they are more than `LAYERS`, and one for each `A_LAYER` stored.
    """
    calls = graphs.calls(config)
    if calls > LAYERS and calls > LAYERS + stored() // A_LAYER:
        raise ValueError(
            f"config.backbone makes {calls:,} calls of layers, where {LAYERS} are the "
            f"most, and one more for each {A_LAYER} numbers that the preset stores: it "
            f"stores {stored():,}"
        )


def _check_activations(network: keras.Model) -> None:
    """Checks what each call makes, those of models within models too."""
    held = {id(x): x for x in network._flatten_layers() if is_graph(x)}
    for model in held.values():
        _check_call(model, [tuple(x.shape) for x in model.inputs])
        for layer, given, made in calls_of(model):
            _check_call(layer, [*given, *made], given)
    inner = [x for model in held.values() for x in model.inputs if model is not network]
    if any(None in x.shape[1:] for x in inner):  # what is made depends on the call
        graph = Graph(network)

        def checked(step, *args, **kwargs):
            made = step(*args, **kwargs)
            _check_call(step.layer, [x.shape for x in keras.tree.flatten(made)])
            return made

        graph.run(graph.symbolic_inputs(), call=checked)


def _check_call(layer: Any, shapes: list[tuple], given: list[tuple] | None = None):
    for shape in shapes:
        made = math.prod(d for d in shape if d is not None)
        if made > ACTIVATIONS:
            raise ValueError(
                f"config.backbone: layer {layer.name[:80]!r} would make {made:,} "
                f"numbers of one example, where {ACTIVATIONS:,} are the most"
            )
    if getattr(layer, "unroll", False) and given and given[0][1] is not None:
        steps = given[0][1]
        if steps > allowed.UNROLLED:
            raise ValueError(
                f"config.backbone: layer {layer.name[:80]!r} writes out {steps:,} "
                f"steps, where {allowed.UNROLLED} are the most"
            )
