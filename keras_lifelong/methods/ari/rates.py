"""How fast sets of parameters adapt to tasks: what ARI remembers, learns and predicts.

The estimator q is trained on pairs of signatures, of a set and of a task, with the rate
at which the set adapted.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_lifelong.methods.ari.estimator import AdaptationEstimator
from keras_lifelong.methods.ari.estimator import noise
from keras_lifelong.methods.ari.estimator import parameter_signature
from keras_lifelong.methods.ari.estimator import task_signature
from keras_lifelong.methods.ari.generated import Parameters
from keras_lifelong.methods.ari.workbench import accuracy
from keras_lifelong.model.task_memory import key_text
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.data import filled
from keras_lifelong.training.phase import Phase

PAIRS = 1000  # of signatures and rates that are remembered
BATCH = 250  # of the estimator


@dataclasses.dataclass
class Candidate:
    """A set of parameters that may be trained on a task.

    Attributes:
        parameters: the set.
        signature: of it, (width,).
        predicted: its adaptation rate on the task, by the estimator.
        task: on which it was last trained; None if it was drawn.
    """

    parameters: Parameters
    signature: np.ndarray
    predicted: float | None = None
    task: str | None = None


class EstimatedRates:
    """What `ARI` predicts by: a `GeneratedModel` with this has an estimator."""

    def _remembered(self):
        estimator = self._store.estimator.variables
        kept = [(("estimator", i), v) for i, v in enumerate(estimator)]
        return [*super()._remembered(), *kept]

    def make_estimator(self):
        """A fresh estimator, from the model's seed."""
        seed = derive_seed(self.seed, "estimator")
        self._store.estimator = AdaptationEstimator(seed, self.options.signature)

    def sign_task(self, task) -> np.ndarray:
        """The signature of a task, from its training data."""
        x, y = task.train
        features = self.extractor(np.asarray(x, "float32"))
        width = self.options.signature
        return task_signature(features, y, task.spec.num_classes, self.seed, width)

    def sign(self, parameters: Parameters) -> np.ndarray:
        """The signature of a set of parameters: its outputs on fixed noise."""
        count = self.options.signature // self.outputs_per_set
        if "noise" not in self._store.fixed:
            x = noise(count, self.backbone_input_shape, self.seed)
            self._store.fixed["noise"] = x
        outputs = self.outputs_under(parameters, self._store.fixed["noise"])
        return parameter_signature(outputs, self.options.signature)

    def predict_rates(self, known: list[Candidate], tasks) -> np.ndarray:
        """Predicted adaptation rates (sets, tasks)."""
        if ("rates", "mean") not in self.memory:  # nothing is known yet
            return np.zeros((len(known), len(tasks)))
        sets = np.stack([c.signature for c in known])
        signatures = np.stack([self.memory["signature", t] for t in tasks])
        q = self._store.estimator
        codes = q.parameter_encoder(filled(sets))[:, None]
        of = q.task_encoder(filled(signatures))[None]
        shape = (codes.shape[0], of.shape[1], codes.shape[2])
        pairs = q.rate(ops.broadcast_to(codes, shape), ops.broadcast_to(of, shape))
        predicted = ops.convert_to_numpy(pairs)[: len(known), : len(tasks)]
        mean = self.memory["rates", "mean"]
        deviation = self.memory["rates", "deviation"]
        return predicted * deviation + mean

    def add_pair(self, signature: np.ndarray, task: str, rate: float):
        """Remembers how fast a set adapted to a task; the oldest are forgotten.

        The signatures themselves are kept, not their codes, which would grow stale as
        the encoders go on learning.
        """
        index = self.task_names.index(task)
        new = {"signatures": signature, "tasks": index, "values": rate}
        for part, value in new.items():
            value = np.asarray([value], "float32")
            old = self.memory.get(("pairs", part), np.zeros((0, *value.shape[1:])))
            self.memory["pairs", part] = np.concatenate([old, value])[-PAIRS:].astype(
                "float32"
            )

    def fit_estimator(self, more: list[tuple] = ()):
        """Trains the estimator on the remembered pairs, and on more: (signature, …)."""
        signatures, tasks, values = (
            self.memory["pairs", part] for part in ("signatures", "tasks", "values")
        )
        for signature, index, value in more:
            signatures = np.concatenate([signatures, signature[None]])
            tasks, values = np.append(tasks, index), np.append(values, value)
        of = np.stack([self.memory["signature", t] for t in self.task_names])
        mean, deviation = values.mean(), max(values.std(), 1e-6)
        self.memory["rates", "mean"] = np.float32(mean)
        self.memory["rates", "deviation"] = np.float32(deviation)
        passes = -(-len(values) // BATCH) * 20  # twenty to an epoch of the phase
        rows = np.resize(np.arange(len(values)), passes * BATCH).astype("int32")
        estimator = self._store.estimator
        yield Phase(
            "estimator",
            estimator.trainable_variables,
            loss=self.estimator_loss,
            state=estimator.variables,
            arguments={
                "signatures": filled(signatures),
                "of": filled(of),
                "tasks": filled(tasks.astype("int32")),
                "values": filled(((values - mean) / deviation).astype("float32")),
            },
            data=(rows, np.zeros(len(rows), "int32")),
            batch_size=BATCH,
            epochs=max(self.options.estimator_epochs // 20, 1),
            optimizer=keras.optimizers.Adam(1e-3),
            validate=False,
        )
        self.remember("estimator", estimator.variables)

    def estimator_loss(self, rows, y, weight, arguments):
        """Mean squared error of the standardised rates."""
        del y

        def take(name, rows):
            return ops.take(ops.convert_to_tensor(arguments[name]), rows, axis=0)

        estimator = self._store.estimator
        known = estimator.task_encoder(ops.convert_to_tensor(arguments["of"]))
        tasks = ops.take(known, take("tasks", rows), axis=0)
        codes = estimator.parameter_encoder(take("signatures", rows))
        predicted = estimator.rate(codes, tasks)
        errors = ops.square(predicted - take("values", rows))
        return ops.sum(errors * weight) / ops.sum(weight)

    def rehearsed(self) -> list[tuple]:
        """Pairs of every set in the base and every task, tried on its examples."""
        found = []
        for index, name in enumerate(self.task_names):
            x, y = self.exemplars(name)
            units = self.task_spec(name).units
            for candidate in self.knowledge():
                start = candidate.parameters
                curve = [
                    accuracy(self.outputs_under(used, x)[:, :units], y)
                    for used in (start, self.adapt(name, start, epochs=1))
                ]
                found.append((candidate.signature, index, np.mean(curve)))
        return found

    def check_loaded(self, names):
        super().check_loaded(names)
        width = self.options.signature
        shapes = {("signature", name): (width,) for name in names}
        count = len(self.memory.get(("pairs", "tasks"), ()))
        shapes["pairs", "signatures"] = (count, width)
        shapes |= {("pairs", "tasks"): (count,), ("pairs", "values"): (count,)}
        for key, shape in shapes.items():
            kept = self.memory.get(key)
            if kept is not None and kept.shape != shape:
                raise ValueError(
                    f"{key_text(key)!r} has shape {kept.shape}, where {shape} is what "
                    "the options ask for"
                )
        if self.slots:
            self.predict_rates(self.knowledge(), names)

    def heir(self, slot, others):
        """The task for which the estimator expects most of the set."""
        others = [o for o in others if ("signature", o) in self.memory]
        rates = self.predict_rates([self.knowledge()[slot]], others)[0]
        return others[int(np.argmax(rates))]

    def release(self, name):
        """Rates on the task are forgotten; the others' are numbered anew."""
        super().release(name)
        if ("pairs", "tasks") not in self.memory:  # nothing has been learned
            return
        index = self.task_index(name)
        tasks = self.memory["pairs", "tasks"]
        kept = tasks != index
        for part in ("signatures", "tasks", "values"):
            self.memory["pairs", part] = self.memory["pairs", part][kept].copy()
        tasks = self.memory["pairs", "tasks"]
        self.memory["pairs", "tasks"] = np.where(
            tasks > index, tasks - 1, tasks
        ).astype("float32")

    def memory_changed(self):
        super().memory_changed()
        if ("estimator", 0) in self.memory:
            self.recall("estimator", self._store.estimator.variables)
        else:
            self.make_estimator()  # as it was before the first task


def worth_keeping(rates, learned, budget: int, keep: str) -> list[int]:
    """Which sets to keep.

    Args:
        rates: predicted, (sets, tasks).
        learned: (sets, tasks), whether a set was last trained on a task: of each task,
            those come first.
        budget: B, the most that are kept.
        keep: see `ARI`.

    Example: the first set serves the second task, too, so that there is room for the
    third task's.

    >>> rates = np.array([[0.9, 0.8, 0.2], [0.5, 0.9, 0.1], [0.1, 0.2, 0.9]])
    >>> worth_keeping(rates, np.eye(3, dtype=bool), budget=2, keep="one")
    [0, 2]
    """
    if keep == "sum":
        return [int(i) for i in np.argsort(-rates.sum(1), kind="stable")[:budget]]
    orders = np.lexsort((-rates, ~learned), axis=0).T  # of each task, the best first
    kept = [int(i) for i in dict.fromkeys(orders[:, 0])]
    while len(kept) > budget:  # without which do tasks lose least?
        left = [rates[[i for i in kept if i != out]].max(0).sum() for out in kept]
        kept.pop(int(np.argmax(left)))
    budget = min(budget, len(rates)) if keep == "each" else 0
    while len(kept) < budget:
        for order in orders:
            nearest = next((int(i) for i in order if i not in kept), None)
            if nearest is not None and len(kept) < budget:
                kept.append(nearest)
    return kept
