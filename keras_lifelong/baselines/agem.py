"""AGEM: Efficient Lifelong Learning with A-GEM.

Chaudhry et al., ICLR 2019: where the gradient g of a task would raise the mean loss of
earlier ones, it is projected, g̃ = g - (gᵀg_ref / g_refᵀg_ref) g_ref (Eq. 11).
"""

from __future__ import annotations

from typing import Annotated

from keras import ops

from keras_lifelong.baselines.replaying import Replaying
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register


@register
class AGEM(Replaying):
    """Takes no step that raises the mean loss of examples of earlier tasks.

    g_ref is the gradient of the mean loss of a batch drawn from the memory, each
    example read by the head of its own task. Heads of earlier tasks stay as they are.
    Earlier examples are read as in use: without dropout, and by the statistics that
    batch normalisation has, which go on to follow the new task.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        budget: how many examples of all tasks are kept, at least 1.
        max_bytes: how many bytes they may take; None: any number.
        replay_batch: how many of them each step draws, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if tasks are
            of several kinds, or of several sizes where the loss is not
            "softmax" or "ctc".
    """

    def __init__(
        self,
        backbone,
        budget: Annotated[int, AtLeast(1)] = 500,
        max_bytes: Annotated[int, AtLeast(1)] | None = None,
        replay_batch: Annotated[int, AtLeast(1)] = 256,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(AGEM, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def replaying(self, past, shared):
        return self.phase(
            "training with averaged episodic memory",
            shared,
            gradients_with=self.project,
            state=[*self.active_variables(), *past.stack.variables],
            arguments=past.arguments,
        )

    def project(self, gradients, weights, arguments, gradients_of):
        """g̃ of Eq. 11, where gᵀg_ref is below 0."""
        old = self.drawn(arguments, self.options.replay_batch)

        def reference():
            loss = self.old_loss(self.features(old["x"]), old)
            return loss, loss

        return projected(gradients, gradients_of(reference, weights)[1])


def projected(gradients: list, reference: list) -> list:
    """g, or where gᵀg_ref < 0 what is left of it at a right angle to g_ref.

    >>> kept = projected([ops.convert_to_tensor([1.0, -1.0])], [ops.array([0.0, 2.0])])
    >>> ops.convert_to_numpy(kept[0]).tolist()
    [1.0, 0.0]
    """
    pairs = list(zip(gradients, reference, strict=True))
    along = sum(ops.sum(g * r) for g, r in pairs)
    square = sum(ops.sum(ops.square(r)) for r in reference)
    part = ops.where(along < 0, along / ops.maximum(square, 1e-20), 0.0)
    return [g - part * r for g, r in pairs]
