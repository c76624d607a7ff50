"""Sets of parameters that are trained at once, over stacked weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.ari.workbench import Workbench


class Population:
    """Room for several sets of parameters of one form, side by side.

    One call of a training step moves all of them: each by its own gradient, all on
    the same batch and under the same dropout, as if one were trained after the other
    from one seed. On an accelerator, which a small network leaves idle, that is one
    run instead of many.

    Args:
        bench: a `Workbench`, through which sets come in and go out.
        size: P, how many sets.
    """

    def __init__(self, bench: Workbench, size: int):
        self.bench, self.size = bench, size
        self.trained = [self._stack(v) for v in bench.trained_variables]
        self._stacked = {id(v): self._stack(v) for v in bench.form.statistics}

    def _stack(self, variable) -> keras.Variable:
        values = np.zeros((self.size, *variable.shape), "float32")
        return keras.Variable(values, name=variable.name)

    @property
    def stacks(self) -> list:
        """What it holds of each set, (P, …): what is trained, and the statistics."""
        return [*self.trained, *self._stacked.values()]

    @property
    def variables(self) -> list:
        """All that its outputs depend on."""
        others = self.bench.form.network.non_trainable_variables
        return [*self.stacks, *(v for v in others if id(v) not in self._stacked)]

    # Moving sets in and out

    def put(self, sets: Sequence):
        """Takes a set for each member, P `Parameters`."""
        members = []
        for parameters in sets:
            self.bench.put(parameters)
            members.append([ops.convert_to_numpy(v).copy() for v in self._in_use])
        for stack, values in zip(self.stacks, zip(*members, strict=True), strict=True):
            stack.assign(np.stack(values))

    def use(self, member: int):
        """Makes a member the set in use."""
        for variable, stack in zip(self._in_use, self.stacks, strict=True):
            variable.assign(stack[member])

    @property
    def _in_use(self) -> list:
        return [*self.bench.trained_variables, *self.bench.form.statistics]

    # Learning and answering

    def loss(self, x, y, weight, arguments):
        """A phase's `loss`: the sum over the members; each goes by its own gradient."""
        del arguments
        logits, others = self._call(x, training=True)
        variables = self.bench.form.network.non_trainable_variables
        for variable, values in zip(variables, others, strict=True):
            if id(variable) in self._stacked:
                self._stacked[id(variable)].assign(values)
            else:
                variable.assign(values[0])  # a seed's state: the same for all
        kind = self.bench.kind
        return sum(heads.mean_loss(kind, y, z, weight) for z in ops.unstack(logits))

    def logits(self, x):
        """Outputs (batch, P, units)."""
        return ops.swapaxes(self._call(x)[0], 0, 1)

    def _call(self, x, training: bool = False):
        """Outputs (P, batch, units), and what the network's other variables become."""
        form = self.bench.form
        network, count = form.network, len(form.trained)

        def member(values):
            trained, statistics = values
            own = dict(zip(self._stacked, statistics, strict=True))
            others = [
                own.get(id(v), ops.copy(v)) for v in network.non_trainable_variables
            ]
            features, others = network.stateless_call(
                trained[:count], others, x, training=training
            )
            return form.head_outputs(features, trained[count:]), others

        parts = self.trained, list(self._stacked.values())
        return backend.vectorized_map(
            member, [[ops.convert_to_tensor(v) for v in part] for part in parts]
        )
