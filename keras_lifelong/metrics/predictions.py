"""What every score asks of the task and of the predictions that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_lifelong import heads


class NotFinite(ValueError):
    """Predictions that are NaN or infinite cannot be scored."""


def kind_of(spec: Any, metric: str) -> heads.HeadKind:
    """The kind of a task's head. ValueError unless the metric is for it."""
    kind = heads.get(spec.kind)
    if metric not in kind.metrics:
        kinds = heads.that(lambda kind: metric in kind.metrics)
        raise ValueError(
            f"The metric {metric!r} is for {', '.join(kinds)} tasks. "
            f"Received: spec.kind={spec.kind!r}"
        )
    return kind


def check_finite(p: np.ndarray, metric: str) -> None:
    """NotFinite unless all predictions are numbers."""
    if not np.isfinite(p).all():
        raise NotFinite(
            f"The metric {metric!r} needs finite predictions. Received: "
            f"{(~np.isfinite(p)).sum()} of {p.size} are NaN or infinite (diverged?)"
        )
