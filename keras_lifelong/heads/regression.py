"""Numbers to predict."""

from __future__ import annotations

from keras_lifelong.heads.kind import HeadKind
from keras_lifelong.heads.kind import is_whole
from keras_lifelong.heads.kind import is_yes_or_no
from keras_lifelong.heads.kind import register


@register("regression")
class Regression(HeadKind):
    """Labels are numbers (n, C), or (n,) if C is 1; a head has C outputs."""

    def infer(self, y):
        """Floats, but for one column of whole ones, and for columns of 0 and 1."""
        if y.dtype.kind != "f" or is_whole(y) or is_yes_or_no(y):
            return None
        return y.shape[1] if y.ndim == 2 else 1
