"""Functional models from strangers: which calls their configurations may tell of.

A graph is data here: names of layers, and for each of their calls where its tensors
come from. All of it is looked at before Keras makes a tensor: that every call takes
what an earlier one gave, leads to an output, and that doing them takes no longer than
their number says. Which classes the layers are of is `configs`' to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from keras_lifelong.presets import allowed
from keras_lifelong.presets.values import check_array
from keras_lifelong.presets.values import plain
from keras_lifelong.presets.values import short

MOST_CALLS = 5_000  # in all, each call of a nested model counted with all of its own
DEEPEST = 900  # calls in a row: Keras searches a graph by recursion
MOST_TRIES = 100_000  # of calls that Keras finds too early and tries again
MOST_VALUES = 10_000  # of a call's arguments
TENSOR = "__keras_tensor__"

Call = tuple[str, int]  # a layer's name, and which of its calls
Registered = Callable[[Any], Any]  # what is registered with Keras under a name


def check(path: str, config: Any, registered: Registered) -> None:
    """Refuses the configuration of a functional model whose calls can't be followed.

    Args:
        path: how its place is called in messages.
        config: as a functional model's `get_config` gives it.
        registered: gives what the user has registered with Keras under a name.

    Raises:
        ValueError: with the place, and the layer's name.
    """
    _check_form(path, config)
    names = [layer["name"] for layer in config["layers"]]
    order = {name: i for i, name in enumerate(names)}
    if len(order) < len(names):
        twice = next(n for i, n in enumerate(names) if order[n] != i)
        raise ValueError(f"{path}: two layers are called {short(twice)}")
    needs: dict[Call, list[Call]] = {}
    for i, layer in enumerate(config["layers"]):
        own = registered(layer.get("registered_name", layer.get("class_name")))
        place = f"{path}.config.layers[{i}].inbound_nodes"
        for j, node in enumerate(layer["inbound_nodes"]):
            needs[layer["name"], j] = _needed(f"{place}[{j}]", node, own, registered)
        if layer.get("class_name") == "InputLayer" and not layer["inbound_nodes"]:
            needs[layer["name"], 0] = []
        elif not layer["inbound_nodes"]:
            raise ValueError(
                f"{path}: the layer {short(layer['name'])} is called nowhere"
            )
    _check_order(path, needs, order)
    _check_ends(path, config, needs, registered)


def _check_form(path: str, config: Any) -> None:
    wanted = {"layers", "input_layers", "output_layers"}
    fine = isinstance(config, dict) and wanted <= set(config) <= (
        wanted | {"name", "trainable"}
    )
    if not fine or not isinstance(config["layers"], list):
        raise ValueError(
            f"{path}.config must hold layers, input_layers and output_layers of a "
            "functional model, and nothing else"
        )
    if len(config["layers"]) > MOST_CALLS:
        raise ValueError(f"{path} has more than {MOST_CALLS:,} layers")
    if not isinstance(config.get("name"), str | None):
        raise ValueError(f"{path}.config.name must be a text")
    if not isinstance(config.get("trainable"), bool | None):
        raise ValueError(f"{path}.config.trainable must be true or false")
    for i, layer in enumerate(config["layers"]):
        place = f"{path}.config.layers[{i}]"
        if not isinstance(layer, dict) or not isinstance(layer.get("name"), str):
            raise ValueError(f"{place} must be a layer with a name")
        inner = layer.get("config")
        if (
            isinstance(inner, dict)
            and inner.get("name", layer["name"]) != layer["name"]
        ):
            raise ValueError(f"{place} has two names")
        if not isinstance(layer.get("inbound_nodes"), list):
            raise ValueError(f"{place}.inbound_nodes must list its calls")
        if len(layer["inbound_nodes"]) > MOST_CALLS:
            raise ValueError(f"{place} has more than {MOST_CALLS:,} calls")


# The arguments of a call


def _needed(path: str, node: Any, own: Any, registered: Registered) -> list[Call]:
    """The calls whose tensors a call takes; all its arguments are checked."""
    if not isinstance(node, dict) or set(node) != {"args", "kwargs"}:
        raise ValueError(f"{path} must hold args and kwargs")
    if not isinstance(node["args"], list) or not isinstance(node["kwargs"], dict):
        raise ValueError(f"{path} must hold a list of args and a dict of kwargs")
    found: list[Call] = []
    count, pending = 0, [(path, node["args"], 0), (path, node["kwargs"], 0)]
    while pending:
        place, value, depth = pending.pop()
        count += 1
        if count > MOST_VALUES or depth > 10:
            raise ValueError(f"{path} has arguments of over {MOST_VALUES:,} values")
        if isinstance(value, list):
            pending += [(f"{place}[{i}]", v, depth + 1) for i, v in enumerate(value)]
        elif isinstance(value, dict) and "class_name" in value:
            found += _check_special(place, value)
        elif isinstance(value, dict):
            for key, item in value.items():
                if len(key) > 200:
                    raise ValueError(f"{place} has a key of {len(key):,} letters")
                pending.append((f"{place}.{plain(key)}", item, depth + 1))
        else:
            _check_plain(place, value, own, registered)
    if not found:
        raise ValueError(f"{path} takes no tensor of the graph")
    return found


def _check_special(path: str, entry: dict[str, Any]) -> list[Call]:
    """Checks what is no plain value: a tensor of the graph, a slice, an array."""
    name, config = entry["class_name"], entry.get("config")
    if set(entry) != {"class_name", "config"} or not isinstance(config, dict):
        pass
    elif name == TENSOR:
        return [_source(path, config)]
    elif name == "__slice__" and set(config) == {"start", "stop", "step"}:
        if all(v is None or _is_size(v, negative=True) for v in config.values()):
            return []
    elif name == "__ellipsis__" and not config:
        return []
    elif name in ("__numpy__", "__tensor__"):
        check_array(path, config)
        return []
    raise ValueError(
        f"{path} names {short(name)}, where the arguments of a call are tensors "
        "of the graph, numbers, slices and arrays"
    )


def _source(path: str, config: dict[str, Any]) -> Call:
    if set(config) != {"shape", "dtype", "keras_history"}:
        raise ValueError(f"{path} is no tensor: it needs shape, dtype, keras_history")
    shape = config["shape"]
    fine = isinstance(shape, list) and len(shape) <= 32
    if not fine or not all(d is None or _is_size(d) for d in shape):
        raise ValueError(f"{path} has no shape that a tensor has")
    if not isinstance(config["dtype"], str) or config["dtype"] not in (
        allowed.DTYPES | {"string"}
    ):
        raise ValueError(f"{path} is a tensor of {short(config['dtype'])}")
    return _place(path, config["keras_history"])


def _place(path: str, history: Any) -> Call:
    """The call that a tensor comes from, of [layer, call, output]."""
    if not isinstance(history, list) or len(history) != 3:
        raise ValueError(f"{path} does not say which layer it comes from")
    name, call, output = history
    if not (isinstance(name, str) and _is_size(call) and _is_size(output)):
        raise ValueError(f"{path} does not say which layer it comes from")
    return name, call


def _check_plain(path: str, value: Any, own: Any, registered: Registered) -> None:
    if isinstance(value, str):
        fine = value in allowed.DTYPES or (  # a layer of the user's own may take texts
            own is not None and len(value) <= 200
        )
        if not fine or registered(value) is not None:
            raise ValueError(f"{path} is {short(value)}, which no layer takes")
    elif isinstance(value, bool | float) or value is None:
        return
    elif not _is_size(value, negative=True):
        raise ValueError(
            f"{path} is {short(value)}, where {allowed.LARGEST:,} is the most"
        )


def _is_size(value: Any, negative: bool = False) -> bool:
    return (
        type(value) is int
        and (-allowed.LARGEST if negative else 0) <= value <= allowed.LARGEST
    )


# The graph


def _check_order(
    path: str, needs: dict[Call, list[Call]], order: dict[str, int]
) -> None:
    """Refuses calls that no order satisfies, or that take too long to be put in one."""
    readers: dict[Call, list[Call]] = {call: [] for call in needs}
    left: dict[Call, int] = {}
    for call, sources in needs.items():
        name, number = call
        sources = [*sources, (name, number - 1)] if number else sources
        for source in sources:
            if source not in readers:
                raise ValueError(
                    f"{path}: the layer {short(name)} takes what "
                    f"{short(source[0])} gives in its call {source[1]}, of "
                    "which nothing is said"
                )
            readers[source].append(call)
        left[call] = len(sources)
    ready = [call for call, count in left.items() if not count]
    depth, tries = dict.fromkeys(needs, 1), dict.fromkeys(needs, 1)
    while ready:
        call = ready.pop()
        for reader in readers[call]:
            earlier = order[call[0]] <= order[reader[0]]
            tries[reader] = max(tries[reader], tries[call] + (not earlier))
            depth[reader] = max(depth[reader], depth[call] + 1)
            left[reader] -= 1
            if not left[reader]:
                ready.append(reader)
    stuck = next((call for call, count in left.items() if count), None)
    if stuck is not None:
        raise ValueError(
            f"{path}: what the layer {short(stuck[0])} takes comes from what it "
            "gives: the graph has a loop"
        )
    deepest = max(depth.values(), default=0)
    if deepest > DEEPEST:
        raise ValueError(
            f"{path} has {deepest:,} calls in a row, where {DEEPEST:,} are the most"
        )
    if sum(tries.values()) > MOST_TRIES:
        raise ValueError(f"{path} lists its layers in an order that takes too long")


def _check_ends(
    path: str, config: dict[str, Any], needs: dict[Call, list[Call]], registered
) -> None:
    """Refuses inputs and outputs that are no tensors, and calls that lead nowhere."""
    layers = {layer["name"]: layer for layer in config["layers"]}
    pending = []
    for key in ("input_layers", "output_layers"):
        found = list(_ends(f"{path}.config.{key}", config[key]))
        if not found:
            raise ValueError(f"{path}.config.{key} names no tensor")
        for name, call in found:
            if name not in layers:
                raise ValueError(
                    f"{path}.config.{key} names {short(name)}, which is no layer"
                )
            call -= _counts_from_one(layers[name], registered)
            if (name, call) not in needs:
                raise ValueError(f"{path}.config.{key}: {short(name)} has no such call")
            pending.append((name, call))
    seen = set(pending)
    while pending:
        for source in needs[pending.pop()]:
            if source not in seen:
                seen.add(source)
                pending.append(source)
    for name, call in needs:
        if (name, call) not in seen:
            raise ValueError(
                f"{path}: call {call} of the layer {short(name)} leads to no output"
            )


def _ends(path: str, value: Any, depth: int = 0) -> Iterator[Call]:
    """The calls of inputs or outputs, which may be in lists and dicts."""
    is_end = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
    if is_end:
        yield _place(path, value)
    elif not isinstance(value, dict | list) or depth > 4 or len(value) > MOST_CALLS:
        raise ValueError(f"{path} does not list tensors")
    else:
        for item in value.values() if isinstance(value, dict) else value:
            yield from _ends(path, item, depth + 1)


def _counts_from_one(layer: dict[str, Any], registered: Registered) -> bool:
    """Whether the calls of a layer are counted from 1 where outputs are listed.

    Keras does so for functional models, whose own graph was once their first call.
    """
    known = registered(layer.get("registered_name", layer.get("class_name")))
    if known is not None:
        return "_standardize_inputs" in dir(known) and isinstance(known, type)
    return (layer.get("module"), layer.get("class_name")) in allowed.GRAPHS


def check_calls(where: str, config: Any) -> None:
    """Refuses a configuration that asks for more calls than `MOST_CALLS`.

    A nested model's calls are done as often as it is called: ten that call each other
    twice are a thousand.

    Args:
        where: how its place is called in messages.
        config: plain data whose graphs `check` has passed.

    Raises:
        ValueError: with the number.
    """
    made = calls(config)
    if made > MOST_CALLS:
        raise ValueError(
            f"{where} asks for {short(made)} calls of layers, where "
            f"{MOST_CALLS:,} are the most"
        )


def calls(value: Any) -> int:
    """How many calls of layers and operations a configuration that was checked makes.

    A nested model's are counted as often as it is called.
    """
    if isinstance(value, list | tuple):
        return sum(map(calls, value))
    if not isinstance(value, dict):
        return 0
    module, name = value.get("module"), value.get("class_name")
    kind = None
    if isinstance(module, str) and isinstance(name, str):
        kind = allowed.CLASSES.get((module, name), allowed.LAYER)
    count = int(kind in (allowed.LAYER, allowed.OPERATION))
    count += sum(calls(v) for k, v in value.items() if k != "inbound_nodes")
    return count * max(1, len(value.get("inbound_nodes") or ()))
