"""Hypernetworks: layers that generate the weights of other networks, chunk by chunk.

One hypernetwork keeps several *slots*, each a whole set of weights of one network.
von Oswald et al.: Continual Learning with Hypernetworks, ICLR 2020; the structured
kind is that of the authors' hypnettorch.

    >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> shapes = [v.shape for v in network.trainable_variables]
    >>> hypernetwork = ChunkedHypernetwork(shapes, slots=2, chunk=5, units=[16])
    >>> [w.shape for w in hypernetwork.generate(0)]
    [(4, 3), (3,)]
    >>> wanted = {0: network.get_weights()}
    >>> error = hypernetwork.store(wanted, steps=500, learning_rate=0.01)[0]
    >>> error < 0.05
    True
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_lifelong.layers.hypernetwork_base import Hypernetwork
from keras_lifelong.registry import Registry

_KINDS = Registry("hypernetwork")
register = _KINDS.register
UNITS = ((25, 25), (10, 10))  # of inner networks, if none are given


@register("chunked")
@keras.saving.register_keras_serializable(package="keras_lifelong")
class ChunkedHypernetwork(Hypernetwork):
    """One inner network makes equal pieces of the whole parameter vector.

    The vector is cut anywhere, whatever the layers are; what the last piece has too
    much is dropped.

    Args:
        chunk: numbers in a piece.
        others: see `Hypernetwork`.

    Example: 784-100-100-10 without biases in 20 slots, as ARI stores it, takes 35,736
    parameters.

    >>> shapes = [(784, 100), (100, 100), (100, 10)]
    >>> ChunkedHypernetwork(shapes, slots=20).count_params()
    35736
    """

    def __init__(self, shapes, slots, chunk: int = 200, units=(100, 100), **kwargs):
        super().__init__(shapes, slots, units, **kwargs)
        if not isinstance(chunk, int) or chunk < 1:
            raise ValueError(
                f"`chunk` must be an integer of at least 1. Received: {chunk!r}"
            )
        self.chunk = chunk
        self._make([-(-self.size // chunk)], [chunk])

    def assemble(self, chunks):
        (values,) = chunks
        return ops.reshape(values, (ops.shape(values)[0], -1))[:, : self.size]

    def get_config(self):
        return {**super().get_config(), "chunk": self.chunk}


@register("structured")
@keras.saving.register_keras_serializable(package="keras_lifelong")
class StructuredChunkedHypernetwork(Hypernetwork):
    """Pieces follow the layers: each makes some output channels of one of them.

    A layer's outputs are cut into pieces of the greatest common divisor of all hidden
    layers' widths, its vectors (biases, the scales and shifts of the normalisation
    after it) along with its kernel; the last layer is one piece. Pieces of the same
    shapes come from the same inner network.

    Of a small network that would be more numbers than it has itself. Of what is None
    the first combination is taken, then, that is fewer: first narrower pieces, then
    slots that share the chunk embeddings, then smaller inner networks. Where none is,
    or all are given, it stays as it is.

    Args:
        units: None: (25, 25).
        width: output channels of a piece; None: the greatest common divisor.
        conditional: None: True.
        others: see `Hypernetwork`.

    Example: see `keras_lifelong.backbones`' `resnet32_thin`, whose 181,495 parameters
    in 20 slots take 132,290.

    >>> shapes = [(3, 3, 3, 4), (4,), (3, 3, 4, 8), (8,), (8, 10)]
    >>> hypernetwork = StructuredChunkedHypernetwork(shapes, slots=2)
    >>> hypernetwork.chunks  # of (3, 3, 3, 4) with (4,); (3, 3, 4, 4) with (4,); last
    [1, 2, 1]
    """

    def __init__(
        self,
        shapes,
        slots,
        units=None,
        width: int | None = None,
        conditional: bool | None = None,
        **kwargs,
    ):
        first = UNITS[0] if units is None else units
        own = conditional is not False
        super().__init__(shapes, slots, first, conditional=own, **kwargs)
        shapes, deep = self.shapes, self.depthwise
        layers = layers_of(shapes, deep)
        widths = [_width(shapes[k], k in deep) for k, *_ in layers[:-1]]
        divisor = functools.reduce(math.gcd, widths) if widths else 1
        if width is not None and any(n % width for n in widths):
            raise ValueError(
                f"`width` must divide the widths of all hidden layers, {widths}. "
                f"Received: {width!r}"
            )
        choices = itertools.product(
            UNITS if units is None else [units],
            [True, False]
            if conditional is None and self.slot_embedding
            else [conditional is not False],
            [w for w in range(divisor, 0, -1) if divisor % w == 0]
            if width is None
            else [width],
        )
        found = [(*choice, self._pieces(layers, choice[2])) for choice in choices]
        fewer = (c for c in found if self._count(*c) < self.size)
        units, self.conditional, self.width, self.kinds = next(fewer, found[0])
        self.units = list(units)
        self._make(
            [sum(p for _, p in members) for members in self.kinds.values()],
            [sum(math.prod(s) for s in shapes) for shapes in self.kinds],
        )

    def _pieces(self, layers, width: int) -> dict[tuple, list[tuple[list[int], int]]]:
        """Layers, and how many pieces they are, by the shapes of a piece."""
        kinds: dict[tuple, list[tuple[list[int], int]]] = {}
        for i, layer in enumerate(layers):
            whole = _width(self.shapes[layer[0]], layer[0] in self.depthwise)
            pieces = 1 if i == len(layers) - 1 else whole // width
            shapes = tuple(self._piece(k, pieces) for k in layer)
            kinds.setdefault(shapes, []).append((layer, pieces))
        return kinds

    def _piece(self, k: int, pieces: int) -> tuple[int, ...]:
        """The shape of a piece of a tensor; a depthwise kernel's last axes are one."""
        shape = self.shapes[k]
        if k in self.depthwise:
            shape = (*shape[:-2], shape[-2] * shape[-1])
        return (*shape[:-1], shape[-1] // pieces)

    def _count(self, units, conditional, width, kinds) -> int:
        """How many numbers that would be."""
        del width
        pieces = sum(p for members in kinds.values() for _, p in members)
        owners = self.slots if conditional else 1
        total = (
            owners * pieces * self.chunk_embedding + self.slots * self.slot_embedding
        )
        for shapes in kinds:
            sizes = [self.chunk_embedding + self.slot_embedding, *units]
            sizes.append(sum(map(math.prod, shapes)))
            total += sum((a + 1) * b for a, b in itertools.pairwise(sizes))
        return total

    def assemble(self, chunks):
        tensors = [None] * len(self.shapes)
        for (shapes, members), values in zip(self.kinds.items(), chunks, strict=True):
            n, at = ops.shape(values)[0], 0
            for layer, pieces in members:
                part, start = values[:, at : at + pieces], 0
                at += pieces
                for k, shape in zip(layer, shapes, strict=True):
                    end = start + math.prod(shape)
                    x = ops.reshape(part[:, :, start:end], (n, pieces, -1, shape[-1]))
                    x = ops.transpose(x, (0, 2, 1, 3))  # pieces side by side
                    tensors[k] = ops.reshape(x, (n, -1))
                    start = end
        return ops.concatenate(tensors, axis=-1)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def layers_of(
    shapes: Sequence[tuple[int, ...]], depthwise: Sequence[int] = ()
) -> list[list[int]]:
    """Which tensors belong together: a kernel, and the vectors of its width after it.

    Args:
        shapes: of the tensors.
        depthwise: places of the kernels of depthwise convolutions.

    >>> layers_of([(3, 3, 3, 4), (4,), (4,), (4, 10), (10,)])
    [[0, 1, 2], [3, 4]]
    >>> layers_of([(3, 3, 4, 1), (4,), (4, 10)], depthwise=[0])
    [[0, 1], [2]]
    """
    layers: list[list[int]] = []
    for i, shape in enumerate(shapes):
        first = layers[-1][0] if layers else None
        follows = first is not None and (
            _width(shapes[first], first in depthwise) == shape[-1]
        )
        if len(shape) == 1 and follows:
            layers[-1].append(i)
        else:
            layers.append([i])
    return layers


def _width(shape: tuple[int, ...], depthwise: bool) -> int:
    """Output channels of a kernel."""
    return shape[-2] * shape[-1] if depthwise else shape[-1]


def get(kind: str, shapes, slots, **arguments) -> Hypernetwork:
    """A hypernetwork by name.

    Raises:
        ValueError: for an unknown name, with the nearest ones, or argument.
    """
    return _KINDS.get(kind)(shapes, slots, **arguments)
