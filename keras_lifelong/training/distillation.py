"""Knowledge distillation: new weights are to say what the old ones said.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lifelong import heads as kinds
from keras_lifelong.training.data import power_of_two

ABSENT = -1e9  # the logit of an output that a head has not


def stack_heads(heads: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Several heads over the same features as one, for `distillation`.

    Heads are padded to a common number of outputs, and their number to a power of two
    so that few shapes are compiled; what is padded is never an answer. A head of one
    output, a yes or no, becomes one of two.

    Args:
        heads: pairs of kernel (width, units) and bias (units,), one or more.

    Returns:
        Dict of "kernel" (heads, width, units), "bias" (heads, units) and "present"
        (heads,), 1 for a head and 0 for filling.
    """
    heads = [_two_outputs(*h) if h[1].size == 1 else h for h in heads]
    count = power_of_two(len(heads))
    width, units = heads[0][0].shape[0], max(bias.size for _, bias in heads)
    kernel = np.zeros((count, width, units), "float32")
    bias = np.full((count, units), ABSENT, "float32")
    for i, (k, b) in enumerate(heads):
        kernel[i, :, : b.size], bias[i, : b.size] = k, b
    present = (np.arange(count) < len(heads)).astype("float32")
    return {"kernel": kernel, "bias": bias, "present": present}


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
    if spec.head != "per_task":
        raise ValueError(
            f"{method} gives each task a head of its own. "
            f"Received task {name!r} with head {spec.head!r}."
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
    """Outputs (batch, heads, units) of stacked heads on features (batch, width)."""
    logits = ops.einsum("bf,hfu->bhu", features, ops.convert_to_tensor(heads["kernel"]))
    return logits + ops.convert_to_tensor(heads["bias"])


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


def distillation(heads, teacher_features, features, weight, temperature: float):
    """The sum over old heads of the mean divergence of a batch.

    Args:
        heads: what `stack_heads` gave.
        teacher_features, features: (batch, width), of the old and the new body.
        weight: sample weights (batch,).
        temperature: T.
    """
    losses = divergence(
        stacked_logits(heads, teacher_features),
        stacked_logits(heads, features),
        temperature,
    )
    means = ops.sum(losses * weight[:, None], axis=0) / ops.sum(weight)
    return ops.sum(means * ops.convert_to_tensor(heads["present"]))
