"""Layers whose kernel is made of a part for all tasks and a mapping for one.

Each is an ordinary Keras layer otherwise: `shared_variables` are what several tasks
may use together, `mapping_variables` what turns them into one task's layer.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.seeds import derive_seed


class _Factorised:
    """Mixin of Keras layers with a kernel that is computed.

    Subclasses give `_build_factors(kernel_shape)` and `generate_kernel()`.
    """

    def __init__(self, *args, seed: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.seed = seed
        self.shared_variables: list[keras.Variable] = []
        self._mapping: list[keras.Variable] = []

    def _factor(self, name, shape, shared=False):
        """Adds a factor; all are drawn Glorot uniform, biases included."""
        seed = None if self.seed is None else derive_seed(self.seed, name)
        variable = self.add_weight(
            name=name, shape=shape, initializer=keras.initializers.GlorotUniform(seed)
        )
        (self.shared_variables if shared else self._mapping).append(variable)
        return variable

    def _build_kernel(self, kernel_shape):
        self._build_factors(tuple(int(n) for n in kernel_shape))
        units = int(kernel_shape[-1])
        self.bias = self._factor("bias", (units,)) if self.use_bias else None
        self.built = True

    @property
    def mapping_variables(self) -> list:
        """What one task has for itself: its factors and the bias."""
        return list(self._mapping)

    @property
    def kernel(self):
        """The generated kernel."""
        return self.generate_kernel()

    def penalty(self):
        """A scalar to add to the loss; 0 where the mechanism has none."""
        return ops.zeros(())

    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


class _Conv2D(_Factorised):
    def build(self, input_shape):
        if self.groups != 1 or self.data_format != "channels_last":
            raise ValueError(
                f"{type(self).__name__} takes ungrouped, channels-last convolutions. "
                f"Received: groups={self.groups}, data_format={self.data_format!r}."
            )
        self._build_kernel((*self.kernel_size, input_shape[-1], self.filters))


class _Tucker:
    """W = K x_1 U1 x_2 U2 ...: a square factor for every axis of the kernel."""

    def _build_factors(self, kernel_shape):
        self.core = self._factor("core", kernel_shape, shared=True)
        self.factors = [
            self._factor(f"factor_{axis}", (n, n))
            for axis, n in enumerate(kernel_shape)
        ]

    def generate_kernel(self):
        kernel = ops.convert_to_tensor(self.core)
        for factor in self.factors:  # contracts the first axis, appends its image
            kernel = ops.tensordot(kernel, factor, axes=[[0], [0]])
        return kernel

    def penalty(self):
        """Sum over the factors of the Frobenius norm of U^T U - I, a scalar."""
        total = 0.0
        for factor in self.factors:
            gram = ops.matmul(ops.transpose(factor), factor)
            off = gram - ops.eye(factor.shape[0], dtype=gram.dtype)
            total += ops.sqrt(ops.sum(ops.square(off)) + 1e-12)
        return total


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TuckerConv2D(_Tucker, _Conv2D, keras.layers.Conv2D):
    """A convolution with a core shared by tasks and square factors of one task's own.

    The kernel is W[a, b, c, d] = sum K[p, q, r, s] U1[p, a] U2[q, b] U3[r, c] U4[s, d]
    with a core K of the kernel's own shape. Nothing is of reduced rank: what is saved
    is that K serves all tasks (Bulat et al., 2020; LASEM, section 4).

    Args:
        seed: from which factors are drawn, Glorot uniform; None: Keras' global seed.
        others: as `keras.layers.Conv2D`, ungrouped and channels-last; the initializers
            given are not used.

    Attributes:
        core: (kernel height, kernel width, inputs, filters); in `shared_variables`.
        factors: four square matrices; with the bias in `mapping_variables`.

    Example:

    >>> import numpy as np
    >>> layer = TuckerConv2D(4, 3, padding="same", seed=0)
    >>> layer(np.ones((1, 8, 8, 2), "float32")).shape
    TensorShape([1, 8, 8, 4])
    >>> [tuple(v.shape) for v in layer.mapping_variables]
    [(3, 3), (3, 3), (2, 2), (4, 4), (4,)]
    """


@keras.saving.register_keras_serializable(package="keras_lifelong")
class TuckerDense(_Tucker, _Factorised, keras.layers.Dense):
    """A Dense layer with a shared core and two square factors; see `TuckerConv2D`."""

    def build(self, input_shape):
        self._build_kernel((input_shape[-1], self.units))


@keras.saving.register_keras_serializable(package="keras_lifelong")
class DeconvFactorizedConv2D(_Conv2D, keras.layers.Conv2D):
    """DF-CNN's convolution: a small shared knowledge base, unfolded by each task.

    With a knowledge base K (1, s, s, c_K), s = ceil(k / 2) for k x k kernels, a task's
    transposed convolution V of stride 2 gives D = deconv(K, V) + v of k x k x c_D, and
    a contraction C (c_D, inputs, filters) the kernel W = D · C; no activation in
    between (Lee, Stokes, Eaton: IJCAI 2019; LASEM, section 4).

    Args:
        knowledge_channels: c_K. None: a third of inputs + filters.
        deconv_channels: c_D. None: two thirds of inputs + filters.
        seed: as in `TuckerConv2D`.
        others: as `keras.layers.Conv2D` with square kernels, ungrouped, channels-last.

    Attributes:
        knowledge_base: (1, s, s, c_K); in `shared_variables`. All else is mapping.

    Raises:
        ValueError: for kernels that are not square, or channels below 1.

    Example:

    >>> layer = DeconvFactorizedConv2D(32, 3, knowledge_channels=16, deconv_channels=24)
    >>> layer.build((None, 32, 32, 3))
    >>> tuple(layer.knowledge_base.shape)
    (1, 2, 2, 16)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        knowledge_channels: int | None = None,
        deconv_channels: int | None = None,
        **kwargs,
    ):
        super().__init__(filters, kernel_size, **kwargs)
        for name, value in (
            ("knowledge_channels", knowledge_channels),
            ("deconv_channels", deconv_channels),
        ):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"`{name}` must be an integer of at least 1, or None. "
                    f"Received: {value!r}."
                )
        if len(set(self.kernel_size)) != 1:
            raise ValueError(
                "`kernel_size` must be square, since the kernel is unfolded by stride "
                f"2. Received: {self.kernel_size}."
            )
        self.knowledge_channels = knowledge_channels
        self.deconv_channels = deconv_channels

    def _build_factors(self, kernel_shape):
        *_, inputs, filters = kernel_shape
        side = -(-kernel_shape[0] // 2)
        both = inputs + filters
        knowledge = self.knowledge_channels or max(round(both / 3), 1)
        deconv = self.deconv_channels or max(round(2 * both / 3), 1)
        self.knowledge_base = self._factor(
            "knowledge_base", (1, side, side, knowledge), shared=True
        )
        self.deconv_kernel = self._factor("deconv_kernel", (3, 3, deconv, knowledge))
        self.deconv_bias = self._factor("deconv_bias", (deconv,))
        self.contraction = self._factor("contraction", (deconv, inputs, filters))

    def generate_kernel(self):
        unfolded = ops.conv_transpose(
            ops.convert_to_tensor(self.knowledge_base),
            _laid_out(self.deconv_kernel),
            strides=2,
            padding="same",
            output_padding=1 - self.kernel_size[0] % 2,  # exactly k x k
            data_format="channels_last",
        )
        unfolded = unfolded[0] + self.deconv_bias
        return ops.tensordot(unfolded, self.contraction, axes=[[2], [0]])

    def get_config(self):
        return {
            **super().get_config(),
            "knowledge_channels": self.knowledge_channels,
            "deconv_channels": self.deconv_channels,
        }


def _laid_out(kernel):
    """The same kernel, in memory as PyTorch wants it for a gradient.

    Of one input channel its own way from Keras' layout ends in an error.
    """
    kernel = ops.transpose(ops.convert_to_tensor(kernel), (3, 2, 0, 1))
    kernel = ops.reshape(ops.reshape(kernel, (-1,)), kernel.shape)
    return ops.transpose(kernel, (2, 3, 1, 0))
