"""One of several classes, by its index."""

from __future__ import annotations

import numpy as np

from keras_lifelong.heads.kind import HeadKind
from keras_lifelong.heads.kind import is_one_hot
from keras_lifelong.heads.kind import is_whole
from keras_lifelong.heads.kind import register


@register("categorical")
class Categorical(HeadKind):
    """Labels are whole numbers (n,), 0 ... C-1, or one-hot (n, C); C outputs.

    Trained with softmax, or one-versus-rest ("sigmoid", as DEN's heads).
    """

    losses = ("softmax", "sigmoid")
    metrics = ("accuracy", "auroc")
    least = 2
    by_index = True
    has_classes = True
    distillable = True
    goal = "classification"

    def label_shapes(self, count, spec):
        return [(count,), (count, 1), (count, spec.num_classes)]

    def check_labels(self, y, spec, require):
        classes = spec.num_classes
        if y.size != len(y):
            require(
                is_one_hot(y),
                "hold exactly one 1 in each row of a categorical task, else 0",
                "rows with none, several, or other numbers",
            )
            return y.argmax(axis=1).astype("int32")
        if not is_whole(y):
            broken = y.reshape(-1)[np.argmax(np.floor(y.reshape(-1)) != y.reshape(-1))]
            accepted = "be integers, or whole numbers: ids of classes"
            require(False, accepted, f"dtype {y.dtype}, such as {broken:g}")
        require(
            y.min() >= 0 and y.max() < classes,
            f"be in 0 ... {classes - 1} ({classes} classes)",
            "labels from {:g} to {:g}".format(*map(float, (y.min(), y.max()))),
        )
        return y.reshape(-1).astype("int32", copy=False)

    def infer(self, y):
        """Whole numbers (n,) or (n, 1), or one-hot (n, C)."""
        if is_one_hot(y):
            return y.shape[1]
        if is_whole(y):
            return max(int(y.max()) + 1, 2)
        return None

    def labels(self, outputs):
        return outputs.argmax(axis=1).astype("int32")
