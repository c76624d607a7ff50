"""Figures and the HTML page of a finished run, from its `Result` alone."""

from __future__ import annotations

from keras_lifelong.report.figures import accuracy_matrix
from keras_lifelong.report.figures import accuracy_over_tasks
from keras_lifelong.report.page import write
from keras_lifelong.report.registry import figure
from keras_lifelong.report.units import growth

__all__ = ["accuracy_matrix", "accuracy_over_tasks", "figure", "growth", "write"]
