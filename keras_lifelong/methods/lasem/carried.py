"""What a `TransferNetwork` carries of a backbone, and what of it is searched."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lifelong.graph import Graph
from keras_lifelong.graph import Step
from keras_lifelong.graph import Wire
from keras_lifelong.methods.lasem.transfer_layer import CONVOLUTIONS
from keras_lifelong.methods.lasem.transfer_layer import refusal

K = keras.layers
NOISY = (K.Dropout, K.SpatialDropout2D, K.GaussianDropout, K.GaussianNoise)
# Where Keras' layers lie whose outputs for a row depend on that row alone
_BY_ROW = (
    *("activations", "attention", "convolutional", "core", "merging"),
    *("normalization", "pooling", "regularization", "reshaping", "rnn"),
)
_ALSO_BY_ROW = (K.Rescaling, K.Normalization, K.Resizing, K.CenterCrop)
_NOT = (K.Lambda, K.Masking, K.SpectralNormalization, K.InputLayer)
# `keras.ops` that are done element by element
_ELEMENTWISE = {
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"),
    *("Negative", "Absolute", "Abs", "Square", "Sqrt", "Rsqrt", "Power", "Exp", "Log"),
    *("Relu", "Relu6", "Sigmoid", "Tanh", "Silu", "Swish", "Gelu", "Elu", "Selu"),
    *("Softplus", "Softsign", "HardSigmoid", "HardSilu", "HardSwish", "LeakyRelu"),
    *("Clip", "Cast"),
}


def check_carried(graph: Graph, method: str) -> None:
    """Raises a ValueError that names a layer whose configurations cannot be stacked."""
    if not isinstance(graph.inputs, Wire):
        raise ValueError(
            f"{method} carries a `backbone` of one input. "
            f"Received: {len(keras.tree.flatten(graph.inputs))} inputs."
        )
    for step in graph.steps:
        why = _why_not(step)
        if why:
            kind = type(step.layer).__name__
            raise ValueError(
                f"{method} cannot carry the layer {step.path!r} ({kind}) of "
                f"`backbone`: {why}."
            )


def _why_not(step: Step) -> str | None:
    layer = step.layer
    if not isinstance(layer, K.Layer):
        same = len({len(wire.shape) for wire in step.inputs}) == 1
        alone = all(ops.ndim(x) == 0 for x in _constants(step))
        if type(layer).__name__ in _ELEMENTWISE and same and alone:
            return None
        return (
            "of `keras.ops` it takes what is done element by element, with tensors of "
            "as many axes and scalars; use a Keras layer"
        )
    parts = list(layer._flatten_layers())
    if any(part.activity_regularizer is not None for part in parts):
        return (
            "its activity_regularizer has no one value where all configurations are "
            "computed at once"
        )
    room = type(layer).__module__.split(".")
    known = room[:2] == ["keras", "src"] and room[2] == "layers" and room[3] in _BY_ROW
    if isinstance(layer, _NOT) or not (known or isinstance(layer, _ALSO_BY_ROW)):
        return (
            "it takes Keras' own layers, each row of whose outputs is a function of "
            "that row alone; write a block of several layers as a functional model"
        )
    for part in parts:
        if isinstance(part, K.BatchNormalization):
            if part is not layer:
                return "it has a BatchNormalization in it, which must stand alone"
            if part.renorm or part.synchronized:
                return "renorm and synchronized are not carried"
        if getattr(part, "mask_zero", False):
            return "masks are not carried to several configurations: mask_zero=False"
        if getattr(part, "stateful", False) and isinstance(part, K.RNN):
            return "it is stateful, and each configuration would need its own state"
    merges = isinstance(layer, K.Concatenate | K.Dot)
    axes = keras.tree.flatten(getattr(layer, "axis", getattr(layer, "axes", 1)))
    if merges and 0 in [axis % len(step.inputs[0].shape) for axis in axes]:
        return "it joins the rows of the batch"
    return None


def _constants(step: Step) -> list:
    flat = keras.tree.flatten((step.args, step.kwargs))
    return [x for x in flat if x is not None and not isinstance(x, Wire | str | bool)]


def is_noisy(layer: Any) -> bool:
    """Whether a layer draws at random in training."""
    if isinstance(layer, NOISY):
        return True
    if not isinstance(layer, K.Layer):
        return False
    for part in layer._flatten_layers():
        if getattr(part, "seed_generator", None) is None:
            continue
        config = part.get_config()
        rates = [config[k] for k in ("dropout", "recurrent_dropout") if k in config]
        if any(rates) or not rates:
            return True
    return False


def searched_paths(graph: Graph, searched: list[str] | None, sharing: str) -> list[str]:
    """Paths of the layers that may be shared, from the input up.

    Args:
        graph: of the backbone.
        searched: their names or paths. None: all convolutions that the mechanism
            carries, or all Dense layers if there are none.
        sharing: see `TransferNetwork`.
    """
    layers = graph.layers
    kinds = (K.Dense, *CONVOLUTIONS)
    able = [path for path, x in layers.items() if type(x) in kinds]
    if searched is None:
        free = [path for path in able if layers[path].trainable]
        found = [p for p in free if type(layers[p]) is not K.Dense]
        found = [p for p in found if not refusal(layers[p], sharing)] or [
            p for p in free if type(layers[p]) is K.Dense
        ]
    else:
        wanted = {_path_of(name, able) for name in searched}
        found = [path for path in able if path in wanted]
    if not found or (searched is not None and len(found) != len(searched)):
        raise ValueError(
            "`searched` must name Dense or convolutional layers of the backbone, of "
            f"which it has {able}. Received: {searched!r}."
        )
    for path in found:
        why = refusal(layers[path], sharing)
        if not layers[path].trainable:
            why = "it is frozen (trainable=False), so that there is nothing to choose"
        if why:
            raise ValueError(
                f"The layer {path!r} ({type(layers[path]).__name__}) of `backbone` "
                f"cannot be searched: {why}. Received `searched`: {searched!r}."
            )
    return found


def _path_of(name, paths: list[str]):
    """The path that is meant by a path, or by a name that one layer has."""
    if name in paths:
        return name
    found = [path for path in paths if path.rpartition("/")[2] == name]
    return found[0] if len(found) == 1 else name


def group_of_each(groups: list | None, paths: list[str]) -> list[int]:
    """For each searched layer the number of the group that it is chosen with.

    Args:
        groups: sizes of runs of layers from the input up; or lists of layers, by name,
            path or place from 1. None: each layer for itself.
        paths: of the searched layers.

    >>> group_of_each([2, 1], ["a", "b", "c"])
    [0, 0, 1]
    >>> group_of_each([["a", "c"], [2]], ["a", "b", "c"])
    [0, 1, 0]
    """
    count = len(paths)
    if groups is None:
        return list(range(count))
    if any(isinstance(group, list | tuple) for group in groups):
        return _by_sets(groups, paths)
    sizes = list(groups)
    whole = all(isinstance(n, int) and n >= 1 for n in sizes)
    if not whole or sum(sizes) != count:
        raise ValueError(
            f"`groups` must be positive integers that add up to the {count} searched "
            f"layers, or lists of layers. Received: {groups!r}."
        )
    return [number for number, n in enumerate(sizes) for _ in range(n)]


def _by_sets(groups, paths: list[str]) -> list[int]:
    found: dict[Any, int] = {}
    sets: list[Any] = [
        group if isinstance(group, list | tuple) else [None] for group in groups
    ]
    given = 0
    for number, group in enumerate(sets):
        for layer in group:
            is_place = isinstance(layer, int) and 1 <= layer <= len(paths)
            path = paths[layer - 1] if is_place else _path_of(layer, paths)
            found[path] = number
            given += 1
    if set(found) != set(paths) or given != len(paths) or not all(sets):
        raise ValueError(
            f"`groups` must have each of the searched layers {paths} in one list, by "
            f"name or by its place from 1 to {len(paths)}. Received: {groups!r}."
        )
    return [found[path] for path in paths]
