"""Which metrics a model's tasks are scored by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.src.trainers.compile_utils import MetricsList

from keras_lifelong import metrics as metrics_lib
from keras_lifelong.layers import head as heads
from keras_lifelong.metrics.followed import AllFollowed
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import TaskStream
from keras_lifelong.streams.datasets import Examples
from keras_lifelong.training.layer_losses import check_devices
from keras_lifelong.training.layer_losses import flattened


def _no_function(y, p, spec):
    raise NotImplementedError("the loss is computed with the scores")


_LOSS = metrics_lib.Score("loss", _no_function, higher_is_better=False)


class MeasuringMixin(keras.Model):
    """The metrics of `compile` by the kind of a task, and as Keras shows them."""

    _scored_by: list[metrics_lib.Score]
    _metric_arguments: list

    @property
    def main_metric(self) -> metrics_lib.Score:
        """The first metric given to `compile`; of `results.json`.

        While a task is learned, the first of those that are for its kind, by which
        epochs are compared; if none is, its loss.
        """
        name: Any = self.active_task
        if name is None:
            return self._scored_by[0]
        return [*self.metrics_of(self.task_spec(name)), _LOSS][0]

    def metrics_of(self, spec: TaskSpec) -> list[metrics_lib.Score]:
        """The metrics of `compile` that are for the kind of a task, the main one first.

        Args:
            spec: the task's `TaskSpec`.
        """
        return [metric for metric in self._scored_by if metric.suits(spec.kind)]

    def followed_scores(self) -> tuple[metrics_lib.Score, ...]:
        """The metrics that can be followed while the active task is trained."""
        found = self.metrics_of(self.task_spec(self.active_task))
        return tuple(metric for metric in found if metric.follow is not None)

    def followed(self) -> AllFollowed:
        """New metrics of Keras that follow them, for a step to update."""
        name: Any = self.active_task
        spec, scores = self.task_spec(name), self.followed_scores()
        made = [score.follow(spec) for score in scores if score.follow is not None]
        return AllFollowed(made, heads.activation(self.loss_kind(name)))

    def check_metrics(self, name: str, spec: TaskSpec) -> None:
        """Raises a ValueError if no metric of `compile` is for a task to be tested."""
        if not self.metrics_of(spec):
            given = [metric.name for metric in self._scored_by]
            usual = metrics_lib.usual(spec.kind)
            raise ValueError(
                f"`metrics` of `compile` must have one for {spec.kind} tasks, such as "
                f"{usual!r}, to learn task {name!r}. Received: {given}."
            )

    def check_stream(self, stream: TaskStream) -> None:
        """Refuses a stream before the first of its tasks is learned.

        Raises:
            ValueError: if a task that can be foreseen cannot be learned after those
                before it, or no metric is for it; or devices are set that do not carry
                the network.
        """
        check_devices(self.rows_meet, flattened(self.network))
        others = self.task_specs
        for task in stream.foreseen():
            spec = task.foreseen_spec
            if spec is None:
                continue
            if task.is_tested:
                self.check_metrics(task.name, spec)
            self.check_spec(task.name, spec, others)
            others[task.name] = spec

    def check_scored(self, y: np.ndarray, spec: TaskSpec, what: str) -> None:
        """Raises a ValueError if a metric of `compile` can't be of these labels.

        Args:
            y: labels of validation or test data, in standard form.
            spec: the task's `TaskSpec`.
            what: whose labels these are, for messages.
        """
        for metric in self.metrics_of(spec):
            if metric.check is None:
                continue
            try:
                metric.check(y, spec)
            except ValueError as error:
                raise ValueError(f"{what}: {error}") from error

    def check_scored_dataset(
        self, data: Examples, check: Callable, spec: TaskSpec, what: str
    ) -> None:
        """As `check_scored`, of data that are read as they come.

        That takes a pass over them, so that what is wrong with them is known before
        the task is trained.

        Args:
            data: of validation or test.
            check: see `checker`.
            spec, what: see `check_scored`.

        Raises:
            ValueError: if the data are not of the task, too.
        """
        labels = [check(x, y)[1] for x, y, _ in data.blocks(1024)]
        self.check_scored(np.concatenate(labels), spec, what)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics as Keras lists them: of names and directions.

        Callbacks whose `mode` is "auto" look here for the direction of what they
        monitor. The values are not kept in them: see the logs, and `evaluate`.
        """
        if not self.compiled:
            return []
        shown = [_Shown(metric) for metric in self._scored_by]
        return [keras.metrics.Mean(name="loss"), MetricsList(shown, "compile_metrics")]


class _Shown(keras.metrics.Mean):
    """The name and direction of a score as a Keras metric."""

    def __init__(self, score: metrics_lib.Score):
        super().__init__(name=score.name)
        self._direction = "up" if score.higher_is_better else "down"
