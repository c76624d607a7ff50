"""Of what size the values of a network's tensors usually are."""

from __future__ import annotations

import dataclasses
import math

import keras

K = keras.layers
VECTORS = ("bias", "gamma", "beta", "scale", "alpha")  # names of what is no kernel
SMALL = 0.1  # the usual size of a vector's values
_DEPTHWISE = (K.DepthwiseConv1D, K.DepthwiseConv2D)
_SEPARABLE = (K.SeparableConv1D, K.SeparableConv2D)
_TRANSPOSED = (K.Conv1DTranspose, K.Conv2DTranspose, K.Conv3DTranspose)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What is known of a trained tensor.

    Attributes:
        fan_in: the inputs of an output; 0 of a vector: a bias, or a scale, of whatever
            shape.
        depthwise: whether its outputs are its last two axes, input and multiplier.
    """

    fan_in: int
    depthwise: bool = False

    @property
    def usual(self) -> float:
        """The standard deviation of fresh values: He's of kernels, 0.1 of vectors."""
        return math.sqrt(2 / self.fan_in) if self.fan_in else SMALL


def tensors_of(network: keras.Model) -> list[Tensor]:
    """One for each trainable variable of a network, in their order.

    >>> layers = [keras.Input((4, 4, 3)), keras.layers.DepthwiseConv2D(3)]
    >>> [(t.fan_in, t.depthwise) for t in tensors_of(keras.Sequential(layers))]
    [(9, True), (0, False)]
    """
    found: dict[int, Tensor] = {}
    for layer in network._flatten_layers():
        for variable in layer._trainable_variables:
            found.setdefault(id(variable), _tensor(layer, variable))
    return [found[id(v)] for v in network.trainable_variables]


def _tensor(layer, variable) -> Tensor:
    name, shape = variable.name, tuple(variable.shape)
    if len(shape) < 2 or any(part in name for part in VECTORS):
        return Tensor(0)
    if isinstance(layer, _DEPTHWISE) or (
        isinstance(layer, _SEPARABLE) and name == "depthwise_kernel"
    ):
        return Tensor(math.prod(shape[:-2]), depthwise=True)
    if isinstance(layer, _TRANSPOSED):
        each = math.prod(shape[:-2]) // math.prod(layer.strides)
        return Tensor(max(each, 1) * shape[-1])
    if isinstance(layer, K.EinsumDense):
        left, output = layer.equation.split("->")
        kernel = left.split(",")[1]
        sizes = dict(zip(kernel, shape, strict=True))
        return Tensor(math.prod(n for k, n in sizes.items() if k not in output))
    if isinstance(layer, K.Embedding):
        return Tensor(shape[-1])  # so that a word is about as long as what others give
    return Tensor(math.prod(shape[:-1]))
