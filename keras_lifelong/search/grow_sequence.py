"""GrowSequenceTuner: the best sequences of binding and growing (BindAndGrow, 4.3).

A grow sequence says in which order tasks are learned, which one each is bound to, and
how much it grows: π = [(t, b_t, δ_t)]. Its two objectives are the gain over networks
that learned each task alone, and the number of parameters.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np

from keras_lifelong.metrics.matrix import multi_task_gain
from keras_lifelong.search import kerastuner as kt
from keras_lifelong.search.oracle import ParetoOracle
from keras_lifelong.search.tuner import ParetoTuner
from keras_lifelong.search.tuner import tasks_with
from keras_lifelong.streams import TaskStream

SPACES = ("shared", "per_task", "staged")
SHARED_START = (0.0, 0.25, 0.5, 0.75, 1.0)
SHARED_TRIALS = 10
OBJECTIVES = (kt.Objective("gain", "max"), kt.Objective("params", "min"))


class Recall:
    """What was learned before in the same way; the oldest is forgotten first.

    Args:
        limit: bytes of arrays that are kept at most.
    """

    def __init__(self, limit: int):
        self.limit, self.held = limit, 0
        self.hits = self.misses = 0
        self._kept: collections.OrderedDict = collections.OrderedDict()

    def get(self, key):
        if key not in self._kept:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key, value):
        size = _bytes(value)
        self._kept[key] = value, size
        self.held += size
        while self.held > self.limit and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self.held -= freed


def _bytes(value) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(_bytes(v) for v in value.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(v) for v in value)
    return 0


class GrowSequenceTuner(ParetoTuner):
    """Searches grow sequences of a `BindAndGrow` for the best trade-offs.

    All trials are of one model, so that what is compiled for it serves all of them.
    Networks that learned a task alone are learned once, and so is every beginning of
    a sequence that has the same architecture as another's: of a shared δ, many values
    have.

    Args:
        build: a function that returns a compiled `BindAndGrow`.
        stream: a `TaskStream`, or any iterable of `Task`, with validation data.
        epochs, batch_size: as of `fit`.
        max_trials: how many.
        space: "shared": one δ for all tasks; "per_task": one for each but the first;
            "staged": one for all first, which few trials can find the best of, and then
            one for each, beginning from what those trials found. In the first stage
            tasks have the given order and are bound to the most similar one.
        shared_trials: of the first stage of "staged", fewer than `max_trials`.
        step: between two values of δ; None: any value.
        order: whether the order of the tasks is searched, too.
        bind_ranks: K: each task may be bound to any of its K + 1 most similar ones. 0:
            to the most similar.
        curated: None, or a list of values of δ, the only ones tried.
        sampler, start, seed: see `ParetoOracle`.
        initial_points: list of dicts of values tried first. None: for "shared" none;
            else the same δ for all, five times.
        split: "validation" or "test": on which accuracies are compared.
        recall_bytes: of memory for what was learned before.
        directory, project_name, overwrite: as of every tuner of KerasTuner.
        trial_timeout, idle_timeout: see `ParetoTuner`.

    Raises:
        ValueError: if an argument is bad.

    Example:

    ```python
    def build():
        model = kl.BindAndGrow(kl.backbones.get("mlp", (8, 8, 1), units=[64, 32]))
        model.compile("adam", metrics=["accuracy"])
        return model

    tuner = GrowSequenceTuner(build, kl.streams.get("digits"), epochs=20)
    tuner.search()
    [(t.hyperparameters.values, tuner.oracle.measured(t)) for t in tuner.front()]
    ```

    Ten trials of one δ for all tasks, then twenty of one for each:

    ```python
    tuner = GrowSequenceTuner(
        build,
        kl.streams.get("digits"),
        epochs=20,
        max_trials=30,
        space="staged",
        shared_trials=10,
    )
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
        space: str = "shared",
        shared_trials: int = SHARED_TRIALS,
        step: float | None = 0.05,
        order: bool = False,
        bind_ranks: int = 0,
        curated: list[float] | None = None,
        sampler: str = "ehvi",
        start: int | None = None,
        initial_points: list[dict] | None = None,
        split: str = "validation",
        recall_bytes: int = 2**30,
        seed: int = 0,
        directory=None,
        project_name=None,
        overwrite: bool = False,
        trial_timeout: float = 60.0,
        idle_timeout: float = 600.0,
    ):
        if space not in SPACES:
            raise ValueError(f"`space` must be one of {SPACES}. Received: {space!r}")
        if split not in ("validation", "test"):
            raise ValueError(
                f"`split` must be 'validation' or 'test'. Received: {split!r}"
            )
        if not isinstance(bind_ranks, int) or bind_ranks < 0:
            raise ValueError(
                f"`bind_ranks` must be an integer of at least 0. Received: {bind_ranks}"
            )
        staged = space == "staged"
        if staged and not (
            isinstance(shared_trials, int) and 1 <= shared_trials < max_trials
        ):
            raise ValueError(
                "`shared_trials` must be an integer of at least 1 and less than "
                f"`max_trials` ({max_trials}). Received: {shared_trials!r}"
            )
        self.tasks = tasks_with(stream, split)
        if len(self.tasks) < 2:
            raise ValueError("`stream` must have two tasks or more.")
        self.epochs, self.batch_size, self.split = epochs, batch_size, split
        self.space, self.order = space, order
        self.model = build()
        self.model.check_stream(TaskStream(list(self.tasks.values())))
        self._initial = self.model.get_state()
        self.model.recall = Recall(recall_bytes)
        names = list(self.tasks)
        axes = kt.HyperParameters()
        deltas = ["delta"] if space == "shared" else [f"delta/{n}" for n in names[1:]]
        if space != "shared" and order:  # any of them may be the first
            deltas = [f"delta/{n}" for n in names]
        for name in deltas:
            if curated is not None:
                axes.Choice(name, [float(v) for v in curated], ordered=True)
            else:
                axes.Float(name, 0.0, 1.0, step=step, default=0.5)
        for name in names if order else []:
            axes.Float(
                f"order/{name}", 0.0, 1.0, default=names.index(name) / len(names)
            )
        if bind_ranks:
            for name in names if order else names[1:]:
                axes.Int(f"bind/{name}", 0, bind_ranks, default=0)
        if initial_points is None:
            start_values = SHARED_START if curated is None else sorted(curated)
            initial_points = [
                {name: value for name in deltas}
                for value in (() if space == "shared" else start_values)
            ]
        oracle = ParetoOracle(
            OBJECTIVES,
            max_trials,
            axes,
            sampler=sampler,
            initial_points=initial_points,
            start=start,
            tied=deltas if staged else None,
            tied_trials=shared_trials if staged else 0,
            seed=seed,
        )
        super().__init__(
            oracle, directory, project_name, overwrite, trial_timeout, idle_timeout
        )

    def sequence(self, values: dict) -> list[str]:
        """The names of the tasks in the order of a trial: by their random keys."""
        if not self.order:
            return list(self.tasks)
        return sorted(self.tasks, key=lambda name: values[f"order/{name}"])

    def measure(self, values):
        model, names = self.model, self.sequence(values)
        model.set_state(*self._initial)
        if self.space == "shared":
            delta = values["delta"]
        else:
            delta = {n: values[f"delta/{n}"] for n in names if f"delta/{n}" in values}
        ranks = {n: values.get(f"bind/{n}", 0) for n in names}
        # In place: one model serves all trials, with what has been compiled for it.
        model._change_options(
            grow_coefficient=delta, bind_rank=ranks if any(ranks.values()) else 0
        )
        for name in names:
            task = self.tasks[name]
            model.fit(task, epochs=self.epochs, batch_size=self.batch_size, verbose=0)
        metric, alone = model.main_metric, model.single_task_scores(self.split)
        together = [
            model.evaluate(self.tasks[n], split=self.split)[metric.name] for n in names
        ]
        single, up = [alone[n] for n in names], metric.higher_is_better
        found = {
            "gain": multi_task_gain(together, single, higher_is_better=up),
            "params": model.count_params(),
            "points": multi_task_gain(together, single, True, up),
            metric.name: float(np.mean(together)),
        }
        return found, model

    def front(self) -> list:
        """The trials that none beats."""
        return self.oracle.pareto_trials()
