"""A network in which a task shares each layer with the others or has its own.

A *configuration* is the list of these choices; see `belief.py`.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import keras
from keras import ops

from keras_lifelong import networks
from keras_lifelong.graph import Graph
from keras_lifelong.methods.lasem.batch_statistics import Seen
from keras_lifelong.methods.lasem.batch_statistics import learns_statistics
from keras_lifelong.methods.lasem.batch_statistics import normalized
from keras_lifelong.methods.lasem.carried import check_carried
from keras_lifelong.methods.lasem.carried import group_of_each
from keras_lifelong.methods.lasem.carried import is_noisy
from keras_lifelong.methods.lasem.carried import searched_paths
from keras_lifelong.methods.lasem.stacks import Choices
from keras_lifelong.methods.lasem.stacks import doubled
from keras_lifelong.methods.lasem.stacks import repeated
from keras_lifelong.methods.lasem.stacks import selected
from keras_lifelong.methods.lasem.stacks import union
from keras_lifelong.methods.lasem.transfer_layer import SHARING
from keras_lifelong.methods.lasem.transfer_layer import TransferLayer
from keras_lifelong.methods.lasem.transfer_layer import begin_from
from keras_lifelong.methods.lasem.transfer_layer import deconv_channels
from keras_lifelong.methods.lasem.transfer_layer import transfer_layer
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import without_seed_states


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TransferNetwork(keras.layers.Layer):
    """A network some of whose layers tasks may share, each or not.

    Args:
        backbone: `keras.Sequential` or functional `keras.Model` of one input. Its
            weights are not copied; its initializers are.
        sharing: "hps" (hard sharing: the very kernel), "tf" (tensor factorisation) or
            "dfcnn" (deconvolutional factorisation).
        searched: names or paths of the layers that may be shared. None: all
            convolutions that `sharing` carries, or all Dense ones if there are none.
            All other weights are a task's own, but frozen ones, which nobody changes.
        groups: what is shared together (LASEM, appendix E): sizes of runs of searched
            layers from the input up, or lists of layers, by name or by place from 1.
            None: each for itself.
        seed: from which the shared tensors and factors are drawn.
        method: named in refusals.

    Call arguments:
        x: (batch, *input_shape).
        choices: (d,), for each group 1 to share it.
        training: as everywhere in Keras.

    Attributes:
        graph: a `Graph` of this network's layers.
        is_flat: whether the backbone is a Sequential of no models.
        paths: of the searched layers, from the input up.
        group_of: for each of these the number of its group.
        norm_choices: of batch normalisation by path, for each call the choices that
            what it normalises depends on.

    Raises:
        ValueError: if a layer cannot be carried, with its path and the reason, or
            `searched` or `groups` do not fit the backbone.
    """

    def __init__(
        self,
        backbone,
        sharing: str = "hps",
        searched: list[str] | None = None,
        groups: list | None = None,
        seed: int = 0,
        method: str = "LASEM",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if sharing not in SHARING:
            raise ValueError(
                f"`sharing` must be one of {SHARING}. Received: {sharing!r}."
            )
        self._arguments: dict[str, Any] = {
            "sharing": sharing,
            "searched": searched,
            "groups": groups,
            "seed": seed,
            "method": method,
        }
        self.is_flat = isinstance(backbone, keras.Sequential) and not any(
            isinstance(layer, keras.Model) for layer in backbone.layers
        )
        self._backbone = json.dumps(keras.saving.serialize_keras_object(backbone))
        self.graph = Graph(backbone)
        check_carried(self.graph, method)
        layers = self.graph.layers
        self.paths = searched_paths(self.graph, searched, sharing)
        self.group_of = group_of_each(groups, self.paths)
        channels = {}
        if sharing == "dfcnn":
            channels = deconv_channels({path: layers[path] for path in self.paths})
        copies = {}
        for place, (path, layer) in enumerate(layers.items()):
            copies[path] = layer
            if not isinstance(layer, keras.layers.Layer):
                continue  # one of `keras.ops`, which has no state
            copies[path] = type(layer).from_config(layer.get_config())
            if path in self.paths:
                transfer = transfer_layer(
                    layer, path, place, sharing, seed, channels.get(path), method
                )
                copies[path] = TransferLayer(transfer, copies[path])
        self.graph.steps = [
            dataclasses.replace(step, layer=copies[step.path])
            for step in self.graph.steps
        ]
        self.layers_in_order = [
            x for x in copies.values() if isinstance(x, keras.layers.Layer)
        ]
        self.groups = [1] * len(self.paths) if groups is None else list(groups)
        self.seed_generator = keras.random.SeedGenerator(derive_seed(seed, "samples"))
        self._follow_choices()
        self._input_shape = tuple(backbone.input_shape)
        self.build(self._input_shape)

    def _follow_choices(self):
        """Finds what each wire depends on, and where the tree ends."""
        groups = dict(zip(self.paths, self.group_of, strict=True))
        steps = self.graph.steps
        self.choices_of = {self.graph.inputs: ()}
        for step in steps:
            choices = union([self.choices_of[wire] for wire in step.inputs])
            if isinstance(step.layer, TransferLayer):
                choices = union([choices, (groups[step.path],)])
            self.choices_of.update(dict.fromkeys(step.outputs, choices))
        self._noisy = {step.path for step in steps if is_noisy(step.layer)}
        last = max(i for i, x in enumerate(steps) if isinstance(x.layer, TransferLayer))
        self._tail_start = next(
            (i for i in range(last + 1, len(steps)) if steps[i].path in self._noisy),
            len(steps),
        )
        below, above = steps[: self._tail_start], steps[self._tail_start :]
        given = {self.graph.inputs, *(wire for s in below for wire in s.outputs)}
        read = {self.graph.output, *(wire for s in above for wire in s.inputs)}
        self._live = sorted(given & read, key=lambda wire: wire.number)
        everything = tuple(range(self.choices))
        self.norm_choices: dict[str, list[Choices]] = {p: [] for p in self.norms}
        for step in steps:
            if step.path in self.norms:
                in_tree = step.number < self._tail_start
                known = self.choices_of[step.outputs[0]] if in_tree else everything
                self.norm_choices[step.path].append(known)

    def build(self, input_shape):
        del input_shape
        for step in self.graph.steps:
            layer, wires = step.layer, step.inputs
            if not isinstance(layer, keras.layers.Layer) or layer.built:
                continue
            if step.args == (wires[0],) and not step.kwargs:
                layer.build(wires[0].shape)
                continue
            symbols = {
                wire: keras.KerasTensor(wire.shape, wire.dtype) for wire in wires
            }
            args, kwargs = step.filled(symbols)
            layer(*args, **kwargs)
        self.output_width = int(self.graph.output.shape[-1])
        self.built = True

    def again(self, backbone, seed: int) -> TransferNetwork:
        """Another network of these arguments, drawn from another seed.

        Args:
            backbone: of the same layers; it draws a task's own.
            seed: as in the constructor.
        """
        return TransferNetwork(backbone, **{**self._arguments, "seed": seed})

    def begin_from(self, backbone) -> None:
        """Takes a backbone's weights to begin from, shared and own; see `begin_from`
        of `transfer_layer.py`.

        Args:
            backbone: a model of the same layers as the constructor's.
        """
        for path, layer in Graph(backbone).layers.items():
            mine = self.graph.layers[path]
            if isinstance(mine, TransferLayer):
                begin_from(mine, layer.get_weights())
            elif isinstance(mine, keras.layers.Layer):
                mine.set_weights(layer.get_weights())

    @property
    def searched(self) -> list[TransferLayer]:
        """The layers that may be shared, from the input up."""
        layers = self.graph.layers
        return [layers[path] for path in self.paths]

    @property
    def norms(self) -> dict[str, Any]:
        """`BatchNormalization` layers that learn statistics, by path."""
        layers = self.graph.layers.items()
        return {path: x for path, x in layers if learns_statistics(x)}

    @property
    def choices(self) -> int:
        """d: how many choices a configuration has."""
        return max(self.group_of) + 1

    def by_layer(self, choices) -> list:
        """The choice for each searched layer, from those by group."""
        return [choices[group] for group in self.group_of]

    @property
    def always_own(self) -> list:
        """Variables of the layers that are not searched: every task has its own.

        Those of frozen layers are the same for all tasks.
        """
        rest = [x for x in self.layers_in_order if not isinstance(x, TransferLayer)]
        rest = [x for x in rest if x.trainable]
        return without_seed_states(v for x in rest for v in x.variables)

    def call(self, x, choices, training=False, seen=None):
        return self.tail(self.trunk(x, choices, training, seen), training, seen)

    def trunk(self, x, choices, training=False, seen: Seen | None = None) -> list:
        """What `tail` takes, of one configuration: tensors (batch, ...).

        Args:
            x: (batch, *input_shape).
            choices: (d,).
            training: whether dropout is on.
            seen: a dict, if batch normalisation is by the batch without moving its
                averages; what it finds is put in there. None: as in Keras.
        """

        def transferred(step, x):
            group = self.group_of[self.paths.index(step.path)]
            return step.layer(x, shared=choices[group])

        values = {self.graph.inputs: x}
        self._run(values, transferred, lambda wire: (), training, seen)
        return [values[wire] for wire in self._live]

    def mixed(self, x, parts, training=False):
        """Features (batch, width) where every searched layer gives a mixture.

        Args:
            x: (batch, *input_shape).
            parts: (d,), for each group that of the shared outputs, in [0, 1].
            training: as everywhere in Keras.
        """

        def transferred(step, x):
            group = self.group_of[self.paths.index(step.path)]
            return step.layer.mixed(x, parts[group])

        values = {self.graph.inputs: x}
        self._run(values, transferred, lambda wire: (), training, None)
        return self.tail([values[wire] for wire in self._live], training)

    def tree(self, x, training=False, seen: Seen | None = None) -> list:
        """What `tail` takes, of all configurations: tensors (2^d batch, ...).

        Configurations with equal choices below share the work there: what depends on
        k choices is stacked on the batch axis 2^k times, a layer doubles that by its
        own choice, and where branches meet, each is repeated for the choices of the
        others.

        Args:
            x, training, seen: see `trunk`.
        """

        def transferred(step, x):
            (wire,), group = step.inputs, self.group_of[self.paths.index(step.path)]
            have = self.choices_of[wire]
            stacked = selected if group in have else doubled
            return stacked(step.layer, x, have, group)

        values = {self.graph.inputs: x}
        self._run(values, transferred, self.choices_of.__getitem__, training, seen)
        everything = tuple(range(self.choices))
        return [
            repeated(values[wire], self.choices_of[wire], everything)
            for wire in self._live
        ]

    def _run(self, values, transferred, choices_of, training, seen):
        """Does the steps before `tail`."""
        for step in self.graph.steps[: self._tail_start]:
            wires = step.inputs
            if isinstance(step.layer, TransferLayer):
                values[step.outputs[0]] = transferred(step, values[wires[0]])
                continue
            choices = union([choices_of(wire) for wire in wires])
            given = {w: repeated(values[w], choices_of(w), choices) for w in wires}
            self._do(step, values, given, 2 ** len(choices), training, seen)

    def tail(
        self, tensors: list, training=False, seen: Seen | None = None, count: int = 1
    ):
        """From the first dropout or noise after the searched layers on.

        Args:
            tensors: of `trunk`, or of `tree`.
            training, seen: see `trunk`.
            count: how many configurations are stacked in the tensors. It matters to
                batch normalisation alone, where `seen` is given.

        Returns:
            Features, (count batch, width).
        """
        values = dict(zip(self._live, tensors, strict=True))
        for step in self.graph.steps[self._tail_start :]:
            given = {wire: values[wire] for wire in step.inputs}
            self._do(step, values, given, count, training, seen)
        return values[self.graph.output]

    def _do(self, step, values, given, count, training, seen):
        """One step of a layer that is not searched; its outputs go to `values`."""
        args, kwargs = step.filled(given)
        kwargs.pop("training", None)  # what a model is called with overrides it
        if seen is not None and step.path in self.norms:
            outputs, *found = normalized(step.layer, *args, count)
            seen.setdefault(step.path, []).append(tuple(found))
        elif isinstance(step.layer, keras.layers.Layer):
            outputs = step(*args, training=training, **kwargs)
        else:
            outputs = step.layer(*args, **kwargs)
        outputs = keras.tree.flatten(outputs)
        values.update(zip(step.outputs, outputs, strict=True))

    @property
    def tree_is_noisy(self) -> bool:
        """Whether there is dropout or noise below the last searched layer."""
        below = self.graph.steps[: self._tail_start]
        return any(step.path in self._noisy for step in below)

    @property
    def tail_is_noisy(self) -> bool:
        return self._tail_start < len(self.graph.steps)

    def plain_weights(self, choices) -> dict[str, list]:
        """The arrays of one configuration's layers by path, as the backbone's have
        them.

        Args:
            choices: (d,).
        """
        shared = dict(zip(self.paths, self.by_layer(choices), strict=True))
        found = {}
        for path, layer in self.graph.layers.items():
            if path in shared:
                values = layer.chosen(int(shared[path]))
                found[path] = [ops.convert_to_numpy(v) for v in values]
            elif isinstance(layer, keras.layers.Layer):
                found[path] = layer.get_weights()
        return found

    def plain_layers(self, choices) -> list[tuple]:
        """The layers of one configuration of a chain, each with its arrays."""
        pairs = []
        for path, values in self.plain_weights(choices).items():
            layer = self.graph.layers[path]
            layer = layer.own if isinstance(layer, TransferLayer) else layer
            copy = type(layer).from_config(layer.get_config())
            pairs.append((copy, values or None))
        return pairs

    def compute_output_shape(self, input_shape, **kwargs):
        return (*input_shape[:-1][:1], self.output_width)

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": json.loads(self._backbone),
            **self._arguments,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        backbone = networks.deserialized(config.pop("backbone"))
        return cls(backbone, **config)
