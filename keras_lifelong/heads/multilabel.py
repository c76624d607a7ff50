"""Several yes or no at once."""

from __future__ import annotations

from keras_lifelong.heads.kind import YesOrNo
from keras_lifelong.heads.kind import is_one_hot
from keras_lifelong.heads.kind import is_yes_or_no
from keras_lifelong.heads.kind import register


@register("multilabel")
class Multilabel(YesOrNo):
    """Labels are (n, C), each 0 or 1; a head has C outputs."""

    def infer(self, y):
        """Several columns of nothing but 0 and 1, unless each row has exactly one 1."""
        return y.shape[1] if is_yes_or_no(y) and not is_one_hot(y) else None
