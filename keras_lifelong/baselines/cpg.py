"""CPG: Compacting, Picking and Growing for Unforgetting Continual Learning.

Hung et al., NeurIPS 2019: a task picks weights of earlier tasks by a mask that is
learned, together with the weights that are free; if that is not good enough the network
grows; then the new weights are pruned little by little, and what is pruned is free.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.baselines.masking import Masking
from keras_lifelong.baselines.subnetworks import Searched
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.metrics.directions import sign
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training import masks
from keras_lifelong.training.importance import values_of
from keras_lifelong.training.widening import Room

FIRST, LEAST = 0.01, 0.005  # of a picking mask: where it begins, and from where it is 1


@register
class CPG(Masking):
    """Picks old weights, trains free ones, grows if it must, and compacts the new.

    A mask M̂ of real values begins at 0.01 on all weights of earlier tasks; those at
    0.005 or more are picked, and the gradient goes through as it is. Then the smallest
    of the new weights are pruned in `prune_steps`, s_i = s (1 - (1 - i / n)³), each
    followed by `prune_epochs`. There is no forgetting.

    With a `target`, the network grows while the main metric on validation data does
    not reach it, and, where it does, pruning ends before it falls below. To grow is to
    open units that are there from the start, closed: `max_width` is how many times as
    wide the network may become, its last layer apart. Sequential chains of dense and
    convolutional layers grow; any network is carried with `max_width=1`.

    The paper gives each task a goal of its own, that of fine-tuning, and trains M̂ with
    an optimizer of its own: here M̂ takes a part of the step, `pick_rate`. Free weights
    begin as they were drawn. Biases and normalisation are each task's own.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        target: of the main metric on validation data; None: it is not asked for.
        max_width: at least 1.
        growth: which share of the base width is added at a time, above 0 and at most 1.
        prune: s, which share of the new weights is pruned in the end, in [0, 1).
        prune_steps: n, at least 1.
        prune_epochs: after each of them, at least 1; None: as many as of training.
        pick_rate: which part of a step M̂ takes, above 0 and at most 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if
            `max_width` is above 1 and there is a layer that cannot be widened, naming
            it; before a task is trained, if there is a target and no validation data.
    """

    def __init__(
        self,
        backbone,
        target: float | None = None,
        max_width: Annotated[float, AtLeast(1)] = 1.0,
        growth: Annotated[float, In(0, 1, open_low=True)] = 0.25,
        prune: Annotated[float, In(0, 1, open_high=True)] = 0.75,
        prune_steps: Annotated[int, AtLeast(1)] = 4,
        prune_epochs: Annotated[int, AtLeast(1)] | None = 1,
        pick_rate: Annotated[float, In(0, 1, open_low=True)] = 0.1,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(CPG, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        self._room: Room | None = None
        if self.options.max_width > 1:
            self._room = Room(backbone, self.options.max_width, self.seed, "CPG")
            backbone = self._room.network
        network = super().build_network(backbone)
        self._searched = Searched(self._parts.kernels)
        return network

    def learn(self, task):
        self.log_initial(task.name)
        used = self.used(without=task.name)
        for i, weights in enumerate(self.all_weights()):
            self._searched.weights[i].assign(weights)
            self._searched.scores[i].assign(np.full(weights.shape, FIRST, "float32"))
        free = self.free(used)
        result = yield self.picking("picking", used, free)
        while self.misses(result) and self.grow(task, result):
            free = self.free(used)
            result = yield self.picking("picking, wider", used, free)
        out_of_reach = self.misses(result)  # then there is nothing to hold
        new, steps = free, self.options.prune_steps
        for i in range(steps if self.options.prune else 0):
            share = self.options.prune * (1 - (1 - (i + 1) / steps) ** 3)
            before = values_of(self.changing())
            left = self.smaller(free, new, share)
            epochs = self.options.prune_epochs
            result = yield self.picking("compacting", used, left, epochs=epochs)
            if self.misses(result) and not out_of_reach:
                self.put_back(before)
                break
            new = left
        picked = [self.picked(i) & mask for i, mask in enumerate(used)]
        ends = zip(new, self._searched.weights, self.values_of(used), strict=True)
        weights = [np.where(n, ops.convert_to_numpy(w), old) for n, w, old in ends]
        uses = [p | n for p, n in zip(picked, new, strict=True)]
        self.settle(task.name, weights, uses)

    # Picking

    def picking(self, name, used, free, **kwargs):
        """A phase of M̂ on the used weights, and of the free ones."""
        search = self._searched
        for i, kernel in enumerate(self._parts.kernels):
            weights = ops.convert_to_numpy(search.weights[i])
            kernel.assign(weights * (free[i] | (used[i] & self.picked(i))))
        others = [v for v in self._parts.others if v.trainable]
        return self.phase(
            name,
            [*search.weights, *search.scores, *others],
            loss=self.picking_loss,
            gradients=self.of_free,
            after_step=self.held,
            state=self.active_variables(),
            arguments={
                "used": [u.astype("float32") for u in used],
                "free": [f.astype("float32") for f in free],
            },
            **kwargs,
        )

    def picked(self, index) -> np.ndarray:
        """Which weights of a kernel its mask picks, bool."""
        return ops.convert_to_numpy(self._searched.scores[index]) >= LEAST

    def picking_loss(self, x, y, weight, arguments):
        """The task's loss under θ ⊙ (M on used weights, and the free ones)."""
        replaced = {}
        search, used, free = self._searched, arguments["used"], arguments["free"]
        for i, kernel in enumerate(self._parts.kernels):
            score = ops.convert_to_tensor(search.scores[i])
            hard = ops.cast(score >= LEAST, score.dtype)
            mask = hard + score - ops.stop_gradient(score)
            weights = ops.convert_to_tensor(search.weights[i])
            replaced[id(kernel)] = weights * (used[i] * mask + free[i])
        features = masks.call_with(self.network, replaced, x, training=True)
        return self.head_loss(y, self.head(features), weight)

    def of_free(self, gradients, weights, arguments):
        """Weights that are used or closed have no gradient; others have no M̂."""
        del weights
        n = self.kernel_count
        held = [*arguments["free"], *arguments["used"]]
        return [
            *(g * part for g, part in zip(gradients[: 2 * n], held, strict=True)),
            *gradients[2 * n :],
        ]

    def held(self, before, weights, arguments, learning_rate):
        """They are what they were, M̂ takes a part of its step; and the kernels θ."""
        del learning_rate
        after, n = [ops.convert_to_tensor(w) for w in weights], self.kernel_count
        free, used = arguments["free"], arguments["used"]
        for i, kernel in enumerate(self._parts.kernels):
            after[i] = ops.where(free[i] > 0, after[i], before[i])
            step = self.options.pick_rate * (after[n + i] - before[n + i])
            after[n + i] = before[n + i] + used[i] * step
            hard = ops.cast(after[n + i] >= LEAST, "float32")
            kernel.assign(after[i] * (used[i] * hard + free[i]))
        return after

    # Compacting

    def smaller(self, free, new, share) -> list[np.ndarray]:
        """The largest of the new weights, all but a share of those that were free."""
        found = []
        for weights, whole, mine in zip(self._searched.weights, free, new, strict=True):
            count = int(whole.sum()) - int(share * whole.sum())
            values = ops.convert_to_numpy(weights)
            found.append(masks.largest(values, mine, count))
        return found

    def changing(self) -> list:
        """All variables that a phase changes."""
        search = self._searched
        return [*self.active_variables(), *search.weights, *search.scores]

    def put_back(self, values) -> None:
        """Assigns copies of the values of `changing()`."""
        for variable, value in zip(self.changing(), values, strict=True):
            variable.assign(value)

    def values_of(self, used) -> list[np.ndarray]:
        """Weights that tasks use, and those that none does as they were drawn."""
        first = self._parts.first[: self.kernel_count]
        return [
            np.where(u, w, f)
            for u, w, f in zip(used, self.all_weights(), first, strict=True)
        ]

    def tidy(self):
        """Weights that no task uses any more are as they were drawn."""
        super().tidy()
        if ("weights", 0) in self.memory:
            for i, values in enumerate(self.values_of(self.used())):
                self.memory["weights", i] = values

    # Growing

    def misses(self, result) -> bool:
        """Whether the target is not reached."""
        if self.options.target is None:
            return False
        score, direction = self.score_of(result), sign(self.main_metric)
        return direction * score < direction * self.options.target

    def score_of(self, result) -> float:
        """The main metric on validation data at the end of a phase."""
        return float(result.history[f"val_{self.main_metric.name}"][-1])

    def widths(self) -> list[int]:
        """How many units of each dense or convolutional layer are open."""
        assert self._room is not None
        kept = self.memory.get(("width", 0), self._room.base)
        limits = zip(kept, self._room.base, self._room.most, strict=True)
        return [min(max(int(width), base), most) for width, base, most in limits]

    def free(self, used) -> list[np.ndarray]:
        """Weights between open units that no task uses."""
        if self._room is None:
            return [~u for u in used]
        opened = self._room.opened(self.widths())
        pairs = zip(self._parts.kernels, used, strict=True)
        return [opened[id(kernel)] & ~u for kernel, u in pairs]

    def grow(self, task, result) -> bool:
        """Opens units in each layer; False if there is no room."""
        if self._room is None:
            return False
        widths = self.widths()
        wider = self._room.wider(widths, self.options.growth)
        for name, before, now in zip(self._room.names, widths, wider, strict=True):
            if now > before:
                score, target = self.score_of(result), self.options.target
                why = {"score": score, "target": target}
                self.log(task.name, name, "add", now - before, **why)
        self.memory["width", 0] = np.array(wider, "int32")
        return wider != widths

    def log_initial(self, task):
        if self._room is None:
            super().log_initial(task)
        elif not self.growth:
            for name, units in zip(self._room.names, self._room.base, strict=True):
                self.log(task, name, "initial", units)

    # What is refused

    def load_task(self, task):
        loaded = super().load_task(task)
        if self.options.target is not None and loaded.validation is None:
            raise ValueError(
                "`target` needs validation data to be measured on. Task "
                f"{loaded.name!r} has none."
            )
        return loaded

    def check_settings(self, task, settings):
        if self.options.target is not None:
            settings.check_validates("Whether `target` is reached")
