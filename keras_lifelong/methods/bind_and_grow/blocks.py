"""Blocks of a network: a part and the activation that follows it; what they say.

Networks of nodes are followed together for as long as they have the same nodes, so that
what they have in common is computed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.graph import Step
from keras_lifelong.graph import Wire
from keras_lifelong.graph import mask_of
from keras_lifelong.graph import without_gradients
from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.joint_net import Node

ACTIVATIONS = (
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Softmax,
)
FUNCTIONS = "keras.src.ops.nn"  # where the operations are that `keras.activations` make
ROWS = 100  # examples at a time


@dataclasses.dataclass(frozen=True)
class Said:
    """What a part says of some examples at one of its ends.

    Attributes:
        values: (n, …).
        mask: (n, …), of the first axes of `values`: False where it says nothing. None:
            it does everywhere.
    """

    values: np.ndarray
    mask: np.ndarray | None


class Blocks:
    """Where in a graph the parts of a `JointNet` begin, and where each says something.

    A layer says what comes out of the activation after it, or out of the layer itself
    if something else takes that as well. Of a part of several layers, and of a layer
    that is called several times, the last calls count: those that none of its other
    calls follows. Normalisation that each task has of its own, or that is frozen,
    belongs to the layer before it, as activations do.

    Args:
        joint_net: the `JointNet`.

    Attributes:
        ends: for each of the parts that are decided about the wires at its ends.
    """

    def __init__(self, joint_net: JointNet):
        self.joint_net = joint_net
        graph = joint_net.graph
        self._readers: dict[Wire, list[Step]] = {}
        for step in graph.steps:
            for wire in dict.fromkeys(step.inputs):
                self._readers.setdefault(wire, []).append(step)
        places: dict[int, int] = {}
        for place, layer in enumerate(graph.layers.values()):
            places.setdefault(id(layer), place)
        self._place = [places[id(step.layer)] for step in graph.steps]
        self._decided = {
            place for u in joint_net.decided for place in joint_net.parts[u].layers
        }
        self.ends = {u: self._ends_of(u) for u in joint_net.decided}
        self._ends_at: dict[int, list[int]] = {}  # by the step that gives the last end
        self._kept_until: dict[Wire, int] = {}  # the step after which it is let go
        source = {wire: step.number for step in graph.steps for wire in step.outputs}
        for u, wires in self.ends.items():
            last = max(source[wire] for wire in wires)
            self._ends_at.setdefault(last, []).append(u)
            for wire in wires:
                self._kept_until[wire] = max(self._kept_until.get(wire, 0), last)
        self._begins = self._beginnings()

    def _steps_of(self, u: int) -> list[Step]:
        places = self.joint_net.parts[u].layers
        steps = zip(self.joint_net.graph.steps, self._place, strict=True)
        return [step for step, place in steps if place in places]

    def _beginnings(self) -> dict[int, list[int]]:
        """The parts whose first layer is called at a step."""
        found: dict[int, list[int]] = {}
        for u in range(len(self.joint_net.parts)):
            found.setdefault(self._steps_of(u)[0].number, []).append(u)
        return found

    def _ends_of(self, u: int) -> list[Wire]:
        steps = self._steps_of(u)
        mine = {step.number for step in steps}
        last = [step for step in steps if not mine & self._after(step)]
        return list(dict.fromkeys(self._followed(step.outputs[0]) for step in last))

    def _after(self, step: Step) -> set[int]:
        """The numbers of the steps that follow from a step."""
        found: set[int] = set()
        open_steps = [step]
        while open_steps:
            for wire in open_steps.pop().outputs:
                for reader in self._readers.get(wire, []):
                    if reader.number not in found:
                        found.add(reader.number)
                        open_steps.append(reader)
        return found

    def _followed(self, wire: Wire) -> Wire:
        """What comes out of the activations that alone take a wire."""
        while wire != self.joint_net.graph.output:
            readers = self._readers.get(wire, [])
            if len(readers) != 1 or not self._belongs(readers[0]):
                break
            wire = readers[0].outputs[0]
        return wire

    def _belongs(self, step: Step) -> bool:
        """Whether a step belongs to the layer before it."""
        if len(step.inputs) != 1:
            return False
        if isinstance(step.layer, layers.BatchNormalization):
            return self._place[step.number] not in self._decided
        if isinstance(step.layer, keras.Layer):
            return isinstance(step.layer, ACTIVATIONS)
        same = step.outputs[0].shape == step.inputs[0].shape
        return same and type(step.layer).__module__ == FUNCTIONS

    # What networks of nodes say

    def said(
        self,
        networks: Mapping[str, Sequence[Node]],
        x: Any,
        reduce: Callable[[int, list[Said]], Any],
    ) -> Iterator[tuple[list[str], int, Any]]:
        """What `reduce(part, said)` makes of each part in each network, in inference.

        Networks whose nodes are the same arrays up to a part have it computed once. The
        joint net's variables are afterwards those of the last network, as far as it was
        followed.

        Args:
            networks: by name, the nodes of all parts.
            x: examples (n, …), in the structure that the network takes.
            reduce: it gets the number of the part, and for each end what it says.

        Yields:
            The names of the networks that share the part from the input up, the number
            of the part, and what was made of it. A part's examples are held until then.
        """
        graph, last = self.joint_net.graph, max(self._ends_at)
        start = [_tensors(graph.bound(rows)) for rows in _in_rows(x)]
        open_walks = [_Walk(0, list(networks), start, {})]
        while open_walks:
            walk = open_walks.pop()
            for step in graph.steps[walk.at :]:
                begins = self._begins.get(step.number, [])
                ways = _by_nodes(walk.names, networks, begins)
                if len(ways) > 1:
                    open_walks += [walk.forked(step.number, w) for w in reversed(ways)]
                    break
                self.joint_net.load(networks[walk.names[0]], begins)
                for values in walk.values:
                    _take(step, values)
                for wire in step.outputs:
                    if wire in self._kept_until:
                        walk.said[wire] = _said(wire, walk.values)
                for values in walk.values:
                    _let_go(step, values, self._readers)
                for u in self._ends_at.get(step.number, []):
                    found = reduce(u, [walk.said[wire] for wire in self.ends[u]])
                    yield walk.names, u, found
                over = [w for w in walk.said if self._kept_until[w] <= step.number]
                for wire in over:
                    del walk.said[wire]
                if step.number == last:
                    break  # nothing that follows is asked for


@dataclasses.dataclass
class _Walk:
    """Where networks are that had the same nodes so far.

    Attributes:
        at: the step that comes next.
        names: of the networks.
        values: for each block of examples the wires that are still to be read.
        said: at ends that are waited with.
    """

    at: int
    names: list[str]
    values: list[dict[Wire, Any]]
    said: dict[Wire, Said]

    def forked(self, at: int, names: list[str]) -> _Walk:
        """A walk of some of the networks from here on."""
        return _Walk(at, names, [dict(v) for v in self.values], dict(self.said))


def _by_nodes(names, networks, parts) -> list[list[str]]:
    """The names of networks by what they have as some parts, which are arrays."""
    if not parts:
        return [names]
    found: dict[tuple, list[str]] = {}
    for name in names:
        key = tuple(id(value) for u in parts for value in networks[name][u])
        found.setdefault(key, []).append(name)
    return list(found.values())


def _take(step: Step, values: dict[Wire, Any]) -> None:
    """Does a step, and keeps its outputs."""
    args, kwargs = step.filled(values)
    outputs = keras.tree.flatten(step(*args, training=False, **kwargs))
    outputs = [without_gradients(tensor) for tensor in outputs]
    values.update(zip(step.outputs, outputs, strict=True))


def _let_go(step: Step, values: dict[Wire, Any], readers) -> None:
    """Lets go of the wires that no later step reads."""
    for wire in {*step.inputs, *step.outputs}:
        later = readers.get(wire, [])
        if wire in values and not any(s.number > step.number for s in later):
            del values[wire]


def _said(wire: Wire, blocks: list[dict[Wire, Any]]) -> Said:
    tensors = [values[wire] for values in blocks]
    masks = [mask_of(tensor) for tensor in tensors]
    mask = None
    if all(m is not None for m in masks):
        mask = np.concatenate([ops.convert_to_numpy(m) for m in masks])
        if mask.all():
            mask = None
    values = np.concatenate([ops.convert_to_numpy(tensor) for tensor in tensors])
    return Said(values, mask)


def _tensors(values: dict[Wire, Any]) -> dict[Wire, Any]:
    """Inputs of the dtypes that the network takes, as a model makes them."""
    pairs = values.items()
    return {wire: ops.convert_to_tensor(x, dtype=wire.dtype) for wire, x in pairs}


def _in_rows(x: Any) -> list[Any]:
    """Examples in blocks of a few rows."""
    n = len(keras.tree.flatten(x)[0])
    return [
        keras.tree.map_structure(lambda a: a[i : i + ROWS], x)  # noqa: B023
        for i in range(0, n, ROWS)
    ]
