"""Separable convolutions as what they are: a depthwise one, then one of 1 x 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_lifelong.graph import Step
from keras_lifelong.graph import Wire

K = keras.layers
_PARTS = {
    K.SeparableConv1D: (K.DepthwiseConv1D, K.Conv1D),
    K.SeparableConv2D: (K.DepthwiseConv2D, K.Conv2D),
}
_BOTH = ("dtype", "trainable")
_FIRST = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
_SECOND = ("filters", "activation", "use_bias", "bias_initializer")
_GIVEN = {
    "depthwise_initializer": (0, "depthwise_initializer"),
    "depthwise_regularizer": (0, "depthwise_regularizer"),
    "depthwise_constraint": (0, "depthwise_constraint"),
    "pointwise_initializer": (1, "kernel_initializer"),
    "pointwise_regularizer": (1, "kernel_regularizer"),
    "pointwise_constraint": (1, "kernel_constraint"),
    "bias_regularizer": (1, "bias_regularizer"),
    "bias_constraint": (1, "bias_constraint"),
    "activity_regularizer": (1, "activity_regularizer"),
}


def separated(steps: Sequence[Step]) -> list[Step]:
    """The steps, with two in the place of each separable convolution.

    The second has the layer's path, the first "path/depthwise". Both have its weights.
    """
    found: list[Step] = []
    parts: dict[str, tuple] = {}
    count = 1 + max((w.number for s in steps for w in s.outputs), default=0)
    for step in steps:
        if type(step.layer) not in _PARTS or step.layer.data_format != "channels_last":
            found.append(dataclasses.replace(step, number=len(found)))
            continue
        if step.path not in parts:
            parts[step.path] = _parts(step.layer, step.inputs[0].shape)
        first, second = parts[step.path]
        channels = step.inputs[0].shape[-1] * step.layer.depth_multiplier
        shape = (*step.outputs[0].shape[:-1], channels)
        between = Wire(count, shape, step.outputs[0].dtype)
        count += 1
        path = f"{step.path}/depthwise"
        found.append(Step(len(found), first, path, step.args, step.kwargs, (between,)))
        found.append(Step(len(found), second, step.path, (between,), {}, step.outputs))
    return found


def _parts(layer: Any, shape: tuple) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    config, kinds = layer.get_config(), _PARTS[type(layer)]
    given: list[dict[str, Any]] = [{key: config[key] for key in _BOTH} for _ in kinds]
    given[0].update({key: config[key] for key in _FIRST}, use_bias=False)
    given[1].update({key: config[key] for key in _SECOND}, kernel_size=1)
    for key, (part, name) in _GIVEN.items():
        if config.get(key) is not None:
            given[part][name] = config[key]
    given[0]["name"], given[1]["name"] = f"{layer.name}_depthwise", layer.name
    first, second = (
        kind.from_config(arguments)
        for kind, arguments in zip(kinds, given, strict=True)
    )
    first.build(shape)
    second.build((*first.compute_output_shape(shape)[:-1], first.kernel.shape[-2]))
    weights = layer.get_weights()
    first.set_weights(weights[:1])
    second.set_weights(weights[1:])
    return first, second
