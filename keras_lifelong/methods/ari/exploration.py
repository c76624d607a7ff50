"""How sets of parameters are tried on a task: lines 4 and 5 of ARI's Algorithm 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_lifelong import backend
from keras_lifelong.layers.head import HeadSlot
from keras_lifelong.methods.ari.estimator import adaptation_rate
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.methods.ari.parameters import score
from keras_lifelong.methods.ari.population import Population
from keras_lifelong.methods.ari.workbench import Workbench
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.hooks import decay
from keras_lifelong.training.optimizers import by_single_weights
from keras_lifelong.training.phase import Phase

# what steps over time, in a loop
RECURRENT = (keras.layers.RNN, keras.layers.TimeDistributed)


@dataclasses.dataclass(frozen=True)
class Trial:
    """How sets are tried, and what is measured meanwhile.

    Attributes:
        at_once: whether all are trained at once.
        interval: steps between two measurements of the accuracy.
        horizon: measurements, after the first, that the rate is made of. None: all.
        rate: "area" or "steps": see `adaptation_rate`.
        weight_decay: λ of coupled L2.
    """

    at_once: bool
    interval: int
    horizon: int | None
    rate: str
    weight_decay: float


@dataclasses.dataclass
class Tried:
    """What became of a set that was tried.

    Attributes:
        parameters: the set, as trained.
        curve: its accuracies, the first before any training.
        rate: its adaptation rate.
    """

    parameters: Parameters
    curve: list[float]
    rate: float


class Exploration:
    """Trains sets on a task, and measures how fast they adapt.

    All are trained on the same batches: what differs is where they begin.

    Args:
        trainer: measures accuracies; it runs the phases.
        form: a `Form`, of the network that is trained.
        seed: from which the order of the batches is derived, with the task's name.
    """

    def __init__(self, trainer, form: Form, seed: int):
        self.trainer, self.form, self.seed = trainer, form, seed
        # one of each for ever, since compiled steps are kept by them
        self._benches: dict[tuple, Workbench] = {}
        self._populations: dict[tuple, Population] = {}

    def bench(self, head: HeadSlot, kind: Any) -> Workbench:
        """The workbench over the network with this head, under such a loss."""
        key = (id(head), kind)
        if key not in self._benches:
            self._benches[key] = Workbench(self.form, head, kind)
        return self._benches[key]

    def goes_at_once(self, wanted: bool | None, optimizer: dict) -> bool:
        """Whether all sets are trained at once.

        Measured on two CPU cores (benchmarks/ari.py): for a dense network at batch 10
        that is 1.7 times faster than one after another on TensorFlow, 1.2 times on
        JAX. Convolutions of stacked kernels, which were not timed, are left to
        accelerators.

        Args:
            wanted: whether that was asked for. None: where it is faster.
            optimizer: a serialized Keras optimizer.

        Raises:
            ValueError: if it was asked for and the optimizer looks at whole tensors,
                or the network has a recurrent layer, of which stacks are not compiled.
        """
        stackable = by_single_weights(optimizer)
        network = self.form.network
        loops = [x for x in network._flatten_layers() if isinstance(x, RECURRENT)]
        if wanted and loops:
            raise ValueError(
                "`at_once` must be False or None for a network with recurrent layers, "
                f"such as {loops[0].name!r}. Received: at_once={wanted!r}."
            )
        if wanted and not stackable:
            raise ValueError(
                "`at_once` must be False or None for an optimizer that clips by norm "
                "or looks at whole tensors, which are stacked here. Received: "
                f"at_once={wanted!r} and {optimizer['class_name']}."
            )
        if wanted is None:
            dense = all(len(v.shape) < 3 for v in self.form.trained)
            return stackable and not loops and (dense or backend.on_accelerator())
        return wanted

    def explore(
        self, task, bench: Workbench, starts: Sequence[Parameters], trial: Trial
    ):
        """Phases that train sets on a task; returns a list of `Tried`.

        Args:
            task: a loaded `Task`.
            bench: of `bench(...)`, with the task's head.
            starts: the sets, which stay as they are.
            trial: how.
        """
        way = self._all_at_once if trial.at_once else self._one_by_one
        trained, curves = yield from way(task, bench, starts, trial)
        horizon = None if trial.horizon is None else trial.horizon + 1
        return [
            Tried(parameters, curve, adaptation_rate(curve[:horizon], trial.rate))
            for parameters, curve in zip(trained, curves, strict=True)
        ]

    def _one_by_one(self, task, bench, starts, trial):
        """A phase for each set; returns those trained, and curves of accuracy."""
        trained, curves, (x, y) = [], [], task.train

        def now(finished=False):
            logits = self.trainer.forward(bench.logits, x, bench.variables)
            return {"accuracy": score(logits, y, task.spec.kind)}

        for i, start in enumerate(starts):
            bench.put(start)
            before = now()["accuracy"]
            name = f"exploration {i + 1} of {len(starts)}"
            result = yield self._phase(name, task, bench, trial, now)
            curves.append([before, *result.history["accuracy"]])
            trained.append(bench.taken(start, task.name))
        return trained, curves

    def _all_at_once(self, task, bench, starts, trial):
        """One phase for all of them. See `_one_by_one`."""
        population, (x, y) = self._population(bench, len(starts)), task.train
        population.put(starts)

        def now(finished=False):
            of = self.trainer.forward(population.logits, x, population.variables)
            members = range(population.size)
            kind = task.spec.kind
            return {"accuracy": [score(of[:, i], y, kind) for i in members]}

        before = now()["accuracy"]
        name = f"exploration of {len(starts)}"
        phase = self._phase(name, task, bench, trial, now)
        phase.variables, phase.state = population.trained, population.variables
        phase.loss = population.loss
        phase.validate = False  # the set in use is none of these
        result = yield phase
        trained = []
        for i, start in enumerate(starts):
            population.use(i)
            trained.append(bench.taken(start, task.name))
        return trained, np.transpose([before, *result.history["accuracy"]]).tolist()

    def _population(self, bench: Workbench, size: int) -> Population:
        """Room for so many sets, used again by tasks of as many outputs."""
        key = (id(bench), size)
        if key not in self._populations:
            self._populations[key] = Population(bench, size)
        return self._populations[key]

    def _phase(self, name, task, bench, trial, observe) -> Phase:
        """A phase that trains on a task, and observes often while it begins to."""
        horizon = trial.horizon
        return Phase(
            name,
            bench.trained_variables,
            loss=bench.loss,
            gradients=decay,
            arguments={"weight_decay": np.float32(trial.weight_decay)},
            observe=observe,
            observe_every=trial.interval,
            observe_until=None if horizon is None else horizon * trial.interval,
            seed=derive_seed(self.seed, "exploration", task.name),
        )
