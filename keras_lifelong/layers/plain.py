"""Copies of Keras' own layers, so that a network loads without this package."""

from __future__ import annotations


def copied(layer, x):
    """Applies a copy of a built layer, with its weights, to a symbolic tensor."""
    config = {k: v for k, v in layer.get_config().items() if k != "name"}
    copy = type(layer).from_config(config)
    out = copy(x)
    copy.set_weights(layer.get_weights())
    return out
