"""The progress bar of a fit, by task and phase."""

from __future__ import annotations

import sys
import time

import keras

from keras_lifelong.training.protocol import Trainable


class PhaseProgress:
    """Says which task and phase is learned, how far it is, and how well it goes."""

    def __init__(self, verbose, model: Trainable, total_tasks):
        self.verbose = verbose
        self.model = model
        self.total_tasks = total_tasks
        self._bar = None

    def begin(self, task, phase, epochs, steps):
        self._start = time.perf_counter()
        self._steps, self._done = steps, 0
        number = self.model.task_index(task.name) + 1
        of = f"/{self.total_tasks}" if self.total_tasks else ""
        self._title = f"[{number}{of}] {task.name} · {phase.name}"
        if self.verbose == 1:
            print(self._title)
            target = None if steps is None else steps * epochs
            self._bar = keras.utils.Progbar(target, unit_name="step")

    def batch(self, step, logs):
        if self.verbose == 1 and self._steps is not None:
            now = self._done + step + 1
            if now < self._bar.target:
                self._bar.update(now, [("loss", logs["loss"])], finalize=False)

    def epoch(self, logs):
        if self._steps is not None:
            self._done += self._steps

    def end(self, history):
        last = {name: values[-1] for name, values in history.items()}
        if self.verbose == 1:
            self._bar.stateful_metrics = set(last)
            if self._bar.target is None or self._done < self._bar.target:
                self._bar.target = self._done or None
            self._bar.update(max(self._done, 1), list(last.items()), finalize=True)
        elif self.verbose == 2:
            seconds = time.perf_counter() - self._start
            epochs = len(next(iter(history.values()), []))
            scores = " - ".join(f"{k}: {v:.4f}" for k, v in last.items())
            print(f"{self._title} - {epochs} epochs - {seconds:.1f}s - {scores}")
            sys.stdout.flush()
