"""GEM: Gradient Episodic Memory for Continual Learning.

Lopez-Paz, Ranzato, NeurIPS 2017: the step nearest to the gradient of a task that raises
the loss of no earlier task on the examples kept of it (Eq. 8).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.baselines.replaying import Replaying
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.layers import head as heads
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training import buffers
from keras_lifelong.training.cone import flat
from keras_lifelong.training.cone import nearest_in_cone
from keras_lifelong.training.cone import split
from keras_lifelong.training.data import power_of_two


@register
class GEM(Replaying):
    """Takes no step that raises the loss of any earlier task on its examples.

    In every step there is a gradient for each earlier task, on all its examples, so
    that a step costs as many passes as there are tasks; each task compiles its own.
    Heads of earlier tasks stay as they are. Earlier examples are read as in use:
    without dropout, and by the statistics that batch normalisation has.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        budget: how many examples of all tasks are kept, at least 1.
        max_bytes: how many bytes they may take; None: any number.
        margin: γ, at least 0: how far the step is turned towards earlier tasks; the
            paper's is 0.5.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if tasks are
            of several kinds, or of several sizes where the loss is not
            "softmax" or "ctc".
    """

    policy = "balanced"

    def __init__(
        self,
        backbone,
        budget: Annotated[int, AtLeast(1)] = 500,
        max_bytes: Annotated[int, AtLeast(1)] | None = None,
        margin: Annotated[float, AtLeast(0)] = 0.5,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(GEM, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def replaying(self, past, shared):
        return self.phase(
            "training with episodic memory",
            shared,
            gradients_with=self.project,
            state=[*self.active_variables(), *past.stack.variables],
            arguments={"tasks": self.by_task(past)},
        )

    def by_task(self, past) -> list[dict]:
        """The examples of each earlier task, all filled up to as many rows."""
        counts = [len(self.memory[buffers.KEY, n, buffers.Y]) for n in past.names]
        rows, start, found = power_of_two(max(counts)), 0, []
        for count in counts:
            part = {}
            for column in ("x", "y", "head"):
                array = past.arguments[column][start : start + count]
                part[column] = np.resize(array, (rows, *array.shape[1:]))
            counts_as = past.arguments["weight"][start : start + count]
            counts_as = counts_as if counts_as.any() else np.ones(count)
            part["weight"] = np.zeros(rows, "float32")
            part["weight"][:count] = counts_as
            found.append(part)
            start += count
        return found

    def project(self, gradients, weights, arguments, gradients_of):
        """The solution of Eq. 8, for g of the task and g_k of each earlier one."""

        def slope(old):
            def loss():
                logits = self.old_logits(self.features(old["x"]), old)
                kind = self.loss_key()[0]
                value = heads.mean_loss(kind, old["y"], logits, old["weight"])
                return value, value

            return flat(gradients_of(loss, weights)[1])

        others = ops.stack([slope(old) for old in arguments["tasks"]])
        turned = nearest_in_cone(flat(gradients), others, self.options.margin)
        return split(turned, gradients)
