"""L2: every weight is held near its value before the task."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training.importance import values_of


@register
class L2(LifelongModel):
    """Adds `strength / 2 · ‖W - W_previous‖²` over the shared weights (DEN, section 4).

    Args:
        backbone: `keras.Sequential` of hidden layers.
        strength: λ, at least 0.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    carries_inputs = True
    carries_sequences = True

    def __init__(
        self,
        backbone,
        strength: Annotated[float, AtLeast(0)] = 0.5,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(L2, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def learn(self, task):
        shared = self.network.trainable_variables
        first = self.task_names == [task.name]
        arguments = {
            "strength": np.float32(0 if first else self.options.strength),
            "anchor": values_of(shared),
        }
        yield self.phase("training", shared, penalty=self.penalty, arguments=arguments)

    def penalty(self, weights, arguments):
        pairs = zip(weights, arguments["anchor"], strict=False)  # not the head
        distance = sum(ops.sum(ops.square(w - anchor)) for w, anchor in pairs)
        return 0.5 * arguments["strength"] * distance
