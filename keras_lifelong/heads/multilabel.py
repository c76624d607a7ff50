"""Several yes or no at once."""

from __future__ import annotations

import numpy as np

from keras_lifelong.heads.kind import YesOrNo
from keras_lifelong.heads.kind import register


def is_yes_or_no(y) -> bool:
    """Whether labels have several columns of nothing but 0 and 1."""
    return y.ndim == 2 and y.shape[1] > 1 and bool(np.isin(y, (0, 1)).all())


@register("multilabel")
class Multilabel(YesOrNo):
    """Labels are (n, C), each 0 or 1; a head has C outputs."""

    def infer(self, y):
        """Several columns of nothing but 0 and 1."""
        return y.shape[1] if is_yes_or_no(y) else None
