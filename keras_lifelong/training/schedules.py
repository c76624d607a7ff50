"""Learning rates by epoch: what a `Phase` may have as its `learning_rate`.

Each is a function `(epoch, epochs, history) -> rate`, called before every epoch, with
the logs of those before as in `keras.callbacks.History`. Keras' own schedules go by
steps and know nothing of validation data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from keras_lifelong.metrics.directions import sign

Schedule = Callable[[int, int, dict], float]


def cosine(rate: float, least: float = 0.0) -> Schedule:
    """From `rate` to `least` along half a cosine (Loshchilov and Hutter, 2017).

    >>> [round(cosine(1.0)(epoch, 4, {}), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """

    def schedule(epoch, epochs, history):
        del history
        return least + (rate - least) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    return schedule


def plateau(
    rate: float,
    monitor: str,
    higher_is_better: bool = True,
    factor: float = 0.1,
    patience: int = 30,
    least: float = 1e-6,
) -> Schedule:
    """Times `factor` after every `patience` epochs in which `monitor` got no better.

    >>> falling = plateau(1.0, "val_loss", False, factor=0.5, patience=2)
    >>> falling(4, 9, {"val_loss": [3.0, 2.0, 2.5, 2.0]})
    0.5
    """

    def schedule(epoch, epochs, history):
        del epoch, epochs
        now, best, age = rate, None, 0
        for value in history.get(monitor, []):
            value = sign(higher_is_better) * value
            if best is None or value > best:
                best, age = value, 0
            else:
                age += 1
            if age == patience:
                now, age = max(least, now * factor), 0
        return now

    return schedule
