"""Scores of one prediction, measures of a whole stream, and the result of a run.

Importing this costs numpy only; Keras and scikit-learn are imported when used.
"""

from __future__ import annotations

from keras_lifelong.metrics import task_distance
from keras_lifelong.metrics.configs import from_config
from keras_lifelong.metrics.configs import to_config
from keras_lifelong.metrics.directions import sign
from keras_lifelong.metrics.growth import GrowthEntry
from keras_lifelong.metrics.matrix import acc
from keras_lifelong.metrics.matrix import af
from keras_lifelong.metrics.matrix import ap
from keras_lifelong.metrics.matrix import bwt
from keras_lifelong.metrics.matrix import forgetting
from keras_lifelong.metrics.matrix import forgetting_ratio
from keras_lifelong.metrics.matrix import multi_task_gain
from keras_lifelong.metrics.result import Result
from keras_lifelong.metrics.scores import Score
from keras_lifelong.metrics.scores import accuracy
from keras_lifelong.metrics.scores import auroc
from keras_lifelong.metrics.scores import get
from keras_lifelong.metrics.scores import mae
from keras_lifelong.metrics.scores import mse
from keras_lifelong.metrics.scores import usual

__all__ = [
    "GrowthEntry",
    "Result",
    "Score",
    "acc",
    "accuracy",
    "af",
    "ap",
    "auroc",
    "bwt",
    "forgetting",
    "forgetting_ratio",
    "from_config",
    "get",
    "mae",
    "mse",
    "multi_task_gain",
    "sign",
    "task_distance",
    "to_config",
    "usual",
]
