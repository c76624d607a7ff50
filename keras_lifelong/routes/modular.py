"""Modular: a network in which a layer is a mixture of modules of its kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.graph import with_mask_of
from keras_lifelong.layers.composed import Composed
from keras_lifelong.seeds import has_weights
from keras_lifelong.seeds import weights_of
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.layer_losses import LayerLosses
from keras_lifelong.training.layer_losses import flattened

K = keras.layers
_NORMALIZATION = "keras.src.layers.normalization"
Mixer = Any  # what `Modular` takes for a layer


class Pool:
    """The modules that there may be of each layer, made as they are asked for.

    A module of a layer is the layer of a copy of the backbone. Normalisation is each
    task's own, and the same layers serve all; frozen layers are one for all tasks.

    Args:
        network: a `keras.Sequential` or functional `keras.Model`, the first copy.
        copied: function without arguments that gives another copy.
        method: named in refusals.

    Raises:
        ValueError: if no layer can be a module, or one cannot be carried, naming it.

    Attributes:
        graph: the `Graph` of the first copy.
        paths: of the layers that are modules, from the input up.
        own: variables of which each task has its own.
        frozen: variables that all tasks share.
    """

    def __init__(self, network, copied: Callable[[], Any], method: str):
        self.graph, self._copied = Graph(network), copied
        self._copies = [self.graph]
        layers = {p: x for p, x in self.graph.layers.items() if has_weights(x)}
        self.paths = [p for p, x in layers.items() if _can_be_module(x)]
        if not self.paths:
            raise ValueError(
                f"{method} takes a `backbone` with a layer of weights that is "
                "trainable, normalisation apart. Received: none."
            )
        for path in self.paths:
            _check(layers[path], path, method)
        rest = [x for p, x in layers.items() if p not in self.paths]
        self.own = weights_of([x for x in rest if _is_own(x)])
        self.frozen = weights_of([x for x in rest if not _is_own(x)])

    def layer(self, place: int, slot: int) -> Any:
        """A module of the layer of a place among `paths`: the slot counts from 0."""
        while len(self._copies) <= slot:
            self._copies.append(Graph(self._copied()))
        return self._copies[slot].layers[self.paths[place]]

    def variables(self, place: int, slot: int = 0) -> list:
        """Those of a module."""
        return without_seed_states(self.layer(place, slot).variables)

    def values(self, network) -> tuple[list[list], list]:
        """Copies of what another copy of the backbone holds.

        Returns:
            The arrays of its modules, a list for each place, and of what is each
            task's own.
        """
        layers = Graph(network).layers
        own = [x for x in layers.values() if has_weights(x) and _is_own(x)]
        modules = [_arrays(layers[path].variables) for path in self.paths]
        return modules, _arrays(weights_of(own))


class Modular(Composed):
    """A network of as many modules of each layer as a task uses.

    Where there are several, the layer gives Σ_m w_m f_m(h), the w_m from a mixer.
    Modules that are not trained are used without dropout.

    Args:
        pool: a `Pool`.
        counts: how many modules each layer has, at least 1.
        trained: of each layer whether its last module is trained.
        mixers: of each layer what gives the w_m, or None: an object with lists of
            `layers`, and of those that are a task's `own`, and a method
            `parts(step, h, outputs, seen)` that gives them, (batch, modules).
    """

    def __init__(
        self,
        pool: Pool,
        counts: Sequence[int],
        trained: Sequence[bool],
        mixers: Sequence[Mixer],
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self._held = _Held(pool, counts, trained, mixers)
        held = self._held
        rest = [x for p, x in pool.graph.layers.items() if p not in pool.paths]
        self.own_layers = [
            *(x for x in rest if isinstance(x, K.Layer)),
            *(
                x
                for slots, new in zip(held.slots, trained, strict=True)
                if new
                for x in slots[-1:]
            ),
            *(x for mixer in mixers if mixer is not None for x in mixer.layers),
        ]
        self._build()
        self.built = True

    def _build(self):
        """Calls all its layers once, on no data."""
        self.followed(self._held.pool.graph.symbolic_inputs())

    def followed(self, inputs, training: bool = False, seen: Any = None):
        """Features (batch, width), by the layers themselves.

        Args:
            inputs, training: as of a call.
            seen: handed to mixers, which may put there what they find.
        """
        held = self._held

        def call(step, *args, **kwargs):
            if step.path not in held.places:
                return step(*args, training=training, **kwargs)
            place = held.places[step.path]
            outputs = []
            for k, layer in enumerate(held.slots[place]):
                last = k + 1 == len(held.slots[place])
                used = dataclasses.replace(step, layer=layer)
                if last and held.trained[place]:
                    outputs.append(used(*args, training=training, **kwargs))
                    continue
                with held.losses.collected():  # what is not trained adds no loss
                    outputs.append(used(*args, training=False, **kwargs))
            given = keras.tree.flatten((args, kwargs))[0]
            mixer = held.mixers[place]
            if mixer is None:
                return outputs[0]
            parts = mixer.parts(step, given, outputs, seen)
            if len(outputs) == 1:
                return outputs[0]
            return keras.tree.map_structure(lambda *all_: _mixed(all_, parts), *outputs)

        return held.pool.graph.run(inputs, call)

    def call(self, inputs, training=False):
        return self.followed(inputs, training)

    def plain(self) -> keras.Model:
        """A model of Keras' own layers that does the same."""
        held = self._held
        names: set[str] = set()

        def rename(layer, name):
            layer.name = networks.unused(name.replace("/", "_"), names)
            names.add(layer.name)

        for path, slots in zip(held.pool.paths, held.slots, strict=True):
            for k, layer in enumerate(slots):
                rename(layer, path if k == 0 else f"{path}_module_{k}")
        for path, layer in held.pool.graph.layers.items():
            if path not in held.pool.paths:
                rename(layer, path)
        for path, mixer in zip(held.pool.paths, held.mixers, strict=True):
            for layer in mixer.layers if mixer is not None else ():
                rename(layer, f"{path}_{layer.name}")
        inputs = held.pool.graph.symbolic_inputs()
        return keras.Model(inputs, self.followed(inputs))

    def compute_output_shape(self, input_shape):
        del input_shape
        return self.output_shape

    @property
    def output_shape(self):
        return self._held.pool.graph.output.shape

    def trained(self) -> list[bool]:
        """Of each layer whether its last module is trained."""
        return self._held.trained

    def module_variables(self) -> list[list[list]]:
        """Of each layer the variables of each module."""
        return self._held.module_variables

    def own_parts(self) -> list:
        """Those of a task's own beside its modules: normalisation, and mixers'."""
        mixers = [m for m in self._held.mixers if m is not None]
        return [
            *self._held.pool.own,
            *weights_of([x for mixer in mixers for x in mixer.own]),
        ]

    @property
    def variables(self):
        held = self._held
        layers = [
            *(x for slots in held.slots for x in slots),
            *(x for x in held.pool.graph.layers.values() if isinstance(x, K.Layer)),
            *self.own_layers,
        ]
        own = [v for all_ in self.module_variables() for one in all_ for v in one]
        found = [*own, *(v for x in layers for v in x.variables)]
        mine = {id(v) for v in [*own, *self.own_parts(), *held.pool.frozen]}
        kept = [v for v in found if id(v) in mine or not without_seed_states([v])]
        kept += self.own_parts()
        return list({id(v): v for v in kept}.values())

    @property
    def trainable_variables(self):
        """Those of the trained modules, and what is a task's own beside them."""
        pairs = zip(self.module_variables(), self._held.trained, strict=True)
        found = [v for modules, new in pairs if new for v in modules[-1]]
        return [v for v in [*found, *self.own_parts()] if v.trainable]


class _Held:
    """A plain object, so that Keras does not track what it holds."""

    def __init__(self, pool, counts, trained, mixers):
        self.pool, self.trained, self.mixers = pool, list(trained), list(mixers)
        self.places = {path: place for place, path in enumerate(pool.paths)}
        self.slots = [
            [pool.layer(place, k) for k in range(count)]
            for place, count in enumerate(counts)
        ]
        self.losses = LayerLosses(
            [y for slots in self.slots for x in slots for y in flattened(x)], []
        )
        self.module_variables = [
            [pool.variables(place, k) for k in range(count)]
            for place, count in enumerate(counts)
        ]


def _mixed(outputs, parts):
    """Σ_m w_m h_m of outputs (batch, …) and parts (batch, modules)."""
    total = None
    for k, output in enumerate(outputs):
        part = ops.reshape(parts[:, k], (-1, *[1] * (len(output.shape) - 1)))
        term = ops.multiply(output, ops.cast(part, output.dtype))
        total = term if total is None else ops.add(total, term)
    return with_mask_of(outputs[0], total)


def _is_own(layer) -> bool:
    """Whether each task has a layer for itself: normalisation that is trained."""
    return layer.trainable and type(layer).__module__.startswith(_NORMALIZATION)


def _can_be_module(layer) -> bool:
    return layer.trainable and bool(layer.trainable_variables) and not _is_own(layer)


def _check(layer, path: str, method: str) -> None:
    for inner in flattened(layer):
        if inner is not layer and isinstance(inner, K.BatchNormalization):
            raise ValueError(
                f"{method} cannot carry the layer {path!r} ({type(layer).__name__}) of "
                "`backbone`: it has a BatchNormalization in it. Write a block of "
                "several layers as a functional model."
            )


def _arrays(variables) -> list:
    return [ops.convert_to_numpy(v).copy() for v in without_seed_states(variables)]
