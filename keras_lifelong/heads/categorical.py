"""One of several classes, by its index."""

from __future__ import annotations

from keras_lifelong.heads.kind import HeadKind
from keras_lifelong.heads.kind import register


@register("categorical")
class Categorical(HeadKind):
    """Labels are integers (n,), 0 ... C-1; a head has C outputs.

    Trained with softmax, or one-versus-rest ("sigmoid", as DEN's heads).
    """

    losses = ("softmax", "sigmoid")
    metrics = ("accuracy", "auroc")
    least = 2
    by_index = True
    has_classes = True
    distillable = True
    goal = "classification"

    def check_labels(self, y, spec, require):
        classes = spec.num_classes
        require(y.dtype.kind in "biu", "be integers", f"dtype {y.dtype}")
        require(
            y.min() >= 0 and y.max() < classes,
            f"be in 0 ... {classes - 1} ({classes} classes)",
            f"labels from {y.min()} to {y.max()}",
        )
        return y.reshape(-1).astype("int32", copy=False)

    def infer(self, y):
        """Integers (n,) or (n, 1): as many classes as the last one says."""
        if y.size == len(y) and y.dtype.kind != "f":
            return max(int(y.max()) + 1, 2)
        return None

    def labels(self, outputs):
        return outputs.argmax(axis=1).astype("int32")
