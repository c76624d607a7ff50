"""ParetoTuner: trials, their record, and the models on the front."""

from __future__ import annotations

import csv
import io
import pathlib

import numpy as np
from keras_tuner.engine import base_tuner

from keras_lifelong.files import write_atomic
from keras_lifelong.search import pareto
from keras_lifelong.search.oracle import SUM
from keras_lifelong.search.oracle import ParetoOracle

PRESET, TABLE = "preset", "trials.csv"


class ParetoTuner(base_tuner.BaseTuner):
    """A KerasTuner tuner of a `ParetoOracle`. A subclass says what a trial measures.

    A search that is killed goes on, when the same program is run again, where it was.

    Args:
        oracle: a `ParetoOracle`.
        directory, project_name, overwrite: as of every tuner of KerasTuner.

    Raises:
        ValueError: if `oracle` is none.
    """

    def __init__(self, oracle, directory=None, project_name=None, overwrite=False):
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

    def measure(self, values: dict) -> tuple[dict[str, float], object]:
        """Learns with these values of the hyperparameters.

        Returns:
            Every objective by name, and further numbers; and the model, or None.
        """
        raise NotImplementedError(f"{type(self).__name__} measures its trials.")

    def run_trial(self, trial, *fit_args, **fit_kwargs):
        found, model = self.measure(dict(trial.hyperparameters.values))
        if model is not None and self.is_worth_keeping(found):
            model.save_to_preset(
                pathlib.Path(self.get_trial_dir(trial.trial_id), PRESET)
            )
        return {**{k: float(v) for k, v in found.items()}, SUM: 0.0}

    def is_worth_keeping(self, found: dict) -> bool:
        """Whether no trial so far beats it."""
        oracle = self.oracle
        pairs = zip(oracle.signs, oracle.names, strict=True)
        mine = np.array([sign * found[name] for sign, name in pairs])
        return bool(pareto.non_dominated(np.vstack([mine, oracle.points()]))[0])

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
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
