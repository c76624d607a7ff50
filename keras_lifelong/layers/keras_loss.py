"""Losses of Keras, and functions of a user's own, as losses of heads."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_lifelong import heads
from keras_lifelong.heads.losses import HeadLoss

# These compare class indices with what is predicted of each class.
_OF_INDICES = (keras.losses.SparseCategoricalCrossentropy,)


def _classes() -> dict[Any, Callable]:
    """Keras' classes of losses by Keras' functions of them.

    >>> _classes()[keras.losses.kl_divergence].__name__
    'KLDivergence'
    """
    everything = vars(keras.losses)
    classes = {k.lower(): v for k, v in everything.items() if inspect.isclass(v)}
    functions = filter(inspect.isfunction, everything.values())
    spelled = {function: function.__name__.replace("_", "") for function in functions}
    return {f: classes[name] for f, name in spelled.items() if name in classes}


_CLASS_OF = _classes()


@dataclasses.dataclass(frozen=True, eq=True)
class KerasLoss(HeadLoss):
    """A loss of Keras for heads of a kind, as `keras.Model` computes it.

    The loss is given what `predict` returns, or the logits if it says `from_logits`.
    Labels that are class indices come as one-hot rows, but for
    `SparseCategoricalCrossentropy` and functions, which are given the indices.

    Args:
        kind: of the `TaskSpec`.
        loss: `keras.losses.Loss`, or a function `(y, predictions) -> (batch,)`.

    Raises:
        ValueError: if the loss has one value for a batch, and none for each example.
    """

    kind: str
    loss: Any

    @property
    def activation(self) -> str:  # type: ignore[override]
        """That of the kind's own loss: `predict` returns the same whatever it is."""
        return heads.get_loss(heads.get(self.kind).loss(None)).activation

    def per_sample(self, y, logits):
        loss, outputs = self.loss, logits
        if not _from_logits(loss):
            outputs = keras.activations.get(self.activation)(logits)
        by_rows = isinstance(loss, keras.losses.Loss)
        if by_rows and len(y.shape) == 1 and not isinstance(loss, _OF_INDICES):
            y = ops.one_hot(y, logits.shape[-1], dtype=outputs.dtype)
        found = loss.call(y, outputs) if by_rows else loss(y, outputs)
        found = ops.convert_to_tensor(found)
        shape = tuple(found.shape)
        if not shape or shape[0] != logits.shape[0]:
            raise ValueError(
                "`loss` must give a value for each example, (batch,). Received: "
                f"{_name(loss)}, which gave shape {shape} of a batch of "
                f"{logits.shape[0]}."
            )
        found = ops.cast(found, "float32")
        return ops.mean(ops.reshape(found, (found.shape[0], -1)), axis=-1)


def as_loss(loss: Any) -> Any:
    """What `compile(loss=...)` was given, as it is kept.

    Args:
        loss: None or one of our names, which stay as they are; Keras' name of a loss,
            its function or a `keras.losses.Loss`, whose configuration will do; or a
            function of `(y, predictions)` that gives each example's loss.

    Raises:
        ValueError: if it is none of these, or sums where the mean is taken.

    >>> as_loss("sigmoid"), type(as_loss("categorical_hinge")).__name__
    ('sigmoid', 'CategoricalHinge')
    """
    if loss is None or loss in heads.loss_choices():
        return loss
    found = loss
    if isinstance(loss, str | dict):
        try:
            found = keras.losses.get(loss)
        except (ValueError, TypeError):
            found = None
    if inspect.isfunction(found) and found in _CLASS_OF:
        found = _CLASS_OF[found]()
    if not callable(found) or isinstance(found, type):
        raise ValueError(
            f"`loss` must be None, one of {tuple(heads.loss_choices())}, a name or "
            "object of keras.losses, or a function (y, predictions) -> (batch,). "
            f"Received: {loss!r}."
        )
    if getattr(found, "reduction", "mean") not in ("sum_over_batch_size", "mean"):
        raise ValueError(
            "`loss` must be the mean over a batch: reduction='sum_over_batch_size'. "
            f"Received: {_name(found)} with reduction={found.reduction!r}."
        )
    if getattr(found, "ignore_class", None) is not None:
        raise ValueError(
            "`loss` must count all classes: leave examples out, or give them the "
            "`sample_weight` 0. Received: "
            f"{_name(found)} with ignore_class={found.ignore_class!r}."
        )
    return found


def loss_of(kind: str, loss: Any) -> str | KerasLoss:
    """What heads of a kind are trained with: one of our names, or a `KerasLoss`.

    Args:
        kind: of the `TaskSpec`.
        loss: as `as_loss` gives it.
    """
    if loss is None or isinstance(loss, str):
        return heads.get(kind).loss(loss)
    return KerasLoss(kind, loss)


def _from_logits(loss) -> bool:
    return bool(getattr(loss, "_fn_kwargs", {}).get("from_logits", False))


def _name(loss) -> str:
    return getattr(loss, "__name__", type(loss).__name__)
