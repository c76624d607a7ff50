"""Configurations from strangers: which objects they may name, and how large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

MODULES = (
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.models",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.regularizers",
)
# They run code that is not Keras', or read files that the configuration names.
REFUSED = (
    "FlaxLayer",
    "HashedCrossing",
    "Hashing",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
    "__lambda__",
)
MARKS = ("__keras_tensor__", "__tensor__", "__numpy__")  # of values in a configuration
DEEPEST = 60  # levels of a configuration
SLACK = 16_000_000  # numbers of a network that need no weights to be believed
RATIO = 64  # numbers of a network for each stored one: hypernetworks compress


def check_objects(config: Any, where: str = "config") -> None:
    """Refuses a configuration that names an object which must not be made from it.

    Classes and functions of the user's own are accepted if they are registered with
    Keras in this process: then their code is the user's, not the configuration's.

    Raises:
        ValueError: with the place and the name.
    """
    for path, entry in _objects(config, where, 0):
        name, module = entry["class_name"], entry.get("module")
        known = keras.saving.get_registered_object(
            str(entry.get("registered_name") or name)
        )
        if name in REFUSED or not isinstance(name, str):
            raise ValueError(f"{path} names {name!r}, which is refused in a preset")
        if known is not None or name in MARKS:
            continue
        if name == "function":
            function = entry.get("config")
            if keras.saving.get_registered_object(str(function)) is None and not (
                isinstance(function, str) and hasattr(keras.activations, function)
            ):
                raise ValueError(
                    f"{path} names the function {function!r}, which is neither Keras' "
                    "nor registered with `register_keras_serializable`"
                )
        elif module is not None and module not in MODULES:
            raise ValueError(
                f"{path} names {module}.{name}, which is neither Keras' nor registered "
                "with `register_keras_serializable`"
            )


def _objects(value: Any, where: str, depth: int) -> Iterator[tuple[str, dict]]:
    if depth > DEEPEST:
        raise ValueError(f"{where} is nested more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        if "class_name" in value:
            yield where, value
        for key, item in value.items():
            yield from _objects(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _objects(item, f"{where}[{i}]", depth + 1)


def check_network(config: dict, stored: int) -> None:
    """Refuses a network that is far larger than what is stored of it.

    It is built without values, so that a lie takes no memory.

    Args:
        config: of a serialized `keras.Sequential`.
        stored: numbers in the preset's arrays.

    Raises:
        ValueError: if it holds more than `SLACK` numbers and `RATIO` times the stored.
    """
    with keras.StatelessScope(initialize_variables=False):
        network = keras.saving.deserialize_keras_object(config, safe_mode=True)
        size = sum(int(np.prod(v.shape, dtype=object)) for v in network.variables)
    if size > max(SLACK, RATIO * stored):
        raise ValueError(
            f"config.backbone is a network of {size:,} numbers, where the preset "
            f"stores {stored:,}"
        )


def check_sizes(options: dict[str, Any], names, largest: int) -> None:
    """Refuses options that ask for memory out of proportion to what is stored.

    Args:
        options: constructor arguments of a method.
        names: of those that sizes of arrays follow from.
        largest: dimension of the stored arrays.

    Raises:
        ValueError: naming the option.
    """
    limit = max(4096, 4 * largest)

    def numbers(value):
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from numbers(item)
        elif isinstance(value, int | float):
            yield value

    for name in names:
        for value in numbers(options.get(name)):
            if not value <= limit:
                raise ValueError(
                    f"config.{name} is {value:,}, where the largest dimension of what "
                    f"is stored is {largest:,}"
                )
