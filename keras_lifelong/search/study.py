"""A search as an Optuna study: processes share its storage, and none is the chief.

It stands in the place of KerasTuner's loop, files and chief; what is asked, measured
and found is the same: a search by one process tries what KerasTuner's would.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError  # which Optuna needs

from keras_lifelong.search import kerastuner as kt
from keras_lifelong.search.beating import beating
from keras_lifelong.search.oracle import SUM
from keras_lifelong.search.samplers import distribution

POLL = 0.2  # seconds
# What a trial says beside its values, in Optuna's attributes.
INDEX = "index"  # of one that is tried again, which is the first one's
RELEASED = "released"  # it counts nothing: AGAIN, as its process died, or TOO_MANY
BEATS = "beats"  # counted up while its process lives
AGAIN, TOO_MANY = "again", "too many"
ASKED, MEASURED, SEARCH = "asked", "measured", "search"


def storage_of(given: Any) -> optuna.storages.BaseStorage:
    """A storage of Optuna.

    Args:
        given: one; the URL of a data base, such as "sqlite:///search.db"; or the path
            of a file, of which a journal is kept that works on shared file systems.

    Raises:
        ValueError: if it can't be opened.
    """
    if isinstance(given, optuna.storages.BaseStorage):
        return given
    try:
        if isinstance(given, str) and "://" in given:
            return optuna.storages.RDBStorage(given)
        path = Path(os.fspath(given))
        path.parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    except (ImportError, OSError, TypeError, SQLAlchemyError, OptunaError) as error:
        shown = str(given).rpartition("@")[2]  # without a password
        raise ValueError(
            "`storage` must be a storage of Optuna, the URL of a data base or the path "
            f"of a file. Received: {shown} ({type(error).__name__})"
        ) from error


class Study:
    """The trials of a tuner, in a storage that several processes may share.

    A trial whose process died is tried again, by whoever is there. Nothing of the
    machines' clocks is compared.

    Args:
        tuner: a `ParetoTuner`. Its oracle holds all trials when the search has ended,
            so that `rows`, `load_model` and figures are as of KerasTuner's search.
        storage: see `storage_of`.
        name: of the study in its storage.

    Raises:
        ValueError: if the storage has another search by that name.
    """

    def __init__(self, tuner, storage: Any, name: str = "search"):
        self.tuner, self.oracle = tuner, tuner.own_oracle
        self._objectives = self.oracle.objective.objectives
        space = self.oracle.space
        self._asking = _Asking(
            {hp.name: distribution(optuna, space, hp) for hp in space.axes},
            self._answer,
        )
        directions = [f"{o.direction}imize" for o in self._objectives]
        with _quiet():
            self.study = optuna.create_study(
                storage=storage_of(storage),
                sampler=self._asking,
                study_name=name,
                directions=directions,
                load_if_exists=True,
            )
        said = self.oracle.identity(placed=False)
        found = self.study.user_attrs.get(SEARCH)
        if found is None and not self.study.get_trials(deepcopy=False):
            self.study.set_user_attr(SEARCH, said)
        elif found != said:
            raise ValueError(
                f"The study {name!r} of that storage is another search than this one. "
                "Give this one another name or storage, or go on with the same "
                "program and configuration."
            )
        self._heard: dict[int, tuple[int, float]] = {}
        self._exhausted = False  # nothing is left to try but what is tried again

    def run(self, verbose: int = 1) -> None:
        """Tries until every trial has ended, be it in another process.

        Args:
            verbose: whether a line says what came of each trial here.
        """
        with _quiet():
            while True:
                self._release()
                found = self._next()
                if found is not None:
                    self._try(*found, verbose)
                elif self._is_running():
                    time.sleep(POLL)
                else:
                    break
        self._note(self._trials())
        self.tuner.write_table()

    # What is tried next

    def _next(self) -> tuple[optuna.Trial, kt.Trial] | None:
        """The next trial, which is this process's; None: there is none now."""
        trials = self._trials()
        waiting = any(t.state == TrialState.WAITING for t in trials)
        enough = _next_index(trials) >= self.oracle.max_trials
        if not waiting and (enough or self._exhausted):
            return None
        trial = self.study.ask(self._asking.distributions)
        trials = self._trials()
        found = next(t for t in trials if t.number == trial.number)
        index = _indices(trials)[trial.number]
        if not _is_again(found):
            self._exhausted = self._asking.asked is None
            if self._exhausted or index >= self.oracle.max_trials:
                self._give_up(trial.number, TOO_MANY)
                return None
            trial.set_user_attr(ASKED, self._asking.asked)
        return trial, self._as_kerastuner(found, index)

    def _answer(self, number: int) -> tuple[dict, dict] | None:
        """Values for a new trial, and what the sampler wrote down."""
        trials = [t for t in self._trials() if t.number < number]
        self._note(trials)
        trial_id = self._id(_next_index(trials))
        asked = self.oracle.populate_space(trial_id)
        if asked["values"] is None:
            return None
        return asked["values"], self.oracle.attributes.get(trial_id, {})

    # Its process

    def _try(self, trial: optuna.Trial, mine: kt.Trial, verbose: int) -> None:
        try:
            with self._beating(trial):
                measured = self.tuner.run_trial(mine)
        except Exception as error:  # as KerasTuner: noted, and the next one is tried
            traceback.print_exc()
            _say(trial, "error", f"{type(error).__name__}: {error}"[:500])
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            return
        except BaseException:  # an interrupt: somebody else may try it at once
            self._give_up(trial.number)
            raise
        measured.pop(SUM)
        if not _say(trial, MEASURED, measured):
            return  # it was taken back, and is tried again
        values = [measured[name] for name in self.oracle.names]
        self.study.tell(trial, values, skip_if_finished=True)
        if verbose:
            shown = ", ".join(f"{k} {v:.6g}" for k, v in measured.items())
            print(f"trial {mine.trial_id}: {shown}", flush=True)
        self._note(self._trials())
        self.tuner.write_table()

    def _beating(self, trial: optuna.Trial):
        """Shows others that this process lives, as long as the block lasts."""
        beats = itertools.count(1)
        interval = self.tuner.trial_timeout / 5
        return beating(lambda: _say(trial, BEATS, next(beats)), interval)

    # Processes that died

    def _release(self) -> None:
        """Ends what no process shows to live for, and has it tried again."""
        now = time.monotonic()
        for t in self._trials():
            if t.state != TrialState.RUNNING:
                continue
            beats = t.user_attrs.get(BEATS, 0)
            last, since = self._heard.get(t.number, (-1, now))
            self._heard[t.number] = beats, now if beats != last else since
            if beats == last and now - since > self.tuner.trial_timeout:
                self._give_up(t.number)
        trials = self._trials()
        indices = _indices(trials)
        lasting = {
            indices[t.number] for t in trials if t.user_attrs.get(RELEASED) != AGAIN
        }
        for t in trials:
            index = indices[t.number]
            if index not in lasting and index < self.oracle.max_trials and t.params:
                lasting.add(index)
                said = {INDEX: index, ASKED: t.user_attrs.get(ASKED, {})}
                self.study.enqueue_trial(t.params, user_attrs=said)

    def _give_up(self, number: int, why: str = AGAIN) -> None:
        """Takes a trial back, if it is still running."""
        trials = {t.number: t for t in self._trials()}
        if trials[number].state != TrialState.RUNNING:
            return
        storage, identity = self.study._storage, trials[number]._trial_id
        try:
            storage.set_trial_user_attr(identity, RELEASED, why)
            storage.set_trial_state_values(identity, TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            return  # it ended meanwhile, or somebody else has taken it back

    def _is_running(self) -> bool:
        states = (TrialState.RUNNING, TrialState.WAITING)
        return any(t.state in states for t in self._trials())

    # As the oracle has them

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _id(self, index: int) -> str:
        """As KerasTuner numbers trials."""
        return f"{index:0{len(str(self.oracle.max_trials))}d}"

    def _note(self, trials: list[FrozenTrial]) -> None:
        """Makes these the oracle's trials."""
        known, attributes, indices = {}, {}, _indices(trials)
        for t in trials:
            index = indices[t.number]
            counts = RELEASED not in t.user_attrs and t.state != TrialState.WAITING
            if counts and t.params and index < self.oracle.max_trials:
                known[self._id(index)] = self._as_kerastuner(t, index)
                attributes[self._id(index)] = t.user_attrs.get(ASKED, {})
        self.oracle.trials = dict(sorted(known.items()))
        self.oracle.attributes = attributes

    def _as_kerastuner(self, trial: FrozenTrial, index: int) -> kt.Trial:
        values = {
            k: round(v, 10) if isinstance(v, float) else v
            for k, v in trial.params.items()
        }
        space = self.oracle.get_space().copy()
        space.values = self.oracle.space.complete(values)
        status = {
            TrialState.COMPLETE: kt.TrialStatus.COMPLETED,
            TrialState.FAIL: kt.TrialStatus.FAILED,
        }.get(trial.state, kt.TrialStatus.RUNNING)
        made = kt.Trial(space, trial_id=self._id(index), status=status)
        if trial.state == TrialState.COMPLETE:
            for name, value in trial.user_attrs[MEASURED].items():
                made.metrics.register(name, self._direction(name))
                made.metrics.update(name, value, step=0)
        return made

    def _direction(self, name: str) -> str:
        known = {o.name: o.direction for o in self._objectives}
        return known.get(name, "min")


class _Asking(optuna.samplers.BaseSampler):
    """Optuna's sampler that asks another for a trial's values.

    Args:
        distributions: of the hyperparameters, by name.
        answer: `answer(number)` of a trial: its values, and what is to be written down.

    Attributes:
        asked: what was to be written down the last time; None: nothing is left to try.
    """

    def __init__(self, distributions: dict, answer: Callable):
        self.distributions, self.answer = distributions, answer
        self.asked: dict | None = None

    def infer_relative_search_space(self, study, trial):
        return self.distributions

    def sample_relative(self, study, trial, search_space):
        found = self.answer(trial.number)
        if found is None:
            self.asked = None
            return {}
        values, self.asked = found
        return {name: values[name] for name in search_space}

    def sample_independent(self, study, trial, param_name, param_distribution):
        """Of a trial that is given up at once, since nothing is left to try."""
        choices = getattr(param_distribution, "choices", None)
        return param_distribution.low if choices is None else choices[0]


def _say(trial: optuna.Trial, key: str, value: Any) -> bool:
    """Writes something down of a trial; False: it has ended, by another process."""
    try:
        trial.set_user_attr(key, value)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    return True


def _is_again(trial: FrozenTrial) -> bool:
    """Whether it is a trial of a process that died, tried again."""
    return INDEX in trial.user_attrs


def _indices(trials: list[FrozenTrial]) -> dict[int, int]:
    """The place of each, by number: of one tried again that of the first."""
    found, repetitions = {}, 0
    for t in sorted(trials, key=lambda t: t.number):
        again = _is_again(t)
        repetitions += again
        found[t.number] = t.user_attrs[INDEX] if again else t.number - repetitions
    return found


def _next_index(trials: list[FrozenTrial]) -> int:
    """The place that a new trial has after all of these."""
    return len(trials) - sum(map(_is_again, trials))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says errors alone."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
