"""What a model makes of the backbone that it is given."""

from __future__ import annotations

import keras
from keras.src.backend.common.masking import get_keras_mask

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.graph import Wire
from keras_lifelong.graph import is_graph

K = keras.layers
# What they have seen is no array that a copy could be given.
_TABLES = (K.StringLookup, K.IntegerLookup, K.TextVectorization)


def checked_backbone(
    backbone, graphs: bool, method: str, sequences: bool = False
) -> Graph:
    """Raises a ValueError that names `backbone` if it is not what models are made of.

    It is to be a built Keras model of hidden layers that ends in features of shape
    (batch, width); or (batch, time, width), for heads that read each step.

    Args:
        backbone: a `keras.Sequential` or, where `graphs`, a functional `keras.Model`.
        graphs: whether the method carries those.
        method: named in refusals.
        sequences: whether the method carries features of several time steps.

    Returns:
        Its `Graph`.
    """
    kinds = "keras.Sequential or functional keras.Model"
    if not isinstance(backbone, keras.Model):
        raise ValueError(
            f"`backbone` must be a {kinds if graphs else 'keras.Sequential'} of hidden "
            f"layers. Received: {type(backbone).__name__}."
        )
    if isinstance(backbone, keras.Sequential) and not (
        backbone.built and backbone.layers
    ):
        raise ValueError(
            "`backbone` must begin with keras.Input(shape) and hold a layer. "
            f"Received: {backbone.name!r}, which has no known input shape."
        )
    if not is_graph(backbone):
        raise ValueError(
            f"`backbone` must be a {kinds}, whose layers can be followed. "
            f"Received: {backbone.name!r} of the class {type(backbone).__name__}."
        )
    if not isinstance(backbone, keras.Sequential) and not graphs:
        raise ValueError(
            f"{method} carries a `backbone` that is a keras.Sequential of hidden "
            f"layers. Received: {backbone.name!r}, a functional model."
        )
    if len(backbone.outputs) != 1:
        raise ValueError(
            "`backbone` must have one output, of features. "
            f"Received: {backbone.name!r} with {len(backbone.outputs)}."
        )
    mask = get_keras_mask(backbone.outputs[0])
    if len(backbone.output_shape) == 3 and sequences:
        _check_steps(backbone, mask)
    elif len(backbone.output_shape) != 2:
        others = "" if sequences else f" {method} carries no steps of a sequence."
        raise ValueError(
            "`backbone` must end in features of shape (batch, width): add a Flatten or "
            f"a global pooling.{others} Received an output of shape "
            f"{backbone.output_shape}."
        )
    if mask is not None and len(mask.shape) == 1:
        raise ValueError(
            "`backbone` must not mask whole examples, as a Masking layer on inputs "
            "(batch, width) does: leave them out, or give them the `sample_weight` 0. "
            f"Received: {backbone.name!r}, whose features have a mask."
        )
    graph = Graph(backbone)
    paths = {id(layer): path for path, layer in graph.layers.items()}
    for layer in backbone._flatten_layers():
        path = paths.get(id(layer), layer.name)
        if isinstance(layer, _TABLES):
            raise ValueError(
                f"`backbone` cannot hold the layer {path!r} "
                f"({type(layer).__name__}): its vocabulary is no weight. Look words up "
                "before, in the data."
            )
    return graph


def _check_steps(backbone, mask):
    """Refuses features (batch, time, width) whose number of steps may differ."""
    if None in backbone.output_shape[1:] or mask is not None:
        which = "masked" if mask is not None else f"{backbone.output_shape}"
        raise ValueError(
            "`backbone` must end in features (batch, time, width) of a fixed number of "
            f"time steps, which all count. Received: {backbone.name!r}, whose features "
            f"are {which}."
        )


def input_shape_of(graph: Graph, name: str, several: bool, method: str):
    """The shape of one example: a tuple; of several inputs a dict or tuple of such.

    Args:
        graph: of a backbone.
        name: of the backbone, for refusals.
        several: whether the method carries several inputs.
        method: named in refusals.

    Raises:
        ValueError: if it has several and the method does not carry them, or they are
            in no plain dict or list.
    """
    inputs = graph.inputs
    if isinstance(inputs, list | tuple) and len(inputs) == 1:
        (inputs,) = inputs
    if isinstance(inputs, Wire):
        return tuple(inputs.shape[1:])
    if not several:
        raise ValueError(
            f"{method} carries a `backbone` that takes one input. Received: "
            f"{name!r}, which takes {_inputs_text(inputs)}. Concatenate them before, "
            "or use a method that takes several, as BindAndGrow, PAR, EWC and MNTDP do."
        )
    parts = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)
    if not all(isinstance(part, Wire) for part in parts):
        raise ValueError(
            "`backbone` must take one input, or a dict or list of inputs. Received: "
            f"{name!r}, whose inputs are nested deeper."
        )
    if isinstance(inputs, dict):
        return {key: tuple(wire.shape[1:]) for key, wire in inputs.items()}
    return tuple(tuple(wire.shape[1:]) for wire in inputs)


def _inputs_text(inputs) -> str:
    if isinstance(inputs, dict):
        return f"a dict of {sorted(inputs)}"
    return f"a list of {len(inputs)}"


def with_constants(backbone: keras.Model) -> keras.Model:
    """A backbone whose adapted layers have what they have seen in their configuration.

    A method copies layers by their configurations. `Normalization` and
    `Discretization` keep what `adapt` found elsewhere, and copies would lack it.

    Args:
        backbone: it is not changed.

    Returns:
        `backbone` itself, if it has no such layer, also in the models within it.

    Raises:
        ValueError: naming the layer, if it was never adapted or lies in a wrapper.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.Normalization()
    >>> layer.adapt(np.array([[1.0], [3.0]]))
    >>> copy = with_constants(keras.Sequential([keras.Input((1,)), layer]))
    >>> copy.layers[0].get_config()["mean"]
    [2.0]
    """
    adapted = {
        id(layer): layer for layer in backbone._flatten_layers() if _constants(layer)
    }
    if not adapted:
        return backbone
    config = backbone.get_config()
    found = _tell(config, backbone)
    for key, layer in adapted.items():
        if key not in found:
            raise ValueError(
                f"`backbone` cannot hold the adapted layer {layer.name!r} "
                f"({type(layer).__name__}) within another layer: copies would lack "
                "what it has seen. Put it into the network itself."
            )
    copy = networks.from_config(config)
    _copy_weights(backbone, copy, found)
    return copy


def _tell(config: dict, model: keras.Model) -> set[int]:
    """Writes into a model's configuration what its layers have seen; their ids."""
    found: set[int] = set()
    layers = {layer.name: layer for layer in model.layers}
    for entry in config["layers"]:
        layer = layers.get(entry["config"].get("name"))
        if layer is None:  # an operation, or an input
            continue
        if is_graph(layer) and "layers" in entry["config"]:
            found |= _tell(entry["config"], layer)
        elif constants := _constants(layer):
            entry["config"].update(constants)
            found.add(id(layer))
    return found


def _copy_weights(model: keras.Model, copy: keras.Model, told: set[int]) -> None:
    """Copies weights, but for layers that have theirs in their configurations."""
    for layer, other in zip(model.layers, copy.layers, strict=True):
        if is_graph(layer) and is_graph(other):
            _copy_weights(layer, other, told)
        elif id(layer) not in told:
            other.set_weights(layer.get_weights())


def _constants(layer) -> dict:
    if isinstance(layer, K.Normalization) and layer.input_mean is None:
        mean, variance = (
            keras.ops.convert_to_numpy(v).tolist()
            for v in (layer.adapt_mean, layer.adapt_variance)
        )
        return {"mean": mean, "variance": variance}
    if isinstance(layer, K.Discretization) and layer.num_bins is not None:
        if layer.bin_boundaries is None:
            raise ValueError(
                f"`backbone` must have seen data: call `adapt` of its layer "
                f"{layer.name!r}, or give it `bin_boundaries`."
            )
        boundaries = [float(b) for b in layer.bin_boundaries]
        return {"bin_boundaries": boundaries, "num_bins": None}
    return {}
