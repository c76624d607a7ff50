"""Networks made of their configurations, in time that grows with their layers.

Keras' own `Sequential.from_config` builds the network anew for each layer that it adds:
250 layers took 48 seconds.
"""

from __future__ import annotations

from typing import Any

import keras


def deserialized(config: dict[str, Any]) -> keras.Model:
    """The network that `keras.saving.serialize_keras_object` described.

    The same as `keras.saving.deserialize_keras_object`, for what is a Sequential: its
    layers are made first, and built once. Other descriptions are Keras' to read.

    Args:
        config: a dict of "class_name", "config" and "module". It is not changed.

    Example:

    >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> deserialized(keras.saving.serialize_keras_object(network)).output_shape
    (None, 3)
    """
    if not _is_sequential(config):
        return keras.saving.deserialize_keras_object(config)
    return from_config(config["config"])


def from_config(config: dict[str, Any]) -> keras.Model:
    """The network of a Sequential's or functional model's `get_config`."""
    if "output_layers" in config:
        return keras.Model.from_config(config)
    parts = []
    for entry in config["layers"]:
        layer = deserialized(entry)
        if _is_sequential(entry) and not layer.built:
            shape = (entry.get("build_config") or {}).get("input_shape")
            if shape:
                layer.build(shape)
        parts.append(layer)
    network = keras.Sequential(parts, name=config["name"])
    shape = config.get("build_input_shape")
    if not network.built and isinstance(shape, list | tuple):
        network.build(tuple(shape))
    return network


def _is_sequential(config: Any) -> bool:
    return (
        isinstance(config, dict)
        and config.get("class_name") == "Sequential"
        and config.get("module") in ("keras", "keras.models")
    )
