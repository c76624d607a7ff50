"""Small hooks of a `Phase`, which compose: weight decay, clipping, masks, part steps.

A `gradients` hook changes the gradients before the optimizer's step, an `after_step`
hook the weights after it. Each reads what it needs from the phase's `arguments`, by
the names that it says. `chain` makes one hook of several of the same kind.

Weight decay is meant as PyTorch means it, *coupled*: `torch.optim.SGD(weight_decay=λ)`
adds λw to the gradient, after clipping and before momentum. Keras' `weight_decay` is
decoupled: it shrinks weights beside the optimizer's step, and its clipping would see
whatever a loss adds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Chain:
    """Hooks in a row; equal hooks make equal chains, so that programs are kept.

    Args:
        hooks: all `gradients` hooks or all `after_step` hooks.
    """

    hooks: tuple[Callable, ...]

    def __call__(self, first, weights, arguments, *rate):
        """As one of the hooks: `first` are the gradients, or the weights before."""
        if rate:  # after a step, the weights go through
            for hook in self.hooks:
                weights = hook(first, weights, arguments, *rate)
            return weights
        for hook in self.hooks:
            first = hook(first, weights, arguments)
        return first


def chain(*hooks: Callable) -> Chain:
    """One hook that is several, each given what the one before it gave.

    A compiled program is kept by its hooks, and chains of equal hooks are equal: a
    method may make the same chain for every task.

    Args:
        hooks: of one kind, `gradients` or `after_step`, at least one.

    >>> chain(clip, decay) == chain(clip, decay) != chain(decay, clip)
    True
    """
    return Chain(tuple(hooks))


# What changes gradients: `hook(gradients, weights, arguments) -> gradients`


def decay(gradients, weights, arguments):
    """Adds λw.

    Args:
        gradients, weights: lists of tensors and variables.
        arguments: dict with "weight_decay" (λ, at least 0).
    """
    strength = arguments["weight_decay"]
    return [
        g + strength * ops.convert_to_tensor(w)
        for g, w in zip(gradients, weights, strict=True)
    ]


def clip(gradients, weights, arguments):
    """Clips by global norm: all gradients shrink alike.

    Args:
        gradients, weights: lists of tensors and variables.
        arguments: dict with "clip_norm" (0: none).
    """
    del weights
    limit = arguments["clip_norm"]
    norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients))
    scale = limit / ops.maximum(norm, limit)  # 1 where the norm is within the limit
    scale = ops.where(limit > 0, scale, 1.0)
    return [scale * g for g in gradients]


clip_and_decay = chain(clip, decay)  # as torch does both


def mask(gradients, weights, arguments):
    """No gradient where a mask is 0.

    Args:
        gradients, weights: lists of tensors and variables.
        arguments: dict with "masks": for each, 0 and 1, broadcast to it.
    """
    del weights
    pairs = zip(gradients, arguments["masks"], strict=True)
    return [g * m for g, m in pairs]


# What follows a step: `hook(before, weights, arguments, learning_rate) -> values`.
# A part of the step is what a part of the learning rate would give, since every
# optimizer's step is proportional to it.


def put_back(before, weights, arguments, learning_rate):
    """What a mask leaves out is again what it was, whatever the optimizer did.

    Momentum and decoupled weight decay move weights that have no gradient.

    Args:
        before: the weights before the step, a list of tensors.
        weights: those after it.
        arguments: dict with "masks": as in `mask`.
        learning_rate: not used.
    """
    del learning_rate
    triples = zip(before, weights, arguments["masks"], strict=True)
    return [ops.where(m > 0, ops.convert_to_tensor(w), b) for b, w, m in triples]


def masked(variables: Sequence, masks: Mapping[int, Any]) -> dict[str, Any]:
    """What a `Phase` is given so that it moves nothing where a mask is 0.

    Args:
        variables: all that the phase trains.
        masks: 0 and 1, broadcast to a variable, by its `id`; others move wholly.

    Returns:
        Keyword arguments of `Phase`.

    >>> masked([], {})["arguments"]
    {'masks': []}
    """
    held = [masks.get(id(v), np.ones(1)).astype("float32") for v in variables]
    return {
        "gradients": mask,
        "after_step": put_back,
        "arguments": {"masks": held},
    }


def shorter(before, weights, arguments, learning_rate):
    """A part of the step, the same in all weights.

    Args:
        before, weights, learning_rate: as in `put_back`.
        arguments: dict with "scale": the part, in (0, 1].
    """
    del learning_rate
    return [
        b + arguments["scale"] * (ops.convert_to_tensor(w) - b)
        for b, w in zip(before, weights, strict=True)
    ]


def retained(before, weights, arguments, learning_rate):
    """All of the step, a part of it, or none, by channel.

    Args:
        before, weights, learning_rate: as in `put_back`.
        arguments: dict with "scales": for each of the weights the part, in [0, 1], by
            channel, (channels,) or (1,).
    """
    del learning_rate
    after = []
    for old, weight, scale in zip(before, weights, arguments["scales"], strict=True):
        new, scale = ops.convert_to_tensor(weight), ops.convert_to_tensor(scale)
        part = old + scale * (new - old)
        part = ops.where(scale == 1, new, part)  # to the last bit
        after.append(ops.where(scale == 0, old, part))
    return after
