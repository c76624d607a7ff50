"""Heads: what a task's outputs are, and the loss they are trained with."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.seeds import derive_seed

LOSSES = (None, "softmax", "sigmoid")


def loss_kind(kind: str, loss: str | None) -> str:
    """What a head of `kind` is trained with: softmax, sigmoid or squared error.

    Args:
        kind: of the `TaskSpec`.
        loss: None for the kind's own, or "softmax" or "sigmoid" (one-versus-rest, as
            DEN's heads) for categorical heads.
    """
    if kind == "categorical":
        return loss or "softmax"
    return {"binary": "sigmoid", "multilabel": "sigmoid", "regression": "squared"}[kind]


def per_sample_loss(kind: str, y, logits):
    """Loss of each sample, (batch,).

    Args:
        kind: "softmax" (cross-entropy), "sigmoid" (binary cross-entropy, the mean over
            the outputs) or "squared" (mean over the outputs).
        y: class indices (batch,), or targets (batch, outputs).
        logits: (batch, outputs).
    """
    if kind == "softmax":
        shifted = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
        target = ops.one_hot(y, logits.shape[-1], dtype=logits.dtype)
        chosen = ops.sum(shifted * target, axis=-1)
        return ops.log(ops.sum(ops.exp(shifted), axis=-1)) - chosen
    if kind == "sigmoid":
        if len(y.shape) == 1:
            y = ops.one_hot(y, logits.shape[-1], dtype=logits.dtype)
        return ops.mean(ops.softplus(logits) - y * logits, axis=-1)
    return ops.mean(ops.square(logits - y), axis=-1)


def activation(kind: str) -> str:
    """The Keras activation that turns logits into what `predict` returns."""
    return {"softmax": "softmax", "sigmoid": "sigmoid", "squared": "linear"}[kind]


def draw(rows: int, units: int, *seed_parts) -> np.ndarray:
    """A new head's kernel (rows, units): Glorot uniform, from a seed of those parts."""
    init = keras.initializers.GlorotUniform(seed=derive_seed(*seed_parts))
    return ops.convert_to_numpy(init((rows, units))).copy()


@keras.saving.register_keras_serializable(package="keras_lifelong")
class HeadSlot(keras.layers.Dense):
    """The one place in which heads of a size are trained and used, a task at a time.

    The heads themselves are kept by the model, by task; they are copied in and out,
    so that one compiled training step serves all tasks. A slot saves nothing.
    """

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


def mean_loss(kind: str, y, logits, weight):
    """Mean of `per_sample_loss` under the sample weights (batch,)."""
    return ops.sum(per_sample_loss(kind, y, logits) * weight) / ops.sum(weight)
