"""How many floating point operations a plain Keras network takes for one example."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from keras_lifelong.graph import Graph
from keras_lifelong.graph import Step

_NORMALIZATIONS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
)
_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)


def count(model: keras.Model) -> int | None:
    """Operations of the layers with weights, for one example.

    Two for each multiplication with an addition in Dense layers and convolutions, one
    for each bias added, two for each value normalised. Activations, pooling, merges and
    tables of embeddings are not counted.

    Args:
        model: a `keras.Sequential` or a functional model, as `task_model` gives it.

    Returns:
        An int; None if a layer with weights is of another kind (recurrent, attention),
        or a size is not known.

    >>> import keras
    >>> count(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    14
    """
    total = 0
    for step in Graph(model).steps:
        found = _of(step)
        if found is None:
            return None
        total += found
    return total


def _of(step: Step) -> int | None:
    layer: Any = step.layer
    if isinstance(layer, layers.Embedding) or not getattr(layer, "weights", ()):
        return 0
    given: Any = step.inputs[0].shape[1:]
    made: Any = step.outputs[0].shape[1:]
    if None in given or None in made:
        return None
    size = math.prod(made)
    first = getattr(layer, "data_format", None) == "channels_first"
    places = math.prod(made[1:] if first else made[:-1])
    if isinstance(layer, _NORMALIZATIONS):
        return 2 * size
    biases = size if getattr(layer, "use_bias", False) else 0
    if isinstance(layer, _SEPARABLE):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, *_DEPTHWISE, layers.Dense)):
        kernels = [layer.kernel]
    else:
        return None
    if isinstance(layer, _TRANSPOSED):  # each place of the input is spread
        places = math.prod(given[1:] if first else given[:-1])
    return biases + sum(2 * places * math.prod(kernel.shape) for kernel in kernels)
