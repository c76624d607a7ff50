"""What the methods that replay examples have in common: a buffer, and a phase of both.

No method of itself; see `experience_replay`, `derpp`, `agem` and `gem`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.layers.keras_loss import loss_of
from keras_lifelong.model import LifelongModel
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training import buffers
from keras_lifelong.training import replay
from keras_lifelong.training.buffers import Buffer
from keras_lifelong.training.importance import examples_of


class Replaying(LifelongModel):
    """A model that keeps examples of its tasks and replays them.

    The examples of a task are taken once it is learned, and go with it when it is
    removed. Its options have `budget` (examples), `max_bytes` and `replay_batch`; and
    `policy`, where there is a choice.
    """

    carries_sequences = True
    task_forms = buffers.FORMS
    keeps_logits = False
    policy: buffers.Policy = "reservoir"

    def __init__(self, backbone, seed, pretrained, name, options):
        super().__init__(backbone, seed, pretrained, name, options)
        policy = options.get("policy", self.policy)
        self.buffer = Buffer(options["budget"], options["max_bytes"], policy)
        self._draws = replay.Draws(0)  # each phase begins from a seed of its own
        self._stacks: dict[tuple, replay.HeadStack] = {}
        self._stack: Any = None  # a `HeadStack`, once there are earlier tasks

    def active_variables(self):
        return [*super().active_variables(), self._draws.state]

    def check_spec(self, name, spec, others):
        super().check_spec(name, spec, others)
        loss = loss_of(spec.kind, self._loss)
        replay.check_alike(type(self).__name__, name, spec, loss, others)

    def learn(self, task):
        shared = self.network.trainable_variables
        past = replay.Replayed(self, task.name, self._stacks, self._room(task))
        if past.names:
            self._stack = past.stack  # what is compiled holds the one it was made with
            yield self.replaying(past, shared)
        else:
            yield self.phase("training", shared)
        self.remember(task)

    def replaying(self, past: replay.Replayed, shared: list):
        """The phase of a task that has others before it."""
        raise NotImplementedError

    def joint_phase(self, name: str, past: replay.Replayed, shared: list, loss):
        """A phase whose loss is of both: it trains the heads of earlier tasks, too."""
        variables = past.stack.variables
        return self.phase(
            name,
            [*shared, *variables],
            loss=loss,
            state=[*self.active_variables(), *variables],
            arguments=past.arguments,
            publish=past.publish,
        )

    def drawn(self, arguments, rows: int) -> dict:
        """So many examples of the buffer, drawn with return."""
        return replay.drawn(arguments, self._draws.rows(rows, arguments["count"]))

    def old_logits(self, features, old: dict):
        """Outputs of old examples, each by the head of its own task."""
        return self._stack.logits(features, self.head(features), old["head"])

    def old_loss(self, features, old: dict):
        """Their mean loss."""
        logits = self.old_logits(features, old)
        return replay.replayed_loss(self.loss_key()[0], old, logits)

    # The buffer

    def _room(self, task) -> int:
        if is_dataset(task.train):
            return self.options.budget
        x, y = (array[:1] for array in task.train)
        weight = None if task.weight is None else task.weight[:1]
        return self.buffer.room(self._columns(task, x, y, weight))

    def _columns(self, task, x, y, weight):
        columns = {buffers.X: x, buffers.Y: y, buffers.RANK: np.zeros(len(y))}
        if weight is not None:
            columns[buffers.WEIGHT] = weight
        if self.keeps_logits:
            shape = (len(y), *self.feature_shape[:-1], task.spec.units)
            columns[buffers.LOGITS] = np.zeros(shape, "float32")
        return columns

    def remember(self, task) -> None:
        """Puts examples of a learned task into the buffer, with what they count.

        Of a `tf.data.Dataset` the first ones, as many as the buffer has room for.
        """
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "buffer"))
        n = self.options.budget if is_dataset(task.train) else len(task.train[1])
        x, y, weight = examples_of(task, n, rng, weighed=True)
        columns = self._columns(task, x, y, weight)
        columns[buffers.RANK] = buffers.drawn_ranks(len(y), rng)
        if self.buffer.policy == "herding":
            phi = self.trainer.forward(self.features, x).astype("float64")
            phi = phi.reshape(len(phi), -1)  # those of time steps beside each other
            phi /= np.maximum(np.linalg.norm(phi, axis=1, keepdims=True), 1e-12)
            most = self.buffer.most_of_a_class(columns)
            columns[buffers.RANK] = buffers.herded_ranks(phi, y, most)
        if not is_dataset(task.train):  # the others would go at once
            rows = self.buffer.first(columns)
            columns = {part: array[rows] for part, array in columns.items()}
        if self.keeps_logits:
            given = columns[buffers.X]
            columns[buffers.LOGITS] = self.trainer.forward(self.logits, given)
        self.buffer.add(self.memory, task.name, columns)

    def buffered(self) -> dict[str, int]:
        """How many examples the buffer has of each task."""
        return {
            name: len(self.memory[buffers.KEY, name, buffers.Y])
            for name in self.buffer.names(self.memory)
        }


def both(x, *others):
    """A batch and others after it, as one batch."""
    return ops.concatenate([x, *(old["x"] for old in others)], axis=0)
