"""Networks side by side, of which each is given what those before it computed.

They are the columns of `ProgressiveNetwork`. A column is a copy of a backbone; what is
new in it are the lateral connections, one at each layer with weights but the first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_lifelong.graph import Graph
from keras_lifelong.graph import Wire
from keras_lifelong.graph import without_gradients
from keras_lifelong.layers.composed import Composed
from keras_lifelong.layers.lateral import Adapter
from keras_lifelong.layers.lateral import without_bias
from keras_lifelong.seeds import has_weights
from keras_lifelong.seeds import weights_of
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.layer_losses import LayerLosses
from keras_lifelong.training.layer_losses import flattened

K = keras.layers
# Layers into whose sum before the activation a lateral connection leads
SUMMED = (
    *(K.Dense, K.Conv1D, K.Conv2D, K.Conv3D),
    *(K.Conv1DTranspose, K.Conv2DTranspose, K.Conv3DTranspose),
    *(K.SeparableConv1D, K.SeparableConv2D),
)
_ALONE = ("keras.src.layers.normalization",)  # channel by channel: nothing to connect


class Column:
    """A network, and what it hears of the columns before it.

    Args:
        network: a `keras.Sequential` or functional `keras.Model`. The column takes its
            layers, and changes them: their activations stand apart.
        before: the earlier columns, made of the same backbone.
        lateral: see `Adapter`.
        method: named in refusals.

    Raises:
        ValueError: if no layer is trained, or one cannot be connected, naming it.

    Attributes:
        own: list of the variables that are a task's own, states of seeds apart.
        frozen: those of layers that are not trained: all columns share them.
        layers: list of its layers.
    """

    def __init__(self, network, before: Sequence[Column], lateral, method: str):
        self.graph, self.before = Graph(network), tuple(before)
        layers = self.graph.layers
        first = before[0] if before else self
        grows = {path for path, layer in layers.items() if _is_own(layer)}
        if not grows:
            raise ValueError(
                f"{method} takes a `backbone` with a layer of weights that is "
                "trainable. Received: none."
            )
        for path, layer in layers.items():
            if before and path not in grows and has_weights(layer):
                layers[path] = first._by_path[path]
        self._by_path: dict[str, Any] = layers
        self._sort(grows)
        self._activations: dict[str, Any] = {}
        self._adapters: dict[tuple, Adapter] = {}
        self._plain: dict[str, Any] = {}
        self._name_layers()
        self._connect(grows, lateral, method)
        adapters = list(self._adapters.values())
        self.layers = [
            *(x for x in layers.values() if isinstance(x, K.Layer)),
            *(x for x in self._activations.values() if x is not None),
            *(x for adapter in adapters for x in adapter.layers),
        ]
        self.frozen = [
            v
            for path, layer in layers.items()
            if path not in grows and isinstance(layer, K.Layer)
            for v in without_seed_states(layer.variables)
        ]
        self._losses = LayerLosses([y for x in self.layers for y in flattened(x)], [])
        self._build()
        self.of_backbone = weights_of(
            [layers[path] for path in layers if path in grows]
        )
        self.of_adapters = weights_of([x for a in adapters for x in a.weighted])
        self.own = [*self.of_backbone, *self.of_adapters]

    def _sort(self, grows) -> None:
        """Which wires depend on own weights, and which steps are the same in all."""
        grown: set[Wire] = set()
        common = set(keras.tree.flatten(self.graph.inputs))
        self.common, self.steps = [], []
        for step in self.graph.steps:
            if step.path in grows or grown & set(step.inputs):
                grown |= set(step.outputs)
            layer = step.layer
            draws = isinstance(layer, K.Layer) and len(layer.variables) > len(
                without_seed_states(layer.variables)
            )
            same = step.path not in grows and not draws
            if same and set(step.inputs) <= common:
                common |= set(step.outputs)
                self.common.append(step)
            else:
                self.steps.append(step)
        self._grown = grown

    def _name_layers(self) -> None:
        """Names of their own, so that columns can be one Keras model."""
        start = f"column_{len(self.before) + 1}_" if self.before else ""
        taken: set[str] = set()
        shared = {id(x) for column in self.before[:1] for x in column.layers}
        for path, layer in self._by_path.items():
            if id(layer) not in shared:
                name = start + path.replace("/", "_")
                while name in taken:
                    name += "_"
                taken.add(name)
                layer.name = name

    def _connect(self, grows, lateral, method) -> None:
        """Finds where the column hears the earlier ones."""
        for step in self.steps:
            layer, path = self._by_path[step.path], step.path
            if type(layer) in SUMMED and path in grows:
                if path not in self._activations:
                    self._activations[path] = _taken_apart(layer)
                inputs = [step.inputs[0]]
            elif path in grows and not _is_alone(layer):
                inputs = step.inputs
            else:
                continue
            for wire in dict.fromkeys(inputs):
                if wire in self._grown and wire.dtype.startswith(("float", "bfloat")):
                    _check(layer, path, wire, method)
                    self._hear(layer, path, step.inputs.index(wire), wire, lateral)
        if self.graph.output in self._grown:
            self._hear(None, None, 0, self.graph.output, lateral)

    def _hear(self, layer, path, place, wire, lateral) -> None:
        """Makes the adapter of a layer's input; of no layer: of the features."""
        key, count = (path, place), len(self.before)
        if not count or key in self._adapters:
            return
        where = "features" if path is None else path.replace("/", "_")
        name = f"column_{count + 1}_{where}_lateral_{place}"
        dtype = None if layer is None else layer.dtype_policy
        if type(layer) in SUMMED:
            widen = without_bias(layer, f"{name}_widen")
        else:
            widen = K.Dense(
                wire.shape[-1], use_bias=False, name=f"{name}_widen", dtype=dtype
            )
        self._adapters[key] = Adapter(
            count, wire.shape[-1], widen, lateral, name, dtype
        )

    def _build(self) -> None:
        """Calls all its layers once, on no data."""
        common = self.common_values(self.graph.symbolic_inputs())
        alone = self.follow(common, [], False)
        if self.before:  # what these give is of the same shapes
            self.follow(common, [alone for _ in self.before], False)

    # Use

    def common_values(self, inputs, plain: bool = False) -> dict[Wire, Any]:
        """What does not depend on the column: values by wire."""
        values = self.graph.bound(inputs)
        for step in self.common:
            self._do(step, values, False, plain)
        return values

    def follow(self, common, earlier: list[dict], training, plain=False) -> dict:
        """What the column computes: values by wire; under None its features.

        Args:
            common: what `common_values` of the first column gave.
            earlier: what `follow` of each earlier column gave; empty: nobody is heard.
            training: as everywhere in Keras.
            plain: whether only Keras' own layers are to be called.
        """
        values = dict(common)
        for step in self.steps:
            self._do(step, values, training, plain, earlier)
        output = self.graph.output
        features = values[output]
        if earlier and (None, 0) in self._adapters:
            heard = [one[output] for one in earlier]
            features = self._adapters[None, 0](features, heard, plain)
        values[None] = features
        return values

    def _do(self, step, values, training, plain, earlier=()) -> None:
        """One step: its outputs are put into `values`."""
        layer, given = self._by_path[step.path], values
        path = step.path
        if earlier and path not in self._activations:
            given = dict(values)
            for place, wire in enumerate(step.inputs):
                adapter = self._adapters.get((path, place))
                if adapter is not None:
                    heard = [one[wire] for one in earlier]
                    given[wire] = adapter(values[wire], heard, plain)
        args, kwargs = step.filled(given)
        if plain and hasattr(layer, "plain"):
            if path not in self._plain:
                self._plain[path] = layer.plain()
            layer = self._plain[path]
        call = step if layer is step.layer else _of(step, layer)
        outputs = call(*args, training=kwargs.pop("training", training), **kwargs)
        if path in self._activations:
            adapter = self._adapters.get((path, 0))
            if earlier and adapter is not None:
                heard = [one[step.inputs[0]] for one in earlier]
                outputs = adapter(outputs, heard, plain)
            activation = self._activations[path]
            outputs = outputs if activation is None else activation(outputs)
        values.update(zip(step.outputs, keras.tree.flatten(outputs), strict=True))

    def units(self) -> dict[str, int]:
        """Units or filters of its layers, by path."""
        pairs = self._by_path.items()
        found = {p: getattr(x, "units", getattr(x, "filters", None)) for p, x in pairs}
        return {path: units for path, units in found.items() if units}

    def seen(self, common, earlier: list[dict]) -> dict:
        """As `follow`, of a column that is used and not trained."""
        with self._losses.collected():
            values = self.follow(common, earlier, False)
        return {wire: without_gradients(value) for wire, value in values.items()}


class Columns(Composed):
    """The network of a task: its own column, the last, and those before it.

    The earlier ones are used as they are, without dropout and with the statistics that
    their normalisation has.

    Args:
        columns: list of `Column`, the first one alone, each other with all before it.
    """

    def __init__(self, columns: Sequence[Column], **kwargs):
        super().__init__(autocast=False, **kwargs)
        self._held = _Held(columns)
        self.own_layers = list(columns[-1].layers)
        self.built = True

    def columns(self) -> list[Column]:
        """The columns. Not a property: Keras would save what it finds there."""
        return self._held.columns

    def call(self, inputs, training=False):
        *before, last = self._held.columns
        common = (before or [last])[0].common_values(inputs)
        earlier: list[dict] = []
        for column in before:
            earlier.append(column.seen(common, earlier))
        return last.follow(common, earlier, training)[None]

    def plain(self) -> keras.Model:
        """A model of Keras' own layers that does the same."""
        *before, last = self._held.columns
        first = (before or [last])[0]
        inputs = first.graph.symbolic_inputs()
        common = first.common_values(inputs, plain=True)
        earlier: list[dict] = []
        for column in before:
            earlier.append(column.follow(common, earlier, False, plain=True))
        features = last.follow(common, earlier, False, plain=True)[None]
        return keras.Model(inputs, features)

    def compute_output_shape(self, input_shape):
        del input_shape
        return self.output_shape

    @property
    def output_shape(self):
        return self._held.columns[-1].graph.output.shape

    @property
    def variables(self):
        found = [
            v
            for column in self._held.columns
            for layer in column.layers
            for v in layer.variables
        ]
        return list({id(v): v for v in found}.values())

    @property
    def trainable_variables(self):
        """Those of its own column."""
        return [v for v in self._held.columns[-1].own if v.trainable]


class _Held:
    """A plain object, so that Keras does not track what it holds."""

    def __init__(self, columns):
        self.columns = list(columns)


def _is_own(layer) -> bool:
    """Whether each column has its own of a layer; what is frozen they share."""
    return has_weights(layer) and layer.trainable


def _is_alone(layer) -> bool:
    """Whether a layer works channel by channel, so that it hears through others."""
    return type(layer).__module__.startswith(_ALONE) or isinstance(layer, K.PReLU)


def _of(step, layer):
    """A step on another layer of the same kind."""
    return dataclasses.replace(step, layer=layer)


def _taken_apart(layer):
    """Takes a layer's activation away; returns it as a layer, or None if there is none.

    What it adds to the loss for its outputs goes with it.
    """
    regularizer, activation = layer.activity_regularizer, layer.activation
    if activation is keras.activations.linear and regularizer is None:
        return None
    layer.activity_regularizer, layer.activation = None, keras.activations.linear
    return K.Activation(
        activation,
        activity_regularizer=regularizer,
        name=f"{layer.name}_activation",
        dtype=layer.dtype_policy,
    )


def _check(layer, path, wire: Wire, method: str) -> None:
    """Raises a ValueError if a layer's input cannot be connected."""
    if getattr(layer, "data_format", None) == "channels_first":
        raise ValueError(
            f"{method} cannot carry the layer {path!r} ({type(layer).__name__}) of "
            "`backbone`: it connects channels on the last axis. Use "
            "data_format='channels_last'."
        )
    if wire.shape[-1] is None:
        raise ValueError(
            f"{method} cannot carry the layer {path!r} ({type(layer).__name__}) of "
            "`backbone`: the width of its input is not known. Give it one, as by a "
            "Reshape layer."
        )
