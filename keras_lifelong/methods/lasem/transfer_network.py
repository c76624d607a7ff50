"""A network in which a task shares each layer with the others or has its own.

A *configuration* is the list of these choices, from the input up. There are 2^d of d
choices; number i shares choice l if bit l of i is 0, so number 0 shares everything.
"""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np

from keras_lifelong import networks
from keras_lifelong.methods.lasem.transfer_layer import SHARING
from keras_lifelong.methods.lasem.transfer_layer import TransferLayer
from keras_lifelong.methods.lasem.transfer_layer import deconv_channels
from keras_lifelong.methods.lasem.transfer_layer import transfer_layer
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import without_seed_states

K = keras.layers
NOISY = (K.Dropout, K.SpatialDropout2D, K.GaussianDropout, K.GaussianNoise)
PLAIN = (
    *(K.Activation, K.ReLU, K.LeakyReLU, K.ELU, K.Softmax, K.Flatten, K.Reshape),
    *(K.MaxPooling2D, K.AveragePooling2D, K.ZeroPadding2D, K.Rescaling),
    *(K.GlobalMaxPooling2D, K.GlobalAveragePooling2D, *NOISY),
)
NAMED = ("all", "top2", "bottom2", "alternating")


def configuration_bits(choices: int) -> np.ndarray:
    """All configurations, (2^d, d) of 0 and 1; 1: shared.

    >>> configuration_bits(2).tolist()
    [[1, 1], [0, 1], [1, 0], [0, 0]]
    """
    index = np.arange(2**choices)[:, None]
    return 1 - (index >> np.arange(choices)) % 2


def named_configuration(configuration, choices: int) -> np.ndarray:
    """The choices (d,) that a name or a list means.

    Args:
        configuration: "all", "top2", "bottom2", "alternating" (the lowest is not
            shared, the next is, and so on: section 3's c = {2, 4}) or a list of 0 and
            1.
        choices: d.

    >>> named_configuration("top2", 4).tolist()
    [0, 0, 1, 1]
    >>> named_configuration("alternating", 4).tolist()
    [0, 1, 0, 1]
    """
    bits = np.zeros(choices, int)
    if isinstance(configuration, str) and configuration in NAMED:
        if configuration == "all":
            bits[:] = 1
        elif configuration == "top2":
            bits[-2:] = 1
        elif configuration == "bottom2":
            bits[:2] = 1
        else:
            bits[1::2] = 1
        return bits
    given = [] if isinstance(configuration, str) else list(configuration)
    if len(given) != choices or any(c not in (0, 1) for c in given):
        raise ValueError(
            f"`configuration` must be one of {NAMED} or a list of {choices} choices, 1 "
            f"to share and 0 not to. Received: {configuration!r}."
        )
    return np.array(given, int)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TransferNetwork(keras.layers.Layer):
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
        self._arguments: dict[str, Any] = {
            "sharing": sharing,
            "searched": searched,
            "groups": groups,
            "seed": seed,
            "method": method,
        }
        self._backbone = json.dumps(keras.saving.serialize_keras_object(backbone))
        names = _searched_names(backbone, searched)
        channels = deconv_channels(backbone, names) if sharing == "dfcnn" else {}
        self.layers_in_order = []
        for place, layer in enumerate(backbone.layers):
            copy = type(layer).from_config(layer.get_config())
            if layer.activity_regularizer is not None:
                raise ValueError(
                    f"{method} cannot carry the layer {layer.name!r} of `backbone`: "
                    "its activity_regularizer has no one value where all "
                    "configurations are computed at once."
                )
            if layer.name in names:
                transfer = transfer_layer(
                    layer, place, sharing, seed, channels.get(layer.name)
                )
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

    def again(self, backbone, seed: int) -> TransferNetwork:
        """Another network of these arguments, drawn from another seed.

        Args:
            backbone: of the same layers; it draws a task's own.
            seed: as in the constructor.
        """
        return TransferNetwork(backbone, **{**self._arguments, "seed": seed})

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
        return without_seed_states(v for x in rest for v in x.variables)

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
        backbone = networks.deserialized(config.pop("backbone"))
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
