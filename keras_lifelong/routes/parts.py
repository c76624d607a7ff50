"""Parts of a network: what BindAndGrow grows by itself, wherever it stands in it.

A part is a layer with weights, a group of a layer's channels, or several layers. What
each task has of its own, normalisation above all, are parts as well, about which
nothing is decided. Layers that are not trainable are no parts: all tasks share them.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from collections.abc import Sequence

from keras import layers

from keras_lifelong.checks import nearest
from keras_lifelong.graph import Graph
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.layer_losses import flattened

SPLIT = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.BatchNormalization)
Grouping = Mapping[str, Sequence[str]] | Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Part:
    """What can be grown by itself: a layer, a group of its channels, or some layers.

    Attributes:
        name: the path of the layer, with the group if there are several; of some
            layers what the user calls them.
        layers: their places among the layers of the graph.
        start, stop: its channels; None: all.
        by_task: whether each task has it for itself, so that nothing is decided.
    """

    name: str
    layers: tuple[int, ...]
    start: int | None = None
    stop: int | None = None
    by_task: bool = False

    def of(self, array):
        """What belongs to the part of a layer's variable or output (…, channels)."""
        return array if self.start is None else array[..., self.start : self.stop]


@dataclasses.dataclass
class Kept:
    """The variables of a layer, by what becomes of them.

    Attributes:
        weights: those that grow with the layer.
        own: those of which each task has its own.
        frozen: those that all tasks share, and none trains.
    """

    weights: list = dataclasses.field(default_factory=list)
    own: list = dataclasses.field(default_factory=list)
    frozen: list = dataclasses.field(default_factory=list)


def divided(graph: Graph, by_task: bool) -> list[Kept]:
    """The variables of each layer of a graph, in the order of `graph.layers`.

    A variable that several layers hold is the first one's.

    Args:
        graph: of a network.
        by_task: whether each task has its own statistics, and its own scale and shift
            of what is normalised by them.
    """
    seen: set[int] = set()
    found = []
    for layer in graph.layers.values():
        kept = Kept()
        found.append(kept)
        inner = flattened(layer) if hasattr(layer, "variables") else []
        holders = {id(v): holder for holder in inner for v in holder.variables}
        for v in without_seed_states(getattr(layer, "variables", ())):
            if id(v) in seen:
                continue
            seen.add(id(v))
            holder = holders[id(v)]
            normalizes = isinstance(holder, layers.BatchNormalization)
            if not holder.trainable:
                kept.frozen.append(v)
            elif by_task and (normalizes or not v.trainable):
                kept.own.append(v)
            else:
                kept.weights.append(v)
    return found


def find_parts(
    network,
    groups: int | None = None,
    together: Grouping | None = None,
    by_task: bool = False,
) -> list[Part]:
    """The parts of a network, from the input up.

    Args:
        network: a `keras.Sequential` or functional `keras.Model`.
        groups: how many each layer has; None: it is one part.
        together: which layers are one part, by name or as lists: see `BindAndGrow`.
        by_task: see `divided`.

    Raises:
        ValueError: if no layer has weights to be grown, one cannot be divided, or
            `together` names none, a frozen one, or one twice.
    """
    graph = Graph(network)
    kept, paths = divided(graph, by_task), list(graph.layers)
    grown = {path: k for path, k in zip(paths, kept, strict=True) if k.weights}
    if not grown:
        raise ValueError(
            "`backbone` must have a layer with weights, to be grown, that is trainable "
            "and no normalisation. Received: none"
        )
    _check_covered(network, kept)
    joined = _together(together, list(grown), paths)
    found: list[Part] = []
    for place, path in enumerate(paths):
        if path in joined:
            name, members = joined[path]
            if members[0] == path:
                found.append(Part(name, tuple(paths.index(m) for m in members)))
        elif path in grown:
            found += _of_layer(graph, path, path, place, groups, False)
        if kept[place].own:
            name = f"{path}/own" if path in grown else path
            found += _of_layer(graph, path, name, place, groups, True)
    names = [part.name for part in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                "`parts` must not call a group as a layer is called. "
                f"Received: {name!r}"
            )
    return found


def _check_covered(network, kept: Sequence[Kept]) -> None:
    """Raises a ValueError if the network has weights that none of its calls uses."""
    found = {id(v) for k in kept for v in (*k.weights, *k.own, *k.frozen)}
    for v in without_seed_states(network.variables):
        if id(v) not in found:
            raise ValueError(
                f"`backbone` must hold the layers that it calls. Received: the weight "
                f"{v.path!r}, which belongs to none of them"
            )


def _of_layer(graph, path, name, place, groups, by_task) -> list[Part]:
    """The part that a layer is, or the groups of its channels."""
    if groups is None:
        return [Part(name, (place,), by_task=by_task)]
    layer = graph.layers[path]
    channels = graph.steps_of(path)[0].outputs[0].shape[-1]
    if not isinstance(layer, SPLIT) or not channels or channels % groups:
        raise ValueError(
            f"`groups` must divide the channels of every layer with weights, "
            f"which are dense, convolutions or norms. Received: {groups} and "
            f"layer {path!r} ({type(layer).__name__}, {channels})"
        )
    step = channels // groups
    return [
        Part(f"{name}/{g}", (place,), g * step, (g + 1) * step, by_task)
        for g in range(groups)
    ]


def _together(given, grown, paths) -> dict[str, tuple[str, list[str]]]:
    """For each path in a group: the group's name and its paths, in their order.

    Args:
        given: of the user; None: no groups.
        grown: paths of layers that can be grown.
        paths: of all layers.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        given = {"+".join(texts): texts for texts in given}
    found: dict[str, tuple[str, list[str]]] = {}
    for name, texts in given.items():
        meant = {path for text in texts for path in _meant(text, name, paths)}
        members = [path for path in grown if path in meant]
        if not members:
            raise ValueError(
                f"`parts` must name layers that can be grown: with weights, trainable, "
                f"and not each task's own. Received: {name!r} of {list(texts)}"
            )
        for path in members:
            if path in found:
                raise ValueError(
                    f"`parts` must name each layer once. Received: {path!r} in "
                    f"{found[path][0]!r} and {name!r}"
                )
            found[path] = name, members
    return found


def _meant(text, name, paths) -> list[str]:
    """The paths that a text of `parts` means: a path, its beginning, or a pattern."""
    found = [
        path
        for path in paths
        if path == text
        or path.startswith(text + "/")
        or ("*" in text and fnmatch.fnmatchcase(path, text))
    ]
    if not found:
        raise ValueError(
            f"`parts` must name layers of `backbone`. Received: {text!r} in {name!r}. "
            f"Nearest: {nearest(text, paths)!r}"
        )
    return found
