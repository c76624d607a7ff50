"""LwF: Learning without forgetting.

Li, Hoiem: ECCV 2016. While a new task is learned, the outputs of the old heads on its
data are to stay what they were: no old data is needed.
"""

from __future__ import annotations

from typing import Annotated

import keras
import numpy as np
from keras import ops

from keras_lifelong.checks import Above
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training import distillation


@register
class LwF(LifelongModel):
    """Shares one network among all tasks and distils every old head's outputs.

    The loss is the new task's and λ times the sum over old heads of the divergence of
    their softened outputs from those of the network before the task. Network, new head
    and old heads are all trained, as in the paper.

    Args:
        backbone: `keras.Sequential` of hidden layers.
        strength: λ, at least 0; the paper's is 1.
        temperature: T, above 0; the paper's is 2.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it, or a task is
            neither categorical nor binary or shares its head with others.

    Example:

    ```python
    model = kl.LwF(backbone, strength=1.0)
    model.compile("adam", metrics=["accuracy"])
    result = model.fit_stream(kl.streams.get("digits"), epochs=10)
    ```
    """

    carries_inputs = True

    def __init__(
        self,
        backbone,
        strength: Annotated[float, AtLeast(0)] = 1.0,
        temperature: Annotated[float, Above(0)] = 2.0,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(LwF, locals())
        super().__init__(backbone, seed, pretrained, name, options)
        self._stacks: dict[tuple, list] = {}

    def learn(self, task):
        shared = self.network.trainable_variables
        others = [name for name in self.task_names if name != task.name]
        if not others:
            yield self.phase("training", shared)
            return
        keys = [self.head_key(name) for name in others]
        old = distillation.stack_heads(
            [tuple(self.memory[*k, part] for part in PARTS) for k in keys]
        )
        stack = self._stack(old)
        arguments = {
            "network": [ops.convert_to_numpy(v) for v in self.network.variables],
            "heads": old,
            "strength": np.float32(self.options.strength),
        }

        def publish():
            kernels, biases = (ops.convert_to_numpy(v) for v in stack)
            for key, kernel, bias in zip(keys, kernels, biases, strict=False):
                like = self.memory[*key, "bias"]
                head = distillation.unstack_head(kernel, bias, like)
                for part, value in zip(PARTS, head, strict=True):
                    self.memory[*key, part] = value

        yield self.phase(
            "learning without forgetting",
            [*shared, *stack],
            loss=self.distilled_loss,
            state=[*self.active_variables(), *stack],
            arguments=arguments,
            publish=publish,
        )

    def _stack(self, old):
        """Variables that hold the old heads while they are trained."""
        shape = old["kernel"].shape
        if shape not in self._stacks:
            self._stacks[shape] = [
                keras.Variable(old[part], name=f"old_{part}") for part in PARTS
            ]
        for variable, part in zip(self._stacks[shape], PARTS, strict=True):
            variable.assign(old[part])
        return self._stacks[shape]

    def distilled_loss(self, x, y, weight, arguments):
        """Cross-entropy of the task and λ times distillation on the old heads."""
        shape = tuple(arguments["heads"]["kernel"].shape)
        kernel, bias = self._stacks[shape]
        features = self.features(x, training=True)
        before = distillation.features_under(self.network, arguments["network"], x)
        losses = distillation.divergence(
            distillation.stacked_logits(arguments["heads"], before),
            distillation.stacked_logits({"kernel": kernel, "bias": bias}, features),
            self.options.temperature,
        )
        present = ops.convert_to_tensor(arguments["heads"]["present"])
        means = ops.sum(losses * weight[:, None], axis=0) / ops.sum(weight)
        loss = self.head_loss(y, self.head(features), weight)
        return loss + arguments["strength"] * ops.sum(means * present)

    def check_spec(self, name, spec, others):
        super().check_spec(name, spec, others)
        distillation.check_head(type(self).__name__, name, spec)


PARTS = ("kernel", "bias")
