"""Room for more units in a chain of layers, which are opened when they are wanted.

The arrays are as wide from the start as the network may become: to grow is to open
units, so that no shape changes and nothing is compiled anew.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.graph import Graph
from keras_lifelong.seeds import seeded_copy
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.gates import by_channel
from keras_lifelong.training.gates import by_unit
from keras_lifelong.training.projection import is_product


class Room:
    """A chain at its base width inside a wider copy.

    Args:
        network: a built `keras.Sequential`, with its weights.
        factor: how many times as wide it may become, at least 1. The last layer with
            weights keeps its width, which heads depend on.
        seed: of the weights of the units that are closed at first.
        method: named in messages.

    Attributes:
        network: the wider copy; the weights of its first units are those given.
        names: of the dense and convolutional layers.
        base, most: how many units each has at first, and at most.

    Raises:
        ValueError: if it is no chain, or there is a layer that is neither dense,
            convolutional, batch normalisation nor without weights, naming it.

    Example:

    >>> network = keras.Sequential(
    ...     [keras.Input((3,)), layers.Dense(4, name="a"), layers.Dense(2, name="b")]
    ... )
    >>> room = Room(network, 1.5, 0, "CPG")
    >>> room.base, room.most, tuple(room.network.layers[1].kernel.shape)
    ([4, 2], [6, 2], (6, 2))
    """

    def __init__(self, network, factor: float, seed: int, method: str):
        _check(network, method)
        products = [x for x in network.layers if is_product(x)]
        self.names = [x.name for x in products]
        self.base = [x.kernel.shape[-1] for x in products]
        self.most = [math.ceil(factor * n) for n in self.base[:-1]] + self.base[-1:]
        wide = dict(zip(self.names, self.most, strict=True))
        copies = []
        for layer in network.layers:
            config = layer.get_config()
            for key in ("units", "filters"):
                if key in config and layer.name in wide:
                    config[key] = wide[layer.name]
            copies.append(type(layer).from_config(config))
        given = keras.Input(network.input_shape[1:], dtype=network.inputs[0].dtype)
        chain = keras.Sequential([given, *copies], name=network.name)
        self.network = seeded_copy(chain, seed, "wide")
        self._fill(network)

    def _fill(self, network) -> None:
        """Copies the weights of a network to those of the first units."""
        for old, new in zip(network.layers, self.network.layers, strict=True):
            mine = without_seed_states(new.variables)
            for a, b in zip(without_seed_states(old.variables), mine, strict=True):
                values = ops.convert_to_numpy(b).copy()
                base = ops.convert_to_numpy(a)
                if len(values.shape) < 2:
                    values[: base.size] = base
                else:
                    i = self.names.index(new.name)
                    blocks = self._blocks(values, i, self.most)
                    blocks[..., : self._given(i), : self.base[i]] = self._blocks(
                        base, i, self.base
                    )
                b.assign(values)

    def _given(self, i: int) -> int:
        """How many units layer i is given of the layer before it at first."""
        return self.base[i - 1] if i else self._layer(self.names[0]).kernel.shape[-2]

    def _layer(self, name: str):
        return next(x for x in self.network.layers if x.name == name)

    def _blocks(self, kernel, i: int, widths: list[int]):
        """A kernel as (…, places, units before, units): images are flattened so."""
        before = widths[i - 1] if i else kernel.shape[-2]
        places = kernel.shape[-2] // before
        return kernel.reshape(*kernel.shape[:-2], places, before, kernel.shape[-1])

    def opened(self, widths: list[int]) -> dict[int, np.ndarray]:
        """Which weights of each kernel lie between open units, bool, by its id.

        Args:
            widths: how many units of each layer are open.
        """
        found = {}
        for i, name in enumerate(self.names):
            kernel = self._layer(name).kernel
            mask = np.zeros(tuple(kernel.shape), bool)
            before = widths[i - 1] if i else mask.shape[-2]
            self._blocks(mask, i, self.most)[..., :before, : widths[i]] = True
            found[id(kernel)] = mask
        return found

    def wider(self, widths: list[int], share: float) -> list[int]:
        """Widths with a share of the base width more, as far as there is room."""
        return [
            min(most, width + math.ceil(share * base))
            for width, base, most in zip(widths, self.base, self.most, strict=True)
        ]


def _check(network, method: str) -> None:
    why = None
    if not isinstance(network, keras.Sequential) or not Graph(network).is_chain:
        why = f"widens a keras.Sequential of layers in a row, not {network.name!r}"
    else:
        for step in Graph(network).steps:
            layer = step.layer
            known = is_product(layer) or by_unit(step) or by_channel(layer)
            if "/" in step.path or not (known or isinstance(layer, layers.Flatten)):
                why = f"cannot widen the layer {step.path!r} ({type(layer).__name__})"
                break
        else:
            if not any(is_product(step.layer) for step in Graph(network).steps):
                why = f"finds no layer to widen in {network.name!r}"
    if why:
        raise ValueError(
            f"{method} {why}: Dense, Conv1D and Conv2D of one group, batch "
            "normalisation, activations, dropout, pooling and Flatten are widened. "
            "With `max_width=1` any network is carried, and none grows."
        )
