"""ThresholdTuner: α and β of PAR, for accuracy against size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_lifelong.search import kerastuner as kt
from keras_lifelong.search.oracle import ParetoOracle
from keras_lifelong.search.tuner import ParetoTuner
from keras_lifelong.search.tuner import tasks_with
from keras_lifelong.streams import TaskStream


class ThresholdTuner(ParetoTuner):
    """Searches PAR's thresholds. β is α and a gap of at least 0.

    Args:
        build: `build(alpha, beta)`, which returns a compiled `PAR`.
        stream: a `TaskStream`, or any iterable of `Task`, with validation data.
        epochs, batch_size: as of `fit`.
        max_trials, sampler, start, initial_points, seed: see `ParetoOracle`. None of
            initial points: the paper's, 0.5 and 0.75.
        step: between two values; None: any value.
        directory, project_name, overwrite: as of every tuner of KerasTuner.
        trial_timeout, idle_timeout: see `ParetoTuner`.

    Example:

    ```python
    tuner = ThresholdTuner(build, stream, epochs=20, max_trials=12)
    tuner.search()
    [(t.hyperparameters.values, tuner.oracle.measured(t))
     for t in tuner.oracle.pareto_trials()]
    ```
    """

    def __init__(
        self,
        build: Callable,
        stream,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        max_trials: int = 20,
        step: float | None = 0.05,
        sampler: str = "ehvi",
        start: int | None = None,
        initial_points: list[dict] | None = None,
        seed: int = 0,
        directory=None,
        project_name=None,
        overwrite: bool = False,
        trial_timeout: float = 60.0,
        idle_timeout: float = 600.0,
    ):
        self.tasks = list(tasks_with(stream, "validation").values())
        self.build, self.epochs, self.batch_size = build, epochs, batch_size
        axes = kt.HyperParameters()
        axes.Float("alpha", 0.0, 1.0, step=step, default=0.5)
        axes.Float("gap", 0.0, 1.0, step=step, default=0.25)
        model = build(0.5, 0.75)
        model.check_stream(TaskStream(self.tasks))
        metric = model.main_metric
        direction = "max" if metric.higher_is_better else "min"
        oracle = ParetoOracle(
            [kt.Objective(metric.name, direction), kt.Objective("params", "min")],
            max_trials,
            axes,
            sampler=sampler,
            initial_points=[{}] if initial_points is None else initial_points,
            start=start,
            seed=seed,
        )
        super().__init__(
            oracle, directory, project_name, overwrite, trial_timeout, idle_timeout
        )

    def measure(self, values):
        alpha, gap = values["alpha"], values["gap"]
        model = self.build(alpha, min(1.0, alpha + gap))
        for task in self.tasks:
            model.fit(task, epochs=self.epochs, batch_size=self.batch_size, verbose=0)
        metric = model.main_metric.name
        scores = [model.evaluate(t, split="validation")[metric] for t in self.tasks]
        found = {
            metric: float(np.mean(scores)),
            "params": model.count_params(),
            "experts": len(model.experts),
        }
        return found, model
