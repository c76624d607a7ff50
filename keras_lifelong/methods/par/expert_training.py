"""How PAR trains an expert: a grid of weight decays, schedules, augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Generator
from typing import Any
from typing import Protocol

import numpy as np

from keras_lifelong.metrics.directions import sign
from keras_lifelong.training import schedules
from keras_lifelong.training.hooks import clip_and_decay
from keras_lifelong.training.phase import Phase


class Trainable(Protocol):
    """What is trained: a model with an active network, as `LifelongModel` is."""

    @property
    def main_metric(self) -> Any: ...

    def optimizer_config(self) -> dict: ...

    def get_active(self) -> list[np.ndarray]: ...

    def set_active(self, values) -> None: ...

    def store_active(self) -> None: ...


class ExpertTraining:
    """Completes phases: what they decay by, clip to and how their rate falls.

    Args:
        model: a `Trainable`.
        weight_decay: of coupled L2: a number, or a list of them, the grid.
        clip_norm: the global norm to which gradients are clipped; 0: they are not.
        schedule: "cosine", "plateau" or None.
        plateau: arguments of the "plateau" schedule, or None.
        augment: `augment(x, training)`, a layer applied to training inputs, or None.
    """

    def __init__(
        self,
        model: Trainable,
        weight_decay: float | list[float],
        clip_norm: float = 0.0,
        schedule: str | None = None,
        plateau: dict | None = None,
        augment=None,
    ):
        self._model, self.augment = model, augment
        grid = weight_decay if isinstance(weight_decay, list) else [weight_decay]
        self.weight_decays = list(grid)
        self.clip_norm = clip_norm
        self.schedule, self.plateau = schedule, plateau or {}

    def run(self, phase: Phase, grid: list[float]) -> Generator[Phase, Any, Any]:
        """Runs a phase with every weight decay; the best one's weights stay.

        Args:
            phase: what to train; its hooks get "weight_decay" and "clip_norm", too.
            grid: weight decays. Of several, each begins from the same weights, and the
                one of the best epoch on validation data is kept, of equals the first.

        Returns:
            The weight decay that was kept; None with a grid of one.
        """
        if len(grid) == 1:
            yield self.completed(phase, phase.name, grid[0])
            return None
        model, metric = self._model, self._model.main_metric
        start, found, scores = model.get_active(), None, []
        for decay in grid:
            model.set_active(start)
            label = f"{phase.name}, weight decay {decay:g}"
            result = yield self.completed(phase, label, decay)
            values = result.history[f"val_{metric.name}"]
            scores.append(max(sign(metric) * v for v in values))
            if scores[-1] > max(scores[:-1], default=-np.inf):
                found = model.get_active()
        if found is None:  # no score was a number
            return None
        model.set_active(found)
        model.store_active()
        return grid[int(np.argmax(scores))]

    def completed(self, phase: Phase, name: str, decay: float) -> Phase:
        """A phase under that name, with weight decay, clipping and a schedule."""
        return dataclasses.replace(
            phase,
            name=name,
            gradients=clip_and_decay,
            arguments={
                **phase.arguments,
                "weight_decay": np.float32(decay),
                "clip_norm": np.float32(self.clip_norm),
            },
            learning_rate=self.learning_rate(),
            keep_best=True,
        )

    @property
    def rate(self) -> float:
        """The learning rate that the optimizer was given.

        Raises:
            ValueError: if it is a schedule of the optimizer's own.
        """
        rate = self._model.optimizer_config()["config"]["learning_rate"]
        if not isinstance(rate, (int, float)):
            raise ValueError(
                "`schedule` and cell search need an optimizer whose learning rate is a "
                f"number. Received: {rate!r}; pass `schedule=None` and `search=False`."
            )
        return float(rate)

    def learning_rate(self) -> Callable | None:
        """The learning rate by epoch; None: as the optimizer has it."""
        if self.schedule is None:
            return None
        if self.schedule == "cosine":
            return schedules.cosine(self.rate)
        metric = self._model.main_metric
        monitor, better = f"val_{metric.name}", metric.higher_is_better
        return schedules.plateau(self.rate, monitor, better, **self.plateau)

    def augmented(self, x):
        """Training inputs (batch, …), augmented."""
        return x if self.augment is None else self.augment(x, training=True)

    def augment_variables(self) -> list:
        """The variables that `augmented` reads and updates."""
        return [] if self.augment is None else self.augment.variables
