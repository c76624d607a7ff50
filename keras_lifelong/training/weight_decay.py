"""Weight decay and gradient clipping as PyTorch means them: *coupled* L2.

`torch.optim.SGD(weight_decay=λ)` adds λw to the gradient, after clipping and before
momentum. Keras' `weight_decay` is decoupled: it shrinks weights beside the optimizer's
step, and its clipping would see whatever a loss adds.
"""

from __future__ import annotations

from keras import ops


def decay(gradients, weights, arguments):
    """A phase's `gradients` hook: adds λw.

    Args:
        gradients, weights: lists of tensors and variables.
        arguments: dict with "weight_decay" (λ, at least 0).
    """
    strength = arguments["weight_decay"]
    return [
        g + strength * ops.convert_to_tensor(w)
        for g, w in zip(gradients, weights, strict=True)
    ]


def clip_and_decay(gradients, weights, arguments):
    """A phase's `gradients` hook: clips by global norm, then adds λw.

    Args:
        gradients, weights: lists of tensors and variables.
        arguments: dict with "weight_decay" (λ, at least 0) and "clip_norm" (0: none).
    """
    limit = arguments["clip_norm"]
    norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients))
    scale = limit / ops.maximum(norm, limit)  # 1 where the norm is within the limit
    scale = ops.where(limit > 0, scale, 1.0)
    return decay([scale * g for g in gradients], weights, arguments)
