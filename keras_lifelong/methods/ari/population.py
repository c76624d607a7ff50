"""Sets of parameters that are trained at once, over stacked weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


class Population:
    """Room for several sets of parameters of a model's active task, side by side.

    One call of a training step moves all of them: each by its own gradient, all on
    the same batch and under the same dropout, as if one were trained after the other
    from one seed. On an accelerator, which a small network leaves idle, that is one
    run instead of many.

    Args:
        model: a `GeneratedModel` whose active task has as many outputs as all that this
            will be used for.
        size: P, how many sets.
    """

    def __init__(self, model, size: int):
        self.model, self.size = model, size
        self.trained = [self._stack(v) for v in model.trained_variables()]
        self._stacked = {id(v): self._stack(v) for v in model.statistics}

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
        others = self.model.network.non_trainable_variables
        return [*self.stacks, *(v for v in others if id(v) not in self._stacked)]

    # Moving sets in and out

    def put(self, sets: Sequence):
        """Takes a set for each member, P `Parameters`."""
        members = []
        for parameters in sets:
            self.model.put(parameters)
            members.append([ops.convert_to_numpy(v).copy() for v in self._in_use])
        for stack, values in zip(self.stacks, zip(*members, strict=True), strict=True):
            stack.assign(np.stack(values))

    def use(self, member: int):
        """Makes a member the set in use."""
        for variable, stack in zip(self._in_use, self.stacks, strict=True):
            variable.assign(stack[member])

    @property
    def _in_use(self) -> list:
        return [*self.model.trained_variables(), *self.model.statistics]

    # Learning and answering

    def loss(self, x, y, weight, arguments):
        """A phase's `loss`: the sum over the members; each goes by its own gradient."""
        del arguments
        logits, others = self._call(x, training=True)
        variables = self.model.network.non_trainable_variables
        for variable, values in zip(variables, others, strict=True):
            if id(variable) in self._stacked:
                self._stacked[id(variable)].assign(values)
            else:
                variable.assign(values[0])  # a seed's state: the same for all
        losses = [self.model.head_loss(y, z, weight) for z in ops.unstack(logits)]
        return sum(losses)

    def logits(self, x):
        """Outputs (batch, P, units)."""
        return ops.swapaxes(self._call(x)[0], 0, 1)

    def _call(self, x, training: bool = False):
        """Outputs (P, batch, units), and what the network's other variables become."""
        network = self.model.network
        count = len(network.trainable_variables)

        def member(values):
            trained, statistics = values
            own = dict(zip(self._stacked, statistics, strict=True))
            others = [
                own.get(id(v), ops.copy(v)) for v in network.non_trainable_variables
            ]
            features, others = network.stateless_call(
                trained[:count], others, x, training=training
            )
            return self.model.head_outputs(features, trained[count:]), others

        parts = self.trained, list(self._stacked.values())
        return ops.vectorized_map(
            member, [[ops.convert_to_tensor(v) for v in part] for part in parts]
        )
