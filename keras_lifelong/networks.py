"""Networks made of their configurations, in time that grows with their layers.

Keras' own `Sequential.from_config` builds the network anew for each layer that it adds:
250 layers took 48 seconds.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import keras

from keras_lifelong.graph import is_functional

_GRAPHS = (
    ("keras", "Model"),
    ("keras.models", "Model"),
    ("keras.src.models.functional", "Functional"),
)


def deserialized(config: dict[str, Any]) -> keras.Model:
    """The network that `keras.saving.serialize_keras_object` described.

    The same as `keras.saving.deserialize_keras_object`, for what is a Sequential or a
    functional model: its layers are made first, and built once. Other descriptions are
    Keras' to read.

    Args:
        config: a dict of "class_name", "config" and "module". It is not changed.

    Raises:
        ValueError: naming the layer, if one cannot be made.

    Example:

    >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> deserialized(keras.saving.serialize_keras_object(network)).output_shape
    (None, 3)
    """
    if _is_sequential(config) or _is_functional(config):
        return from_config(config["config"])
    try:
        return keras.saving.deserialize_keras_object(config)
    except TypeError as error:
        kind, inner = config.get("class_name"), config.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        raise ValueError(
            f"The layer {name!r} ({kind}) cannot be made of its configuration, as it "
            "is wherever a network is copied. Its class must be registered with Keras "
            f"and take what its `get_config` gives. Keras says: {error}"
        ) from error


def from_config(config: dict[str, Any]) -> keras.Model:
    """The network of a Sequential's or functional model's `get_config`."""
    if "output_layers" in config:
        return _functional(config)
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


def free_name(name: str, network: keras.Model) -> str:
    """A name that no layer of a network has: this one, or one numbered after it.

    >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="a")])
    >>> free_name("a", network), free_name("b", network)
    ('a_1', 'b')
    """
    return unused(name, {layer.name for layer in network.layers} | {network.name})


def unused(name: str, taken: Container[str]) -> str:
    """A name that is not taken: this one, or one numbered after it.

    >>> unused("a", {"a", "a_1"}), unused("b", {"a"})
    ('a_2', 'b')
    """
    found, number = name, 0
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _is_sequential(config: Any) -> bool:
    return (
        isinstance(config, dict)
        and config.get("class_name") == "Sequential"
        and config.get("module") in ("keras", "keras.models")
    )


# Functional models


def _is_functional(config: Any) -> bool:
    return (
        isinstance(config, dict)
        and isinstance(config.get("config"), dict)
        and "output_layers" in config["config"]
        and (config.get("module"), config.get("class_name")) in _GRAPHS
    )


def _functional(config: dict[str, Any]) -> keras.Model:
    layers = {entry["name"]: deserialized(entry) for entry in config["layers"]}
    made = {}  # (layer, which of its calls) -> its tensors
    left = {}  # layer -> its calls that are still to be done
    for entry in config["layers"]:
        name = entry["name"]
        if isinstance(layers[name], keras.layers.InputLayer):
            made[name, 0] = [layers[name].output]
        left[name] = list(enumerate(entry["inbound_nodes"]))
    while any(left.values()):
        before = len(made)
        for name, calls in left.items():
            while calls and all(x in made for x in _sources(calls[0][1])):
                number, node = calls.pop(0)
                args, kwargs = (_given(node[part], made) for part in ("args", "kwargs"))
                made[name, number] = keras.tree.flatten(layers[name](*args, **kwargs))
        if len(made) == before:
            names = [name for name, calls in left.items() if calls]
            raise ValueError(f"The graph has a loop: {', '.join(names[:5])}")

    def ends(value):
        if isinstance(value, dict):
            return {key: ends(item) for key, item in value.items()}
        if len(value) == 3 and isinstance(value[0], str):
            name, number, output = value
            if is_functional(layers[name]):  # Keras counts these from 1, here alone
                number -= 1
            return made[name, number][output]
        return [ends(item) for item in value]

    return keras.Model(
        inputs=ends(config["input_layers"]),
        outputs=ends(config["output_layers"]),
        name=config.get("name"),
        trainable=config.get("trainable"),
    )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def _sources(value: Any) -> list[tuple[str, int]]:
    """The calls whose tensors a call takes."""
    if _is_tensor(value):
        return [tuple(value["config"]["keras_history"][:2])]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [source for item in value for source in _sources(item)]
    return []


def _given(value: Any, made: dict[tuple[str, int], list]) -> Any:
    """What a call is given: tensors of the graph in the place of their names."""
    if _is_tensor(value):
        name, number, output = value["config"]["keras_history"]
        return made[name, number][output]
    if isinstance(value, list | tuple):
        return [_given(item, made) for item in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _given(item, made) for key, item in value.items()}
    return keras.saving.deserialize_keras_object(value)
