"""What a model makes of the backbone that it is given."""

from __future__ import annotations

import keras

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.graph import is_graph

K = keras.layers
# What they have seen is no array that a copy could be given.
_TABLES = (K.StringLookup, K.IntegerLookup, K.TextVectorization)


def check_backbone(backbone, graphs: bool, method: str) -> None:
    """Raises a ValueError that names `backbone` if it is not what models are made of.

    It is to be a built Keras model of hidden layers that ends in features of shape
    (batch, width).

    Args:
        backbone: a `keras.Sequential` or, where `graphs`, a functional `keras.Model`.
        graphs: whether the method carries those.
        method: named in refusals.
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
    if len(backbone.output_shape) != 2:
        raise ValueError(
            "`backbone` must end in features of shape (batch, width): add a Flatten or "
            f"a global pooling. Received an output of shape {backbone.output_shape}."
        )
    for path, layer in Graph(backbone).layers.items():
        if isinstance(layer, _TABLES):
            raise ValueError(
                f"`backbone` cannot hold the layer {path!r} "
                f"({type(layer).__name__}): its vocabulary is no weight. Look words up "
                "before, in the data."
            )


def with_constants(backbone: keras.Sequential) -> keras.Sequential:
    """A backbone whose adapted layers have what they have seen in their configuration.

    A method copies layers by their configurations. `Normalization` and
    `Discretization` keep what `adapt` found elsewhere, and copies would lack it.

    Args:
        backbone: it is not changed.

    Returns:
        `backbone` itself, if it has no such layer.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.Normalization()
    >>> layer.adapt(np.array([[1.0], [3.0]]))
    >>> copy = with_constants(keras.Sequential([keras.Input((1,)), layer]))
    >>> copy.layers[0].get_config()["mean"]
    [2.0]
    """
    found = {layer.name: _constants(layer) for layer in backbone.layers}
    found = {name: constants for name, constants in found.items() if constants}
    if not found:
        return backbone
    config = backbone.get_config()
    for layer in config["layers"]:
        layer["config"].update(found.get(layer["config"].get("name"), {}))
    copy = networks.from_config(config)
    for layer, given in zip(copy.layers, backbone.layers, strict=True):
        if given.name not in found:
            layer.set_weights(given.get_weights())
    return copy


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
