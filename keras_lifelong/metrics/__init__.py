"""Scores of one prediction, measures of a whole stream, and the result of a run.

Importing this costs numpy only; Keras and scikit-learn are imported when used.
"""

from __future__ import annotations

from keras_lifelong.metrics import task_distance
from keras_lifelong.metrics.comparison import Comparison
from keras_lifelong.metrics.comparison import compare
from keras_lifelong.metrics.configs import from_config
from keras_lifelong.metrics.configs import to_config
from keras_lifelong.metrics.directions import sign
from keras_lifelong.metrics.growth import GrowthEntry
from keras_lifelong.metrics.intervals import Interval
from keras_lifelong.metrics.intervals import interval
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
from keras_lifelong.metrics.transfer import forward_transfer
from keras_lifelong.metrics.transfer import gain_by_step
from keras_lifelong.metrics.transfer import learning_area
from keras_lifelong.metrics.words import character_error_rate
from keras_lifelong.metrics.words import word_accuracy

__all__ = [
    "Comparison",
    "GrowthEntry",
    "Interval",
    "Result",
    "Score",
    "acc",
    "accuracy",
    "af",
    "ap",
    "auroc",
    "bwt",
    "character_error_rate",
    "compare",
    "forgetting",
    "forgetting_ratio",
    "forward_transfer",
    "from_config",
    "gain_by_step",
    "get",
    "interval",
    "learning_area",
    "mae",
    "mse",
    "multi_task_gain",
    "sign",
    "task_distance",
    "to_config",
    "usual",
    "word_accuracy",
]
