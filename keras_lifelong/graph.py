"""A network as a list of steps: what is called, on what, in which order.

Methods that change how a network is computed (DEN masks units, LASEM stacks
configurations, BindAndGrow compares what layers give) walk over it in the place of
`network.layers`, which says nothing of branches, merges and layers that are used twice.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.masking import set_keras_mask


@dataclasses.dataclass(frozen=True)
class Wire:
    """A tensor of a graph.

    Attributes:
        number: no two wires of a graph have the same.
        shape: (None, …), None where it depends on the input.
        dtype: as Keras names it.
    """

    number: int
    shape: tuple[int | None, ...]
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a layer, or of one of `keras.ops`.

    Attributes:
        number: its place in the graph, from 0.
        layer: a `keras.Layer`, or a `keras.Operation` (an `x + y` makes one).
        path: its name, after those of the models it lies in: "stage_1/conv". A layer
            that is called twice has two steps of one path.
        args, kwargs: of the call; tensors are `Wire`s. What it says of `training` is
            left out: Keras overrides it by what the model is called with, though
            `inner(x, training=False)` reads as if it would not. Batch statistics are
            kept by `trainable=False`.
        outputs: what it gives.
    """

    number: int
    layer: Any
    path: str
    args: tuple
    kwargs: dict[str, Any]
    outputs: tuple[Wire, ...]

    @property
    def inputs(self) -> list[Wire]:
        """The wires among its arguments, in their order."""
        flat = keras.tree.flatten((self.args, self.kwargs))
        return [x for x in flat if isinstance(x, Wire)]

    def filled(self, values: dict[Wire, Any]) -> tuple[tuple, dict[str, Any]]:
        """Its arguments, with a value in the place of each wire."""

        def value(x):
            return values[x] if isinstance(x, Wire) else x

        return keras.tree.map_structure(value, (self.args, self.kwargs))

    def __call__(self, *args, training: bool = False, **kwargs):
        """Calls the layer, with `training` if it takes it."""
        if takes_training(self.layer):
            kwargs.setdefault("training", training)
        return self.layer(*args, **kwargs)


class Graph:
    """The steps of a network, nested models opened.

    Args:
        model: a built `keras.Sequential` or functional `keras.Model` of one output.
            It is not changed, and its layers are the steps'.

    Raises:
        ValueError: if it has no such steps: it is of a class of its own, or not built.

    Attributes:
        steps: list of `Step`, each after those whose outputs it takes.
        inputs: `Wire`s in the structure that the model takes: one, a list or a dict.
        output: the `Wire` that it gives.

    Example:

    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(3, name="dense")(x)
    >>> graph = Graph(keras.Model(x, keras.layers.Add(name="sum")([x, y])))
    >>> [(step.path, len(step.inputs)) for step in graph.steps]
    [('dense', 1), ('sum', 2)]
    """

    def __init__(self, model: keras.Model):
        if not is_graph(model):
            raise ValueError(
                "A graph is read from a built keras.Sequential or a functional "
                f"keras.Model. Received: {type(model).__name__} {model.name!r}."
            )
        self._count = 0
        self.steps: list[Step] = []
        function = _function(model)
        wires = [self._wire(x) for x in function.inputs]
        self.inputs = keras.tree.pack_sequence_as(structure_of(model), wires)
        outputs = self._follow(function, wires, "")
        if len(outputs) != 1:
            raise ValueError(
                f"A graph has one output. Received: {model.name!r} with {len(outputs)}."
            )
        self.output = outputs[0]

    def _wire(self, tensor) -> Wire:
        self._count += 1
        shape = tuple(tensor.shape)
        return Wire(
            self._count - 1, shape, keras.backend.standardize_dtype(tensor.dtype)
        )

    def _follow(self, function, wires: list[Wire], prefix: str) -> list:
        """Adds a model's steps; returns the wires of its outputs."""
        of = dict(zip(map(id, function.inputs), wires, strict=True))
        for node in _nodes(function):
            layer = node.operation
            args, kwargs = node.arguments.args, dict(node.arguments.kwargs)
            if kwargs.get("mask", ...) is None:
                del kwargs["mask"]  # none was given: the layer finds it on its inputs
            kwargs.pop("training", None)  # what a model is called with overrides it
            args, kwargs = keras.tree.map_structure(
                lambda x: of.get(id(x), x), (args, kwargs)
            )
            path = prefix + layer.name
            opens = is_graph(layer) and not kwargs and len(args) == 1
            if opens:
                given = keras.tree.flatten(args[0])
                outputs = self._follow(_function(layer), given, path + "/")
            else:
                outputs = [self._wire(x) for x in node.outputs]
                self.steps.append(
                    Step(len(self.steps), layer, path, args, kwargs, tuple(outputs))
                )
            of.update(zip(map(id, node.outputs), outputs, strict=True))
        return [of[id(x)] for x in function.outputs]

    # Questions

    @property
    def layers(self) -> dict[str, Any]:
        """The layers and operations by path, each once, in the order of first use."""
        return {step.path: step.layer for step in self.steps}

    def steps_of(self, path: str) -> list[Step]:
        """The calls of a layer: several, if it is shared."""
        return [step for step in self.steps if step.path == path]

    def readers(self, wire: Wire) -> list[Step]:
        """The steps that take a wire."""
        return [step for step in self.steps if wire in step.inputs]

    def source(self, wire: Wire) -> Step | None:
        """The step that gives a wire; None for an input of the network."""
        return next((step for step in self.steps if wire in step.outputs), None)

    @property
    def is_chain(self) -> bool:
        """Whether each step takes what the one before it gave, and that alone."""
        last = self.inputs
        for step in self.steps:
            if step.inputs != [last] or len(step.outputs) != 1:
                return False
            last = step.outputs[0]
        return last == self.output

    # Use

    def symbolic_inputs(self) -> Any:
        """A `keras.Input` for each input, in the structure of `self.inputs`.

        Those of a dict are called by their keys, as Keras would have it.
        """

        def made(wire, name=None):
            return keras.Input(wire.shape[1:], wire.shape[0], wire.dtype, name=name)

        if not isinstance(self.inputs, dict):
            return keras.tree.map_structure(made, self.inputs)
        names = {key: None if "/" in key else key for key in self.inputs}
        return {key: made(wire, names[key]) for key, wire in self.inputs.items()}

    def bound(self, inputs: Any) -> dict[Wire, Any]:
        """The inputs' wires with their values.

        Args:
            inputs: in the structure of `self.inputs`.
        """
        wires = keras.tree.flatten(self.inputs)
        if isinstance(self.inputs, dict) and isinstance(inputs, dict):
            inputs = {key: inputs[key] for key in self.inputs}
        return dict(zip(wires, keras.tree.flatten(inputs), strict=True))

    def run(
        self,
        inputs: Any,
        call: Callable[..., Any] | None = None,
        training: bool = False,
        steps: Iterable[Step] | None = None,
    ) -> Any:
        """What the network gives, each step done by `call`.

        Args:
            inputs: tensors in the structure of `self.inputs`.
            call: gets the step and what it is called with. None: calls the layer.
            training: passed on where no `call` is given.
            steps: some of `self.steps`, if not all are needed for the output.

        Example:

        >>> layers = [keras.Input((2,)), keras.layers.ReLU(), keras.layers.ReLU()]
        >>> graph = Graph(keras.Sequential(layers))
        >>> graph.run(1, call=lambda step, x: x + 10)
        21
        """
        values = self.bound(inputs)
        for step in self.steps if steps is None else steps:
            args, kwargs = step.filled(values)
            if call is None:
                outputs = step(
                    *args, training=kwargs.pop("training", training), **kwargs
                )
            else:
                outputs = call(step, *args, **kwargs)
            values.update(zip(step.outputs, keras.tree.flatten(outputs), strict=True))
        return values[self.output]


def is_graph(model: Any) -> bool:
    """Whether it is a model that a `Graph` can be read from."""
    return isinstance(model, keras.Model) and _function(model) is not None


def takes_training(layer: Any) -> bool:
    """Whether a layer's call has the argument `training`.

    >>> takes_training(keras.layers.Dropout(0.5)), takes_training(keras.layers.ReLU())
    (True, False)
    """
    return "training" in inspect.signature(layer.call).parameters


def mask_of(tensor: Any) -> Any:
    """The mask that a layer gave with its output, (batch, steps), or None."""
    return get_keras_mask(tensor)


def without_gradients(tensor: Any) -> Any:
    """A tensor, with its mask, that PyTorch keeps nothing for to go back by."""
    return with_mask_of(tensor, keras.ops.stop_gradient(tensor))


def with_mask_of(tensor: Any, found: Any) -> Any:
    """`found`, with the mask that a layer gave with another tensor, if there is one."""
    mask = get_keras_mask(tensor)
    if mask is not None:
        set_keras_mask(found, mask)
    return found


# What Keras keeps to itself is used here alone


def calls_of(model: keras.Model) -> Iterator[tuple[Any, list[tuple], list[tuple]]]:
    """Of each call in a model: the layer, and the shapes it gets and gives.

    Models within the model are one call each.
    """
    for node in _nodes(_function(model)):
        given = [tuple(x.shape) for x in node.input_tensors]
        yield node.operation, given, [tuple(x.shape) for x in node.outputs]


def is_functional(model: Any) -> bool:
    """Whether it is a functional model; a Sequential holds one, and is none."""
    return isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth")


def _function(model: keras.Model) -> Any:
    """The functional model that a model is, or None."""
    if isinstance(model, keras.Sequential):
        return model._functional if model.built else None
    return model if is_functional(model) else None


def structure_of(model: keras.Model, which: str = "inputs") -> Any:
    """A model's symbolic inputs or outputs: one tensor, a list or a dict of them."""
    return getattr(_function(model), f"_{which}_struct")


def giver(tensor: Any) -> tuple[Any, list]:
    """The layer that gives a symbolic tensor, and the tensors that it is given."""
    operation, number, _ = tensor._keras_history
    return operation, list(operation._inbound_nodes[number].input_tensors)


def _nodes(function: Any) -> Iterator[Any]:
    """The calls in a functional model, in an order in which they can be done."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.operation is not None and not node.is_input:
                yield node
