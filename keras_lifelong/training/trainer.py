"""The one trainer: it runs every phase of every method."""

from __future__ import annotations

import dataclasses
import math
import time

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import reset_seed_generators
from keras_lifelong.streams.task import is_dataset
from keras_lifelong.training.data import ArrayData
from keras_lifelong.training.data import Buckets
from keras_lifelong.training.data import StreamedData
from keras_lifelong.training.optimizers import serialized
from keras_lifelong.training.phase import PhaseResult
from keras_lifelong.training.program import Program
from keras_lifelong.training.program import Programs
from keras_lifelong.training.protocol import Trainable

EVALUATION_ROWS = (32, 128, 1024)  # few shapes, so few compilations


@dataclasses.dataclass
class Settings:
    """What the user asked of `fit`: epochs and batch size of every phase."""

    epochs: int = 1
    batch_size: int = 32


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
        self.epoch = 0  # of the callbacks, over all phases of a fit
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
        phases = learn(task)
        best = _Peak(self.model, task)
        result = None
        index = 0
        try:
            while True:
                phase = phases.send(result)
                result = recorder.replay(index, phase)
                if result is None:
                    result = self._run(phase, index, task, settings, callbacks, best)
                    recorder.record(index, phase, result, best.state())
                else:
                    best.set_state(recorder.peak(index))
                index += 1
        except StopIteration:
            return best.value
        finally:
            self._held = (None, None)

    def _run(self, phase, index, task, settings, callbacks, peak) -> PhaseResult:
        model = self.model
        start = time.perf_counter()
        epochs = settings.epochs if phase.epochs is None else phase.epochs
        data = self._data(phase, task, phase.batch_size or settings.batch_size)
        rate, seed = phase.learning_rate, phase.seed
        if seed is None:
            seed = derive_seed(model.seed, model.task_index(task.name), index)
        active, key = model.active_variables(), model.loss_key()
        program, arguments = self._ready(phase, data, seed, active, key)
        previous_optimizer, model.optimizer = model.optimizer, program.optimizer
        callbacks.on_phase_begin(task, phase, epochs, data.steps)
        steps, loss = 0, math.nan
        history: dict[str, list] = {}
        observed: dict[str, list] = {}
        best = _Best(model)

        def observe(finished):
            if phase.observe is not None:
                for name, value in phase.observe(finished).items():
                    observed.setdefault(name, []).append(value)

        try:
            for epoch in range(epochs):
                callbacks.on_epoch_begin(self.epoch)
                late = phase.observe_until is not None and steps >= phase.observe_until
                if callable(rate):
                    program.optimizer.learning_rate = rate(epoch, epochs, history)
                cost, loss, taken = self._epoch(
                    program,
                    data,
                    derive_seed(seed, epoch),
                    arguments,
                    callbacks,
                    None if late else phase.observe_every,
                    observe,
                )
                steps += taken
                if not math.isfinite(cost):
                    raise FloatingPointError(
                        f"The loss of task {task.name!r} became {cost} in phase "
                        f"{phase.name!r}, epoch {epoch + 1}. A smaller learning rate "
                        "may help. What was learned before this task is kept."
                    )
                logs = {"loss": cost}
                if phase.validate and task.validation is not None:
                    scores = model.score(task, "validation")
                    logs |= {f"val_{name}": value for name, value in scores.items()}
                    peak.see(scores)
                    best.see(scores, phase.keep_best)
                for name, value in logs.items():
                    history.setdefault(name, []).append(value)
                observe(True)
                callbacks.on_epoch_end(self.epoch, logs)
                self.epoch += 1
                if model.stop_training or best.age == phase.patience:
                    break
        finally:
            model.optimizer = previous_optimizer
        best.restore()
        callbacks.on_phase_end(history)
        model.store_active()
        peak.settle()
        seconds = time.perf_counter() - start
        return PhaseResult(phase.name, loss, history | observed, steps, seconds)

    def _ready(self, phase, data, seed, active, loss_key=None):
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
        data = ArrayData(x, y, phase.batch_size, self._buckets)
        program, arguments = self._ready(phase, data, seed, phase.state)
        calls = keras.callbacks.Callback()  # which does nothing
        for epoch in range(phase.epochs):
            order = derive_seed(seed, epoch)
            self._epoch(program, data, order, arguments, calls, None, None)

    def _epoch(self, program, data, seed, arguments, callbacks, every, observe):
        cost = loss = samples = steps = 0
        for block in data.epoch(seed, every):
            if steps and every:
                observe(False)
            callbacks.on_train_batch_begin(steps)
            block_cost, block_loss = program.run(block, arguments)
            cost, loss = cost + block_cost, loss + block_loss
            samples, steps = samples + block.samples, steps + block.steps
            callbacks.on_train_batch_end(steps - 1, {"loss": cost / samples})
        if not samples:
            raise ValueError("The training data set gave no examples.")
        return cost / samples, loss / samples, steps

    def _data(self, phase, task, batch_size):
        source = task.train if phase.data is None else phase.data
        if is_dataset(source):
            check = self.model.checker(task.spec, "block of train")
            return StreamedData(source, batch_size, check)
        if phase.data is not None:
            return ArrayData(*source, batch_size, self._buckets)
        if self._held[0] != (id(task), batch_size):
            held = ArrayData(*source, batch_size, self._buckets)
            self._held = ((id(task), batch_size), held)
        return self._held[1]

    def _program(self, phase, data, state, loss_key) -> Program:
        hooks = (phase.loss, phase.penalty, phase.gradients, phase.after_step)
        optimizer = self.model.optimizer_config()
        if phase.optimizer is not None:
            optimizer = serialized(phase.optimizer)
        optimizer["config"].pop("name")  # Keras numbers them: it is new every time
        key = (
            *hooks,
            loss_key,
            *(id(v) for v in [*phase.variables, *state]),
            data.batch_size,
            repr(optimizer),
        )
        return self._programs.get(
            key,
            lambda: Program(
                phase, state, optimizer, _prefers_xla(state), self._count_trace
            ),
            owns=(phase.variables, state),
        )

    def _count_trace(self):
        self.compile_count += 1

    @property
    def xla(self) -> bool:
        """Whether this model is compiled with XLA (see `backend.prefers_xla`)."""
        return _prefers_xla(self.model.network.variables)

    # Inference

    def forward(self, function, x, variables=None) -> np.ndarray:
        """`function(x)` of the active network in compiled batches.

        Args:
            function: bound method of the model, `(batch, …) -> (batch, …)`.
            x: array (n, …).
            variables: those it reads. None: the active ones of the model.

        Returns:
            Array (n, …).
        """
        if variables is None:
            variables = self.model.active_variables()
        variables = list({id(v): v for v in variables}.values())
        key = (function, *(id(v) for v in variables))
        run = self._forwards.get(
            key,
            lambda: backend.compile_function(
                function, variables, _prefers_xla(variables)
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
                part = np.concatenate([part, np.zeros((short, *x.shape[1:]), x.dtype)])
            result = ops.convert_to_numpy(run(values, ops.convert_to_tensor(part)))
            out.append(result[: rows - short])
        return np.concatenate(out)


def evaluation_rows(n: int) -> int:
    """Rows of the batches in which n examples are evaluated."""
    return next((r for r in EVALUATION_ROWS if n <= r), EVALUATION_ROWS[-1])


def _prefers_xla(variables) -> bool:
    return backend.prefers_xla(any(len(v.shape) > 3 for v in variables))


class _Best:
    """The best epoch of a phase by the main metric on validation data."""

    def __init__(self, model: Trainable):
        self.model = model
        self.value = None
        self.age = 0  # epochs since
        self._weights = None

    def see(self, scores, keep):
        metric = self.model.main_metric
        value = scores[metric.name] * (1 if metric.higher_is_better else -1)
        is_better = self.value is None or value > self.value
        self.age = 0 if is_better else self.age + 1
        if is_better or value == self.value:  # of equals the last: it learned longer
            self.value = value
            self._weights = self.model.get_active() if keep else None

    def restore(self):
        if self._weights is not None:
            self.model.set_active(self._weights)


class _Peak:
    """The test metric at the epoch of best validation metric (LASEM's peak)."""

    def __init__(self, model: Trainable, task):
        self.model = model
        self.task = task
        self.best = None
        self.value = None
        self._weights = None

    def see(self, scores):
        metric = self.model.main_metric
        value = scores[metric.name]
        value = value if metric.higher_is_better else -value
        if self.best is None or value > self.best:
            self.best = value
            self._weights = self.model.get_active()

    def state(self):
        return [self.best, self.value]

    def set_state(self, state):
        self.best, self.value = state

    def settle(self):
        """Scores the best epoch's weights, while the network has their shape."""
        if self._weights is None:
            return
        if self.task.test is not None:
            now = self.model.get_active()
            self.model.set_active(self._weights)
            scores = self.model.score(self.task, "test", main_only=True)
            self.value = scores[self.model.main_metric.name]
            self.model.set_active(now)
        self._weights = None
