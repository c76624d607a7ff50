"""compile, fit and fit_stream of a LifelongModel."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
from numpy.typing import ArrayLike

from keras_lifelong import metrics as metrics_lib
from keras_lifelong.model import arguments
from keras_lifelong.model.results import Measured
from keras_lifelong.model.results import versions
from keras_lifelong.model.scoring import LoadedTask
from keras_lifelong.model.testing import Testing
from keras_lifelong.model.unnamed import unnamed
from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import TaskStream
from keras_lifelong.streams import check_split
from keras_lifelong.streams.datasets import examples
from keras_lifelong.streams.datasets import is_endless
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.streams.weights import checked_class_weight
from keras_lifelong.training.callbacks import Callbacks
from keras_lifelong.training.checkpoint import Checkpoint
from keras_lifelong.training.checkpoint import NoRecorder
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.phase import PhaseResult
from keras_lifelong.training.settings import Settings

# of the phases of a task, which is sent their results
Learning = Generator[Phase, PhaseResult, Any]


class LearningMixin(keras.Model):
    """What a `LifelongModel` does with tasks; the state it works on is the model's."""

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float | None = None,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int | str, float] | None = None,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        *,
        task: str | None = None,
        learn: Callable[[LoadedTask], Learning] | None = None,
    ) -> keras.callbacks.History:
        """Learns one task, new or known.

        If anything fails on the way, an interrupt included, the model is left as it
        was before.

        Args:
            x: a `Task`; or an array or tensor of inputs (n, *input_shape); or what
                gives `(x, y)` or `(x, y, sample_weight)`: a `tf.data.Dataset`, batched
                or not, which is read a block at a time, or a `keras.utils.PyDataset` or
                PyTorch `DataLoader`, which are read whole, once.
            y: labels, when `x` is an array: see `TaskSpec`.
            batch_size: at least 1. None: that of data that come in batches, else 32.
            epochs: the number of the last epoch of each phase, at least 1.
            verbose: 0 silent, 1 a bar for each phase, 2 a line, "auto".
            callbacks: list of Keras callbacks.
            validation_split: as in Keras the last part of the arrays, held out before
                shuffling; 0 for none. None, and no `validation_data`: a tenth of the
                arrays is drawn, in proportion to the classes; of data that come in
                batches nothing is held out.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or what gives them; then
                `validation_split` does not count.
            shuffle: whether arrays are shuffled in each epoch. A `tf.data.Dataset` has
                its own order.
            class_weight: dict from classes, by index or name, to what the weight of
                their training examples is multiplied by; 1 for those not named.
            sample_weight: how much each training example counts in the loss, (n,), 0 or
                more; multiplied with `class_weight`.
            initial_epoch: the number of the first epoch, below `epochs`.
            steps_per_epoch: batches of an epoch; None: all. Data that repeat for ever
                need it, and each epoch goes on where the last one ended.
            validation_steps: batches of validation; None: all.
            validation_batch_size: of `validation_steps`; None: `batch_size`. Scores do
                not depend on it.
            validation_freq: validate after every so many epochs; or a list of epochs,
                counted from 1.
            task: the task's name, when `x` is no `Task`. Of a task that is known
                labels mean what they meant before; of a new one it is inferred.
            learn: a generator function of phases in place of the method's `learn`.

        Returns:
            `History` over the epochs of all phases.

        Raises:
            ValueError: if an argument or the data is bad, before any training.
            FloatingPointError: if the loss is no longer finite.
        """
        settings = self._settings(
            epochs=epochs,
            batch_size=self._batch_size(x, batch_size),
            shuffle=shuffle,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_freq=validation_freq,
            validation_batch_size=validation_batch_size,
            validation_steps=validation_steps,
        )
        x = self._task(
            x,
            y,
            task,
            class_weight,
            validation_data=validation_data,
            validation_split=validation_split,
            sample_weight=sample_weight,
        )
        calls = Callbacks(callbacks, self, verbose)
        calls.on_train_begin()
        self._learn(x, settings, calls, NoRecorder(), learn)
        with self.undone_if_it_fails(x.name):
            calls.on_train_end()
        return calls.history

    def _batch_size(self, x, batch_size):
        """What was given, or that of data that come in batches; None: neither."""
        if batch_size is None:
            return arguments.batch_size_of(x, self.backbone_input_shape)
        return batch_size

    def _task(self, x, y, name, class_weight, **given) -> Task:
        """The task that `fit` is given, in whatever form."""
        if isinstance(x, Task):
            given |= {"y": y, "task": None if name == x.name else name}
            strange = {key: v for key, v in given.items() if v is not None}
            if strange:
                raise ValueError(
                    "A Task brings its labels, validation data and weights itself. "
                    f"Received: a Task and {', '.join(strange)}."
                )
            return x if class_weight is None else x.with_class_weight(class_weight)
        is_whole = y is not None or arguments.is_given_in_batches(x)
        if not isinstance(name, str) or not is_whole:
            raise ValueError(
                "`fit` takes a Task, or `x`, `y` and `task` (a name). Received: "
                f"x of type {type(x).__name__}, task={name!r}."
            )
        spec = self.task_spec(name) if name in self.task_names else None
        return arguments.task_of(
            x,
            y,
            name,
            spec,
            self.backbone_input_shape,
            class_weight=class_weight,
            **given,
        )

    def _learn(self, task, settings, callbacks, recorder, learn=None):
        """Learns one task or leaves the model as it was; returns the task's peak."""
        loaded = self.load_task(task)
        arguments.limit(loaded, settings, isinstance(recorder, Checkpoint))
        self.check_settings(loaded, settings)
        with self.training_on(loaded.name, loaded.spec):
            peak = self.trainer.learn(
                loaded, settings, callbacks, recorder, learn or self.learn
            )
            self.log_initial(loaded.name)
        if self.keeps_data:
            self.seen[loaded.name] = task
        return peak

    def check_settings(self, task: LoadedTask, settings: Settings) -> None:
        """Refuses settings by which this model cannot learn a task."""

    def _settings(self, **given) -> Settings:
        settings = arguments.settings(**given)
        if not self.compiled:
            raise ValueError("Call `compile(optimizer, ...)` before `fit`.")
        return settings

    def checker(self, spec: TaskSpec, what: str, trained: bool = False) -> Callable:
        """A function that checks `(x, y)` and returns it in standard form.

        Args:
            spec, what, trained: see `check_split`.
        """

        def check(x, y):
            x, y = check_split(x, y, spec, what, trained)
            self.check_steps(y, spec, what)
            return x, y

        return check

    def load_task(self, task: Task) -> LoadedTask:
        """Reads and checks all data of a task before anything is learned from it."""
        task = task.read()
        spec = self._named(task.name, task.spec)
        if spec.input_shape is None:
            spec = dataclasses.replace(spec, input_shape=self.backbone_input_shape)
        task = task.with_spec(spec)  # by which validation data are held out
        self.check_spec(task.name, spec, self.task_specs)
        if task.test is not None:
            self.check_metrics(task.name, spec)
        if task.is_weighed("train") and not self.takes_weights:
            raise ValueError(
                "`sample_weight` and `class_weight` must be None: "
                f"{type(self).__name__} compares sets of parameters by examples that "
                f"count alike. Received: weights of task {task.name!r}."
            )

        def load(split):
            what = f"{split} of task {task.name!r}"
            data = getattr(task, split)
            if data is None:
                return None
            check = self.checker(spec, what, trained=split == "train")
            if is_dataset(data):
                of_labels = task.weight_of_labels(split)
                found = examples(data, spec.input_shape, what, of_labels=of_labels)
                if split != "train" and not is_endless(data):
                    self.check_scored_dataset(found, check, spec, what)
                return found
            x, y = check(*data)
            if split != "train":
                self.check_scored(y, spec, what)
            return x, y

        return LoadedTask(
            task.name,
            spec,
            train=load("train"),
            validation=load("validation"),
            test=load("test"),
            weight=task.weight("train"),
            validation_weight=task.weight("validation"),
        )

    def _named(self, name, spec) -> TaskSpec:
        """A spec with the names of classes under which the task was learned."""
        if name not in self.task_names:
            return spec
        names = self.task_spec(name).class_names
        if spec.class_names not in (None, names):
            raise ValueError(
                f"Task {name!r} was learned with the class names {names}. Received: "
                f"{spec.class_names}."
            )
        return dataclasses.replace(spec, class_names=names)

    def fit_stream(
        self,
        stream: TaskStream | Iterable[Task],
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        shuffle: bool = True,
        class_weight: Mapping[int | str, float] | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        checkpoint_dir: str | os.PathLike | None = None,
        accept_changed_data: bool = False,
        evaluate_every: int = 1,
        evaluate_last: int = 1,
        **given: Any,
    ) -> metrics_lib.Result:
        """Learns the tasks of a stream in order and tests all of them after each.

        Args:
            stream: a `TaskStream`, or any iterable of `Task`.
            epochs, batch_size, verbose, shuffle, initial_epoch, steps_per_epoch,
                validation_steps, validation_batch_size, validation_freq: as in `fit`,
                for every task.
            callbacks: as in `fit`, once for the whole stream.
            class_weight: as in `fit`, in place of that of each task.
            checkpoint_dir: a directory in which every finished phase is stored. If it
                holds an interrupted run of this model and stream, that run goes on.
            accept_changed_data: whether it goes on if the data of a task are no longer
                those that it began with. (Of a `tf.data.Dataset` it knows the first
                elements and how many there are.)
            evaluate_every: all tasks are tested after every so many and after the last;
                testing all after each takes time that grows with their square.
            evaluate_last: in between the newest so many are. What is not tested is NaN
                in the matrices, and so is a measure that needs it.
            given: nothing; what belongs to a `Task` is refused with the way to say it.

        Returns:
            A `Result`: accuracy matrix, ACC, backward transfer, forgetting, size, time.

        Raises:
            ValueError: if an argument or a task's data is bad, or `checkpoint_dir` is
                of another run; before that task is trained.
            FileNotFoundError: if files that the stream will read are not there, before
                any task is trained where the stream can tell (`TaskStream.check`).
        """
        arguments.refuse_of_tasks("fit_stream", given)
        settings = self._settings(
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_freq=validation_freq,
            validation_batch_size=validation_batch_size,
            validation_steps=validation_steps,
        )
        if class_weight is not None:
            class_weight = checked_class_weight(class_weight)
        testing = Testing(evaluate_every, evaluate_last)
        stream = TaskStream.of(stream)
        stream.check()
        self.check_stream(stream)
        total = len(stream) if hasattr(stream, "__len__") and stream.is_sized else None
        calls = Callbacks(callbacks, self, verbose, total)
        measured = Measured(self, testing)
        checkpoint = None
        if checkpoint_dir is not None:
            run = self._run(stream, settings, batch_size, class_weight)
            run["testing"] = dataclasses.asdict(testing)
            checkpoint = Checkpoint(
                checkpoint_dir, self, run, calls, accept_changed_data
            )
            measured.restore(checkpoint.measured)
        recorder = NoRecorder() if checkpoint is None else checkpoint
        start = time.perf_counter()
        calls.on_train_begin()
        tasks = []
        for index, task in enumerate(stream):
            if class_weight is not None:
                task = task.with_class_weight(class_weight)
            tasks.append(task)
            is_done = index < measured.tasks_done
            if is_done:
                measured.check_name(index, task.name)
            if checkpoint is not None:
                checkpoint.check_data(index, task)
            if is_done:
                if self.keeps_data:
                    self.seen[task.name] = task
                continue
            if checkpoint is not None:
                checkpoint.begin_task(index, measured.to_config())
            task_start = time.perf_counter()
            own = self._batch_size(task, batch_size) or settings.batch_size
            own_settings = dataclasses.replace(settings, batch_size=own)
            peak = self._learn(task, own_settings, calls, recorder)
            self._session.last = None  # a task of a stream stays learned
            seconds = time.perf_counter() - task_start
            measured.after_task(tasks, peak, seconds, time.perf_counter() - start)
            measured.learned(calls.seen)
            if calls.stops:
                break
        if not tasks:
            raise ValueError("`stream` gave no tasks.")
        measured.after_last(tasks)
        calls.on_train_end()
        if checkpoint is not None:
            checkpoint.finish(len(tasks), measured.to_config())
        result = measured.result(stream, time.perf_counter() - start)
        self.results.append(result)
        return result

    def _run(self, stream, settings, batch_size, class_weight) -> dict:
        """What makes a run what it is: a checkpoint of another one is refused."""
        training = {**dataclasses.asdict(settings), "batch_size": batch_size}
        if class_weight is not None:
            training["class_weight"] = {repr(k): v for k, v in class_weight.items()}
        return {
            "method": type(self).__name__,
            "arguments": {**self.options.as_dict(), "seed": self.seed},
            "backbone": unnamed(json.loads(self._backbone_config)),
            "compile": unnamed(self.get_compile_config()),
            "stream": {"name": stream.name, "config": stream.config},
            "training": training,
            "versions": versions(),
        }
