"""The gradient nearest to a given one that raises none of several losses.

Lopez-Paz, Ranzato: Gradient Episodic Memory for Continual Learning, NeurIPS 2017: the
quadratic program of Eq. 8 to 11, in as few unknowns as there are losses.
"""

from __future__ import annotations

from keras import ops

SWEEPS = 100


def nearest_in_cone(gradient, others, margin: float = 0.0):
    """g̃ = Gᵀv + g, the nearest to g with ⟨g̃, g_k⟩ ≥ 0 for all rows g_k of G.

    The dual (Eq. 11), min_v ½ vᵀGGᵀv + gᵀGᵀv with v ≥ γ, is solved by accelerated
    projected gradients, a fixed number of sweeps over a few unknowns. Where no product
    is below 0, g stays as it is.

    Args:
        gradient: g, (n,).
        others: G, (losses, n).
        margin: γ, at least 0: more than 0 turns g towards the other losses.

    Returns:
        (n,).

    Example:

    >>> cone = ops.convert_to_tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> found = nearest_in_cone(ops.convert_to_tensor([2.0, -1.0]), cone)
    >>> [round(v, 4) for v in ops.convert_to_numpy(found).tolist()]
    [2.0, 0.0]
    """
    products = ops.matmul(others, gradient)  # G g
    square = ops.matmul(others, ops.transpose(others))  # G Gᵀ
    step = 1 / ops.maximum(ops.trace(square), 1e-20)  # of 1 / the largest eigenvalue
    first = ops.full(products.shape, margin, dtype=products.dtype)

    def sweep(_, state):
        v, ahead, pace = state
        slope = ops.matmul(square, ahead) + products
        after = ops.maximum(ahead - step * slope, margin)
        faster = (1 + ops.sqrt(1 + 4 * pace * pace)) / 2
        return after, after + (pace - 1) / faster * (after - v), faster

    one = ops.ones((), products.dtype)
    v, _, _ = ops.fori_loop(0, SWEEPS, sweep, (first, first, one))
    turned = gradient + ops.matmul(ops.transpose(others), v)
    return ops.where(ops.any(products < 0), turned, gradient)


def flat(tensors: list):
    """Several tensors as one vector (n,)."""
    return ops.concatenate([ops.reshape(t, (-1,)) for t in tensors])


def split(vector, like: list) -> list:
    """The inverse of `flat`, in the shapes of others."""
    found, start = [], 0
    for tensor in like:
        size = 1
        for length in tensor.shape:
            size *= length
        found.append(ops.reshape(vector[start : start + size], tensor.shape))
        start += size
    return found
