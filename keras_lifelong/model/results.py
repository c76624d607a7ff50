"""What `fit_stream` measures, task by task."""

from __future__ import annotations

import platform
import resource
import sys

import keras
import numpy as np

from keras_lifelong import backend
from keras_lifelong import metrics as metrics_lib
from keras_lifelong.model.testing import Testing


class Measured:
    """The results so far; stored with the checkpoint."""

    def __init__(self, model, testing: Testing):
        self.model, self.testing = model, testing
        # metric -> of each row the first task tested, and scores from there on
        self.rows: dict[str, list[tuple[int, list[float | None]]]] = {}
        self.names: list[str] = []
        self.peaks: list[float | None] = []
        self.params: list[int] = []
        self.seconds: list[float] = []
        self.curves: list[list[float]] = []  # main metric by epoch, on validation data
        self.wall = 0.0
        self.compile_count = 0
        self._wall_before = 0.0
        self._compiles_before = 0

    @property
    def tasks_done(self) -> int:
        return len(self.names)

    def restore(self, config: dict):
        for key, value in config.items():
            setattr(self, key, value)
        self._wall_before, self._compiles_before = self.wall, self.compile_count

    def to_config(self) -> dict:
        keys = ("rows", "names", "peaks", "params", "seconds", "wall", "compile_count")
        return {key: getattr(self, key) for key in (*keys, "curves")}

    def check_name(self, index, name):
        if self.names[index] != name:
            raise ValueError(
                f"The checkpoint was written for another stream: its task {index} is "
                f"{self.names[index]!r}. Received: {name!r}."
            )

    def after_task(self, tasks, peak, seconds, wall):
        model = self.model
        first = self.testing.first(len(tasks))
        found = self._scores(tasks[first:])
        for name, scores in found.items():
            self.rows.setdefault(name, []).append((first, scores))
        self.names.append(tasks[-1].name)
        self.peaks.append(peak)
        self.params.append(model.count_params())
        self.seconds.append(seconds)
        self.wall = self._wall_before + wall
        self.compile_count = self._compiles_before + model.trainer.compile_count

    def learned(self, history: dict[str, list[float]]) -> None:
        """Keeps what the history of all epochs has of the last task."""
        scores = history.get(f"val_{self.model.main_metric.name}", [])
        new = scores[sum(map(len, self.curves)) :]
        self.curves.append([float(score) for score in new])

    def after_last(self, tasks) -> None:
        """Tests those that were not tested after the last task."""
        first = next((rows[-1][0] for rows in self.rows.values()), 0)
        if first and len(tasks) == self.tasks_done:
            for name, scores in self._scores(tasks[:first]).items():
                rows = self.rows[name]
                rows[-1] = (0, scores + rows[-1][1])

    def _scores(self, tasks) -> dict[str, list[float | None]]:
        """Each metric's scores of some tasks; None for what it is not for."""
        found = [self.model.evaluate(t) if t.test is not None else {} for t in tasks]
        names = [metric.name for metric in self.model._scored_by]
        return {name: [scores.get(name) for scores in found] for name in names}

    def matrices(self) -> dict[str, np.ndarray]:
        """Each metric's matrix, (T, T)."""
        size, matrices = len(self.names), {}
        for name, rows in self.rows.items():
            matrix = np.full((size, size), np.nan)
            for i, (first, row) in enumerate(rows):
                known = [np.nan if v is None else v for v in row]
                matrix[i, first : first + len(row)] = known
            matrices[name] = matrix
        return matrices

    def result(self, stream, wall) -> metrics_lib.Result:
        model = self.model
        return metrics_lib.Result(
            method=type(model).__name__,
            stream=stream.name,
            seed=model.seed,
            backend=backend.NAME,
            metric=model.main_metric.name,
            task_names=self.names,
            matrices=self.matrices(),
            peak_by_task=self.peaks,
            params_base=model.base_params(),
            params_by_task=self.params,
            train_seconds_by_task=self.seconds,
            wall_seconds=self._wall_before + wall,
            compile_count=self._compiles_before + model.trainer.compile_count,
            peak_rss_mib=_peak_rss_mib(),
            growth=model.growth,
            config={"stream": stream.config},
            versions=versions(),
            class_names={n: s for n in self.names if (s := _class_names(model, n))},
            learning_curves=[thinned(curve) for curve in self.curves],
            directions={m.name: m.higher_is_better for m in model._scored_by},
        )


def thinned(curve: list[float], most: int = 200) -> list[float]:
    """A curve of at most so many numbers: means of parts, if there are more epochs."""
    if len(curve) <= most:
        return curve
    return [float(np.mean(part)) for part in np.array_split(curve, most)]


def _class_names(model, name: str) -> list[str]:
    """What a task's classes are called; none of a task that was removed."""
    known = model.task_spec(name).class_names if name in model.task_names else None
    return [str(each) for each in known or ()]


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    import keras_lifelong

    out = {
        "keras_lifelong": keras_lifelong.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    out[backend.NAME] = sys.modules[backend.NAME].__version__
    return out


def _peak_rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
