"""Finetune: one network trained on each task in turn, with nothing to remember by."""

from __future__ import annotations

from keras_lifelong.model import LifelongModel
from keras_lifelong.model.registry import register


@register
class Finetune(LifelongModel):
    """Trains the whole network on every task in turn, a head for each.

    Example:

    ```python
    model = kl.Finetune(backbone)
    model.compile("adam", metrics=["accuracy"])
    result = model.fit_stream(kl.streams.get("digits"), epochs=10)
    ```
    """

    carries_inputs = True
    carries_sequences = True
