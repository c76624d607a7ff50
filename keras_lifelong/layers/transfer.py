"""Layers and networks in which a task shares each layer with the others or not.

A *configuration* is the list of these choices, from the input up. There are 2^d of d
choices; number i shares choice l if bit l of i is 0, so number 0 shares everything.
"""

from __future__ import annotations

import itertools
import json

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.factorised import DeconvFactorizedConv2D
from keras_lifelong.layers.factorised import TuckerConv2D
from keras_lifelong.layers.factorised import TuckerDense
from keras_lifelong.layers.random import derive_seed
from keras_lifelong.layers.random import reseeded

K = keras.layers
SHARING = ("hps", "tf", "dfcnn")
NOISY = (K.Dropout, K.SpatialDropout2D, K.GaussianDropout, K.GaussianNoise)
PLAIN = (
    *(K.Activation, K.ReLU, K.LeakyReLU, K.ELU, K.Softmax, K.Flatten, K.Reshape),
    *(K.MaxPooling2D, K.AveragePooling2D, K.ZeroPadding2D, K.Rescaling),
    *(K.GlobalMaxPooling2D, K.GlobalAveragePooling2D, *NOISY),
)

# DF-CNN's channels (knowledge base, deconvolution) by (filters, kernel size) of the
# networks for which they were published.
_PUBLISHED = {
    ((32, 3), (32, 3), (64, 3), (64, 3)): ((16, 24), (24, 48), (32, 64), (36, 72)),
    ((64, 11), (256, 5), (256, 3), (256, 3)): (
        (24, 48),
        (64, 128),
        (64, 128),
        (64, 128),
    ),
    ((32, 3), (32, 3), (64, 3), (64, 3), (128, 3), (128, 3)): (
        (12, 24),
        (24, 48),
        (32, 64),
        (48, 96),
        (64, 128),
        (96, 192),
    ),
}


def configuration_bits(choices: int) -> np.ndarray:
    """All configurations, (2^d, d) of 0 and 1; 1: shared.

    >>> configuration_bits(2).tolist()
    [[1, 1], [0, 1], [1, 0], [0, 0]]
    """
    index = np.arange(2**choices)[:, None]
    return 1 - (index >> np.arange(choices)) % 2


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TransferLayer(K.Layer):
    """A Dense or Conv2D layer that exists twice: to share, and a task's own.

    Args:
        transfer: the layer used if shared: of the same class as `own`, or a
            factorised one (see `layers/factorised.py`).
        own: `keras.layers.Dense` or `keras.layers.Conv2D`.

    Call arguments:
        x: (batch, ...).
        shared: scalar, 1 to use `transfer`, 0 to use `own`.
    """

    def __init__(self, transfer, own, **kwargs):
        super().__init__(name=own.name, **kwargs)
        self.transfer = transfer
        self.own = own

    def build(self, input_shape):
        self.transfer.build(input_shape)
        self.own.build(input_shape)
        self.built = True

    @property
    def shared_variables(self) -> list:
        """What tasks use together."""
        return list(getattr(self.transfer, "shared_variables", self.transfer.variables))

    @property
    def mapping_variables(self) -> list:
        """What a task needs beside them to use them."""
        return list(getattr(self.transfer, "mapping_variables", []))

    @property
    def own_variables(self) -> list:
        """The layer of a task that does not share."""
        return list(self.own.variables)

    @property
    def units(self) -> int:
        """Its units, or filters."""
        return self.own.units if isinstance(self.own, K.Dense) else self.own.filters

    def variables_of(self, shared: bool) -> list:
        """What a task has for itself if it shares the layer, or if not."""
        return self.mapping_variables if shared else self.own_variables

    def penalty(self):
        """The mechanism's term of the loss while the layer is shared, a scalar."""
        if hasattr(self.transfer, "penalty"):
            return self.transfer.penalty()
        return ops.zeros(())

    def chosen(self, shared):
        """Kernel and bias (None without) under a choice."""
        chosen = ops.convert_to_tensor(shared) > 0
        kernel = ops.where(chosen, self.transfer.kernel, self.own.kernel)
        if not self.own.use_bias:
            return kernel, None
        return kernel, ops.where(chosen, self.transfer.bias, self.own.bias)

    def call(self, x, shared):
        return self._apply(x, *self.chosen(shared))

    def both(self, x):
        """Shared outputs and own ones, (2 batch, ...), stacked in this order.

        One convolution with twice the filters, whose outputs are then stacked.
        """
        pair = (self.transfer, self.own)
        kernel = ops.concatenate([layer.kernel for layer in pair], axis=-1)
        bias = None
        if self.own.use_bias:
            bias = ops.concatenate([layer.bias for layer in pair], axis=-1)
        return ops.concatenate(ops.split(self._apply(x, kernel, bias), 2, axis=-1))

    def halves(self, x):
        """Shared outputs of the batch's first half, own ones of its second."""
        first, second = ops.split(x, 2)
        return ops.concatenate([self.call(first, shared=1), self.call(second, shared=0)])

    def _apply(self, x, kernel, bias):
        own = self.own
        if isinstance(own, K.Dense):
            x = ops.matmul(x, kernel)
        else:
            x = own.convolution_op(x, ops.convert_to_tensor(kernel))
        x = x if bias is None else ops.add(x, bias)
        return x if own.activation is None else own.activation(x)

    def compute_output_shape(self, input_shape, **kwargs):
        return self.own.compute_output_shape(input_shape)

    def plain(self, shared: bool) -> tuple:
        """An ordinary layer that does what this one does under a choice; its arrays."""
        layer = type(self.own).from_config(self.own.get_config())
        values = [v for v in self.chosen(int(shared)) if v is not None]
        return layer, [ops.convert_to_numpy(v) for v in values]

    def get_config(self):
        layers = {"transfer": self.transfer, "own": self.own}
        layers = {k: keras.saving.serialize_keras_object(v) for k, v in layers.items()}
        return {**super().get_config(), **layers}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config.pop("name", None)
        for key in ("transfer", "own"):
            config[key] = keras.saving.deserialize_keras_object(config[key])
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TransferNetwork(K.Layer):
    """A Sequential backbone whose convolutions tasks may share, each or not.

    Args:
        backbone: `keras.Sequential` with an input shape. Its weights are not copied;
            its initializers are.
        sharing: "hps" (hard sharing: the very kernel), "tf" (tensor factorisation) or
            "dfcnn" (deconvolutional factorisation).
        searched: names of the layers that may be shared. None: all Conv2D layers, or
            all Dense ones if there are none. All other weights are a task's own.
        groups: sizes of runs of searched layers, from the input up, that are shared
            together (LASEM, appendix E). None: each for itself.
        seed: from which the shared tensors and factors are drawn.
        method: named in refusals.

    Call arguments:
        x: (batch, *input_shape).
        choices: (d,), for each group 1 to share it.
        training: as everywhere in Keras.

    Raises:
        ValueError: if a layer cannot be carried, with its name and the reason, or
            `searched` or `groups` do not fit the backbone.
    """

    def __init__(
        self,
        backbone,
        sharing: str = "hps",
        searched: list[str] | None = None,
        groups: list[int] | None = None,
        seed: int = 0,
        method: str = "LASEM",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if sharing not in SHARING:
            raise ValueError(
                f"`sharing` must be one of {SHARING}. Received: {sharing!r}."
            )
        self._arguments = {
            "sharing": sharing,
            "searched": searched,
            "groups": groups,
            "seed": seed,
            "method": method,
        }
        self._backbone = json.dumps(keras.saving.serialize_keras_object(backbone))
        names = _searched_names(backbone, searched)
        channels = _deconv_channels(backbone, names) if sharing == "dfcnn" else {}
        self.layers_in_order = []
        for layer in backbone.layers:
            copy = type(layer).from_config(layer.get_config())
            if layer.name in names:
                transfer = _transfer(layer, sharing, seed, channels.get(layer.name))
                copy = TransferLayer(transfer, copy)
            else:
                _check_unsearched(layer, method)
            self.layers_in_order.append(copy)
        self.groups = _check_groups(groups, len(names))
        self.seed_generator = keras.random.SeedGenerator(derive_seed(seed, "samples"))
        self._input_shape = tuple(backbone.input_shape)
        self.build(self._input_shape)

    def build(self, input_shape):
        for layer in self.layers_in_order:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)
        self.output_width = int(input_shape[-1])
        self.built = True

    @property
    def searched(self) -> list[TransferLayer]:
        """The layers that may be shared, from the input up."""
        return [x for x in self.layers_in_order if isinstance(x, TransferLayer)]

    @property
    def choices(self) -> int:
        """d: how many choices a configuration has."""
        return len(self.groups)

    def by_layer(self, choices) -> list:
        """The choice for each searched layer, from those by group."""
        return [choices[g] for g, n in enumerate(self.groups) for _ in range(n)]

    @property
    def always_own(self) -> list:
        """Variables of the layers that are not searched: every task has its own."""
        rest = [x for x in self.layers_in_order if not isinstance(x, TransferLayer)]
        return [
            v for x in rest for v in x.variables if v.name != "seed_generator_state"
        ]

    def call(self, x, choices, training=False):
        return self.tail(self.trunk(x, choices, training), training)

    def trunk(self, x, choices, training=False):
        """Outputs before `tail` of one configuration, (batch, ...)."""
        by_layer = iter(self.by_layer(choices))
        for layer in self.layers_in_order[: self._tail_start]:
            if isinstance(layer, TransferLayer):
                x = layer(x, shared=next(by_layer))
            else:
                x = _through(layer, x, training)
        return x

    def tree(self, x, training=False):
        """Outputs before `tail` of all configurations at once, (2^d batch, ...).

        Configurations with equal choices below share the work there: the prefixes of
        a layer are stacked on the batch axis, and each choice doubles them.
        """
        doubles = iter([i == 0 for n in self.groups for i in range(n)])
        for layer in self.layers_in_order[: self._tail_start]:
            if isinstance(layer, TransferLayer):
                x = layer.both(x) if next(doubles) else layer.halves(x)
            else:
                x = _through(layer, x, training)
        return x

    def tail(self, x, training=False):
        """From the first dropout or noise after the searched layers on."""
        for layer in self.layers_in_order[self._tail_start :]:
            x = _through(layer, x, training)
        return x

    @property
    def _tail_start(self) -> int:
        order = self.layers_in_order
        last = max(i for i, x in enumerate(order) if isinstance(x, TransferLayer))
        return next(
            (i for i in range(last + 1, len(order)) if isinstance(order[i], NOISY)),
            len(order),
        )

    @property
    def tree_is_noisy(self) -> bool:
        """Whether there is dropout or noise below the last searched layer."""
        below = self.layers_in_order[: self._tail_start]
        return any(isinstance(x, NOISY) for x in below)

    @property
    def tail_is_noisy(self) -> bool:
        return self._tail_start < len(self.layers_in_order)

    def plain_layers(self, choices) -> list[tuple]:
        """The network of one configuration as pairs of a plain layer and its arrays."""
        by_layer, pairs = iter(self.by_layer(choices)), []
        for layer in self.layers_in_order:
            if isinstance(layer, TransferLayer):
                pairs.append(layer.plain(bool(next(by_layer))))
            else:
                copy = type(layer).from_config(layer.get_config())
                has_weights = isinstance(layer, K.Dense | K.Conv2D)
                pairs.append((copy, layer.get_weights() if has_weights else None))
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
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)


def _through(layer, x, training):
    return layer(x, training=training) if isinstance(layer, NOISY) else layer(x)


def _searched_names(backbone, searched) -> list[str]:
    able = {x.name: x for x in backbone.layers if type(x) in (K.Conv2D, K.Dense)}
    if searched is None:
        found = [name for name, x in able.items() if type(x) is K.Conv2D] or list(able)
    else:
        found = [name for name in able if name in searched]
    if not found or (searched is not None and len(found) != len(searched)):
        raise ValueError(
            "`searched` must name Dense or Conv2D layers of the backbone, of which it "
            f"has {list(able)}. Received: {searched!r}."
        )
    return found


def _check_unsearched(layer, method):
    if type(layer) not in (K.Dense, K.Conv2D, *PLAIN):
        known = [c.__name__ for c in (K.Dense, K.Conv2D, *PLAIN)]
        raise ValueError(
            f"{method} cannot carry the layer {layer.name!r} "
            f"({type(layer).__name__}) of `backbone`: it takes {', '.join(known)}."
        )


def _check_groups(groups, layers) -> list[int]:
    groups = [1] * layers if groups is None else list(groups)
    whole = all(isinstance(n, int) and n >= 1 for n in groups)
    if not whole or sum(groups) != layers:
        raise ValueError(
            f"`groups` must be positive integers that add up to the {layers} searched "
            f"layers. Received: {groups!r}."
        )
    if len(groups) > 12:
        raise ValueError(
            f"2^{len(groups)} configurations are too many; join layers by `groups` so "
            f"that at most 12 choices are left. Received: groups={groups!r}."
        )
    return groups


def _deconv_channels(backbone, names) -> dict[str, tuple[int, int]]:
    """Published sizes for the published networks; elsewhere the layer's own rule."""
    convolutions = [x for x in backbone.layers if x.name in names]
    if any(type(x) is not K.Conv2D for x in convolutions):
        raise ValueError(
            "`sharing='dfcnn'` is for Conv2D layers. "
            f"Received `searched` layers {list(names)}."
        )
    key = tuple((x.filters, x.kernel_size[0]) for x in convolutions)
    return dict(zip(names, _PUBLISHED.get(key, itertools.repeat(None)), strict=False))


def _transfer(layer, sharing, seed, channels):
    """The layer to share in place of `layer`."""
    config = layer.get_config()
    if sharing == "hps":
        for name in ("kernel_initializer", "bias_initializer"):
            part = derive_seed(seed, "shared", layer.name, name)
            config[name] = keras.initializers.serialize(
                reseeded(getattr(layer, name), part)
            )
        return type(layer).from_config(config)
    config = {
        k: v
        for k, v in config.items()
        if not k.endswith(("initializer", "regularizer", "constraint"))
        and k not in ("lora_rank", "lora_alpha", "quantization_config")
    }
    config["seed"] = derive_seed(seed, "shared", layer.name)
    if sharing == "tf":
        tucker = TuckerDense if type(layer) is K.Dense else TuckerConv2D
        return tucker.from_config(config)
    if channels is not None:
        config["knowledge_channels"], config["deconv_channels"] = channels
    return DeconvFactorizedConv2D.from_config(config)
