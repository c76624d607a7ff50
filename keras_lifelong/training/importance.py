"""What holds weights by their importance, and what it is measured on.

Methods that hold weights by their importance differ in the objective whose gradient
they take and in what they take of it (EWC: the square, of the log-likelihood of a
label; MAS: the magnitude, of the norm of the outputs), not in how these are summed
(`example_gradients.py`) or in how weights are held.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lifelong.heads.sequence import decoded
from keras_lifelong.heads.sequence import padded
from keras_lifelong.streams import check_split
from keras_lifelong.streams.forms import is_dataset


def examples_of(
    task,
    count: int,
    rng: np.random.Generator,
    weighed: bool = False,
    split: str = "train",
):
    """At most `count` examples of a task, in random order, in standard form.

    Those of weight 0 are not among them: they count nowhere.

    Args:
        task: a `LoadedTask`. Of a `tf.data.Dataset` the first examples are taken.
        rng: which are drawn.
        weighed: whether their weights are wanted, too.
        split: "train" or "validation".

    Returns:
        `(x, y)`, or `(x, y, weights)`: float32 (n,), or None where all count alike.
    """
    data = getattr(task, split)
    if is_dataset(data):
        x, y, weights = next(data.blocks(count))
        x, y = check_split(x, y, task.spec, f"examples of task {task.name!r}")
    else:
        x, y = data
        weights = task.weight if split == "train" else task.validation_weight
    rows = rng.permutation(len(y))
    if weights is not None:
        counts = rows[weights[rows] > 0]
        rows = counts if len(counts) else rows
    rows = rows[:count]
    found = x[rows], y[rows]
    if not weighed:
        return found
    return (*found, None if weights is None else weights[rows])


def drawn_labels(logits: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Labels drawn from what a model predicts.

    Args:
        logits: (n, units), before the activation; for "ctc" (n, time, units).
        kind: of the head's loss: "softmax", "sigmoid" or "squared", whose predictions
            are the mean of a normal distribution of variance 1; or "ctc", by which a
            word is as probable as all alignments of it: one is drawn, and read.
        rng: draws them.

    Returns:
        (n,) of int for "softmax", words (n, longest) for "ctc", else (n, units).

    >>> certain = np.array([[9e9, 0.0], [0.0, 9e9]])
    >>> drawn_labels(certain, "softmax", np.random.default_rng(0)).tolist()
    [0, 1]
    """
    if kind == "softmax":
        return np.argmax(logits + rng.gumbel(size=logits.shape), 1).astype("int32")
    if kind == "ctc":
        return padded(decoded(logits + rng.gumbel(size=logits.shape)), logits.shape[1])
    if kind == "sigmoid":
        chance = 1 / (1 + np.exp(-logits))
        return (rng.random(logits.shape) < chance).astype("float32")
    return (logits + rng.normal(size=logits.shape)).astype("float32")


def log_likelihood_scale(kind: str, units: int) -> float:
    """By what a head's mean loss is multiplied to be minus the log-likelihood.

    The log-likelihood sums over outputs, where the sigmoid and squared losses average.
    """
    return {"softmax": 1.0, "ctc": 1.0, "sigmoid": units, "squared": units / 2}[kind]


# What holds weights by their importance: a penalty whose arguments are "strength" (λ),
# and of each weight its "importance" (Ω) and "anchor" (θ*). A head, which comes after
# the weights that tasks share, has neither.


def quadratic(weights, arguments):
    """The penalty λ/2 Σ Ω (θ - θ*)².

    Args:
        weights: list of variables or tensors (θ).
        arguments: dict with "strength", and "importance" and "anchor", lists of arrays
            of the first of the weights.

    >>> held = {"strength": 3.0, "importance": [np.ones(2)], "anchor": [np.zeros(2)]}
    >>> float(quadratic([np.array([1.0, 2.0]), np.ones(9)], held))    # 3/2 · (1 + 4)
    7.5
    """
    triples = zip(weights, arguments["importance"], arguments["anchor"], strict=False)
    cost = sum(ops.sum(omega * ops.square(w - anchor)) for w, omega, anchor in triples)
    return 0.5 * arguments["strength"] * cost


def pull(weights, arguments) -> list:
    """The gradient λ Ω (θ - θ*) of `quadratic`, of the weights that it holds."""
    triples = zip(weights, arguments["importance"], arguments["anchor"], strict=False)
    return [
        arguments["strength"] * omega * (ops.convert_to_tensor(w) - anchor)
        for w, omega, anchor in triples
    ]


def kept(memory, key: tuple[str, ...], variables: list) -> list[np.ndarray]:
    """What a memory has under `(*key, i)` for each variable; zeros at first."""
    return [
        memory.get((*key, i), np.zeros(v.shape, "float32"))
        for i, v in enumerate(variables)
    ]


def values_of(variables: list) -> list[np.ndarray]:
    """Copies of their values."""
    return [ops.convert_to_numpy(v).copy() for v in variables]
