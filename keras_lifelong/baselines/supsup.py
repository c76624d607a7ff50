"""SupSup: Supermasks in Superposition.

Wortsman et al., NeurIPS 2020: weights are drawn once and never trained; a task is a
mask over them, found by edge-popup. The task is named when it is used (scenario GG).
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from keras_lifelong.baselines.subnetworks import Subnetworks
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register


@register
class SupSup(Subnetworks):
    """Finds a mask for each task over one set of random weights.

    The weights of a layer are of one size, with random signs ("signed constants"):
    ±√(2 / (fan_in · capacity)), so that the variance under a mask is that of He's
    initialisation. With `pretrained` they are those given. Biases and normalisation are
    each task's own, and trained.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        capacity: which share of each layer's weights a task uses, above 0 and at
            most 1.
        seed, pretrained, name: see `LifelongModel`. With `pretrained` weights each task
            begins with the largest of them, not with some drawn at random.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if a
            kernel has a regularizer or a constraint.
    """

    trains_weights = False

    def build_network(self, backbone):
        network = super().build_network(backbone)
        for kernel in self._parts.kernels:
            if kernel.regularizer is not None or kernel.constraint is not None:
                raise ValueError(
                    f"SupSup cannot carry the weight {kernel.path!r} of `backbone`: "
                    "kernels are never trained, so that its regularizer or constraint "
                    "would do nothing. Leave it out."
                )
        return network

    def __init__(
        self,
        backbone,
        capacity: Annotated[float, In(0, 1, open_low=True)] = 0.5,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(SupSup, locals())
        super().__init__(backbone, seed, pretrained, name, options)
        if not pretrained:
            first = self._parts.first
            for i in range(self.kernel_count):
                first[i] = signed_constants(first[i], self.options.capacity)


def signed_constants(weights: np.ndarray, share: float) -> np.ndarray:
    """The signs of weights (…, outputs), all of the size √(2 / (fan_in · share)).

    >>> signed_constants(np.array([[0.3], [-0.1]], "float32"), 1.0).tolist()
    [[1.0], [-1.0]]
    """
    fan_in = max(math.prod(weights.shape[:-1]), 1)
    size = math.sqrt(2 / (fan_in * share))
    return np.where(weights < 0, -size, size).astype("float32")
