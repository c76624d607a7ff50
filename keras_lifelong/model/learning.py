"""compile, fit and fit_stream of a LifelongModel."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_lifelong import metrics as metrics_lib
from keras_lifelong.layers import head as heads
from keras_lifelong.model.results import Measured
from keras_lifelong.model.results import versions
from keras_lifelong.model.scoring import LoadedTask
from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import TaskStream
from keras_lifelong.streams import check_split
from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training.callbacks import Callbacks
from keras_lifelong.training.checkpoint import Checkpoint
from keras_lifelong.training.checkpoint import NoRecorder
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.phase import PhaseResult
from keras_lifelong.training.trainer import Settings

# of the phases of a task, which is sent their results
Learning = Generator[Phase, PhaseResult, Any]


class LearningMixin(keras.Model):
    """What a `LifelongModel` does with tasks; the state it works on is the model's."""

    def compile(
        self,
        optimizer: str | dict | keras.optimizers.Optimizer = "adam",
        loss: str | None = None,
        metrics: Sequence[str | Callable] = ("accuracy",),
    ) -> None:
        """Sets how tasks are learned and scored.

        Args:
            optimizer: Keras optimizer, name or instance. Every phase starts with a
                fresh copy of it.
            loss: None for each head's own loss, or "softmax" or "sigmoid" for
                categorical heads ("sigmoid" is one-versus-rest, as DEN's).
            metrics: list of "accuracy", "auroc", "mse", "mae", Keras metrics or
                functions `(y, predictions) -> float`. The first is the main one.

        Raises:
            ValueError: if an argument is not one of these.
        """
        if loss not in heads.LOSSES:
            raise ValueError(
                f"`loss` must be one of {heads.LOSSES}. Received: {loss!r}."
            )
        if isinstance(metrics, str) or not metrics:
            raise ValueError(
                "`metrics` must be a list of at least one metric. "
                f"Received: {metrics!r}."
            )
        self._metrics = [metrics_lib.get(metric) for metric in metrics]
        self._loss = loss
        self._metric_arguments = list(metrics)
        super().compile(optimizer=keras.optimizers.get(optimizer), jit_compile=False)
        self._optimizer_config = json.dumps(keras.optimizers.serialize(self.optimizer))

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was given, for saving; functions are not saved."""
        names = [m for m in self._metric_arguments if isinstance(m, str)]
        return {
            "optimizer": self.optimizer_config(),
            "loss": self._loss,
            "metrics": names or ["accuracy"],
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """The inverse of `get_compile_config`."""
        self.compile(
            keras.optimizers.deserialize(config["optimizer"]),
            config["loss"],
            config["metrics"],
        )

    def optimizer_config(self) -> dict:
        """A copy of the serialized optimizer of `compile`."""
        return json.loads(self._optimizer_config)  # afresh: Keras edits what it reads

    @property
    def main_metric(self) -> metrics_lib.Score:
        """The metric of `results.json`: the first given to `compile`."""
        return self._metrics[0]

    # Learning

    def fit(
        self,
        x: Task | ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        task: str | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int | str = "auto",
        learn: Callable[[LoadedTask], Learning] | None = None,
    ) -> keras.callbacks.History:
        """Learns one task, new or known.

        If anything fails on the way, an interrupt included, the model is left as it
        was before.

        Args:
            x: a `Task`, or an array of inputs (n, *input_shape).
            y: labels, when `x` is an array.
            task: the task's name, when `x` is an array.
            validation_data: `(x, y)`; None: a tenth of the data is held out.
            epochs: passes over the data in each phase, at least 1.
            batch_size: at least 1.
            callbacks: list of Keras callbacks.
            verbose: 0 silent, 1 a bar for each phase, 2 a line, "auto".
            learn: a generator function of phases in place of the method's `learn`.

        Returns:
            `History` over the epochs of all phases.

        Raises:
            ValueError: if an argument or the data is bad, before any training.
            FloatingPointError: if the loss is no longer finite.
        """
        if not isinstance(x, Task):
            if not isinstance(task, str) or y is None:
                raise ValueError(
                    "`fit` takes a Task, or `x`, `y` and `task` (a name). Received: "
                    f"x of type {type(x).__name__}, task={task!r}."
                )
            x = Task(task, train=(x, y), validation=validation_data)
        settings = self._settings(epochs, batch_size)
        calls = Callbacks(callbacks, self, verbose)
        calls.on_train_begin()
        self._learn(x, settings, calls, NoRecorder(), learn)
        with self.undone_if_it_fails(x.name):
            calls.on_train_end()
        return calls.history

    def _learn(self, task, settings, callbacks, recorder, learn=None):
        """Learns one task or leaves the model as it was; returns the task's peak."""
        loaded = self.load_task(task)
        with self.training_on(loaded.name, loaded.spec):
            peak = self.trainer.learn(
                loaded, settings, callbacks, recorder, learn or self.learn
            )
            self.log_initial(loaded.name)
        if self.keeps_data:
            self.seen[loaded.name] = task
        return peak

    def _settings(self, epochs, batch_size) -> Settings:
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(
                    f"`{name}` must be an integer of at least 1. Received: {value!r}."
                )
        if not self.compiled:
            raise ValueError("Call `compile(optimizer, ...)` before `fit`.")
        return Settings(int(epochs), int(batch_size))

    def checker(self, spec: TaskSpec, what: str) -> Callable:
        """A function that checks `(x, y)` and returns it in standard form."""
        return lambda x, y: check_split(x, y, spec, what)

    def load_task(self, task: Task) -> LoadedTask:
        """Reads and checks all data of a task before anything is learned from it."""
        spec = task.spec
        if spec.input_shape is None:
            spec = dataclasses.replace(spec, input_shape=self.backbone_input_shape)
        self.check_spec(task.name, spec)

        def load(what):
            data = getattr(task, what)
            if data is None or is_dataset(data):
                return data
            return check_split(*data, spec, f"{what} of task {task.name!r}")

        loaded = {what: load(what) for what in ("train", "validation", "test")}
        return LoadedTask(task.name, spec, **loaded)

    def fit_stream(
        self,
        stream: TaskStream | Iterable[Task],
        *,
        epochs: int = 1,
        batch_size: int = 32,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int | str = "auto",
        checkpoint_dir: str | os.PathLike | None = None,
        accept_changed_data: bool = False,
    ) -> metrics_lib.Result:
        """Learns the tasks of a stream in order and tests all of them after each.

        Args:
            stream: a `TaskStream`, or any iterable of `Task`.
            epochs, batch_size, callbacks, verbose: as in `fit`.
            checkpoint_dir: a directory in which every finished phase is stored. If it
                holds an interrupted run of this model and stream, that run goes on.
            accept_changed_data: whether it goes on if the data of a task are no longer
                those that it began with. (Of a `tf.data.Dataset` it knows the first
                elements and how many there are.)

        Returns:
            A `Result`: accuracy matrix, ACC, backward transfer, forgetting, size, time.
        """
        settings = self._settings(epochs, batch_size)
        stream = TaskStream.of(stream)
        total = len(stream) if hasattr(stream, "__len__") and stream.is_sized else None
        calls = Callbacks(callbacks, self, verbose, total)
        measured = Measured(self)
        checkpoint = None
        if checkpoint_dir is not None:
            run = self._run(stream, settings)
            checkpoint = Checkpoint(checkpoint_dir, self, run, accept_changed_data)
            measured.restore(checkpoint.measured)
        recorder = NoRecorder() if checkpoint is None else checkpoint
        start = time.perf_counter()
        calls.on_train_begin()
        tasks = []
        for index, task in enumerate(stream):
            tasks.append(task)
            if checkpoint is not None:
                checkpoint.check_data(index, task)
            if index < measured.tasks_done:
                if self.keeps_data:
                    self.seen[task.name] = task
                measured.check_name(index, task.name)
                continue
            if checkpoint is not None:
                checkpoint.begin_task(index, measured.to_config())
            task_start = time.perf_counter()
            peak = self._learn(task, settings, calls, recorder)
            self._session.last = None  # a task of a stream stays learned
            seconds = time.perf_counter() - task_start
            measured.after_task(tasks, peak, seconds, time.perf_counter() - start)
        if not tasks:
            raise ValueError("`stream` gave no tasks.")
        calls.on_train_end()
        if checkpoint is not None:
            checkpoint.finish(len(tasks), measured.to_config())
        result = measured.result(stream, time.perf_counter() - start)
        self.results.append(result)
        return result

    def _run(self, stream, settings) -> dict:
        """What makes a run what it is: a checkpoint of another one is refused."""
        return {
            "method": type(self).__name__,
            "arguments": {**self.options.as_dict(), "seed": self.seed},
            "backbone": _unnamed(json.loads(self._backbone_config)),
            "compile": _unnamed(self.get_compile_config()),
            "stream": {"name": stream.name, "config": stream.config},
            "training": dataclasses.asdict(settings),
            "versions": versions(),
        }


def _unnamed(config):
    """A Keras configuration without names, which Keras counts up in each process."""
    if isinstance(config, dict):
        return {k: _unnamed(v) for k, v in config.items() if k != "name"}
    return [_unnamed(v) for v in config] if isinstance(config, list) else config
