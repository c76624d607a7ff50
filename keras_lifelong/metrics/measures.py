"""What runs are compared by: a name, a number of a result, and what it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from keras_lifelong.metrics.result import Result


@dataclasses.dataclass(frozen=True)
class Measure:
    """A column of a comparison.

    Attributes:
        title: its heading.
        of: function of a `Result` and the name of a metric that gives a number, NaN
            where it is unknown.
        digits: after the point.
        meaning: what it is, in a sentence.
    """

    title: str
    of: Callable[[Result, str], float]
    digits: int
    meaning: str


def _peak(result: Result, metric: str) -> float:
    if metric != result.metric or result.peak_by_task is None:
        return math.nan
    peaks = np.array(result.peak_by_task, dtype="float64")[result.scored()]
    return float(peaks.mean()) if peaks.size else math.nan


def _of_main(name: str) -> Callable[[Result, str], float]:
    """A property of a result that is of its main metric alone."""

    def of(result: Result, metric: str) -> float:
        return getattr(result, name) if metric == result.metric else math.nan

    return of


def _seconds(result: Result, metric: str) -> float:
    del metric
    return float(sum(result.train_seconds_by_task)) or math.nan


MEASURES: dict[str, Measure] = {
    "acc": Measure(
        "ACC",
        lambda r, m: r.measures(m)["acc"],
        4,
        "mean test score of all tasks in the end",
    ),
    "bwt": Measure(
        "BWT",
        lambda r, m: r.measures(m)["bwt"],
        4,
        "mean change of the earlier tasks since they were learned",
    ),
    "af": Measure(
        "AF",
        lambda r, m: r.measures(m)["af"],
        4,
        "the same over all tasks, the last included",
    ),
    "forgetting": Measure(
        "forgetting",
        lambda r, m: r.measures(m)["forgetting"],
        4,
        "what the earlier tasks lost since their best",
    ),
    "forgetting_ratio": Measure(
        "forgetting ratio",
        _of_main("forgetting_ratio"),
        3,
        "share of the earlier tasks' peaks that is left",
    ),
    "peak": Measure(
        "peak",
        _peak,
        4,
        "mean test score at the epoch of best validation",
    ),
    "gain": Measure(
        "gain %",
        _of_main("multi_task_gain"),
        2,
        "gain over a network for each task, in percent",
    ),
    "forward_transfer": Measure(
        "forward transfer",
        _of_main("forward_transfer"),
        4,
        "how much better a task is when learned than alone",
    ),
    "learning_area": Measure(
        "learning area",
        _of_main("learning_area"),
        4,
        "mean validation score over the epochs of learning",
    ),
    "capacity": Measure(
        "capacity",
        lambda r, m: r.capacity,
        3,
        "parameters over those of the base network",
    ),
    "params": Measure(
        "parameters",
        lambda r, m: float(r.params_total),
        0,
        "of the whole model, all heads",
    ),
    "flops": Measure(
        "MFLOPs",
        lambda r, m: r.flops / 1e6,
        3,
        "of using a task for one example, mean over tasks",
    ),
    "seconds": Measure(
        "seconds",
        _seconds,
        1,
        "of training all tasks",
    ),
}
