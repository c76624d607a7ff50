"""SI: Continual Learning Through Synaptic Intelligence.

Zenke, Poole, Ganguli, ICML 2017: the penalty c Σ_k Ω_k (θ̃_k - θ_k)², with Ω from how
much each weight brought the loss down while it moved (Eq. 4 and 5).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from keras import ops

from keras_lifelong.checks import Above
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training.importance import kept
from keras_lifelong.training.importance import pull
from keras_lifelong.training.importance import quadratic
from keras_lifelong.training.importance import values_of
from keras_lifelong.training.path_integral import PathIntegral


@register
class SI(LifelongModel):
    """Holds weights by their part in the fall of the losses of past tasks.

    In every step of a task, ω = -Σ g Δθ is summed up in the compiled loop, g being the
    gradient without SI's own penalty. After it, Ω grows by ω / (Δ² + ξ), Δ being how
    far the weight went in the whole task; as in the authors' program Ω is not below 0.
    It costs no pass over the data, and memory does not grow with the tasks.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        strength: c, at least 0.
        damping: ξ, above 0.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it.
    """

    carries_inputs = True
    carries_sequences = True

    def __init__(
        self,
        backbone,
        strength: Annotated[float, AtLeast(0)] = 0.1,
        damping: Annotated[float, Above(0)] = 0.1,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(SI, locals())
        super().__init__(backbone, seed, pretrained, name, options)
        self._way = PathIntegral(self.network.trainable_variables)

    def learn(self, task):
        shared = self.network.trainable_variables
        omega, start = kept(self.memory, ("si",), shared), values_of(shared)
        self._way.reset()
        yield self.phase(
            "training",
            shared,
            penalty=quadratic,
            gradients=self.see,
            after_step=self.moved,
            state=[*self.active_variables(), *self._way.variables],
            arguments={
                "strength": np.float32(2 * self.options.strength),
                "importance": omega,
                "anchor": start,
            },
        )
        ways = zip(self._way.work, shared, start, omega, strict=True)
        for i, (work, variable, before, past) in enumerate(ways):
            distance = np.square(ops.convert_to_numpy(variable) - before)
            grown = past + ops.convert_to_numpy(work) / (
                distance + self.options.damping
            )
            self.memory["si", i] = np.maximum(grown, 0).astype("float32")

    def see(self, gradients, weights, arguments):
        """Keeps g: the gradient of the task's loss, without that of the penalty."""
        pulls = pull(weights, arguments)
        pairs = zip(gradients, pulls, strict=False)  # not the head
        self._way.see([g - p for g, p in pairs])
        return gradients

    def moved(self, before, weights, arguments, learning_rate):
        """ω -= g Δθ."""
        del arguments, learning_rate
        shared = len(self._way.work)
        self._way.moved(before[:shared], weights[:shared])
        return [ops.convert_to_tensor(w) for w in weights]
