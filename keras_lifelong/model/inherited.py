"""What `keras.Model` offers beside: it works, or is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from numpy.typing import ArrayLike

from keras_lifelong.model import arguments
from keras_lifelong.streams import forms
from keras_lifelong.streams.columns import columns
from keras_lifelong.streams.columns import each

_FIT = "`fit`, `fit_stream` and `train_on_batch` train, in a loop of their own"
_SCORE = "`evaluate` gives loss and metrics; callbacks find them in their logs"

# methods of keras.Model that belong to its own loop, and what to use instead
REFUSED = {
    "train_step": _FIT,
    "test_step": _SCORE,
    "predict_step": "`predict` and `forward` give outputs",
    "make_train_function": _FIT,
    "make_test_function": _SCORE,
    "make_predict_function": "`predict` and `forward` give outputs",
    "compute_loss": "`compile(loss=…)` and the losses of layers say what is minimised",
    "stateless_compute_loss": "`compile(loss=…)` says what is minimised",
    "compute_loss_and_updates": "`compile(loss=…)` says what is minimised",
    "compute_metrics": _SCORE,
    "get_metrics_result": _SCORE,
    "add_loss": "call `add_loss` in a layer of the backbone",
    "quantize": "`task_model(name).quantize(…)` quantizes one task's network",
}


class InheritedMixin(keras.Model):
    """Keras' calls of a single batch, and refusals of what belongs to Keras' loop."""

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int | str, float] | None = None,
        return_dict: bool = False,
        *,
        task: str | None = None,
    ) -> Any:
        """Learns one batch of a task: `fit` of one epoch that has one batch.

        All that a method does to learn a task it does for this batch, and the optimizer
        begins anew, as with every `fit`: to learn batch after batch, pass what gives
        them to `fit`.

        Args:
            x, y: the batch.
            sample_weight, class_weight: see `fit`.
            return_dict: True for a dict of the loss and metrics of training.
            task: name; may be left out when only one task is known.

        Returns:
            The loss; a list, where `fit` logs metrics too; or a dict.

        Raises:
            ValueError: as `fit`.
        """
        name = self.which(task) if task is None else task
        x = columns(x, self.backbone_input_shape, "`x`")
        x = each(forms.as_array, x)
        given = arguments.task_of(
            x,
            y,
            name,
            self.task_spec(name) if name in self.task_names else None,
            self.backbone_input_shape,
            validation_split=0.0,
            sample_weight=sample_weight,
            class_weight=class_weight,
        )
        history = self.fit(given, batch_size=max(len(x), 1), shuffle=False, verbose=0)
        logs = {name: float(values[-1]) for name, values in history.history.items()}
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        return_dict: bool = False,
        *,
        task: str | None = None,
    ) -> Any:
        """Scores one batch of a task: see `evaluate`."""
        return self.evaluate(
            x, y, sample_weight=sample_weight, return_dict=return_dict, task=task
        )


def _refusal(name: str, instead: str):
    def refused(self, *args, **kwargs):
        del args, kwargs
        raise ValueError(
            f"`{name}` belongs to the loop of keras.Model, which "
            f"{type(self).__name__} does not use. Received: a call of it. "
            f"Accepted: {instead}."
        )

    refused.__name__ = name
    refused.__doc__ = f"Refused: {instead}."
    return refused


for _name, _instead in REFUSED.items():
    setattr(InheritedMixin, _name, _refusal(_name, _instead))
