"""How PAR trains an expert: grid of weight decays, schedules, augmentation."""

from __future__ import annotations

import numpy as np

from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training import schedules
from keras_lifelong.training.hooks import clip_and_decay


class ExpertTraining:
    """What `PAR` trains by: an `ExpertsModel` with this has `augment` and options."""

    @property
    def weight_decays(self) -> list[float]:
        given = self.options.weight_decay
        return list(given) if isinstance(given, list) else [given]

    def trained(self, task, name, body, loss, arguments=None, patience=None):
        """Runs a phase, for every weight decay of the grid, and keeps the best."""
        grid = self.weight_decays
        tiny = self.options.reference == "code" and not is_dataset(task.train)
        if tiny and body and len(task.train[1]) <= 25:
            grid = [10 * decay for decay in grid]
        metric = self.main_metric
        start, found, scores = self.get_active() if len(grid) > 1 else None, None, []
        for decay in grid:
            if start is not None:
                self.set_active(start)
            label = name if start is None else f"{name}, weight decay {decay:g}"
            result = yield self.phase(
                label,
                body,
                loss=loss,
                gradients=clip_and_decay,
                arguments={
                    **(arguments or {}),
                    "weight_decay": np.float32(decay),
                    "clip_norm": np.float32(self.options.clip_norm),
                },
                learning_rate=self.schedule(),
                keep_best=True,
                patience=patience,
            )
            if start is not None:
                values = result.history[f"val_{metric.name}"]
                sign = 1 if metric.higher_is_better else -1
                scores.append(max(sign * v for v in values))
                if scores[-1] > max(scores[:-1], default=-np.inf):
                    found = self.get_active()
        if found is not None:
            self.set_active(found)
            self.store_active()
            best = grid[int(np.argmax(scores))]
            self.notes(task.name)["weight_decay"] = best

    @property
    def rate(self) -> float:
        """The learning rate that the optimizer was given."""
        rate = self.optimizer_config()["config"]["learning_rate"]
        if not isinstance(rate, (int, float)):
            raise ValueError(
                "`schedule` and cell search need an optimizer whose learning rate is a "
                f"number. Received: {rate!r}; pass `schedule=None` and `search=False`."
            )
        return float(rate)

    def schedule(self):
        """The learning rate by epoch."""
        o, metric = self.options, self.main_metric
        if o.schedule is None:
            return None
        if o.schedule == "cosine":
            return schedules.cosine(self.rate)
        monitor = f"val_{metric.name}"
        better = metric.higher_is_better
        return schedules.plateau(self.rate, monitor, better, **(o.plateau or {}))

    def augmented(self, x):
        """Training images, augmented."""
        return x if self.augment is None else self.augment(x, training=True)

    def augment_variables(self) -> list:
        return [] if self.augment is None else self.augment.variables

    def active_variables(self):
        return [*super().active_variables(), *self.augment_variables()]
