"""The one trainer: it runs every phase of every method."""

from __future__ import annotations

import math
import time
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.metrics.followed import AllFollowed
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reset_seed_generators
from keras_lifelong.streams import columns
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training import optimizers
from keras_lifelong.training.data import ArrayData
from keras_lifelong.training.data import Buckets
from keras_lifelong.training.data import StreamedData
from keras_lifelong.training.example_gradients import ExampleGradients
from keras_lifelong.training.feeding import Feed
from keras_lifelong.training.feeding import parts
from keras_lifelong.training.layer_losses import check_devices
from keras_lifelong.training.layer_losses import flattened
from keras_lifelong.training.layer_losses import mixes_rows
from keras_lifelong.training.phase import PhaseResult
from keras_lifelong.training.program import Program
from keras_lifelong.training.program import Programs
from keras_lifelong.training.protocol import Trainable
from keras_lifelong.training.watching import Best
from keras_lifelong.training.watching import Log
from keras_lifelong.training.watching import Peak
from keras_lifelong.training.watching import diverged
from keras_lifelong.training.watching import is_validated
from keras_lifelong.training.watching import scored

EVALUATION_ROWS = (32, 128, 1024)  # few shapes, so few compilations


class Trainer:
    """Runs phases: fused steps, callbacks, validation, time.

    Args:
        model: a `LifelongModel`; `Trainable` names what is used of it.

    Attributes:
        compile_count: training functions compiled so far.
    """

    def __init__(self, model: Trainable):
        self.model = model
        self.compile_count = 0
        self._programs = Programs()
        self._forwards = Programs()
        self._buckets = Buckets()
        self._held = (None, None)  # what data were last put on the device

    # Training

    def learn(self, task, settings, callbacks, recorder, learn):
        """Runs the phases of `learn(task)`; a generator resumed by replay.

        Args:
            task: the checked task, its data loaded.
            settings: epochs and batch size.
            callbacks: a `Callbacks`.
            recorder: keeps the weights after each phase and gives back those of an
                interrupted run (see `training/checkpoint.py`).
            learn: the generator function.
        """
        check_devices(self.model.rows_meet, flattened(self.model.active_body()))
        phases = learn(task)
        best = Peak(self.model, task)
        callbacks.starts_at(settings.initial_epoch)
        result = last = None
        index = 0
        try:
            while True:
                phase = phases.send(result)
                result = recorder.replay(index, phase)
                if result is None:
                    if callbacks.stops and last is not None:
                        result = self._skip(phase, task, last)
                    else:
                        result = self._run(
                            phase, index, task, settings, callbacks, best
                        )
                    recorder.record(index, phase, result, best.state())
                else:
                    best.set_state(recorder.peak(index))
                last = result
                index += 1
        except StopIteration:
            return best.value
        finally:
            self._held = (None, None)

    def _run(self, phase, index, task, settings, callbacks, peak) -> PhaseResult:
        model = self.model
        start = time.perf_counter()
        first, epochs = settings.initial_epoch, settings.epochs
        if phase.epochs is not None:
            first, epochs = 0, phase.epochs
        data = self._data(phase, task, phase.batch_size or settings.batch_size)
        rate, seed = phase.learning_rate, phase.seed
        if seed is None:
            seed = derive_seed(model.seed, model.task_index(task.name), index)
        active, key = model.active_variables(), model.loss_key()
        program, arguments = self.prepared(phase, data, seed, active, key)
        previous_optimizer, model.optimizer = model.optimizer, program.optimizer
        feed = Feed(data, settings, lambda epoch: derive_seed(seed, epoch))
        log = Log(phase)
        best = Best(model, phase)
        loss = math.nan
        try:
            model.phase_began(phase)
            first = callbacks.on_phase_begin(task, phase, epochs, feed.steps, first)
            steps = program.steps
            for epoch in range(first, epochs):
                if model.stop_training:
                    break
                callbacks.on_epoch_begin()
                program.followed.reset()
                late = phase.observe_until is not None and steps >= phase.observe_until
                if callable(rate):
                    program.optimizer.learning_rate = rate(epoch, epochs, log.history)
                measured, loss, taken = self._epoch(
                    program,
                    feed.epoch(epoch, None if late else phase.observe_every),
                    arguments,
                    callbacks,
                    None if late else phase.observe_every,
                    log.observe,
                )
                steps += taken
                cost = measured["loss"]
                if not math.isfinite(cost):
                    raise diverged("loss", cost, task, phase, epoch)
                logs = dict(measured)
                if is_validated(phase, task) and settings.validates(epoch):
                    with scored(task, phase, epoch):
                        scores = self._validate(task, settings, callbacks)
                    logs |= {f"val_{name}": value for name, value in scores.items()}
                    peak.see(scores, best.variables)
                    best.see(scores, phase.keep_best)
                log.add(logs)
                log.observe(True)
                callbacks.on_epoch_end(logs)
                if model.stop_training or best.age == phase.patience:
                    break
            program.finish()
            best.restore()
            callbacks.on_phase_end(log.history)
            peak.settle()
            model.store_active()
        finally:
            model.optimizer = previous_optimizer
            model.phase_ended()
        seconds = time.perf_counter() - start
        return PhaseResult(phase.name, loss, log.all(), steps, seconds)

    def _skip(self, phase, task, last: PhaseResult) -> PhaseResult:
        """A phase of no steps, after `stop_training`: scored as the model is."""
        log = Log(phase)
        logs = {"loss": last.loss}
        if is_validated(phase, task):
            scores = self.model.score(task, "validation")
            logs |= {f"val_{name}": value for name, value in scores.items()}
        log.add(logs)
        log.observe(True)
        return PhaseResult(phase.name, last.loss, log.all(), 0, 0.0)

    def _validate(self, task, settings, callbacks) -> dict[str, float]:
        self.model.publish()
        callbacks.on_test_begin()
        scores = self.model.score(task, "validation")
        rows, size = 1, settings.validation_batch_size or settings.batch_size
        if not is_dataset(task.validation):
            rows = len(task.validation[1])
        callbacks.on_test_end(-(-rows // size), scores)
        return scores

    def prepared(self, phase, data, seed, active, loss_key=None):
        """A phase's program, as it begins, and its arguments as tensors.

        Args:
            phase, data: a `Phase` and what it is trained on.
            seed: of random layers.
            active: the variables that hold their states, and the phase's own `state`
                unless it names another.
            loss_key: what its hooks depend on beside their variables.
        """
        state = active if phase.state is None else phase.state
        program, rate = self._program(phase, data, state, loss_key), phase.learning_rate
        program.reset(None if callable(rate) else rate, phase.iterations)
        reset_seed_generators(active, seed)
        arguments = keras.tree.map_structure(ops.convert_to_tensor, phase.arguments)
        return program, arguments

    def run_alone(self, phase, seed: int):
        """Runs a phase by itself: no task, callbacks, validation or record of it.

        Args:
            phase: with `data`, `state`, `epochs` and `batch_size`.
            seed: of the order of the examples and of dropout.
        """
        x, y = phase.data
        data = ArrayData(
            x, y, phase.batch_size, self._buckets, exact=self._mixes_rows()
        )
        program, arguments = self.prepared(phase, data, seed, phase.state)
        calls = _NoCalls()
        for epoch in range(phase.epochs):
            blocks = data.epoch(derive_seed(seed, epoch), None)
            self._epoch(program, blocks, arguments, calls, None, None)

    def _epoch(self, program, blocks, arguments, callbacks, every, observe):
        cost = loss = samples = steps = 0
        for whole in blocks:
            if steps and every:
                observe(False)
            for block in parts(whole, 1 if callbacks.every_batch else None):
                callbacks.on_train_batch_begin(steps)
                block_cost, block_loss = program.run(block, arguments)
                cost, loss = cost + block_cost, loss + block_loss
                samples, steps = samples + block.samples, steps + block.steps
                logs = {"loss": cost / samples, **program.followed.results()}
                callbacks.on_train_batch_end(steps - 1, dict(logs))
                if callbacks.stopped:
                    break
            else:
                continue
            break
        if not samples:
            raise ValueError("The training data set gave no examples.")
        return logs, loss / samples, steps

    def _data(self, phase, task, batch_size):
        source = task.train if phase.data is None else phase.data
        exact = self._mixes_rows() or any(s.exact for s in self.model.followed_scores())
        if is_dataset(source):
            check = self.model.checker(task.spec, "block of train")
            return StreamedData(source, batch_size, check, exact=exact)
        if phase.data is not None:
            return ArrayData(*source, batch_size, self._buckets, phase.weights, exact)
        if self._held[0] != (id(task), batch_size):
            held = ArrayData(*source, batch_size, self._buckets, task.weight, exact)
            self._held = ((id(task), batch_size), held)
        return self._held[1]

    def _mixes_rows(self) -> bool:
        """Whether a row's outputs depend on the others: then no batch is filled up."""
        model = self.model
        return model.rows_meet or any(map(mixes_rows, flattened(model.active_body())))

    def _program(self, phase, data, state, loss_key) -> Program:
        hooks = (phase.loss, phase.penalty, phase.shares, phase.gradients)
        optimizer = self.model.optimizer_config()
        if phase.optimizer is not None:
            optimizer = optimizers.to_config(phase.optimizer)
        optimizer["config"].pop("name")  # Keras numbers them: it is new every time
        scores = () if loss_key is None else self.model.followed_scores()
        key = (
            *hooks,
            *map(id, scores),
            phase.gradients_with,
            phase.after_step,
            loss_key,
            *(id(v) for v in [*phase.variables, *state]),
            data.batch_size,
            repr(optimizer),
            self.model.uses_jit,
            backend.devices(),
        )
        return self._programs.get(
            key,
            lambda: Program(
                phase,
                state,
                optimizer,
                flattened(self.model.active_body()),
                self.model.followed() if scores else AllFollowed(),
                self.model.noting_outputs,
                self.uses_xla(state),
                self._count_trace,
            ),
            owns=(phase.variables, state, scores),
        )

    def _count_trace(self):
        self.compile_count += 1

    @property
    def xla(self) -> bool | None:
        """Whether this model is compiled with XLA (see `backend.prefers_xla`)."""
        return self.uses_xla(self.model.network.variables)

    def uses_xla(self, variables) -> bool | None:
        """Whether functions of variables are compiled by XLA; None: not compiled."""
        wanted: Any = self.model.uses_jit
        if wanted != "auto":
            return wanted
        layers = flattened(self.model.active_body())
        prefers = backend.prefers_xla(any(len(v.shape) > 3 for v in variables))
        return prefers and all(x.supports_jit for x in layers)

    def mean_of_gradients(self, of, objective, x, y, variables) -> list[np.ndarray]:
        """The mean over examples of a function of the gradient of each by itself.

        Args:
            of: of a gradient (see `ExampleGradients`).
            objective: bound method of the model, of features, labels and weights.
            x, y: examples (n, …), or `Columns`, and labels (n, …).
            variables: those of the active network that gradients are taken by.

        Returns:
            An array for each of `variables`, of its shape.
        """
        state, network = self.model.active_variables(), self.model.active_body()
        variables = list(variables)
        ids = tuple(id(v) for v in [*variables, *state])
        found = self._forwards.get(
            (of, objective, id(network), self.model.loss_key(), ids),
            lambda: ExampleGradients(
                of, network, objective, variables, state, self.uses_xla(state)
            ),
            owns=(network, variables, state),
        )
        return found.mean(x, y)

    # Inference

    def forward(self, function, x, variables=None) -> np.ndarray:
        """`function(x)` of the active network in compiled batches.

        Args:
            function: bound method of the model, `(batch, …) -> (batch, …)`.
            x: array (n, …), or `Columns`.
            variables: those it reads. None: the active ones of the model.

        Returns:
            Array (n, …).
        """
        if variables is None:
            variables = self.model.active_variables()
        variables = list({id(v): v for v in variables}.values())
        key = (function, *(id(v) for v in variables))
        form = columns.each(_nothing, x) if isinstance(x, columns.Columns) else None
        run = self._forwards.get(
            key,
            lambda: backend.compile_function(
                lambda *parts: function(columns.packed(form, parts)),
                variables,
                self.uses_xla(variables),
            ),
            owns=variables,
        )
        values = backend.snapshot(variables)
        n = len(x)
        rows = evaluation_rows(n)
        out = []
        for start in range(0, n, rows):
            part = x[start : start + rows]
            short = rows - len(part)
            if short:
                part = columns.each(lambda a: _with_zeros(a, short), part)  # noqa: B023
            tensors = map(ops.convert_to_tensor, columns.leaves(part))
            result = ops.convert_to_numpy(run(values, *tensors))
            out.append(result[: rows - short])
        return np.concatenate(out)


def _nothing(array):
    """In the place of data in what is compiled, which would keep them in memory."""


def _with_zeros(array: np.ndarray, rows: int) -> np.ndarray:
    zeros = np.zeros((rows, *array.shape[1:]), array.dtype)
    return np.concatenate([array, zeros])


def evaluation_rows(n: int) -> int:
    """Rows of the batches in which n examples are evaluated."""
    return next((r for r in EVALUATION_ROWS if n <= r), EVALUATION_ROWS[-1])


class _NoCalls:
    """The callbacks of a phase that runs by itself: none."""

    every_batch = stopped = False

    def on_train_batch_begin(self, step):
        pass

    def on_train_batch_end(self, step, logs):
        pass
