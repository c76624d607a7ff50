"""Configurations from strangers: which objects they may name, and with what.

All of it is decided here, on plain data: Keras sees a configuration once every object
in it is one of `allowed`, under the module and the name by which Keras will look it up,
with arguments that it has, of types and sizes that are those of a network.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import keras

from keras_lifelong.presets import allowed
from keras_lifelong.presets import graphs
from keras_lifelong.presets.values import check_array
from keras_lifelong.presets.values import plain
from keras_lifelong.presets.values import short

DEEPEST = 60  # levels of a configuration
MOST_VALUES = 1_000_000  # in a configuration
MOST_LAYERS = 5_000
LONGEST = 20_000  # letters of a text
REFUSED = (  # by name, so that the message says so; all else is not on the list
    *("FlaxLayer", "HashedCrossing", "Hashing", "IntegerLookup", "JaxLayer"),
    *("Lambda", "StringLookup", "TFSMLayer", "TextVectorization"),
    *("TorchModuleWrapper", "__lambda__"),
)
KERAS, REGISTERED = "keras", "registered"
MEMBER = "member"  # the place of a layer or an operation of a graph
ARRAYS = ("__numpy__", "__tensor__")
_ENTRY = {"module", "class_name", "config", "registered_name", "build_config"}
_ENTRY |= {"compile_config", "excluded_from_weight_decay"}
_BASES = {
    allowed.LAYER: keras.layers.Layer,
    allowed.OPERATION: keras.Operation,
    allowed.INITIALIZER: keras.initializers.Initializer,
    allowed.REGULARIZER: keras.regularizers.Regularizer,
    allowed.CONSTRAINT: keras.constraints.Constraint,
    allowed.POLICY: keras.dtype_policies.DTypePolicy,
    allowed.OPTIMIZER: keras.optimizers.Optimizer,
    allowed.LOSS: keras.losses.Loss,
    allowed.METRIC: keras.metrics.Metric,
    allowed.SCHEDULE: keras.optimizers.schedules.LearningRateSchedule,
}


def check_objects(config: Any, where: str = "config") -> None:
    """Refuses a configuration that names an object which must not be made from it.

    Classes and functions of the user's own are accepted if they are registered with
    Keras in this process: then their code is the user's, not the configuration's.

    Args:
        config: plain data, as JSON gives it. Its own "class_name" is the caller's to
            look at; all that it holds is checked.
        where: how its place is called in messages.

    Raises:
        ValueError: with the place and the name.
    """
    counts = {"values": 0, "layers": 0}
    # whose arguments these are: nobody's that Keras makes, its own, or a user's
    pending: list[tuple[str, str, Any, int, str]] = [(where, "", config, 0, "")]
    while pending:
        path, key, value, depth, within = pending.pop()
        counts["values"] += 1
        if depth > DEEPEST:
            raise ValueError(f"{where} is nested more than {DEEPEST} levels deep")
        if counts["values"] > MOST_VALUES:
            raise ValueError(f"{where} holds more than {MOST_VALUES:,} values")
        if isinstance(value, dict):
            if "class_name" in value and depth:
                kind, owner = _check_entry(path, key if within == KERAS else "", value)
                within = owner
                counts["layers"] += kind in (allowed.LAYER, allowed.OPERATION)
                if counts["layers"] > MOST_LAYERS:
                    raise ValueError(f"{where} has more than {MOST_LAYERS:,} layers")
                if kind in (allowed.FUNCTION, "array"):
                    continue
                if _is_graph(value):
                    graphs.check(path, value["config"], _registered)
                    pending += [
                        (f"{path}.config.layers[{i}]", MEMBER, v, depth + 3, KERAS)
                        for i, v in enumerate(value["config"]["layers"])
                    ]
                    value = value.get("build_config") or {}
            pending += [
                (f"{path}.{plain(k)}", k, v, depth + 1, within)
                for k, v in value.items()
                if (key, k) != (MEMBER, "inbound_nodes")  # `graphs` has seen those
            ]
        elif isinstance(value, list | tuple):
            pending += [
                (f"{path}[{i}]", key, v, depth + 1, within) for i, v in enumerate(value)
            ]
        else:
            _check_leaf(path, key if within == KERAS else "", value, within)
    graphs.check_calls(where, config)


def _check_entry(path: str, key: str, entry: dict[str, Any]) -> tuple[str, str]:
    """Checks one description of an object.

    Returns:
        Of what kind the object is, and whether its class is Keras' or registered.
    """
    name, module = entry["class_name"], entry.get("module")
    if not isinstance(name, str) or name in REFUSED:
        raise ValueError(f"{path} names {short(name)}, which is refused in a preset")
    more = {"name", "inbound_nodes"} if key == MEMBER else set()
    extra = sorted(map(str, entry.keys() - _ENTRY - more))
    if extra or entry.get("compile_config"):
        raise ValueError(
            f"{path} says more of {name} than what it is: "
            f"{short(extra[0] if extra else 'compile_config')}"
        )
    if name in ARRAYS:
        check_array(path, entry.get("config"))
        return "array", KERAS
    if name == "function":
        _check_function(path, key, entry)
        return allowed.FUNCTION, KERAS
    known = _registered(entry.get("registered_name", name))
    if known is None:
        kind = allowed.CLASSES.get((str(module), name))
        if kind is None or entry.get("registered_name") not in (None, name):
            raise ValueError(
                f"{path} names {plain(f'{module}.{name}')}, which is neither Keras' "
                "nor registered with `register_keras_serializable`, or which a preset "
                "may not hold"
            )
        made = getattr(_module(str(module)), name)
        if not _is_graph(entry):
            _check_arguments(path, made, entry.get("config"))
    else:
        kind = _kind_of(known)
        if kind is None:
            raise ValueError(
                f"{path} names {short(name)}, which is registered and neither a "
                "layer nor a part of one"
            )
    if (kind == allowed.OPERATION or key == MEMBER) and not (
        key == MEMBER and kind in (allowed.LAYER, allowed.OPERATION)
    ):
        raise ValueError(
            f"{path} names {name}, a {kind}: the calls of a graph are of layers and "
            "operations, and operations stand nowhere else"
        )
    role = _role(key)
    if role not in (None, kind) and not (
        role == allowed.FUNCTION and kind == allowed.LAYER
    ):
        raise ValueError(f"{path} names {name}, a {kind} where a {role} is expected")
    return kind, KERAS if known is None else REGISTERED


def _check_function(path: str, key: str, entry: dict[str, Any]) -> None:
    name = entry.get("config")
    known = _registered(name)
    if known is not None:
        fine = inspect.isfunction(known)
    else:
        fine = (
            name in allowed.ACTIVATIONS
            if isinstance(name, str)
            and entry.get("module") in ("builtins", "keras.activations")
            else False
        )
    if not fine or _role(key) not in (None, allowed.FUNCTION):
        raise ValueError(
            f"{path} names the function {short(name)}, which is neither one of Keras' "
            "activations nor registered with `register_keras_serializable`"
        )


def _check_arguments(path: str, made: type, config: Any) -> None:
    """Refuses arguments that a class of Keras does not have."""
    if not isinstance(config, dict):
        raise ValueError(
            f"{path}.config must hold arguments. Received: a {type(config).__name__}"
        )
    known = _parameters(made)
    for name in config:
        if name not in known:
            raise ValueError(f"{path}.config: {made.__name__} has no {short(name)}")
    shape = config.get("batch_shape") or config.get("shape")
    if (
        isinstance(shape, list)
        and math.prod(d for d in shape if isinstance(d, int)) > allowed.LARGEST
    ):
        raise ValueError(f"{path}.config: inputs {short(shape)} are too large")


@cache
def _parameters(made: type) -> frozenset[str]:
    """Every argument that a class and those it derives from take by name."""
    found = {"layers", "build_input_shape", "batch_input_shape"}
    found |= set(allowed.UNNAMED.get(made.__name__, ()))
    for base in made.__mro__:
        if "__init__" in vars(base) and base is not object:
            found |= set(inspect.signature(vars(base)["__init__"]).parameters)
    return frozenset(found | {"name", "dtype", "trainable"}) - {"self", "kwargs"}


def _check_leaf(path: str, key: str, value: Any, within: str) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise ValueError(f"{path} is a text of {len(value):,} letters")
        if within:  # a method's own options are its own to check
            _check_name(path, key, value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        limit = allowed.LARGEST_OF.get(str(key), allowed.LARGEST)
        if within == KERAS and abs(value) > limit:
            raise ValueError(f"{path} is {short(value)}, where {limit:,} is the most")
    elif not isinstance(value, float):
        raise ValueError(f"{path} holds a {type(value).__name__}")


def _check_name(path: str, key: str, value: str) -> None:
    """Refuses a text by which Keras would find what is not on the list."""
    if key in ("class_name", "registered_name", "name", "module"):
        return
    known, role = _registered(value), _role(key)
    if known is not None:
        fine = _kind_of(known) is not None or inspect.isfunction(known)
    elif role == allowed.FUNCTION:
        fine = value in allowed.ACTIVATIONS
    elif role == allowed.POLICY:
        fine = value in allowed.POLICIES or value == "string"
    elif role in (allowed.INITIALIZER, allowed.REGULARIZER, allowed.CONSTRAINT):
        bare = value.replace("_", "").lower()
        names = {n.lower() for (_, n), kind in allowed.CLASSES.items() if kind == role}
        fine = bare in names
    elif key == "exclude_layers":  # searched for as a pattern
        fine = all(c.isalnum() or c in "_-/ " for c in value)
    else:
        fine = True
    if not fine:
        raise ValueError(
            f"{path} names {short(value)}, which is refused in a preset"
            + (f" as a {role}" if role else "")
        )


def _role(key: Any) -> str | None:
    text = str(key)
    for end, role in allowed.ROLES.items():
        if text == end or text.endswith(f"_{end}"):
            return role
    return None


def _registered(name: Any) -> Any:
    """What Keras knows under a registered name in this process, or None."""
    if not isinstance(name, str) or not name:
        return None
    return keras.saving.get_registered_object(name)


def _kind_of(known: Any) -> str | None:
    if not isinstance(known, type):
        return None
    if issubclass(known, keras.Model) and not issubclass(known, keras.Sequential):
        # A whole model is no part of one: ours would learn inside another.
        if known.__module__.startswith("keras_lifelong."):
            return None
    return next((k for k, base in _BASES.items() if issubclass(known, base)), None)


def _is_graph(entry: dict[str, Any]) -> bool:
    """Whether it describes a functional model of Keras' own class."""
    named = (entry.get("module"), entry.get("class_name"))
    known = _registered(entry.get("registered_name", named[1]))
    return known is None and named in allowed.GRAPHS


def _module(name: str) -> Any:
    found: Any = keras
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


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
    for name in names:
        for value in _numbers(options.get(name)):
            if not value <= limit:
                raise ValueError(
                    f"config.{name} is {_number(value)}, where the largest dimension "
                    f"of what is stored is {largest:,}"
                )


def _number(value: float) -> str:
    return f"{value:,}" if abs(value) < 10**30 else f"{float(min(value, 10**300)):.3g}"


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value
