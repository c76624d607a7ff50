"""Keras callbacks over a sequence of phases."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np

from keras_lifelong.training import callback_state
from keras_lifelong.training.progress import PhaseProgress
from keras_lifelong.training.protocol import Trainable

# These judge one training run: each phase is one to them.
_PER_PHASE = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
)

# True, too, but not the same object: a request to stop that has been seen.
_SEEN = np.True_


class Callbacks:
    """Calls Keras callbacks as `Model.fit` would, once for a whole `fit`.

    What they are told:

    - `on_train_begin` and `on_train_end` come once, when the first phase begins and
      after the last. `params` has "verbose", "epochs" and "steps" of the phase that
      runs; epochs are numbered through all phases and tasks from `initial_epoch`, and
      "epochs" is the number at which the phase ends, so that a `CSVLogger` writes one
      file, `TensorBoard` one curve, and a `LearningRateScheduler` goes on.
    - `EarlyStopping`, `ReduceLROnPlateau` and `SwapEMAWeights`, and classes derived
      from them, judge one training run: each phase is one, with epochs of its own.
    - Many batches are trained in one call. `on_train_batch_begin` has the number of the
      first, `on_train_batch_end` that of the last and the mean loss of the epoch so
      far: what Keras does under `steps_per_execution`. A callback of one's own that has
      one of these is called for every batch, which is then trained by itself, slower;
      `steps_per_execution = None`, an attribute of the callback, says that it need not.
      Keras' own are called for every batch if they act by batches: `ModelCheckpoint`
      with an integer `save_freq`, `TensorBoard` with an `update_freq` other than
      "epoch".
    - `on_test_begin` and `on_test_end`, with one block of batches between them, when
      validation data is scored.
    - `model.stop_training = True`, set by a callback of a phase, ends the phase; set by
      any other, the whole `fit` or `fit_stream`: later phases of the task train
      nothing, later tasks are not learned.
    - `BackupAndRestore` goes on where it was interrupted if that was in the first
      phase; the `checkpoint_dir` of `fit_stream` serves for all, and keeps what
      callbacks keep (`callback_state.state_of`).
    - A callback may also define `on_phase_begin(task, phase)` and `on_phase_end(logs)`.

    Args:
        callbacks: list of `keras.callbacks.Callback`, which may be nested.
        model: the model.
        verbose: 0 silent, 1 a bar for each phase, 2 a line for each phase, or
            "auto": 1 on a terminal, else 2.
        total_tasks: number of tasks of the stream if known.
        epochs: those asked of `fit`, for `params` until a phase begins.

    Attributes:
        epoch: the number of the next epoch, over all phases.
        history: `keras.callbacks.History` over all epochs.

    Raises:
        ValueError: if an argument is not as said here.
    """

    def __init__(
        self, callbacks, model: Trainable, verbose="auto", total_tasks=None, epochs=1
    ):
        given = listed(callbacks)
        check_verbose(verbose)
        if verbose == "auto":
            verbose = 1 if sys.stdout.isatty() else 2
        self.model, self.epoch = model, 0
        histories = [c for c in given if isinstance(c, keras.callbacks.History)]
        self.history = histories[0] if histories else keras.callbacks.History()
        self._all = [*given, *([] if histories else [self.history])]
        self._phased = [c for c in self._all if isinstance(c, _PER_PHASE)]
        self._once = [c for c in self._all if not isinstance(c, _PER_PHASE)]
        self._verbose, self._began = verbose, False
        self._kept: dict[str, Any] | None = None  # states that a checkpoint gave
        self._stop: str | None = None
        model.stop_training = False
        self._set_params(epochs, None, epochs)
        for callback in self._all:
            callback.set_model(model)
        self.history.model.history = self.history
        self.every_batch = any(_acts_by_batch(c) for c in self._all)
        self._progress = PhaseProgress(verbose, model, total_tasks)

    def _set_params(self, ends, steps, epochs):
        for callback in self._all:
            mine = ends if callback in self._phased else self.epoch + epochs
            params = {"verbose": self._verbose, "epochs": mine, "steps": steps}
            callback.set_params(params)

    @property
    def stops(self) -> bool:
        """Whether the whole fit is to end."""
        asked = self._stop or ("fit" if self.model.stop_training else None)
        return asked == "fit"

    @property
    def stopped(self) -> bool:
        """Whether the phase is to end."""
        return bool(self.model.stop_training)

    def starts_at(self, epoch: int) -> None:
        """The number of the first epoch, unless the fit goes on from a checkpoint."""
        if not self._began and self._kept is None:
            self.epoch = epoch

    # A fit

    def on_train_begin(self):
        """Has the first phase begin it, of which "steps" are known by then."""
        self._began = False

    def _begin(self):
        self._began = True
        states = self._kept or {}
        for number, callback in enumerate(self._once):
            state = states.get(_key(number, callback))
            callback_state.begin(callback, state)
        self._kept = None

    def on_train_end(self):
        if not self._began:
            self._begin()
        self._call("on_train_end", self._logs(), of=self._once)

    @property
    def seen(self) -> dict[str, list]:
        """The history of all epochs, those before a checkpoint included."""
        for number, callback in enumerate(self._once):
            if callback is self.history and self._kept is not None:
                return self._kept.get(_key(number, callback), {}).get("history", {})
        return self.history.history

    def _logs(self):
        """The last logs, as `Model.fit` hands them to `on_train_end`."""
        return {k: v[-1] for k, v in self.history.history.items() if v} or None

    # A phase

    def on_phase_begin(self, task, phase, epochs, steps, first=0) -> int:
        """Begins a phase.

        Args:
            task, phase: a task and a `Phase`.
            epochs: at which number of its own it ends.
            steps: of an epoch, or None if unknown.
            first: the number of its first epoch.

        Returns:
            The number of the first epoch that is to run: `first`, or that at which
            `BackupAndRestore` goes on.

        Raises:
            ValueError: if `BackupAndRestore` was interrupted in a later phase.
        """
        self.model.stop_training, self._stop = False, None
        self._first = self._local = first
        self._set_params(epochs, steps, epochs - first)
        if not self._began:
            self._begin()
            first = self._restored(epochs, first)
        for callback in self._phased:
            callback_state.begin(callback, None)
        self._call("on_phase_begin", task.name, phase.name)
        self._progress.begin(task, phase, epochs - first, steps)
        return first

    def _restored(self, epochs, first) -> int:
        """The epoch at which `BackupAndRestore` goes on, as it tells a Keras model."""
        at = self.model._initial_epoch
        if not at:
            return first
        self.model._initial_epoch = None
        if at > epochs:
            raise ValueError(
                "`BackupAndRestore` goes on in the first phase of a `fit` alone, of "
                f"{epochs} epochs here. Received: a backup after {at} epochs; remove "
                "it, and give `fit_stream` a `checkpoint_dir` instead."
            )
        self.epoch = self._local = at
        return at

    def on_phase_end(self, history):
        logs = {k: v[-1] for k, v in history.items() if v}
        self._call("on_train_end", logs, of=self._phased)
        self._call("on_phase_end", history)
        self._progress.end(history)

    def on_epoch_begin(self):
        self._call_by_number("on_epoch_begin", None)

    def on_epoch_end(self, logs):
        self._call_by_number("on_epoch_end", logs)
        self._progress.epoch(logs)
        self.epoch += 1
        self._local += 1

    def on_train_batch_begin(self, step):
        self._call("on_train_batch_begin", step, logs=None)

    def on_train_batch_end(self, step, logs):
        self._call("on_train_batch_end", step, logs=logs)
        self._progress.batch(step, logs)

    def on_test_begin(self):
        self._call("on_test_begin", None)
        self._call("on_test_batch_begin", 0, logs=None)

    def on_test_end(self, batches, logs):
        self._call("on_test_batch_end", batches - 1, logs=logs)
        self._call("on_test_end", logs)

    # Calling

    def _call_by_number(self, name, logs):
        for callback in self._all:
            number = self._local if callback in self._phased else self.epoch
            self._call(name, number, logs, of=[callback])

    def _call(self, name, *arguments, of=None, **named):
        model = self.model
        for callback in self._all if of is None else of:
            method = getattr(callback, name, None)
            if method is None:
                continue
            before = model.stop_training
            if before:
                model.stop_training = _SEEN
            method(*arguments, **named)
            if not model.stop_training:
                self._stop = None  # or it took the request back
            elif not before or model.stop_training is not _SEEN:
                whole = callback not in self._phased
                self._stop = "fit" if whole or self._stop == "fit" else "phase"

    # Checkpoints

    def get_state(self) -> dict[str, Any]:
        """The number of the next epoch and what the callbacks keep, as JSON."""
        if self._kept is not None:  # nothing was learned since they were given
            return {"epoch": self.epoch, "states": self._kept}
        states = {}
        for number, callback in enumerate(self._once):
            state = callback_state.state_of(callback)
            if state:
                states[_key(number, callback)] = state
        return {"epoch": self.epoch, "states": states}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`, when the next phase begins."""
        self.epoch, self._kept = state["epoch"], state["states"]


def _key(number, callback) -> str:
    return f"{number} {type(callback).__name__}"


def listed(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Callbacks in a list, as Keras takes them: one, many, nested, a `CallbackList`.

    Raises:
        ValueError: if one is no `keras.callbacks.Callback`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    elif isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    found = keras.tree.flatten(list(callbacks or []))
    for callback in found:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(
                "`callbacks` must be a list of keras.callbacks.Callback. "
                f"Received: {callback!r}."
            )
    return found


def check_verbose(verbose: Any) -> None:
    """Raises a ValueError if it is none of the values that Keras takes."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"`verbose` must be 'auto', 0, 1 or 2. Received: {verbose!r}.")


def _acts_by_batch(callback) -> bool:
    """Whether a callback does something at every batch."""
    if getattr(callback, "steps_per_execution", 1) is None:
        return False
    for name in ("save_freq", "update_freq"):  # of Keras' own, and those derived
        if getattr(callback, name, "epoch") not in (0, False, "epoch"):
            return True
    names = [f"on{part}_batch_{when}" for part in ("", "_train") for when in _WHEN]
    return any(_is_own(callback, name) for name in names)


_WHEN = ("begin", "end")


def _is_own(callback, name) -> bool:
    """Whether a hook is not the one that does nothing."""
    if name in vars(callback):
        return True
    found: Any = getattr(type(callback), name)
    return not found.__module__.startswith("keras.")
