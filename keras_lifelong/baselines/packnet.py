"""PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning.

Mallya, Lazebnik, CVPR 2018: a task is trained on the weights that are free, of which
the smallest are then pruned and free for the next; the others are retrained and stay.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.baselines.masking import Masking
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training import hooks
from keras_lifelong.training.masks import largest


@register
class PackNet(Masking):
    """Packs tasks into one network, each into weights that those before left free.

    A task uses its own weights and those of all earlier tasks, which never change:
    there is no forgetting. Pruning is by magnitude, each layer by itself. The paper
    fixes biases and normalisation after the first task; here each task has its own.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        prune: which share of the free weights is pruned after a task, and so left to
            the next ones, above 0 and below 1; the paper's are 0.5 and 0.75. A list
            has one for each task in turn, from 0 on, the last also for those that come
            after: `[0.75, 0.667, 0.5, 0.0]` shares a network equally among four tasks,
            and a fifth then has none of its own.
        retrain_epochs: after pruning, at least 1; None: as many as of training.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, or an empty list, naming
            it; if a kernel has a constraint other than NonNeg.
    """

    def __init__(
        self,
        backbone,
        prune: Annotated[float, In(0, 1, open_low=True, open_high=True)]
        | list[Annotated[float, In(0, 1, open_high=True)]] = 0.75,
        retrain_epochs: Annotated[int, AtLeast(1)] | None = None,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(PackNet, locals())
        if options["prune"] == []:
            raise ValueError("`prune` must have a number for a task. Received: []")
        super().__init__(backbone, seed, pretrained, name, options)

    def learn(self, task):
        used = self.used(without=task.name)
        known = [self.mask(task.name, i) for i in range(self.kernel_count)]
        if all(mask is not None for mask in known) and known:  # it comes back
            mine = [m & ~u for m, u in zip(known, used, strict=True)]
            yield self.masked("retraining", mine)
            uses = known
        else:
            yield self.masked("training", [~u for u in used])
            mine = self.prune(used, self.share(task.name))
            epochs = self.options.retrain_epochs
            yield self.masked("retraining", mine, epochs=epochs)
            uses = [u | m for u, m in zip(used, mine, strict=True)]
        found = []
        kernels = zip(self.all_weights(), self._parts.kernels, used, mine, strict=True)
        for old, kernel, taken, hold in kernels:
            values = np.where(hold, ops.convert_to_numpy(kernel), old)
            found.append(np.where(taken | hold, values, 0))
        self.settle(task.name, found, uses)

    def share(self, name: str) -> float:
        """Which share of the free weights a task leaves."""
        prune = self.options.prune
        if not isinstance(prune, list):
            return prune
        return prune[min(self.task_index(name), len(prune) - 1)]

    def prune(self, used: list, share: float) -> list[np.ndarray]:
        """Sets the smallest of the free weights to 0; returns which others are left."""
        left = []
        for kernel, taken in zip(self._parts.kernels, used, strict=True):
            values, free = ops.convert_to_numpy(kernel), int((~taken).sum())
            left.append(largest(values, ~taken, free - int(share * free)))
            kernel.assign(np.where(taken | left[-1], values, 0))
        return left

    def masked(self, name, free, **kwargs):
        """A phase that moves some weights of the kernels alone."""
        kernels = zip(self._parts.kernels, free, strict=True)
        network = self.network.trainable_variables
        variables = [*network, *self.head.trainable_variables]
        held = hooks.masked(variables, {id(v): moves for v, moves in kernels})
        return self.phase(name, network, **held, **kwargs)

    def tidy(self):
        """Weights that no task uses any more are free again, and 0."""
        super().tidy()
        for i, used in enumerate(self.used()):
            if ("weights", i) in self.memory:
                self.memory["weights", i] = np.where(used, self.memory["weights", i], 0)
