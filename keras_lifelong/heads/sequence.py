"""A word of characters at each example, read off features by time (CTC).

Graves et al.: Connectionist Temporal Classification, ICML 2006.
"""

from __future__ import annotations

import numpy as np

from keras_lifelong.heads.kind import HeadKind
from keras_lifelong.heads.kind import register
from keras_lifelong.heads.losses import HeadLoss
from keras_lifelong.heads.losses import register_loss

PADDING = -1  # what fills a word of `labels` up at its end
BLANK = 0  # the output that says: no character here


@register_loss("ctc")
class CTC(HeadLoss):
    """-log p(word | outputs), in nats: the sum over all alignments of its characters.

    The first output is the blank. So heads of other alphabets may be filled up with
    outputs that are never an answer, and a blank stays a blank.
    """

    activation = "softmax"

    def per_sample(self, y, logits):
        """Loss of each word, (batch,).

        Args:
            y: characters (batch, longest), 0 ... C-1, then -1.
            logits: (batch, time, C + 1), the blank's first.
        """
        from keras import ops

        logits = ops.cast(logits, "float32")
        characters = ops.cast(y, "int32") + 1  # what is padded becomes the blank
        lengths = ops.sum(ops.cast(characters > BLANK, "int32"), axis=1)
        steps = ops.zeros_like(lengths) + logits.shape[1]
        return ops.ctc_loss(characters, logits, lengths, steps, mask_index=BLANK)


@register("sequence")
class Sequence(HeadKind):
    """Labels are words (n, longest) of characters 0 ... C-1, then -1. Never inferred.

    The network's features are (batch, time, width): the head reads each time step by
    itself, and says (batch, time, C + 1): the first output is CTC's blank, output c + 1
    the character c. `decoded` makes words of what it says.
    """

    losses = ("ctc",)
    metrics = ("word_accuracy", "character_error_rate")
    by_step = True
    goal = "classification"

    def units(self, spec):
        return spec.num_classes + 1

    def label_shapes(self, count, spec):
        return [(count, None)]

    def check_labels(self, y, spec, require):
        top = spec.num_classes - 1
        require(y.shape[1], "have room for a character", f"shape {y.shape}")
        whole = y.dtype.kind != "f" or bool((np.floor(y) == y).all())
        require(whole, "be integers: characters, and -1 after them", f"dtype {y.dtype}")
        require(
            y.min() >= PADDING and y.max() <= top,
            f"be characters 0 ... {top}, and -1 after them",
            "labels from {:g} to {:g}".format(*map(float, (y.min(), y.max()))),
        )
        y = y.astype("int32", copy=False)
        is_padding = y == PADDING
        broken = (is_padding[:, :-1] & ~is_padding[:, 1:]).any(axis=1)
        if broken.any():
            row = int(np.argmax(broken))
            accepted = "have -1 after the last character of a word only"
            require(False, accepted, f"{y[row].tolist()} in row {row}")
        return y

    def check_steps(self, y, steps, require):
        needed = steps_needed(y)
        row = int(np.argmax(needed))
        require(
            needed[row] <= steps,
            f"be of words that {steps} time steps can spell (a character that comes "
            "twice in a row takes one more)",
            f"one in row {row} that takes {needed[row]}",
        )

    def joined(self, parts):
        longest = max(part.shape[1] for part in parts)
        return np.concatenate([padded(part, longest) for part in parts])

    def labels(self, outputs):
        return decoded(outputs)

    def named(self, outputs, names):
        characters = np.array(["", *names])
        words = characters[decoded(outputs) + 1].tolist()
        return np.array(["".join(word) for word in words])


def decoded(outputs: np.ndarray) -> np.ndarray:
    """The words that the outputs of a sequence head say, by greedy decoding.

    At each step the largest output counts. Of equal ones in a row one is kept, then
    blanks go: so a character twice in a row needs a blank between.

    Args:
        outputs: (n, time, C + 1), as `predict` returns them, the blank's first.

    Returns:
        int32 (n, longest): characters 0 ... C-1, and -1 after the last one; as wide as
        the longest word, one at least.

    Example:

    >>> steps = [2, 2, 0, 2, 1]    # b b - b a
    >>> decoded(np.eye(3)[None, steps]).tolist()
    [[1, 1, 0]]
    """
    best = np.asarray(outputs).argmax(axis=-1)
    before = np.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    return collapsed(np.where(best == before, BLANK, best))


def collapsed(outputs: np.ndarray) -> np.ndarray:
    """Characters by step, of which blanks go: (n, time) as words (n, longest).

    >>> collapsed(np.array([[0, 2, 0], [1, 0, 3]])).tolist()
    [[1, -1], [0, 2]]
    """
    kept = outputs != BLANK
    longest = max(int(kept.sum(axis=1).max(initial=0)), 1)
    order = np.argsort(~kept, axis=1, kind="stable")[:, :longest]
    return np.take_along_axis(outputs, order, axis=1).astype("int32") - 1


def padded(y: np.ndarray, longest: int) -> np.ndarray:
    """Words (n, …) in room for so many characters, (n, longest)."""
    missing = ((0, 0), (0, longest - y.shape[1]))
    return np.pad(y, missing, constant_values=PADDING)


def steps_needed(y: np.ndarray) -> np.ndarray:
    """Time steps (n,) that words (n, longest) take at least.

    A step for each character, and one for a blank between two that are the same.

    >>> steps_needed(np.array([[4, 4, 4], [1, 2, -1], [-1, -1, -1]])).tolist()
    [5, 2, 0]
    """
    twice = (y[:, 1:] == y[:, :-1]) & (y[:, 1:] != PADDING)
    return (y != PADDING).sum(axis=1) + twice.sum(axis=1)
