"""Heads as layers: where they are trained, how drawn, and their losses by name.

What a kind of head is stands in `keras_lifelong.heads`.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong import heads
from keras_lifelong.seeds import derive_seed


def __getattr__(name):
    if name == "LOSSES":  # what `compile(loss=)` takes: kinds may be added
        return (None, *heads.loss_choices())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def per_sample_loss(loss, y, logits):
    """Loss of each sample, (batch,).

    Args:
        loss: a `HeadLoss`, or its name, such as "softmax" (cross-entropy), "sigmoid"
            (binary cross-entropy, the mean over the outputs) or "squared" (mean over
            the outputs); see `keras_lifelong.heads.losses`.
        y: class indices (batch,), or targets (batch, outputs); see the loss.
        logits: (batch, outputs), or (batch, time, outputs) of a kind that is `by_step`.
    """
    return heads.get_loss(loss).per_sample(y, logits)


def activation(loss) -> str:
    """The Keras activation that turns logits into what `predict` returns."""
    return heads.get_loss(loss).activation


def draw(rows: int, units: int, *seed_parts) -> np.ndarray:
    """A new head's kernel (rows, units): Glorot uniform, from a seed of those parts."""
    init = keras.initializers.GlorotUniform(seed=derive_seed(*seed_parts))
    return ops.convert_to_numpy(init((rows, units))).copy()


@keras.saving.register_keras_serializable(package="keras_lifelong")
class HeadSlot(keras.layers.Dense):
    """The one place in which heads of a size are trained and used, a task at a time.

    The heads themselves are kept by the model, by task; they are copied in and out,
    so that one compiled training step serves all tasks. A slot saves nothing. It
    computes in float32, whatever the policy: losses of halves would be too coarse.
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **{**kwargs, "dtype": "float32"})

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


def mean_loss(loss, y, logits, weight):
    """Mean of `per_sample_loss` under the sample weights (batch,)."""
    return ops.sum(per_sample_loss(loss, y, logits) * weight) / ops.sum(weight)
