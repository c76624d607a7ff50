"""DERPP: Dark Experience for General Continual Learning (DER++).

Buzzega et al., NeurIPS 2020, Eq. 6: the loss of the task, and on two batches of a
memory α ‖z - h_θ(x')‖², with the logits z that were kept, and β ℓ(y'', f_θ(x'')).
"""

from __future__ import annotations

from typing import Annotated

from keras import ops

from keras_lifelong.baselines.replaying import Replaying
from keras_lifelong.baselines.replaying import both
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register


@register
class DERPP(Replaying):
    """Replays old examples with what the network said of them, and with their labels.

    Three batches go through the network as one: the task's, one whose logits are to be
    what they were (the mean squared difference over the outputs of their task's head),
    and one for its labels. Network and all heads are trained. β = 0 is DER.

    The paper keeps logits from along the way, as examples are seen; here examples and
    logits are taken at the end of a task.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        budget: how many examples of all tasks are kept, at least 1.
        max_bytes: how many bytes they may take; None: any number.
        replay_batch: how many of them each step draws, for each of the two terms.
        alpha: α, at least 0.
        beta: β, at least 0.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if tasks are
            of several kinds, or of several sizes where the loss is not
            "softmax" or "ctc".
    """

    keeps_logits = True

    def __init__(
        self,
        backbone,
        budget: Annotated[int, AtLeast(1)] = 500,
        max_bytes: Annotated[int, AtLeast(1)] | None = None,
        replay_batch: Annotated[int, AtLeast(1)] = 32,
        alpha: Annotated[float, AtLeast(0)] = 0.5,
        beta: Annotated[float, AtLeast(0)] = 0.5,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(DERPP, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def replaying(self, past, shared):
        return self.joint_phase(
            "training with dark experience", past, shared, self.dark_loss
        )

    def dark_loss(self, x, y, weight, arguments):
        """ℓ(y, f(x)), and α ‖z - h(x')‖² + β ℓ(y'', f(x''))."""
        n, rows = x.shape[0], self.options.replay_batch
        dark, labelled = (self.drawn(arguments, rows) for _ in range(2))
        features = self.features(both(x, dark, labelled), training=True)
        loss = self.head_loss(y, self.head(features[:n]), weight)
        said = self.old_logits(features[n : n + rows], dark)
        present = ops.take(arguments["present"], dark["head"], axis=0)
        ones = [1] * (len(said.shape) - 2)  # for time steps, if there are any
        present = ops.reshape(present, (rows, *ones, -1)) + ops.zeros_like(said)
        apart = ops.where(present > 0, ops.square(said - dark["logits"]), 0.0)
        distance = ops.sum(apart) / ops.sum(present)
        again = self.old_loss(features[n + rows :], labelled)
        return loss, self.options.alpha * distance + self.options.beta * again
