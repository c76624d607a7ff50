"""Figures and the HTML page of a finished run, from its `Result` alone."""

from __future__ import annotations

from keras_lifelong.report.figures import accuracy_matrix
from keras_lifelong.report.figures import accuracy_over_tasks
from keras_lifelong.report.figures import growth
from keras_lifelong.report.page import write

__all__ = ["accuracy_matrix", "accuracy_over_tasks", "growth", "write"]
