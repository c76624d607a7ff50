"""A yes or no."""

from __future__ import annotations

from keras_lifelong.heads.kind import YesOrNo
from keras_lifelong.heads.kind import register


@register("binary")
class Binary(YesOrNo):
    """Labels are (n,), 0 or 1; a head has one output. Never inferred."""

    least = most = 2
    has_classes = True
    distillable = True

    def units(self, spec):
        return 1
