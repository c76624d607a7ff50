"""The direction of a metric: whether more is better, and what follows from it.

The one place where a direction is found out and becomes a number.
"""

from __future__ import annotations

import re
from typing import Any

# Words of a name that say that less is better.
_LESS = frozenset(
    "mse mae msle mape smape rmse nrmse rmsle mpe error errors loss losses hinge kld "
    "nll logloss logcosh poisson perplexity divergence distance deviation residual "
    "residuals brier ece wer cer cost risk regret false fpr fnr mistakes".split()
)


def _words(name: str) -> list[str]:
    """Words of a name: `"RootMeanSquaredError"` and `"val-loss_2"` alike."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]


def sounds_like_error(name: str) -> bool:
    """Whether a name says that less of it is better.

    >>> [sounds_like_error(name) for name in ("rmse", "lossless", "FalsePositives")]
    [True, False, True]
    """
    return bool(_LESS.intersection(_words(name))) or "entropy" in name.lower()


def higher_is_better(name: str) -> bool:
    """Whether more is better, as far as the name of a metric tells.

    >>> higher_is_better("auroc"), higher_is_better("mean_squared_error")
    (True, False)
    """
    return not sounds_like_error(name)


def direction(metric: Any, name: str) -> bool:
    """Whether more of a function or a `keras.metrics.Metric` is better.

    What says so itself is asked first: an attribute `higher_is_better` of the function
    or the metric, then the direction that Keras gives its own, then the name.

    >>> def regained(y, p): ...
    >>> direction(regained, "regained")
    True
    >>> regained.higher_is_better = False
    >>> direction(regained, "regained")
    False

    Raises:
        ValueError: if the attribute is not True or False.
    """
    said = getattr(metric, "higher_is_better", None)
    if said is not None:
        if not isinstance(said, bool):
            raise ValueError(
                f"`higher_is_better` of the metric {name!r} must be True or False. "
                f"Received: {said!r}"
            )
        return said
    # Keras says the direction of its metrics in a private attribute only.
    kerases = getattr(metric, "_direction", None)
    return kerases == "up" if kerases is not None else higher_is_better(name)


def sign(metric: Any) -> int:
    """1 where more is better, -1 where less is: `sign * value` is better the greater.

    Args:
        metric: what has an attribute `higher_is_better`, such as a `Score`; or the
            name of a metric, as far as that tells; or whether more is better.

    >>> sign("accuracy"), sign("mse"), sign(False)
    (1, -1, -1)
    """
    if isinstance(metric, str):
        metric = higher_is_better(metric)
    elif not isinstance(metric, bool):
        metric = metric.higher_is_better
    return 1 if metric else -1
