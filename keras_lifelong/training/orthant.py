"""Weights that are 0 where an L1 penalty says so, under any optimizer.

Orthant-wise descent (Andrew, Gao, ICML 2007: training of L1-regularized log-linear
models): a weight at 0 leaves it only against a gradient that is larger than the
penalty's, and one that would cross 0 stops there. A proximal step would need the
optimizer's own step size, which is another for each weight with Adam.
"""

from __future__ import annotations

from keras import ops


def soft_threshold(x, threshold):
    """x nearer to 0 by `threshold`, or 0.

    >>> ops.convert_to_numpy(soft_threshold(ops.array([-0.75, 0.25]), 0.5)).tolist()
    [-0.25, 0.0]
    """
    return ops.sign(x) * ops.maximum(ops.abs(x) - threshold, 0)


def pseudo_gradient(gradient, weight, slope, hold):
    """The gradient of a cost with a kink at 0.

    Args:
        gradient: tensor (…): of the cost without the penalty.
        weight: (…).
        slope: of the penalty, away from the kink.
        hold: of the penalty at the kink: how large a gradient is to be.

    >>> gradient, weight = ops.array([3.0, 1.0, 1.0]), ops.array([0.0, 0.0, 5.0])
    >>> found = pseudo_gradient(gradient, weight, 0.0, 2.0)
    >>> ops.convert_to_numpy(found).tolist()
    [1.0, 0.0, 1.0]
    """
    sloped = gradient + slope
    return ops.where(weight == 0, soft_threshold(sloped, hold), sloped)


def way(gradient):
    """Where weights at 0 may go: against their pseudo-gradient, or nowhere."""
    return -ops.sign(gradient)


def stayed(before, after, ways):
    """Weights after a step, those that crossed 0 or left it another way put to 0.

    Args:
        before, after: tensors (…).
        ways: what `way` gave, (…).

    >>> before, after = ops.array([1.0, 1.0, 0.0]), ops.array([0.5, -0.5, 0.5])
    >>> found = stayed(before, after, ops.array([0.0, 0.0, -1.0]))
    >>> ops.convert_to_numpy(found).tolist()
    [0.5, 0.0, 0.0]
    """
    side = ops.where(before == 0, ways, ops.sign(before))
    return ops.where(after * side > 0, after, ops.zeros_like(after))
