"""The estimator q of adaptation rates: what it remembers, learns and predicts."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_lifelong.methods.ari.estimator import AdaptationEstimator
from keras_lifelong.methods.ari.parameters import Candidate
from keras_lifelong.methods.ari.remembered import numbered
from keras_lifelong.methods.ari.remembered import recall
from keras_lifelong.methods.ari.remembered import remember
from keras_lifelong.model.task_memory import key_text
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.data import filled
from keras_lifelong.training.phase import Phase

PAIRS = 1000  # of signatures and rates that are remembered
BATCH = 250  # of the estimator
PARTS = ("signatures", "tasks", "values")  # of the remembered pairs
FORMS = (("signature", str),)  # see `TaskMemory`


class RateEstimator:
    """Predicts how fast sets adapt to tasks, and learns from how fast others did.

    It is trained on the pairs Q of signatures, of a set and of a task, with the rate
    at which the set adapted. What lasts of it is in a `TaskMemory`, which is handed
    in: the network's variables, the tasks' signatures, and the pairs.

    Args:
        width: of the signatures.
        seed: of the network's initial weights.

    Attributes:
        network: q, an `AdaptationEstimator`.
    """

    def __init__(self, width: int, seed: int):
        self.width, self.seed = width, derive_seed(seed, "estimator")
        self.network = AdaptationEstimator(self.seed, width)

    # Predicting

    def describe(self, memory, name: str, signature: np.ndarray):
        """Remembers the signature (width,) of a task."""
        memory["signature", name] = signature

    def predict(self, memory, known: Sequence[Candidate], tasks) -> np.ndarray:
        """Predicted adaptation rates (sets, tasks), of sets by their signatures."""
        if ("rates", "mean") not in memory:  # nothing is known yet
            return np.zeros((len(known), len(tasks)))
        sets = np.stack([c.signature for c in known])
        signatures = np.stack([memory["signature", t] for t in tasks])
        q = self.network
        codes = q.parameter_encoder(filled(sets))[:, None]
        of = q.task_encoder(filled(signatures))[None]
        shape = (codes.shape[0], of.shape[1], codes.shape[2])
        pairs = q.rate(ops.broadcast_to(codes, shape), ops.broadcast_to(of, shape))
        predicted = ops.convert_to_numpy(pairs)[: len(known), : len(tasks)]
        return predicted * memory["rates", "deviation"] + memory["rates", "mean"]

    def best_task(self, memory, candidate: Candidate, tasks: Sequence[str]) -> str:
        """The task, of those it knows of, for which it expects most of a set."""
        tasks = [t for t in tasks if ("signature", t) in memory]
        rates = self.predict(memory, [candidate], tasks)[0]
        return tasks[int(np.argmax(rates))]

    # Learning

    def add(self, memory, signature: np.ndarray, task: str, rate: float):
        """Remembers how fast a set adapted to a task; the oldest are forgotten.

        The signatures themselves are kept, not their codes, which would grow stale as
        the encoders go on learning.
        """
        index = list(memory.records).index(task)
        new = dict(zip(PARTS, (signature, index, rate), strict=True))
        for part, value in new.items():
            value = np.asarray([value], "float32")
            old = memory.get(("pairs", part), np.zeros((0, *value.shape[1:])))
            pairs = np.concatenate([old, value])[-PAIRS:]
            memory["pairs", part] = pairs.astype("float32")

    def fit(self, memory, epochs: int, more: Sequence[tuple] = ()):
        """A phase that trains it on the remembered pairs, and on more.

        Args:
            memory: a `TaskMemory`.
            epochs: passes over the pairs.
            more: of (signature, number of the task, rate).
        """
        signatures, tasks, values = (memory["pairs", part] for part in PARTS)
        for signature, index, value in more:
            signatures = np.concatenate([signatures, signature[None]])
            tasks, values = np.append(tasks, index), np.append(values, value)
        of = np.stack([memory["signature", t] for t in memory.records])
        mean, deviation = values.mean(), max(values.std(), 1e-6)
        memory["rates", "mean"] = np.float32(mean)
        memory["rates", "deviation"] = np.float32(deviation)
        passes = -(-len(values) // BATCH) * 20  # twenty to an epoch of the phase
        rows = np.resize(np.arange(len(values)), passes * BATCH).astype("int32")
        yield Phase(
            "estimator",
            self.network.trainable_variables,
            loss=self.loss,
            state=self.network.variables,
            arguments={
                "signatures": filled(signatures),
                "of": filled(of),
                "tasks": filled(tasks.astype("int32")),
                "values": filled(((values - mean) / deviation).astype("float32")),
            },
            data=(rows, np.zeros(len(rows), "int32")),
            batch_size=BATCH,
            epochs=max(epochs // 20, 1),
            optimizer=keras.optimizers.Adam(1e-3),
            validate=False,
        )
        remember(memory, self.variables())

    def loss(self, rows, y, weight, arguments):
        """A phase's `loss`: mean squared error of the standardised rates."""
        del y

        def take(name, rows):
            return ops.take(ops.convert_to_tensor(arguments[name]), rows, axis=0)

        q = self.network
        known = q.task_encoder(ops.convert_to_tensor(arguments["of"]))
        tasks = ops.take(known, take("tasks", rows), axis=0)
        signatures = ops.convert_to_tensor(arguments["signatures"])
        if signatures.shape[0] <= BATCH:  # each of them once: most of what is to do
            codes = ops.take(q.parameter_encoder(signatures), rows, axis=0)
        else:
            codes = q.parameter_encoder(ops.take(signatures, rows, axis=0))
        predicted = q.rate(codes, tasks)
        errors = ops.square(predicted - take("values", rows))
        return ops.sum(errors * weight) / ops.sum(weight)

    # What is kept in memory

    def variables(self) -> dict[tuple, keras.Variable]:
        """The variables that are remembered, by their keys in a memory."""
        return numbered("estimator", self.network.variables)

    def recall(self, memory):
        """Becomes what a memory says, or as it was before the first task."""
        if ("estimator", 0) in memory:
            recall(memory, self.variables())
        else:
            self.network = AdaptationEstimator(self.seed, self.width)

    def forget(self, memory, name: str):
        """Forgets a task's rates, before it is removed; the others are renumbered."""
        if ("pairs", "tasks") not in memory:  # nothing has been learned
            return
        index = list(memory.records).index(name)
        kept = memory["pairs", "tasks"] != index
        for part in PARTS:
            memory["pairs", part] = memory["pairs", part][kept].copy()
        tasks = memory["pairs", "tasks"]
        tasks = np.where(tasks > index, tasks - 1, tasks)
        memory["pairs", "tasks"] = tasks.astype("float32")

    def check(self, memory, names: Sequence[str]):
        """Raises a ValueError if signatures or pairs are not of the width."""
        shapes: dict[tuple, tuple]
        shapes = {("signature", name): (self.width,) for name in names}
        count = len(memory.get(("pairs", "tasks"), ()))
        shapes["pairs", "signatures"] = (count, self.width)
        shapes |= {("pairs", "tasks"): (count,), ("pairs", "values"): (count,)}
        for key, shape in shapes.items():
            kept = memory.get(key)
            if kept is not None and kept.shape != shape:
                raise ValueError(
                    f"{key_text(key)!r} has shape {kept.shape}, where {shape} is what "
                    "the options ask for"
                )
