"""How sets of parameters are stored in a hypernetwork, so that they go on answering."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.normalization import batch_normalizations
from keras_lifelong.layers.normalization import moved_statistics
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training import schedules
from keras_lifelong.training.distillation import ABSENT
from keras_lifelong.training.distillation import divergence
from keras_lifelong.training.phase import Phase

STEPS_PER_EPOCH, SLOTS_PER_STEP = 100, 4
MEASURED = 500  # probes on which batch normalisation is measured
OLD = 3.0  # the weight of sets that were stored before


@dataclasses.dataclass
class Parameters:
    """A set of parameters: of the network and of a head.

    Attributes:
        values: the network's trainable weights, the head's kernel (width, outputs),
            and its bias if it has one.
        statistics: what else the network holds: of batch normalisation.
        embeddings: with which the hypernetwork generates it, or is to begin to.
        source: where it came from, for the log.
    """

    values: list[np.ndarray]
    statistics: list[np.ndarray]
    embeddings: list[np.ndarray]
    source: str


class StoredSets:
    """What a `GeneratedModel` stores by."""

    def store(self, sets: list[Parameters], tasks: list[str], probes, old):
        """A phase that makes the hypernetwork generate these sets, and no others.

        The loss is the mean squared error of the values, in units of each tensor's
        usual size, and `function` times the divergence of the answers on some inputs.
        The error of the values alone says little of what a network does; nor does that
        of the outputs, most of which may be what all classes share. Of a set that was
        stored before, there are few inputs, but its values can be met exactly: they
        count as much as its answers.

        Batch normalisation goes by each batch meanwhile: under running statistics of
        other values the answers of a deep network are no better than chance, and
        their gradients of little use. The statistics follow when all is stored.

        Args:
            sets: at most as many as there are slots.
            tasks: on which each was last trained.
            probes: for each, inputs (m, …) on which its answers are to be kept.
            old: for each, whether it is one that was stored before.
        """
        h, o = self.hypernetwork, self.options
        count, m = h.slots, len(probes[0])
        targets = np.zeros((count, h.size), "float32")
        x = np.zeros((count, m, *self.backbone_input_shape), "float32")
        wanted = np.zeros((count, m, self.outputs_per_set), "float32")
        absent = np.zeros((count, self.outputs_per_set + 1), "float32")
        weights = np.ones((count, 2), "float32")  # of values and of answers
        for slot, (parameters, inputs) in enumerate(zip(sets, probes, strict=True)):
            h.assign_embeddings(slot, parameters.embeddings)
            targets[slot], x[slot] = h.standard(parameters.values), inputs
            wanted[slot] = self.outputs_under(parameters, inputs)
            absent[slot] = self._absent(tasks[slot])
            weights[slot] = 1, o.function
            if old[slot]:
                weights[slot] = OLD * max(o.function, 1), OLD * o.function
        self._store.slots = [
            {"task": t, "source": s.source} for s, t in zip(sets, tasks, strict=True)
        ]
        self._store.known.clear()
        seed = derive_seed(self.seed, "storing", tasks[-1], len(sets))
        steps = min(STEPS_PER_EPOCH, o.storing_steps)
        each = min(o.storing_batch // SLOTS_PER_STEP, m)
        rows = _rows(len(sets), m, each, steps * SLOTS_PER_STEP, seed)
        result = yield Phase(
            "storing",
            h.trainable_variables,
            loss=self.storing_loss,
            state=[*h.variables, *self.network.variables],
            arguments={
                "targets": targets,
                "inputs": x.reshape(-1, *x.shape[2:]),
                "outputs": wanted.reshape(-1, wanted.shape[-1]),
                "absent": absent,
                "weights": weights,
            },
            data=(rows, np.zeros(len(rows), "int32")),
            batch_size=SLOTS_PER_STEP,
            epochs=o.storing_steps // steps,
            learning_rate=schedules.cosine(o.storing_rate),
            optimizer=keras.optimizers.Adam(o.storing_rate),
            seed=seed,
            validate=False,
        )
        self.remember("hypernetwork", h.variables)
        self._keep_statistics(sets, probes)
        return result

    def _keep_statistics(self, sets: list[Parameters], probes):
        """Keeps, by slot, what normalisation is to use for the values generated now."""
        if not self.statistics:
            return
        count = len(self.network.trainable_variables)
        moved = [
            moved_statistics(
                self.network,
                parameters.statistics,
                parameters.values[:count],
                self.hypernetwork.generate(slot)[:count],
                inputs[:MEASURED],
            )
            for slot, (parameters, inputs) in enumerate(zip(sets, probes, strict=True))
        ]
        moved += [moved[0]] * (self.hypernetwork.slots - len(moved))
        for i in range(len(self.statistics)):
            self.memory["statistics", i] = np.stack([s[i] for s in moved])

    def storing_loss(self, rows, y, weight, arguments):
        """See `store`; a row has a slot, and the places of some of its probes."""
        del y
        h, slots = self.hypernetwork, rows[:, 0]
        raw = h.raw(slots)

        def of(name, places=slots):
            return ops.take(ops.convert_to_tensor(arguments[name]), places, axis=0)

        losses = ops.mean(ops.square(raw - of("targets")), axis=-1)
        values, absent = h.scaled(raw), of("absent")
        inputs, wanted = of("inputs", rows[:, 1:]), of("outputs", rows[:, 1:])
        by_batch, errors = bool(batch_normalizations(self.network)), []
        for j in range(rows.shape[0]):
            logits = self._outputs(
                h.tensors(values[j]), self.statistics, inputs[j], by_batch
            )
            teacher, student = (
                ops.pad(z, [[0, 0], [1, 0]]) + absent[j] for z in (wanted[j], logits)
            )
            errors.append(ops.mean(divergence(teacher, student, 1.0)))
        losses = ops.stack([losses, ops.stack(errors)], axis=-1) * of("weights")
        return ops.sum(losses * weight[:, None]) / ops.sum(weight)

    def _absent(self, task: str) -> np.ndarray:
        """Added to the logits, a 0 before them: leaves the answers of a task alone.

        A yes or no, one output, is an answer beside that 0.
        """
        units = self.task_spec(task).units
        found = np.full(self.outputs_per_set + 1, ABSENT, "float32")
        found[min(units - 1, 1) : units + 1] = 0
        return found


def _rows(slots: int, probes: int, n: int, count: int, seed: int) -> np.ndarray:
    """Rows (count, 1 + n) of a slot and the places of n of its probes among all.

    Every slot comes equally often, and so does each of its probes.
    """
    rng = np.random.default_rng(seed)
    slot = np.resize(np.arange(slots), count)
    turns = -(-count // slots) * n
    places = np.stack(
        [
            np.concatenate(
                [rng.permutation(probes) for _ in range(-(-turns // probes))]
            )[:turns].reshape(-1, n)
            for _ in range(slots)
        ],
        axis=1,
    ).reshape(-1, n)[:count]
    places = places + probes * slot[:, None]
    return np.concatenate([slot[:, None], places], axis=1).astype("int32")
