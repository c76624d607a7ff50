"""A compiled training step, its optimizer, and when it can be used again."""

from __future__ import annotations

import collections
import threading

import keras
from keras import ops

from keras_lifelong import backend
from keras_lifelong.training import optimizers
from keras_lifelong.training.layer_losses import LayerLosses


class Program:
    """One phase's step, compiled into a loop over many batches.

    Args:
        phase: gives the hooks and the variables.
        state: all variables the loss reads or updates.
        optimizer: as `optimizers.to_config` gives it.
        layers: the layers that the phase's loss goes through, whose own losses count.
        followed: an `AllFollowed`: the metrics that each step updates.
        noting: a context whose list takes what the head's loss is given.
        xla: whether to compile with XLA.
        on_trace: called whenever the loop is traced (compiled).
    """

    def __init__(
        self, phase, state, optimizer, layers, followed, noting, xla, on_trace
    ):
        self.variables = list(phase.variables)
        self.optimizer = optimizers.from_config(optimizer)
        self.optimizer.build(self.variables)
        self._layer_losses = LayerLosses(layers, self.variables, phase.shares)
        self._initial = [
            (v, ops.convert_to_numpy(v).copy()) for v in self.optimizer.variables
        ]
        self.followed, self._noting = followed, noting
        everything = [*self.variables, *state, *self.optimizer.variables]
        everything += followed.variables
        unique = list({id(v): v for v in everything}.values())
        self._run = backend.compile_loop(self._step_of(phase), unique, xla, on_trace)

    def _step_of(self, phase):
        variables, optimizer = self.variables, self.optimizer
        loss, penalty, layer_losses = phase.loss, phase.penalty, self._layer_losses
        followed, noting = self.followed, self._noting
        change_gradients, after_step = phase.gradients, phase.after_step
        compare = phase.gradients_with
        if optimizers.scales_loss(optimizer):
            if change_gradients is not None:
                change_gradients = _of_unscaled(change_gradients, optimizer)
            if compare is not None:
                compare = _of_unscaled(compare, optimizer)

        def step(gradients_of, i, carry, x, y, weights, rows, valid, arguments):
            batch = rows[i]
            x, y = keras.tree.map_structure(
                lambda a: ops.take(a, batch, axis=0), (x, y)
            )
            count = ops.cast(valid[i], "float32")
            filled = ops.arange(batch.shape[0], dtype="int32") < valid[i]
            x, y, filled = backend.over_devices((x, y, filled))
            weight = is_row = ops.cast(filled, "float32")
            share = None
            if weights is not None:  # Keras divides by the rows, not by their weights
                weight = weight * ops.take(weights, batch, axis=0)
                share = ops.sum(weight) / count
                # they are 1 in the mean, so that losses count rows by them; where none
                # counts the mean has to be a number, to be taken 0 times
                some = ops.where(share > 0, share, 1.0)
                weight = ops.where(share > 0, weight / some, is_row)

            def objective():
                with layer_losses.collected() as own, noting() as noted:
                    value = loss(x, y, weight, arguments)
                    value, rest = value if isinstance(value, tuple) else (value, None)
                    value = value if share is None else value * share
                    value = value if rest is None else value + rest
                    cost = own.added_to(value, arguments)
                if penalty is not None:
                    cost = cost + penalty(variables, arguments)
                return optimizer.scale_loss(cost), (cost, value, noted)

            (_, (cost, value, noted)), gradients = gradients_of(objective, variables)
            if len(noted) == 1:  # else nobody could say of which outputs
                followed.update(*noted[0], is_row)
            if compare is not None:
                gradients = compare(gradients, variables, arguments, gradients_of)
            if change_gradients is not None:
                gradients = change_gradients(gradients, variables, arguments)
            rate = ops.convert_to_tensor(optimizer.learning_rate)
            if after_step is not None:
                before = [ops.copy(v) for v in variables]
            backend.apply_gradients(optimizer, gradients, variables)
            if after_step is not None:
                after = after_step(before, variables, arguments, rate)
                optimizers.correct_averages(optimizer, variables, after)
                for variable, new in zip(variables, after, strict=True):
                    variable.assign(new)
            total, data = carry
            return total + cost * count, data + value * count

        return step

    def reset(self, learning_rate: float | None = None, iterations: int = 0):
        """A fresh optimizer, as every phase begins with, but for its schedule."""
        for variable, value in self._initial:
            variable.assign(value)
        optimizers.begin_averages(self.optimizer, self.variables)
        if learning_rate is not None:
            self.optimizer.learning_rate = learning_rate
        optimizers.inner(self.optimizer)._iterations.assign(iterations)  # not averaged
        self._begins_at = iterations

    @property
    def steps(self) -> int:
        """Steps taken since `reset`, those before a backup that goes on included."""
        return int(optimizers.inner(self.optimizer)._iterations) - self._begins_at

    def finish(self) -> None:
        """What Keras does after the last epoch: averaged weights take their place."""
        self.optimizer.finalize_variable_values(self.variables)

    def run(self, block, arguments) -> tuple[float, float]:
        """Takes the steps of a block; returns the summed cost and loss of its rows."""
        zero = ops.zeros((), "float32")
        total, data = self._run(
            ops.convert_to_tensor(block.steps, "int32"),
            (zero, zero),
            block.x,
            block.y,
            block.weights,
            ops.convert_to_tensor(block.rows),
            ops.convert_to_tensor(block.valid),
            arguments,
        )
        return float(total), float(data)


class Programs:
    """Compiled programs by structure, the least recently used forgotten first.

    Keys may hold ids of objects: what a program `owns` lives as long as it does, so
    that no other object takes such an id meanwhile. Any thread may ask.
    """

    def __init__(self, limit: int = 16):
        self._kept: collections.OrderedDict = collections.OrderedDict()
        self._limit = limit
        self._lock = threading.Lock()

    def get(self, key, make, owns=()):
        """The program of a key, made by `make()` if it is not there.

        Args:
            key: hashable.
            make: function without arguments.
            owns: the objects whose ids the key holds.
        """
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (make(), owns)
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
            return self._kept[key][0]


def _of_unscaled(change, optimizer):
    """A `gradients` hook that sees gradients as they are, where the loss is scaled."""

    def changed(gradients, variables, *others):
        scale = optimizer.scale_loss(ops.ones((), "float32"))
        gradients = [g / ops.cast(scale, g.dtype) for g in gradients]
        gradients = change(gradients, variables, *others)
        return [g * ops.cast(scale, g.dtype) for g in gradients]

    return changed
