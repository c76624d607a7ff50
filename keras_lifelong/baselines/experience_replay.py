"""ExperienceReplay: On Tiny Episodic Memories in Continual Learning (ER).

Chaudhry et al., 2019: each step is taken on a batch of the task and one drawn from a
memory M of earlier tasks, θ ← SGD(B_n ∪ B_M, θ) (Algorithm 1).
"""

from __future__ import annotations

from typing import Annotated

from keras_lifelong.baselines.replaying import Replaying
from keras_lifelong.baselines.replaying import both
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training import buffers
from keras_lifelong.training.replay import mean_over_both


@register
class ExperienceReplay(Replaying):
    """Trains on the examples of a task and, in every step, on some of earlier tasks.

    The network and all heads are trained, each old example by the head of its own task.
    Both batches go through the network as one, so that batch normalisation sees both.

    The memory is filled at the end of a task, where the paper does so at every step:
    over one pass of the data that is the same choice.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        budget: how many examples of all tasks are kept, at least 1.
        max_bytes: how many bytes they may take; None: any number.
        replay_batch: how many of them each step draws, at least 1.
        policy: which are kept: "reservoir" (any of all examples seen, with equal
            chances), "balanced" (as many of each class of each task, at random) or
            "herding" (as many, those whose mean features are close to the class's).
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
        replay_batch: Annotated[int, AtLeast(1)] = 32,
        policy: buffers.Policy = "reservoir",
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(ExperienceReplay, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def replaying(self, past, shared):
        return self.joint_phase("training with replay", past, shared, self.replay_loss)

    def replay_loss(self, x, y, weight, arguments):
        """The mean loss over B_n ∪ B_M."""
        n, rows = x.shape[0], self.options.replay_batch
        old = self.drawn(arguments, rows)
        features = self.features(both(x, old), training=True)
        loss = self.head_loss(y, self.head(features[:n]), weight)
        return mean_over_both(loss, weight, self.old_loss(features[n:], old), rows)
