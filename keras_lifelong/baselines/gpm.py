"""GPM: Gradient Projection Memory for Continual Learning.

Saha, Garg, Roy, ICLR 2021: steps are taken at a right angle to the inputs that layers
had in earlier tasks, W ← W - α (I - M Mᵀ) ∇_W L (Eq. 6 and 7, Algorithm 1).
"""

from __future__ import annotations

from typing import Annotated

from keras_lifelong.baselines.projecting import Projecting
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training.projection import grown_basis


@register
class GPM(Projecting):
    """Changes nothing of what layers compute of the directions that mattered before.

    After each task, M_l of every dense and convolutional layer grows by the directions
    of its inputs that are missing to a share ε of their squared lengths. While later
    tasks are learned, the part of each step that lies in M_l is taken out. The whole
    step is projected, momentum and adaptive rates included; of plain SGD that is the
    gradient's projection. Biases, which the paper's networks have not, are the weights
    of one more input, always 1. Normalisation layers are each task's own, where the
    paper trains them on the first task alone; layers with other weights are refused.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        threshold: ε of the first task, in [0, 1]; a list has one for each layer that is
            projected, from the input on.
        increase: by how much ε is larger with each task, at least 0; it ends at 1.
        samples: how many training examples the inputs are taken from, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if there is a
            trained layer that is neither dense, convolutional nor normalisation, or a
            weight with a constraint; if `threshold` is a list of another length than
            there are layers to project; when a task is learned, if the optimizer is
            `ScheduleFreeAdamW`.
    """

    def __init__(
        self,
        backbone,
        threshold: Annotated[float, In(0, 1)] | list[Annotated[float, In(0, 1)]] = 0.95,
        increase: Annotated[float, AtLeast(0)] = 0.003,
        samples: Annotated[int, AtLeast(1)] = 300,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(GPM, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def learn(self, task):
        shared, bases = self.network.trainable_variables, self.bases()
        if any(m.shape[1] for m in bases):
            yield self.phase(
                "training at a right angle",
                shared,
                after_step=self.project,
                arguments={"projectors": [m @ m.T for m in bases]},
            )
        else:
            yield self.phase("training", shared)
        self.grow(task, bases)

    def grow(self, task, bases) -> None:
        """Adds what the inputs of a learned task need to every M."""
        moments = self.moments(task)
        for i, (basis, moment) in enumerate(zip(bases, moments, strict=True)):
            self.memory["gpm", i] = grown_basis(basis, moment, self.share(task.name, i))
