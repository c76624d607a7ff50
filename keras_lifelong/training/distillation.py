"""Knowledge distillation: new weights are to say what the old ones said.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lifelong import heads as kinds
from keras_lifelong.heads.comparing import CLASSES
from keras_lifelong.heads.comparing import NUMBERS
from keras_lifelong.heads.comparing import YES_NO
from keras_lifelong.heads.comparing import comparison
from keras_lifelong.training.data import power_of_two

ABSENT = -1e9  # the logit of an output that a head has not


def stack_heads(
    heads: list[tuple[np.ndarray, np.ndarray]], compared: list[str | None] | None = None
) -> dict[str, np.ndarray]:
    """Several heads over the same features as one, for `distillation`.

    Heads are padded to a common number of outputs, and their number to a power of two
    so that few shapes are compiled; what is padded is never an answer. A head of one
    output, a yes or no, becomes one of two.

    Args:
        heads: pairs of kernel (width, units) and bias (units,), one or more.
        compared: the `comparison` of each; None: all by `CLASSES`.

    Returns:
        Dict of "kernel" (heads, width, units), "bias" (heads, units) and "present"
        (heads,), 1 for a head and 0 for filling. If heads are compared otherwise, they
        are 0 there, and "yes_no" and "numbers", (heads, units), have for each of their
        outputs its part of the mean, and 0 for all others.
    """
    compared = [CLASSES] * len(heads) if compared is None else compared
    heads = [
        _two_outputs(*h) if h[1].size == 1 and how == CLASSES else h
        for h, how in zip(heads, compared, strict=True)
    ]
    count = power_of_two(len(heads))
    width, units = heads[0][0].shape[0], max(bias.size for _, bias in heads)
    kernel, bias = filled_up(heads, (count, width, units))
    present = (np.arange(count) < len(heads)).astype("float32")
    stack = {"kernel": kernel, "bias": bias, "present": present}
    if set(compared) == {CLASSES}:
        return stack
    parts = {how: np.zeros((count, units), "float32") for how in (YES_NO, NUMBERS)}
    for i, how in enumerate(compared):
        if how is not None and how != CLASSES:
            size = heads[i][1].size
            present[i], parts[how][i, :size] = 0, 1 / size
    return {**stack, **parts}


def filled_up(
    heads: list[tuple[np.ndarray, np.ndarray]], shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Heads side by side, filled up with outputs that are never an answer.

    Args:
        heads: pairs of kernel (width, outputs) and bias (outputs,).
        shape: heads that there is room for, width, and outputs of each.

    Returns:
        Kernel of this shape, and bias (heads, units).
    """
    kernel = np.zeros(shape, "float32")
    bias = np.full((shape[0], shape[2]), ABSENT, "float32")
    for i, (k, b) in enumerate(heads):
        kernel[i, :, : b.size], bias[i, : b.size] = k, b
    return kernel, bias


def _two_outputs(kernel, bias):
    zeros = np.zeros_like
    return np.concatenate([zeros(kernel), kernel], 1), np.append(zeros(bias), bias)


def unstack_head(kernel, bias, like) -> tuple[np.ndarray, np.ndarray]:
    """One head of a stack, kernel and bias; `like` is the bias it had before."""
    if like.size == 1:
        return kernel[:, 1:2] - kernel[:, :1], bias[1:2] - bias[:1]
    return kernel[:, : like.size].copy(), bias[: like.size].copy()


def check_kind(method: str, name: str, spec, why: str = "") -> None:
    """Raises a ValueError if a task's head does not say how probable classes are."""
    if not kinds.get(spec.kind).distillable:
        accepted = " and ".join(kinds.that(lambda kind: kind.distillable))
        raise ValueError(
            f"{method} learns {accepted} tasks{why}. "
            f"Received task {name!r} of kind {spec.kind!r}."
        )


def check_head(method: str, name: str, spec) -> None:
    """Raises a ValueError if the outputs of a task's head cannot be distilled."""
    check_kind(method, name, spec, ": it compares what heads say of classes")
    check_own_head(method, name, spec)


def check_own_head(method: str, name: str, spec) -> None:
    """Raises a ValueError if a task shares its head."""
    if spec.head != "per_task":
        raise ValueError(
            f"{method} gives each task a head of its own. "
            f"Received task {name!r} with head {spec.head!r}."
        )


def check_compared(method: str, name: str, spec) -> None:
    """Raises a ValueError if it is not known how two heads of its kind compare."""
    if comparison(spec.kind) is None:
        accepted = ", ".join(kinds.that(lambda kind: comparison(kind.name)))
        raise ValueError(
            f"{method} learns {accepted} tasks: it compares the outputs of heads, and "
            f"knows no measure for others. Received task {name!r} of kind "
            f"{spec.kind!r}."
        )


def features_with(network, values, x, training: bool = False):
    """Features of a network under other weights.

    Args:
        network: a Keras layer or model.
        values: of all its variables, in order.
        x: (batch, …).
        training: whether it is called as in training.
    """
    of = {id(v): value for v, value in zip(network.variables, values, strict=True)}
    trained = [of[id(v)] for v in network.trainable_variables]
    other = [of[id(v)] for v in network.non_trainable_variables]
    return network.stateless_call(trained, other, x, training=training)[0]


def features_under(network, values, x):
    """`features_with`, without gradients: what a teacher says."""
    return ops.stop_gradient(features_with(network, values, x))


def stacked_logits(heads, features):
    """Outputs (batch, heads, …, units) of stacked heads on features (batch, …, width).

    In the heads' precision; PyTorch multiplies no halves with it.
    """
    kernel, bias = (ops.convert_to_tensor(heads[part]) for part in ("kernel", "bias"))
    features = ops.cast(features, kernel.dtype)
    if len(features.shape) == 2:
        return ops.einsum("bf,hfu->bhu", features, kernel) + bias
    return ops.einsum("btf,hfu->bhtu", features, kernel) + bias[:, None]


def own_logits(logits, index):
    """Of each example those of its own head, (batch, …, units).

    Args:
        logits: (batch, heads, …, units).
        index: of the head of each, (batch,).
    """
    chosen = ops.one_hot(index, logits.shape[1], dtype=logits.dtype)
    ones = [1] * (len(logits.shape) - 2)
    return ops.sum(logits * ops.reshape(chosen, (-1, logits.shape[1], *ones)), axis=1)


def divergence(teacher, student, temperature: float):
    """KL divergence of softened outputs, (…): of softmax(z / T) over the last axis.

    Its gradient for the student's logits is (q - p) / T: at T = 2 half that of the
    difference between softened outputs.

    Args:
        teacher, student: logits (…, units).
        temperature: T, above 0.
    """
    p = ops.log_softmax(ops.stop_gradient(teacher) / temperature)
    q = ops.log_softmax(student / temperature)
    return ops.sum(ops.exp(p) * (p - q), axis=-1)


def yes_no_divergence(teacher, student, temperature: float):
    """KL divergence of softened yes or no, of each output by itself.

    Args:
        teacher, student: logits of a yes, (…, units).
        temperature: T, above 0.

    Returns:
        (…, units).
    """
    z, s = ops.stop_gradient(teacher) / temperature, student / temperature
    # log p is z - softplus(z), and log (1 - p) is -softplus(z); so they are of q by s
    return ops.sigmoid(z) * (z - s) + ops.softplus(s) - ops.softplus(z)


def distillation(heads, teacher_features, features, weight, temperature: float):
    """The sum over old heads of the mean divergence of a batch.

    Of a head of several yes or no the divergence is the mean over its outputs, each
    softened by T; of one of numbers it is their mean squared difference.

    Args:
        heads: what `stack_heads` gave.
        teacher_features, features: (batch, width), of the old and the new body.
        weight: sample weights (batch,).
        temperature: T.
    """
    before = stacked_logits(heads, teacher_features)
    after = stacked_logits(heads, features)
    losses = divergence(before, after, temperature)
    means = ops.sum(losses * weight[:, None], axis=0) / ops.sum(weight)
    total = ops.sum(means * ops.convert_to_tensor(heads["present"]))
    if YES_NO not in heads:
        return total
    said = yes_no_divergence(before, after, temperature)
    number = ops.square(ops.stop_gradient(before) - after)
    others = sum(
        ops.sum(losses * ops.convert_to_tensor(heads[how]), axis=(1, 2))
        for how, losses in ((YES_NO, said), (NUMBERS, number))
    )
    return total + ops.sum(others * weight) / ops.sum(weight)
