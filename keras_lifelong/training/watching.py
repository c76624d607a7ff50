"""What the trainer keeps of a phase by epoch: logs, and the best epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from keras_lifelong.metrics.directions import sign
from keras_lifelong.metrics.predictions import NotFinite
from keras_lifelong.training.importance import values_of
from keras_lifelong.training.protocol import Trainable


def is_validated(phase, task) -> bool:
    """Whether epochs of a phase are scored on validation data of a task."""
    return phase.validate and task.validation is not None


def diverged(what: str, value, task, phase, epoch: int) -> FloatingPointError:
    """The error that ends a phase which has left the numbers.

    Args:
        what: of the task.
        value: what it became.
        task, phase: which are under way.
        epoch: its number from 0.
    """
    return FloatingPointError(
        f"The {what} of task {task.name!r} became {value} in phase {phase.name!r}, "
        f"epoch {epoch + 1}. A smaller learning rate may help. What was learned before "
        "this task is kept."
    )


@contextlib.contextmanager
def scored(task, phase, epoch: int) -> Iterator[None]:
    """Within it predictions that are no numbers end the phase, as a loss does."""
    try:
        yield
    except NotFinite as error:  # the last step of the epoch did it
        raise diverged("predictions", "NaN", task, phase, epoch) from error


class Log:
    """Logs of a phase by epoch, and what it observed."""

    def __init__(self, phase):
        self.history: dict[str, list] = {}
        self._observed: dict[str, list] = {}
        self._phase = phase

    def add(self, logs):
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def observe(self, finished):
        if self._phase.observe is not None:
            for name, value in self._phase.observe(finished).items():
                self._observed.setdefault(name, []).append(value)

    def all(self):
        return self.history | self._observed


class Best:
    """The best epoch of a phase by the main metric on validation data."""

    def __init__(self, model: Trainable, phase):
        self.model = model
        self.value = None
        self.age = 0  # epochs since
        found = [*model.active_variables(), *phase.variables]
        self.variables = list({id(v): v for v in found}.values())
        self._weights: list | None = None

    def see(self, scores, keep):
        metric = self.model.main_metric
        value = sign(metric) * scores[metric.name]
        is_better = self.value is None or value > self.value
        self.age = 0 if is_better else self.age + 1
        if is_better or value == self.value:  # of equals the last: it learned longer
            self.value = value
            if keep:
                self._weights = values_of(self.variables)

    def restore(self):
        if self._weights is not None:
            _assign(self.variables, self._weights)


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Peak:
    """The test metric at the epoch of best validation metric (LASEM's peak)."""

    def __init__(self, model: Trainable, task):
        self.model = model
        self.task = task
        self.best = None
        self.value = None
        self._kept: tuple[list, list] | None = None

    def see(self, scores, variables):
        """Keeps what variables hold, if no epoch before had such scores.

        Args:
            scores: of validation data, by name.
            variables: all that the task's outputs depend on.
        """
        metric = self.model.main_metric
        value = sign(metric) * scores[metric.name]
        if self.best is None or value > self.best:
            self.best = value
            self._kept = variables, values_of(variables)

    def state(self):
        return [self.best, self.value]

    def set_state(self, state):
        self.best, self.value = state

    def settle(self):
        """Scores the best epoch's weights, while the network has their shape."""
        if self._kept is None:
            return
        (variables, values), self._kept = self._kept, None
        if self.task.test is not None:
            now = values_of(variables)
            _assign(variables, values)
            self.model.publish()
            scores = self.model.score(self.task, "test", main_only=True)
            self.value = scores[self.model.main_metric.name]
            _assign(variables, now)
