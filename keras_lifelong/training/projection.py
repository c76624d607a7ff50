"""What layers are given, as spaces, and steps at a right angle to them.

What a dense or convolutional layer computes of its inputs, or of the patches of an
image, is their product with its kernel: a step of the kernel at a right angle to them
changes nothing of it. A bias is the weight of one more input that is always 1.

Saha, Garg, Roy: Gradient Projection Memory for Continual Learning, ICLR 2021; Lin,
Yang, Fan, Zhang: TRGP, ICLR 2022.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.graph import Graph

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)
NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)


class ProjectedLayers:
    """The layers of a network whose steps can be projected, and its normalisation.

    Args:
        network: a built network.
        method: named in messages.
        does: what it does with these layers, as messages say it.

    Attributes:
        layers: dict of dense and convolutional layers that are trained, by path.
        own: variables of trained normalisation: each task has its own, since what these
            do is no product with their inputs.

    Raises:
        ValueError: if there are trained weights in another layer, naming it.
    """

    def __init__(
        self, network: keras.Model, method: str, does: str = "projects the steps of"
    ):
        self.graph = Graph(network)
        self.layers: dict[str, Any] = {}
        self.own: list = []
        for path, layer in self.graph.layers.items():
            if not getattr(layer, "trainable_variables", ()):
                continue
            if isinstance(layer, NORMALIZATIONS):
                self.own += layer.variables
            elif is_product(layer):
                self.layers[path] = layer
            else:
                raise ValueError(
                    f"{method} cannot carry the layer {path!r} "
                    f"({type(layer).__name__}): it {does} Dense, Conv1D "
                    "and Conv2D layers of one group, and gives each task its own "
                    "normalisation. Make the layer `trainable=False`, or take another "
                    "method."
                )

    def moments(self, x: np.ndarray, rows: int = 32) -> dict[str, np.ndarray]:
        """Σ r rᵀ over all inputs r that each layer is given for examples.

        Args:
            x: examples (n, …).
            rows: read at once.

        Returns:
            Arrays (d, d) of float64 by path; d is the length of an input or a patch,
            and 1 more where there is a bias.
        """
        found: dict[str, np.ndarray] = {}

        def call(step, *args, **kwargs):
            if step.path in self.layers:
                r = inputs_of(ops.convert_to_numpy(args[0]), step.layer)
                total = r.T @ r
                found[step.path] = found.get(step.path, 0) + total
            return step(*args, **kwargs)

        for start in range(0, len(x), rows):
            self.graph.run(ops.convert_to_tensor(x[start : start + rows]), call)
        return found


def is_product(layer) -> bool:
    """Whether a layer is a product of inputs, or patches, and one kernel."""
    if type(layer) is keras.layers.Dense:
        return True
    return type(layer) in CONVOLUTIONS and layer.groups == 1


def inputs_of(x: np.ndarray, layer) -> np.ndarray:
    """What a layer's kernel, as (d, outputs), is multiplied with, (n, d) of float64.

    Args:
        x: what the layer is given: (batch, …, d) of a dense one, images or sequences of
            a convolution.
        layer: Dense, Conv1D or Conv2D.

    >>> layer = keras.layers.Conv1D(1, 2)
    >>> _ = layer.build((None, 3, 1))
    >>> inputs_of(np.array([[[1.0], [2.0], [3.0]]]), layer).tolist()
    [[1.0, 2.0, 1.0], [2.0, 3.0, 1.0]]
    """
    if isinstance(layer, CONVOLUTIONS):
        x = _patches(x, layer)
    rows = x.reshape(-1, x.shape[-1]).astype("float64")
    if layer.use_bias:
        rows = np.concatenate([rows, np.ones((len(rows), 1))], 1)
    return rows


def _patches(x, layer):
    """Patches (batch, …, d) in the kernel's order: place by place, then channel."""
    if layer.data_format == "channels_first":
        x = np.moveaxis(x, 1, -1)
    axes = range(1, x.ndim - 1)
    spans = [
        (size - 1) * apart + 1
        for size, apart in zip(layer.kernel_size, layer.dilation_rate, strict=True)
    ]
    pads = [(0, 0)] * x.ndim
    for axis, span, stride in zip(axes, spans, layer.strides, strict=True):
        if layer.padding == "same":
            short = (-(-x.shape[axis] // stride) - 1) * stride + span - x.shape[axis]
            pads[axis] = (max(short, 0) // 2, max(short, 0) - max(short, 0) // 2)
        elif layer.padding == "causal":
            pads[axis] = (span - 1, 0)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, pads), spans, axis=tuple(axes)
    )
    strides = [slice(None, None, s) for s in layer.strides]
    apart = [slice(None, None, a) for a in layer.dilation_rate]
    windows = windows[(slice(None), *strides, slice(None), *apart)]
    windows = np.moveaxis(windows, len(spans) + 1, -1)  # channels last
    return windows.reshape(*windows.shape[: len(spans) + 1], -1)


def grown_basis(basis: np.ndarray, moments: np.ndarray, share: float) -> np.ndarray:
    """A basis with as few directions more as hold a share of all squared lengths.

    GPM, Eq. 9: the k largest directions of what the basis leaves of the inputs, with
    ‖R_proj‖² + ‖R̂_k‖² ≥ ε ‖R‖².

    Args:
        basis: M, orthonormal columns (d, k), k from 0.
        moments: R Rᵀ, (d, d).
        share: ε, in [0, 1].

    Returns:
        (d, k + new) of float32.

    >>> grown_basis(np.zeros((2, 0)), np.diag([9.0, 1.0]), 0.9).shape
    (2, 1)
    """
    basis = basis.astype("float64")
    wanted = share * np.trace(moments) - np.trace(basis.T @ moments @ basis)
    sizes, directions = _left_over(basis, moments)
    wanted -= 1e-9 * np.trace(moments)  # rounding asks for no direction
    new = int(np.searchsorted(np.cumsum(sizes), wanted)) + 1 if wanted > 0 else 0
    new = min(new, len(moments) - basis.shape[1])
    whole = np.concatenate([basis, directions[:, :new]], 1)
    return np.linalg.qr(whole)[0].astype("float32")


def _left_over(basis, moments):
    """Squared lengths and directions of what a basis leaves, the largest first."""
    rest = np.eye(len(moments)) - basis @ basis.T
    sizes, directions = np.linalg.eigh(rest @ moments @ rest)
    return np.maximum(sizes[::-1], 0), directions[:, ::-1]


def chosen_directions(
    basis: np.ndarray, moments: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """The fewest directions, of a basis and beyond it, that hold a share of inputs.

    TRGP's space of a task: the old directions and those of what the basis leaves are
    ranked together by the squared lengths that inputs have along them.

    Args:
        basis: M, orthonormal columns (d, k), k from 0.
        moments: R Rᵀ, (d, d).
        share: ε, in [0, 1].

    Returns:
        The basis, its columns as they were, with the new directions after them,
        (d, k + new) of float32; and which of its columns are the task's, int32.

    >>> basis = np.eye(3, dtype="float32")[:, :2]
    >>> basis, mine = chosen_directions(basis, np.diag([9.0, 1.0, 5.0]), 0.9)
    >>> basis.shape, mine.tolist()
    ((3, 3), [0, 2])
    """
    wide, count = basis.astype("float64"), basis.shape[1]
    sizes, directions = _left_over(wide, moments)
    along = (wide * (moments @ wide)).sum(0)
    sizes = np.concatenate([along, sizes[: len(moments) - count]])
    order = np.argsort(-sizes, kind="stable")
    wanted = (share - 1e-6) * np.trace(moments)  # of the basis' float32
    first = int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1
    chosen = np.sort(order[: first if wanted > 0 else 0])
    new = int((chosen >= count).sum())  # they are the first of what is left
    whole = np.concatenate([wide, directions[:, :new]], 1)
    added = np.linalg.qr(whole)[0][:, count:].astype("float32")
    return np.concatenate([basis, added], 1), chosen.astype("int32")


def rows_of(parts: list):
    """A kernel (…, outputs), and a bias (outputs,) if there is one, as (d, outputs)."""
    kernel, *bias = parts
    rows = ops.reshape(kernel, (-1, kernel.shape[-1]))
    return ops.concatenate([rows, bias[0][None]], axis=0) if bias else rows


def parts_of(rows, like: list) -> list:
    """The inverse of `rows_of`, in the shapes of others."""
    kernel, *bias = like
    if not bias:
        return [ops.reshape(rows, kernel.shape)]
    return [ops.reshape(rows[:-1], kernel.shape), rows[-1]]


def at_right_angle(steps: list, projector):
    """Steps of a kernel, and of a bias, without their part in a space.

    Args:
        steps: of the kernel (…, outputs), and of the bias (outputs,) if there is one.
        projector: M Mᵀ (d, d) of the space.

    Returns:
        As many tensors of the same shapes.
    """
    rows = rows_of(steps)
    return parts_of(rows - ops.matmul(projector, rows), steps)
