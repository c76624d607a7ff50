"""How ARI tries sets of parameters on a task: lines 2 to 5 of its Algorithm 1."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_lifelong import backend
from keras_lifelong.methods.ari.estimator import adaptation_rate
from keras_lifelong.methods.ari.generated import Parameters
from keras_lifelong.methods.ari.population import Population
from keras_lifelong.methods.ari.rates import Candidate
from keras_lifelong.methods.ari.workbench import accuracy
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.optimizers import by_single_weights


class Exploration:
    """What `ARI` explores by: a `GeneratedModel` with this tries sets on tasks."""

    def candidates(self, name: str) -> list[Candidate]:
        """The sets to train on a task: of all known and some new, the most promising.

        Line 3 has arg min for what the text and the figures call the highest estimate;
        this is arg max.
        """
        known = self.knowledge()
        for i in range(self.options.initial):
            how = self.options.initializer
            parameters = self.drawn("initial", name, i, initializer=how)
            known.append(Candidate(parameters, self.sign(parameters)))
        predicted = self.predict_rates(known, [name])[:, 0]
        order = np.argsort(-predicted, kind="stable")[: self.options.training_budget]
        return [
            dataclasses.replace(known[i], predicted=float(predicted[i])) for i in order
        ]

    @property
    def explores_at_once(self) -> bool:
        """Whether all sets are trained at once.

        Measured on two CPU cores (benchmarks/ari.py): for a dense network at batch 10
        that is 1.7 times faster than one after another on TensorFlow, 1.2 times on
        JAX. Convolutions of stacked kernels, which were not timed, are left to
        accelerators.

        Raises:
            ValueError: if it was asked for and the optimizer looks at whole tensors.
        """
        at_once = self.options.at_once
        stackable = by_single_weights(self.optimizer_config())
        if at_once and not stackable:
            raise ValueError(
                "`at_once` must be False or None for an optimizer that clips by norm "
                "or looks at whole tensors, which are stacked here. Received: "
                f"at_once={at_once!r} and {self.optimizer_config()['class_name']}."
            )
        if at_once is None:
            kernels = self.network.trainable_variables
            dense = all(len(v.shape) < 3 for v in kernels)
            return stackable and (dense or backend.on_accelerator())
        return at_once

    def explore(self, task, candidates: list[Candidate]):
        """Trains sets on a task; returns them as trained, and their adaptation rates.

        All are trained on the same batches: what differs is where they begin.
        """
        if self.explores_at_once:
            trained, curves = yield from self._all_at_once(task, candidates)
        else:
            trained, curves = yield from self._one_by_one(task, candidates)
        found, rates = [], []
        for i, (candidate, curve) in enumerate(zip(candidates, curves, strict=True)):
            rates.append(self._rate(task, candidate, curve))
            parameters = self._as_new(task, candidate, trained[i], i)
            found.append(Candidate(parameters, self.sign(parameters), task=task.name))
        return found, rates

    def _one_by_one(self, task, candidates):
        """A phase for each set; returns those trained, and curves of accuracy."""
        trained, curves, (x, y) = [], [], task.train
        for i, candidate in enumerate(candidates):
            self.put(candidate.parameters)
            before = self.accuracy(x, y)
            result = yield self.exploration_phase(
                f"exploration {i + 1} of {len(candidates)}",
                task,
                lambda finished: {"accuracy": self.accuracy(x, y)},
            )
            curves.append([before, *result.history["accuracy"]])
            trained.append(self.taken(candidate.parameters, task.name))
        return trained, curves

    def _all_at_once(self, task, candidates):
        """One phase for all of them. See `_one_by_one`."""
        population, (x, y) = self._population(len(candidates)), task.train
        population.put([c.parameters for c in candidates])

        def accuracies(finished=False):
            of = self.trainer.forward(population.logits, x, population.variables)
            members = range(population.size)
            return {"accuracy": [accuracy(of[:, i], y) for i in members]}

        before = accuracies()["accuracy"]
        phase = self.exploration_phase(
            f"exploration of {len(candidates)}", task, accuracies
        )
        phase.variables, phase.state = population.trained, population.variables
        phase.loss = population.loss
        phase.validate = False  # the set in use is none of these
        result = yield phase
        trained = []
        for i, candidate in enumerate(candidates):
            population.use(i)
            trained.append(self.taken(candidate.parameters, task.name))
        return trained, np.transpose([before, *result.history["accuracy"]]).tolist()

    def _population(self, size: int) -> Population:
        """Room for so many sets, used again by tasks of as many outputs."""
        units = self.active_spec.units
        key = f"population/{size}/{units}"
        if key not in self._store.fixed:
            self._store.fixed[key] = Population(self, size)
        return self._store.fixed[key]

    def exploration_phase(self, name: str, task, observe):
        """A phase that trains on a task, and observes often while it begins to."""
        o = self.options
        return self.set_phase(
            name,
            observe=observe,
            observe_every=o.interval,
            observe_until=None if o.horizon is None else o.horizon * o.interval,
            seed=derive_seed(self.seed, "exploration", task.name),
        )

    def _rate(self, task, candidate: Candidate, curve: list[float]) -> float:
        """The adaptation rate of a set, which is logged."""
        o = self.options
        horizon = None if o.horizon is None else o.horizon + 1
        rate = adaptation_rate(curve[:horizon], o.rate)
        self.log(
            task.name,
            candidate.parameters.source,
            "explore",
            0,
            predicted=candidate.predicted,
            rate=rate,
            curve=curve,
            learned=candidate.task,
        )
        return rate

    def _as_new(self, task, candidate: Candidate, trained: Parameters, number: int):
        """A trained set, as one that is to have a slot of its own."""
        h = self.hypernetwork
        source, embeddings = candidate.parameters.source, trained.embeddings
        if candidate.task is not None and not h.conditional:
            # two sets of the same embeddings would both be stored worse
            embeddings = h.draw_embeddings(self.seed, "embeddings", task.name, number)
        return dataclasses.replace(
            trained, embeddings=embeddings, source=f"{source}, {task.name}"
        )
