"""ParetoTuner: trials, their record, and the models on the front."""

from __future__ import annotations

import csv
import importlib.util
import io
import pathlib

import numpy as np

from keras_lifelong.files import write_atomic
from keras_lifelong.search import kerastuner as kt
from keras_lifelong.search import pareto
from keras_lifelong.search.oracle import SUM
from keras_lifelong.search.oracle import ParetoOracle
from keras_lifelong.search.oracle import write_json
from keras_lifelong.streams import TaskStream

PRESET, TABLE = "preset", "trials.csv"


def tasks_with(stream, split: str) -> dict:
    """The tasks of a stream by name.

    Raises:
        ValueError: if one has no data of that split, by which trials are compared.
    """
    tasks = {task.name: task for task in TaskStream.of(stream)}
    missing = [n for n, t in tasks.items() if getattr(t, split) is None]
    if missing:
        raise ValueError(f"`stream` has no {split} data for {missing}.")
    return tasks


class ParetoTuner(kt.BaseTuner):
    """A KerasTuner tuner of a `ParetoOracle`. A subclass says what a trial measures.

    A search that is killed goes on, when the same program is run again, where it was.

    Args:
        oracle: a `ParetoOracle`.
        directory, project_name, overwrite: as of every tuner of KerasTuner.
        trial_timeout: with chief and workers: seconds without a sign of life after
            which a trial is given to another worker.
        idle_timeout: seconds without any worker after which the chief gives up, and
            without the chief after which a worker does.

    Raises:
        ValueError: if `oracle` is none.
    """

    def __init__(
        self,
        oracle,
        directory=None,
        project_name=None,
        overwrite=False,
        trial_timeout: float = 60.0,
        idle_timeout: float = 600.0,
    ):
        if not isinstance(oracle, ParetoOracle):
            raise ValueError(
                f"`oracle` must be a ParetoOracle. Received: {type(oracle).__name__}"
            )
        super().__init__(
            oracle,
            directory=directory,
            project_name=project_name,
            overwrite=overwrite,
        )
        self.trial_timeout, self.idle_timeout = trial_timeout, idle_timeout
        self.own_oracle = oracle  # what KerasTuner gives a worker has no objectives
        if self._is_worker():
            from keras_lifelong.search.distributed import Client

            self.oracle = Client(oracle, idle_timeout)

    def save(self):
        """As of every tuner of KerasTuner, and never half a file."""
        if not self._is_worker():
            self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def search(self, *fit_args, **fit_kwargs):
        """Runs all trials; or, as the chief, answers until workers have run them."""
        if not kt.is_chief_oracle():
            return super().search(*fit_args, **fit_kwargs)
        from keras_lifelong.search.distributed import serve

        self.oracle.verbose = fit_kwargs.get("verbose", "auto")
        self.oracle.resume_workers()
        self.save()
        serve(self.oracle, self.trial_timeout, self.idle_timeout)
        self.write_table()

    def study(self, storage, name: str = "search"):
        """The search as a study of Optuna, in the place of KerasTuner's loop.

        `study(…).run()` does what `search()` would. Any number of processes that run
        the same program may share a storage; none is the chief, and what one that died
        had begun is tried again.

        Args:
            storage: a storage of Optuna; the URL of a data base, as
                "sqlite:///search.db"; or the path of a file for its journal.
            name: of the study there.

        Returns:
            A `study.Study`.

        Raises:
            ImportError: if Optuna is not installed.
            ValueError: if the storage can't be opened, or has another search by that
                name.

        >>> tuner.study("runs/journal.log").run()  # doctest: +SKIP
        """
        if importlib.util.find_spec("optuna") is None:
            raise ImportError(
                "A search in Optuna's storage needs Optuna. To install it: "
                "pip install optuna"
            )
        from keras_lifelong.search.study import Study

        return Study(self, storage, name)

    def measure(self, values: dict) -> tuple[dict[str, float], object]:
        """Learns with these values of the hyperparameters.

        Returns:
            Every objective by name, and further numbers; and the model, or None.
        """
        raise NotImplementedError(f"{type(self).__name__} measures its trials.")

    def run_trial(self, trial, *fit_args, **fit_kwargs):
        values = dict(trial.hyperparameters.values)
        if self._is_worker():
            from keras_lifelong.search.distributed import heartbeat

            with heartbeat(self.oracle, trial.trial_id, self.trial_timeout / 5):
                found, model = self.measure(values)
        else:
            found, model = self.measure(values)
        if model is not None and self.is_worth_keeping(found):
            model.save_to_preset(
                pathlib.Path(self.get_trial_dir(trial.trial_id), PRESET)
            )
        return {**{k: float(v) for k, v in found.items()}, SUM: 0.0}

    def is_worth_keeping(self, found: dict) -> bool:
        """Whether no trial so far beats it, which workers cannot know."""
        if self._is_worker():
            return True
        points = np.vstack([self.oracle.signed(found), self.oracle.points()])
        return bool(pareto.non_dominated(points)[0])

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        if not self._is_worker():
            self.write_table()

    def rows(self) -> list[dict]:
        """The finished trials: number, values, measurements, whether on the front."""
        front = {t.trial_id for t in self.oracle.pareto_trials()}
        return [
            {
                "trial": t.trial_id,
                **t.hyperparameters.values,
                **{
                    name: float(t.metrics.get_last_value(name))
                    for name in t.metrics.metrics
                    if name != SUM
                },
                "on_front": t.trial_id in front,
            }
            for t in self.oracle.completed()
        ]

    def measured_names(self) -> list[str]:
        """What the finished trials measured, objectives first."""
        found = [n for t in self.oracle.completed() for n in t.metrics.metrics]
        return [n for n in dict.fromkeys([*self.oracle.names, *found]) if n != SUM]

    def write_hparams(self, directory) -> pathlib.Path:
        """Writes the finished trials for TensorBoard's HParams page.

        Raises:
            ImportError: if TensorBoard is not installed.
        """
        from keras_lifelong.search import tensorboard

        return tensorboard.write(self.rows(), self.measured_names(), directory)

    def write_table(self) -> pathlib.Path:
        """Writes `trials.csv`; returns its path."""
        rows, text = self.rows(), io.StringIO()
        if rows:
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(text, names)
            writer.writeheader()
            writer.writerows(rows)
        path = pathlib.Path(self.project_dir) / TABLE
        write_atomic(path, text.getvalue().encode())
        return path

    def load_model(self, trial):
        """The model of a trial that was on the front when it ended.

        Raises:
            ValueError: if its model was not kept; `retrain` learns it again.
        """
        from keras_lifelong.model import LifelongModel

        path = pathlib.Path(self.get_trial_dir(trial.trial_id), PRESET)
        if not path.is_dir():
            raise ValueError(
                f"Trial {trial.trial_id} was beaten when it ended: its model was not "
                "kept. Call `retrain(trial)`."
            )
        return LifelongModel.from_preset(path)

    def retrain(self, trial):
        """Learns the model of a trial again, and returns it."""
        return self.measure(dict(trial.hyperparameters.values))[1]
