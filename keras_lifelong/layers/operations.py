"""Operations of a searched cell (PAR's six), with the padding of their papers.

They are those of DARTS (Liu et al., ICLR 2019) at width C: ReLU first, batch
normalisation last. Padding is symmetric, as in PyTorch, on whose results the published
cells rest: Keras' "same" pads strided layers on one side only.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

K = keras.layers
OPERATIONS = (
    *("none", "max_pool_3x3", "avg_pool_3x3"),
    *("skip_connect", "sep_conv_3x3", "dil_conv_3x3"),
)
LOWEST = -1e30  # what max pooling pads with


def pad(x, by: int, value: float = 0.0):
    """Pads height and width of (batch, height, width, channels) on both sides."""
    if keras.backend.standardize_dtype(x.dtype) == "float16":
        value = max(value, -65504.0)  # its least number: PyTorch takes no other
    widths = [[0, 0], [by, by], [by, by], [0, 0]]
    return ops.pad(x, widths, mode="constant", constant_values=value)


def padded_shape(shape, by: int) -> tuple:
    """The shape that `pad` gives."""
    batch, height, width, channels = shape
    grown = (n and n + 2 * by for n in (height, width))  # None where not known
    return (batch, *grown, channels)


def _norm(layer: _Operation):
    """Batch normalisation with PyTorch's constants, for an operation."""
    return K.BatchNormalization(
        momentum=0.9,
        epsilon=1e-5,
        center=layer.affine,
        scale=layer.affine,
        dtype=layer.dtype_policy,
    )


class _Operation(keras.layers.Layer):
    """What all have in common: a width, a stride and whether norms are affine."""

    def __init__(self, filters: int, strides: int = 1, affine: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.affine = affine

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        s = self.strides
        return (batch, -(-height // s), -(-width // s), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "affine": self.affine,
        }


@keras.saving.register_keras_serializable(package="keras_lifelong")
class Zero(_Operation):
    """No connection: zeros of the right shape."""

    def call(self, x, training=False):
        del training
        s = self.strides
        return ops.zeros_like(x[:, ::s, ::s])


@keras.saving.register_keras_serializable(package="keras_lifelong")
class Pool(_Operation):
    """Pooling of 3x3 windows; the average leaves out what was padded.

    Args:
        mode: "max" or "avg".
        norm: whether a normalisation follows, as in the searched network.
        filters, strides, affine: as in all operations.
    """

    def __init__(self, filters, mode="max", norm=False, **kwargs):
        super().__init__(filters, **kwargs)
        self.mode = mode
        self.norm = _norm(self) if norm else None

    def build(self, input_shape):
        if self.norm is not None:
            self.norm.build(self.compute_output_shape(input_shape))

    def call(self, x, training=False):
        if self.mode == "max":
            x = ops.max_pool(pad(x, 1, LOWEST), 3, self.strides, padding="valid")
        else:
            ones = pad(ops.ones_like(x[:1, :, :, :1]), 1)
            count = ops.average_pool(ones, 3, self.strides, padding="valid")
            x = ops.average_pool(pad(x, 1), 3, self.strides, padding="valid") / count
        return x if self.norm is None else self.norm(x, training=training)

    def get_config(self):
        norm = self.norm is not None
        return {**super().get_config(), "mode": self.mode, "norm": norm}


@keras.saving.register_keras_serializable(package="keras_lifelong")
class FactorizedReduce(_Operation):
    """Halves height and width: two strided 1x1 convolutions, one of them shifted.

    As in the authors' program its normalisation exists, and counts, but is not applied.
    """

    def __init__(self, filters, strides=2, **kwargs):
        super().__init__(filters, strides=2, **kwargs)
        common: dict[str, Any] = {"strides": 2, "use_bias": False}
        common["dtype"] = self.dtype_policy
        self.first = K.Conv2D(filters // 2, 1, **common)
        self.second = K.Conv2D(filters - filters // 2, 1, **common)
        self.norm = _norm(self)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)
        self.norm.build((*input_shape[:-1], self.filters))

    def call(self, x, training=False):
        del training
        x = ops.relu(x)
        shifted = ops.pad(x[:, 1:, 1:], [[0, 0], [0, 1], [0, 1], [0, 0]])
        return ops.concatenate([self.first(x), self.second(shifted)], axis=-1)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class ReluConvNorm(_Operation):
    """ReLU, 1x1 convolution, normalisation: brings a cell's input to its width."""

    def __init__(self, filters, **kwargs):
        super().__init__(filters, **kwargs)
        self.convolution = K.Conv2D(
            filters, 1, self.strides, use_bias=False, dtype=self.dtype_policy
        )
        self.norm = _norm(self)

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, x, training=False):
        return self.norm(self.convolution(ops.relu(x)), training=training)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class SeparableNorm(_Operation):
    """ReLU, depthwise 3x3 and pointwise convolution, normalisation.

    Args:
        dilation: of the depthwise kernel. With a stride, every so many rows and
            columns of the dilated convolution are kept, which is the same.
        filters, strides, affine: as in all operations.
    """

    def __init__(self, filters, dilation: int = 1, **kwargs):
        super().__init__(filters, **kwargs)
        self.dilation = dilation
        self.depthwise = K.DepthwiseConv2D(
            3,
            strides=1 if dilation > 1 else self.strides,
            dilation_rate=dilation,
            use_bias=False,
            dtype=self.dtype_policy,
        )
        self.pointwise = K.Conv2D(filters, 1, use_bias=False, dtype=self.dtype_policy)
        self.norm = _norm(self)

    def build(self, input_shape):
        self.depthwise.build(padded_shape(input_shape, self.dilation))
        self.pointwise.build(input_shape)
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, x, training=False):
        x = self.depthwise(pad(ops.relu(x), self.dilation))
        if self.dilation > 1:
            x = x[:, :: self.strides, :: self.strides]
        return self.norm(self.pointwise(x), training=training)

    def get_config(self):
        return {**super().get_config(), "dilation": self.dilation}


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TwiceSeparable(_Operation):
    """Two `SeparableNorm` in a row, the first strided."""

    def __init__(self, filters, **kwargs):
        super().__init__(filters, **kwargs)
        common: dict[str, Any] = {"affine": self.affine, "dtype": self.dtype_policy}
        self.first = SeparableNorm(filters, strides=self.strides, **common)
        self.second = SeparableNorm(filters, **common)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(self.compute_output_shape(input_shape))

    def call(self, x, training=False):
        return self.second(self.first(x, training=training), training=training)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class Skip(_Operation):
    """The identity."""

    def call(self, x, training=False):
        del training
        return x


def operation(
    name: str, filters: int, strides: int = 1, searching: bool = False, dtype=None
):
    """The layer of an operation.

    Args:
        name: one of `OPERATIONS`.
        filters: C, the width of its input and output.
        strides: 1 or 2.
        searching: as in the searched network: norms without scale and shift, and one
            after every pooling.
        dtype: its policy, as in every layer of Keras.

    Raises:
        ValueError: if the name is not one of these.

    >>> operation("dil_conv_3x3", 64, strides=2).dilation
    2
    """
    common: dict[str, Any] = {
        "strides": strides,
        "affine": not searching,
        "dtype": dtype,
    }
    if name == "none":
        return Zero(filters, **common)
    if name in ("max_pool_3x3", "avg_pool_3x3"):
        return Pool(filters, mode=name[:3], norm=searching, **common)
    if name == "skip_connect":
        return (FactorizedReduce if strides > 1 else Skip)(filters, **common)
    if name == "sep_conv_3x3":
        return TwiceSeparable(filters, **common)
    if name == "dil_conv_3x3":
        return SeparableNorm(filters, dilation=2, **common)
    raise ValueError(f"`name` must be one of {OPERATIONS}. Received: {name!r}")
