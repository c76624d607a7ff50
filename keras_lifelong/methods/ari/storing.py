"""How sets of parameters are stored in a hypernetwork, so that they go on answering."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_lifelong.heads.comparing import CLASSES
from keras_lifelong.heads.comparing import NUMBERS
from keras_lifelong.heads.comparing import YES_NO
from keras_lifelong.heads.comparing import comparison
from keras_lifelong.layers.hypernetwork_base import Hypernetwork
from keras_lifelong.layers.normalization import batch_normalizations
from keras_lifelong.layers.normalization import moved_statistics
from keras_lifelong.methods.ari.made_probes import Made
from keras_lifelong.methods.ari.made_probes import arguments as arguments_of
from keras_lifelong.methods.ari.made_probes import made
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.streams import TaskSpec
from keras_lifelong.training import schedules
from keras_lifelong.training.data import power_of_two
from keras_lifelong.training.distillation import ABSENT
from keras_lifelong.training.distillation import divergence
from keras_lifelong.training.distillation import yes_no_divergence
from keras_lifelong.training.phase import Phase

STEPS_PER_EPOCH, SLOTS_PER_STEP = 100, 4
MEASURED = 500  # probes on which batch normalisation is measured, at most
AT_ONCE = 2**22  # numbers of inputs that are made at once
MANY = 2**24  # numbers of all slots, beyond which those in use alone are held
OLD = 3.0  # the weight of sets that were stored before


@dataclasses.dataclass(frozen=True)
class Storing:
    """How sets are stored.

    Attributes:
        steps: of the hypernetwork's Adam.
        rate: its learning rate, which falls along a cosine.
        batch: inputs that each step sees, of four sets.
        function: weight of the answers beside the values.
    """

    steps: int
    rate: float
    batch: int
    function: float


class Storer:
    """Trains a hypernetwork to generate sets of parameters.

    The loss is the mean squared error of the values, in units of each tensor's usual
    size, and `function` times the divergence of the answers on some inputs. The error
    of the values alone says little of what a network does; nor does that of the
    outputs, most of which may be what all classes share. Of a set that was stored
    before, there are few inputs, but its values can be met exactly: they count as much
    as its answers.

    Batch normalisation goes by each batch meanwhile: under running statistics of other
    values the answers of a deep network are no better than chance, and their gradients
    of little use. The statistics follow when all is stored.

    Args:
        hypernetwork: a `Hypernetwork` of the form's shapes.
        form: a `Form`, of the sets.
    """

    def __init__(self, hypernetwork: Hypernetwork, form: Form):
        self.hypernetwork, self.form = hypernetwork, form

    def phase(
        self,
        sets: Sequence[Parameters],
        specs: Sequence[TaskSpec],
        probes: Sequence[np.ndarray] | Sequence[Made],
        old: Sequence[bool],
        how: Storing,
        seed: int,
    ) -> Phase:
        """The phase that stores sets in the first slots, from their embeddings.

        Args:
            sets: at most as many as there are slots.
            specs: of the task on which each was last trained.
            probes: for each, inputs (m, …) on which its answers are to be kept, or what
                makes them.
            old: for each, whether it is one that was stored before.
            how: the settings.
            seed: of the order of slots and probes.
        """
        h = self.hypernetwork
        count, m, outputs = h.slots, len(probes[0]), h.shapes[len(self.form.trained)][1]
        if count * h.size > MANY:  # few shapes, and no more than there are
            count = min(count, power_of_two(len(sets)))
        targets = np.zeros((count, h.size), "float32")
        wanted = np.zeros((count, m, outputs), "float32")
        absent = np.zeros((count, outputs + 1), "float32")
        weights = np.ones((count, 2), "float32")  # of values and of answers
        for slot, (parameters, inputs) in enumerate(zip(sets, probes, strict=True)):
            h.assign_embeddings(slot, parameters.embeddings)
            targets[slot] = h.standard(parameters.values)
            wanted[slot] = self.answers(parameters, inputs)
            absent[slot] = _absent(specs[slot].units, outputs)
            weights[slot] = 1, how.function
            if old[slot]:
                weights[slot] = OLD * max(how.function, 1), OLD * how.function
        steps = min(STEPS_PER_EPOCH, how.steps)
        each = min(how.batch // SLOTS_PER_STEP, m)
        rows = _rows(len(sets), m, each, steps * SLOTS_PER_STEP, seed)
        return Phase(
            "storing",
            h.trainable_variables,
            loss=self.loss,
            state=[*h.variables, *self.form.network.variables],
            arguments={
                "targets": targets,
                **_inputs(probes, count),
                "outputs": wanted.reshape(-1, wanted.shape[-1]),
                "absent": absent,
                "weights": weights,
                **_compared(specs, wanted),
            },
            data=(rows, np.zeros(len(rows), "int32")),
            batch_size=SLOTS_PER_STEP,
            epochs=how.steps // steps,
            learning_rate=schedules.cosine(how.rate),
            optimizer=keras.optimizers.Adam(how.rate),
            seed=seed,
            validate=False,
        )

    def answers(self, parameters: Parameters, probes) -> np.ndarray:
        """Outputs (m, outputs) of a set on its probes."""
        if not isinstance(probes, Made):
            return self.form.answers(parameters, probes)
        rows = _rows_at_once(probes)
        parts = [
            np.arange(i, min(i + rows, len(probes)))
            for i in range(0, len(probes), rows)
        ]
        found = [self.form.answers(parameters, probes.inputs(part)) for part in parts]
        return np.concatenate(found)

    def statistics(self, sets, probes) -> list[np.ndarray]:
        """What normalisation is to use for the values generated now, each (slots, …).

        Args:
            sets, probes: see `phase`.
        """
        if not self.form.statistics:
            return []
        count = len(self.form.trained)
        moved = [
            moved_statistics(
                self.form.network,
                parameters.statistics,
                parameters.values[:count],
                self.hypernetwork.generate(slot)[:count],
                _first(inputs),
                self.form.statistics,
            )
            for slot, (parameters, inputs) in enumerate(zip(sets, probes, strict=True))
        ]
        moved += [moved[0]] * (self.hypernetwork.slots - len(moved))
        return [np.stack(by_slot) for by_slot in zip(*moved, strict=True)]

    def loss(self, rows, y, weight, arguments):
        """A phase's `loss`; a row has a slot, and the places of some of its probes."""
        del y
        h, slots = self.hypernetwork, rows[:, 0]
        raw = h.raw(slots)

        def of(name, places=slots):
            return ops.take(ops.convert_to_tensor(arguments[name]), places, axis=0)

        losses = ops.mean(ops.square(raw - of("targets")), axis=-1)
        values, absent = h.scaled(raw), of("absent")
        wanted = of("outputs", rows[:, 1:])
        if "inputs" in arguments:
            inputs = of("inputs", rows[:, 1:])
        else:
            shape = tuple(self.form.network.input_shape[1:])
            places = ops.reshape(rows[:, 1:], (-1,))
            inputs = made(arguments["probes"], places, shape)
            inputs = ops.reshape(inputs, (rows.shape[0], -1, *shape))
        if YES_NO in arguments:
            classes, yes_no, numbers = map(of, (CLASSES, YES_NO, NUMBERS))
        by_batch, errors = bool(batch_normalizations(self.form.network)), []
        for j in range(rows.shape[0]):
            logits = self.form.outputs(
                h.tensors(values[j]), self.form.statistics, inputs[j], by_batch
            )
            teacher, student = (
                ops.pad(z, [[0, 0], [1, 0]]) + absent[j] for z in (wanted[j], logits)
            )
            error = ops.mean(divergence(teacher, student, 1.0))
            if YES_NO in arguments:
                said = yes_no_divergence(wanted[j], logits, 1.0) * yes_no[j]
                told = ops.square(wanted[j] - logits) * numbers[j]
                error = classes[j] * error + ops.mean(ops.sum(said + told, axis=-1))
            errors.append(error)
        losses = ops.stack([losses, ops.stack(errors)], axis=-1) * of("weights")
        return ops.sum(losses * weight[:, None]) / ops.sum(weight)


def _inputs(probes, count: int) -> dict:
    """The probes of all sets: as they are, or what they are made from."""
    if isinstance(probes[0], Made):
        return {"probes": arguments_of(probes)}
    x = np.zeros((count, *probes[0].shape), "float32")
    for slot, inputs in enumerate(probes):
        x[slot] = inputs
    return {"inputs": x.reshape(-1, *x.shape[2:])}


def _rows_at_once(probes: Made) -> int:
    """As many as have a few million numbers, a power of two."""
    rows = max(AT_ONCE // int(np.prod(probes.shape)), 16)
    return 1 << rows.bit_length() - 1


def _first(probes) -> np.ndarray:
    """Inputs on which batch normalisation is measured."""
    if isinstance(probes, Made):
        return probes.inputs(np.arange(min(MEASURED, _rows_at_once(probes))))
    return probes[:MEASURED]


def _compared(specs: Sequence[TaskSpec], wanted: np.ndarray) -> dict:
    """Of sets whose answers are no classes, what part each output has in the error.

    Numbers count in units of the variance of what is answered.

    Args:
        specs: of each set's task.
        wanted: the answers (slots, m, outputs).

    Returns:
        Nothing, if there are none; else "classes" (slots,), 1 for a set of classes, and
        "yes_no" and "numbers" (slots, outputs).
    """
    found = [comparison(spec.kind) for spec in specs]
    if set(found) == {CLASSES}:
        return {}
    count, _, outputs = wanted.shape
    parts = {how: np.zeros((count, outputs), "float32") for how in (YES_NO, NUMBERS)}
    classes = np.ones(count, "float32")
    for slot, (how, spec) in enumerate(zip(found, specs, strict=True)):
        if how is None or how == CLASSES:
            continue
        classes[slot] = 0
        part = np.ones(spec.units)
        if how == NUMBERS:
            part = 1 / np.maximum(wanted[slot, :, : spec.units].var(0), 1e-6)
        parts[how][slot, : spec.units] = part / spec.units
    return {CLASSES: classes, **parts}


def _absent(units: int, outputs: int) -> np.ndarray:
    """Added to the logits, a 0 before them: leaves the answers of a task alone.

    A yes or no, one output, is an answer beside that 0.
    """
    found = np.full(outputs + 1, ABSENT, "float32")
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
