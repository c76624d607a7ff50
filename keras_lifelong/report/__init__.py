"""Figures and HTML pages of runs and comparisons, from their `Result`s alone."""

from __future__ import annotations

from keras_lifelong.report.comparison import write_comparison
from keras_lifelong.report.comparison_figures import accuracy_against_capacity
from keras_lifelong.report.comparison_figures import accuracy_by_tasks_seen
from keras_lifelong.report.figures import accuracy_matrix
from keras_lifelong.report.figures import accuracy_over_tasks
from keras_lifelong.report.page import write
from keras_lifelong.report.registry import figure
from keras_lifelong.report.units import growth

__all__ = [
    "accuracy_against_capacity",
    "accuracy_by_tasks_seen",
    "accuracy_matrix",
    "accuracy_over_tasks",
    "figure",
    "growth",
    "write",
    "write_comparison",
]
