"""Losses of heads by name: of each sample, from its label and its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_lifelong.registry import Registry

_LOSSES = Registry("loss of heads")


class HeadLoss:
    """A loss of heads. Derive from it and decorate the class with `@register_loss`.

    Attributes:
        activation: Keras' name of what turns logits into what `predict` returns.
    """

    activation = "linear"

    def per_sample(self, y: Any, logits: Any) -> Any:
        """Loss of each sample, (batch,), written with `keras.ops`.

        Args:
            y: class indices (batch,), or targets (batch, outputs).
            logits: (batch, outputs).
        """
        raise NotImplementedError(f"{type(self).__name__} gives its loss.")


def register_loss(name: str) -> Callable[[type], type]:
    """Class decorator: makes a `HeadLoss` known by a name, for `HeadKind.losses`.

    Raises:
        ValueError: if the name is taken.
    """
    return _LOSSES.register(name)


def get_loss(name: str | HeadLoss) -> HeadLoss:
    """The loss of that name; a loss is itself.

    Raises:
        ValueError: if there is none, with the nearest ones.

    >>> get_loss("softmax").activation
    'softmax'
    """
    return name if isinstance(name, HeadLoss) else _LOSSES.get(name)()


@register_loss("softmax")
class Softmax(HeadLoss):
    """Cross-entropy of class indices."""

    activation = "softmax"

    def per_sample(self, y, logits):
        from keras import ops

        shifted = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
        target = ops.one_hot(y, logits.shape[-1], dtype=logits.dtype)
        chosen = ops.sum(shifted * target, axis=-1)
        return ops.log(ops.sum(ops.exp(shifted), axis=-1)) - chosen


@register_loss("sigmoid")
class Sigmoid(HeadLoss):
    """Binary cross-entropy, the mean over the outputs; of indices, one-versus-rest."""

    activation = "sigmoid"

    def per_sample(self, y, logits):
        from keras import ops

        if len(y.shape) == 1:
            y = ops.one_hot(y, logits.shape[-1], dtype=logits.dtype)
        return ops.mean(ops.softplus(logits) - y * logits, axis=-1)


@register_loss("squared")
class Squared(HeadLoss):
    """Squared error, the mean over the outputs."""

    def per_sample(self, y, logits):
        from keras import ops

        return ops.mean(ops.square(logits - y), axis=-1)
