"""ParetoOracle: KerasTuner's oracle for objectives that pull apart."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import time
import warnings

import numpy as np

from keras_lifelong.files import write_atomic
from keras_lifelong.metrics.directions import sign
from keras_lifelong.search import kerastuner as kt
from keras_lifelong.search import pareto
from keras_lifelong.search.samplers import Sampler
from keras_lifelong.search.samplers import Space
from keras_lifelong.search.samplers import TiedSpace
from keras_lifelong.search.samplers import Tried

STATUS = kt.TrialStatus
UNREADABLE = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
SUM = "multi_objective"  # KerasTuner wants a number of that name beside the objectives


class ParetoOracle(kt.Oracle):
    """Looks for all trials that no other trial beats in every objective.

    KerasTuner minimises the sum of several objectives; this keeps them apart. What it
    knows is in KerasTuner's own files, written whole or not at all, and the sampler is
    made anew of them for every trial: a search killed at any moment goes on with the
    trials that it would have had.

    Args:
        objectives: two of `keras_tuner.Objective`.
        max_trials: how many.
        hyperparameters: `keras_tuner.HyperParameters`: all of the space, without
            conditions.
        sampler: see `samplers.Sampler`.
        initial_points: list of dicts of values, tried first; what one leaves out has
            its default.
        start: see `samplers.Sampler`.
        tied: None, or a list of names of hyperparameters that take the same values: the
            search goes in two stages. In the first they have one value between them and
            all others their defaults; the second, in the whole space, knows what the
            first has found.
        tied_trials: of the first stage, initial points among them. Once it has tried
            all there is, it ends early.
        seed: integer of 0 or more.

    Raises:
        ValueError: if an argument is bad.

    Example:

    ```python
    space = keras_tuner.HyperParameters()
    space.Float("delta", 0.0, 1.0, step=0.05)
    gain, params = (
        keras_tuner.Objective("gain", "max"),
        keras_tuner.Objective("params", "min"),
    )
    oracle = ParetoOracle([gain, params], max_trials=20, hyperparameters=space)
    ```
    """

    def __init__(
        self,
        objectives,
        max_trials: int,
        hyperparameters,
        sampler: str = "ehvi",
        initial_points: list[dict] | None = None,
        start: int | None = None,
        tied: list[str] | None = None,
        tied_trials: int = 0,
        seed: int = 0,
    ):
        if len(objectives) != 2:
            raise ValueError(
                f"`objectives` must be two. Received: {[str(o) for o in objectives]}"
            )
        if not isinstance(max_trials, int) or max_trials < 1:
            raise ValueError(
                f"`max_trials` must be an integer of at least 1. Received: {max_trials}"
            )
        if tied is not None and (
            not isinstance(tied_trials, int) or not 1 <= tied_trials <= max_trials
        ):
            raise ValueError(
                "`tied_trials` must be an integer from 1 to `max_trials` "
                f"({max_trials}). Received: {tied_trials!r}"
            )
        super().__init__(
            objective=list(objectives),
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            tune_new_entries=False,
            allow_new_entries=False,
            seed=seed + 1,  # KerasTuner takes 0 for "none"
            max_consecutive_failed_trials=None,  # its error would hold a lock for ever
        )
        self.signs = [-sign(o.direction != "min") for o in objectives]
        self.names = [o.name for o in objectives]
        self.space = Space(hyperparameters)
        self._sampler = Sampler(sampler, self.space, seed, start)
        self._tied, self._tied_trials = None, tied_trials
        if tied is not None:
            line = TiedSpace(self.space, tied)
            self._tied = Sampler(sampler, line, seed, start)
        self.attributes: dict[str, dict] = {}
        self._heard: dict[str, float] = {}  # of workers and trials: when, last
        self._heard_any = time.monotonic()
        self._before: dict = {}  # the trials that ran when the chief was killed
        self._first = [self._point(p) for p in initial_points or []]
        self._said = {
            "oracle": type(self).__name__,
            "objectives": [[o.name, o.direction] for o in objectives],
            "max_trials": max_trials,
            "space": hyperparameters.get_config(),
            "sampler": [sampler, start, seed],
            "first": self._first,
            "tied": [tied, tied_trials],
        }
        self.meant = ""  # what else makes it the search it is: the program's to say

    def identity(self, placed: bool = True) -> str:
        """A digest of what makes a search the one it is, for all of its processes.

        Of the directory its name counts, not its path; not even that unless `placed`.
        """
        said = {**self._said, "meant": self.meant}
        if placed:
            place = os.path.basename(os.path.abspath(self._directory or "."))
            said["project"] = [place, self._project_name]
        text = json.dumps(said, sort_keys=True, default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()

    def _point(self, given: dict) -> dict:
        names = {hp.name for hp in self.space.axes}
        unknown = sorted(set(given) - names)
        if unknown:
            raise ValueError(
                f"`initial_points` must have values of {sorted(names)}. "
                f"Received: {unknown}"
            )
        defaults = {hp.name: hp.default for hp in self.space.axes}
        return {**self.space.fixed, **defaults, **given}

    # Ask

    def populate_space(self, trial_id):
        index = int(trial_id)
        if index < len(self._first):
            return {"status": STATUS.RUNNING, "values": dict(self._first[index])}
        asked = None
        if self._tied is not None and index < self._tied_trials:
            asked = self._asked(self._tied, index)
        asked = asked or self._asked(self._sampler, index)
        if asked is None:
            return {"status": STATUS.STOPPED, "values": None}
        values, self.attributes[trial_id] = asked
        return {"status": STATUS.RUNNING, "values": values}

    def _asked(self, sampler, index):
        tried = [t for t in self.tried() if sampler.space.holds(t.values)]
        try:
            return sampler.ask(index, tried)
        except Exception as error:  # under KerasTuner's lock, which would stay closed
            warnings.warn(
                f"The sampler failed for trial {index}, which is drawn at random: "
                f"{type(error).__name__}: {error}",
                stacklevel=3,
            )
            return sampler.ask_random(index, tried)

    def tried(self) -> list[Tried]:
        """The trials so far as samplers see them; failed ones are left out."""
        return [
            Tried(
                dict(trial.hyperparameters.values),
                self.minimised(trial) if trial.status == STATUS.COMPLETED else None,
                self.attributes.get(trial_id, {}),
            )
            for trial_id, trial in sorted(self.trials.items())
            if trial.status not in (STATUS.FAILED, STATUS.INVALID)
        ]

    # Tell

    def measured(self, trial) -> dict[str, float]:
        """The objectives of a finished trial."""
        return {n: float(trial.metrics.get_last_value(n)) for n in self.names}

    def signed(self, found: dict[str, float]) -> list[float]:
        """Objectives by name as a point to be minimised."""
        return [s * found[n] for s, n in zip(self.signs, self.names, strict=True)]

    def minimised(self, trial) -> list[float]:
        return self.signed(self.measured(trial))

    def score_trial(self, trial):
        """The number of trials that beat it: 0 on the front, at the time."""
        mine = np.array(self.minimised(trial))
        others = np.array(
            [self.minimised(t) for t in self.completed() if t is not trial] or [mine]
        )
        trial.score = float(
            ((others <= mine).all(1) & (others < mine).any(1)).sum()
            if np.isfinite(mine).all()
            else np.nan
        )
        trial.best_step = 0

    @kt.synchronized
    def end_trial(self, trial):
        """As KerasTuner's; a trial that has ended already stays as it is."""
        if trial.trial_id in self.end_order:
            for tuner_id, ongoing in list(self.ongoing_trials.items()):
                if ongoing.trial_id == trial.trial_id:
                    self.ongoing_trials.pop(tuner_id)
            return
        if trial.trial_id in self._retry_queue:  # its worker was slow, not dead
            self._retry_queue.remove(trial.trial_id)
        super().end_trial(trial)

    # Workers

    @kt.synchronized
    def create_trial(self, tuner_id):
        """As KerasTuner's; nobody is sent away while a trial may yet come back."""
        self.heard_of(tuner_id)
        trial = super().create_trial(tuner_id)
        self.heard_of(trial.trial_id)
        if trial.status == STATUS.STOPPED and self.is_waiting:
            trial.status = STATUS.IDLE
            self.tuner_ids.add(tuner_id)
        return trial

    @property
    def is_waiting(self) -> bool:
        """Whether a trial is being run, or is to be run again."""
        return bool(self.ongoing_trials or self._retry_queue)

    @kt.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        """As KerasTuner's; a trial that has ended already stays as it is."""
        self.heard_of(trial_id)
        if trial_id in self.end_order:
            return self.trials[trial_id]
        return super().update_trial(trial_id, metrics, step)

    def get_trial(self, trial_id):
        self.heard_of(trial_id)
        return super().get_trial(trial_id)

    def heard_of(self, name: str | None = None):
        """Takes note that a worker, or a trial's worker, lives."""
        self._heard_any = time.monotonic()
        if name is not None:
            self._heard[name] = self._heard_any

    def silence(self) -> float:
        """Seconds since any worker was heard of."""
        return time.monotonic() - self._heard_any

    @kt.synchronized
    def release(self, timeout: float):
        """Takes trials back of workers that were not heard of for so many seconds."""
        now = time.monotonic()
        for tuner_id, trial in list(self.ongoing_trials.items()):
            last = max(self._heard.get(n, 0.0) for n in (tuner_id, trial.trial_id))
            if now - last > timeout:
                self.ongoing_trials.pop(tuner_id)
                self.tuner_ids.discard(tuner_id)
                trial.metrics.metrics = {}
                self._retry_queue.append(trial.trial_id)
                self.save()
        for tuner_id in list(self.tuner_ids):
            idle = tuner_id not in self.ongoing_trials
            if idle and now - self._heard.get(tuner_id, now) > timeout:
                self.tuner_ids.discard(tuner_id)

    @property
    def is_exhausted(self) -> bool:
        """Whether every trial that may be tried has ended."""
        return len(self.end_order) >= self.max_trials

    def resume_workers(self):
        """After a chief's death: its workers may still end what they have begun."""
        for tuner_id, trial in self._before.items():
            if trial.trial_id in self._retry_queue:
                self._retry_queue.remove(trial.trial_id)
                self.ongoing_trials[tuner_id] = trial
                self.tuner_ids.add(tuner_id)
                self.heard_of(tuner_id)

    # What was found

    def completed(self) -> list:
        """Finished trials in the order of their numbers."""
        return [
            trial
            for _, trial in sorted(self.trials.items())
            if trial.status == STATUS.COMPLETED
        ]

    def points(self) -> np.ndarray:
        """Objectives (n, 2) of the finished trials, to be minimised."""
        return np.array([self.minimised(t) for t in self.completed()]).reshape(-1, 2)

    def pareto_trials(self) -> list:
        """The trials that none beats, by their first objective; of equals the first."""
        trials, points = self.completed(), self.points()
        if not trials:
            return []
        _, first = np.unique(points, axis=0, return_index=True)
        best = [i for i in first if pareto.non_dominated(points)[i]]
        return [trials[i] for i in best]

    def get_best_trials(self, num_trials: int = 1) -> list:
        """Trials by front, and on it by what they add to the hypervolume."""
        trials, points = self.completed(), self.points()
        if not trials:
            return []
        gains = pareto.contributions(points, pareto.beyond(points))
        order = np.lexsort((-gains, pareto.ranks(points)))
        return [trials[i] for i in order[:num_trials]]

    def hypervolume(self, reference: dict[str, float] | None = None) -> float:
        """The area that the front dominates.

        Args:
            reference: the worst of each objective that counts, by name. None: a tenth
                of the range beyond the worst trial.
        """
        points = self.points()
        worst = pareto.beyond(points) if reference is None else self.signed(reference)
        return pareto.hypervolume(points, worst)

    # Files

    def get_state(self):
        return {**super().get_state(), "attributes": self.attributes}

    def set_state(self, state):
        self.attributes = state["attributes"]
        super().set_state(state)
        self._before = dict(self.ongoing_trials)

    def _unreadable(self, error: BaseException) -> ValueError:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return ValueError(
            f"{self._get_oracle_fname()} or a trial beside it is not what a search "
            f"wrote ({why}). Give another directory, or remove it to start anew."
        )

    def save(self):
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        directory = pathlib.Path(self._get_trial_dir(trial.trial_id))
        write_json(directory / "trial.json", trial.get_state())

    def reload(self):
        """Reads what a killed search left: nothing is lost, nothing is run twice.

        The files are trials by themselves and one of their order. A kill between them
        leaves a trial that the order does not know of.

        Raises:
            ValueError: naming the files, if they are not what a search wrote.
        """
        try:
            super().reload()
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        finished = (STATUS.COMPLETED, STATUS.FAILED)
        for trial_id, trial in sorted(self.trials.items()):
            if trial_id not in self.start_order:
                self.start_order.append(trial_id)
            if trial.status in finished and trial_id not in self.end_order:
                self.end_order.append(trial_id)
        waiting = [i for i, t in self.trials.items() if t.status not in finished]
        for trial_id in waiting:  # its record of an unfinished run counts nothing
            self.trials[trial_id].metrics.metrics = {}
        self._retry_queue = sorted(waiting, reverse=True)  # the last is taken first


def write_json(path, state):
    """Writes it whole or not at all: a search may be killed at any time."""
    write_atomic(os.fspath(path), json.dumps(state, default=_plain).encode())


def _plain(value):
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON")
