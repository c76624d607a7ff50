"""Arrays at the size of another storage: what is new there is zero."""

from __future__ import annotations

import numpy as np


def resize_last(array: np.ndarray, size: int) -> np.ndarray:
    """Cuts or zero-pads the last axis of an array to `size`."""
    out = np.zeros((*array.shape[:-1], size), array.dtype)
    n = min(size, array.shape[-1])
    out[..., :n] = array[..., :n]
    return out


def resize_inputs(kernel: np.ndarray, inputs: int, positions: int = 1) -> np.ndarray:
    """Cuts or zero-pads the input axis (the last but one) of a kernel to `inputs`.

    A kernel that follows a `Flatten` has its rows in `positions` groups of channels.
    """
    *lead, rows, units = kernel.shape
    grouped = kernel.reshape(*lead, positions, rows // positions, units)
    resized = np.swapaxes(
        resize_last(np.swapaxes(grouped, -1, -2), inputs // positions), -1, -2
    )
    return resized.reshape(*lead, inputs, units)
