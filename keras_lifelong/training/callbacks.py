"""Keras callbacks over a sequence of phases, and the progress bar."""

from __future__ import annotations

import sys
import time

import keras

from keras_lifelong.training.protocol import Trainable

# These judge one training run: they start anew with every phase.
_PER_PHASE = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)


class Callbacks:
    """Calls Keras callbacks as `Model.fit` would, once for a whole `fit`.

    `on_train_begin` and `on_train_end` are called once, epochs are numbered through
    all phases and tasks, so that a `CSVLogger` writes one file and `TensorBoard` one
    curve. `EarlyStopping` and `ReduceLROnPlateau` begin anew with every phase. A
    callback may also define `on_phase_begin(task, phase)` and `on_phase_end(logs)`.

    Args:
        callbacks: list of `keras.callbacks.Callback`.
        model: the model.
        verbose: 0 silent, 1 a bar for each phase, 2 a line for each phase, or
            "auto": 1 on a terminal, else 2.
        total_tasks: number of tasks of the stream if known.
    """

    def __init__(self, callbacks, model: Trainable, verbose="auto", total_tasks=None):
        callbacks = list(callbacks or [])
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise ValueError(
                    "`callbacks` must be a list of keras.callbacks.Callback. "
                    f"Received: {callback!r}."
                )
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(
                f"`verbose` must be 'auto', 0, 1 or 2. Received: {verbose!r}."
            )
        if verbose == "auto":
            verbose = 1 if sys.stdout.isatty() else 2
        self.model = model
        self.history = keras.callbacks.History()
        self._all = [*callbacks, self.history]
        for callback in self._all:
            callback.set_model(model)
            callback.set_params({"verbose": verbose})
        self._phased = [c for c in self._all if isinstance(c, _PER_PHASE)]
        self._once = [c for c in self._all if not isinstance(c, _PER_PHASE)]
        self._progress = PhaseProgress(verbose, model, total_tasks)

    def on_train_begin(self):
        _call(self._once, "on_train_begin")

    def on_train_end(self):
        _call(self._once, "on_train_end")

    def on_phase_begin(self, task, phase, epochs, steps):
        self.model.stop_training = False
        _call(self._phased, "on_train_begin")
        _call(self._all, "on_phase_begin", task.name, phase.name)
        self._progress.begin(task, phase, epochs, steps)

    def on_phase_end(self, history):
        _call(self._phased, "on_train_end")
        _call(self._all, "on_phase_end", history)
        self._progress.end(history)

    def on_epoch_begin(self, epoch):
        _call(self._all, "on_epoch_begin", epoch)

    def on_epoch_end(self, epoch, logs):
        _call(self._all, "on_epoch_end", epoch, logs)
        self._progress.epoch(logs)

    def on_train_batch_begin(self, step):
        _call(self._all, "on_train_batch_begin", step)

    def on_train_batch_end(self, step, logs):
        _call(self._all, "on_train_batch_end", step, logs)
        self._progress.batch(step, logs)


def _call(callbacks, name, *arguments):
    for callback in callbacks:
        if hasattr(callback, name):
            getattr(callback, name)(*arguments)


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
