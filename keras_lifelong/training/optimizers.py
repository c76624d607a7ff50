"""Optimizers: one that published results rest on, and what tells them apart."""

from __future__ import annotations

import keras
from keras import ops

_BY_SINGLE_WEIGHTS = frozenset(
    {
        "Adadelta",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "Ftrl",
        "Lion",
        "Nadam",
        "RMSprop",
        "SGD",
        "RMSpropFromOne",
    }
)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class RMSpropFromOne(keras.optimizers.RMSprop):
    """RMSprop as TensorFlow 1 had it: the averages of squares begin at 1, not at 0.

    Keras' own takes first steps of 3.2 learning rates whatever the gradient; this one
    begins with steps of a learning rate times the gradient. LASEM's results are with
    it and `epsilon=1e-10`, which is the default here.

    Args: as `keras.optimizers.RMSprop`.

    Example:

    >>> import numpy as np
    >>> w = keras.Variable([0.0])
    >>> optimizer = RMSpropFromOne(0.1, rho=0.0)
    >>> optimizer.apply([np.array([5.0], "float32")], [w])  # rho 0: forgets the 1
    >>> round(float(w[0]), 3)
    -0.1
    """

    def __init__(self, learning_rate=0.001, rho=0.9, epsilon=1e-10, **kwargs):
        super().__init__(learning_rate, rho=rho, epsilon=epsilon, **kwargs)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        for velocity in self._velocities:
            velocity.assign(ops.ones(velocity.shape, velocity.dtype))


def serialized(optimizer: keras.optimizers.Optimizer) -> dict:
    """As `keras.optimizers.serialize` has it, and alike on every backend.

    On PyTorch Keras names its own classes within that backend, where no other finds
    them.

    >>> serialized(keras.optimizers.Adam())["module"]
    'keras.optimizers'
    """
    return _public(keras.optimizers.serialize(optimizer))


def _public(config):
    if isinstance(config, list):
        return [_public(part) for part in config]
    if not isinstance(config, dict):
        return config
    config = {key: _public(value) for key, value in config.items()}
    if str(config.get("module")).startswith("keras.src.backend.torch.optimizers."):
        config.update(module="keras.optimizers", registered_name=None)
    return config


def by_single_weights(optimizer: dict) -> bool:
    """Whether each weight's step depends on that weight's own gradients alone.

    Then tensors can be stacked and trained as one. Clipping by norm, and rules that
    look at a whole tensor (Adafactor, LAMB, Muon), forbid it; so does an optimizer
    that is not known here.

    Args:
        optimizer: as `keras.optimizers.serialize` has it.

    Example:

    >>> serialize = keras.optimizers.serialize
    >>> by_single_weights(serialize(keras.optimizers.Adam()))
    True
    >>> by_single_weights(serialize(keras.optimizers.Adam(clipnorm=1.0)))
    False
    >>> by_single_weights(serialize(RMSpropFromOne()))
    True
    """
    config = optimizer["config"]
    clips = config.get("clipnorm") or config.get("global_clipnorm")
    return optimizer["class_name"] in _BY_SINGLE_WEIGHTS and not clips
