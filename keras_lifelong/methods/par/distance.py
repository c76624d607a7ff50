"""How far a new task is from the groups of tasks of each expert (PAR, section 3.1)."""

from __future__ import annotations

import numpy as np

from keras_lifelong.layers import extractors
from keras_lifelong.metrics import task_distance
from keras_lifelong.streams.task import is_dataset

FIRST_EXPERT = "first_expert"
FUNCTION = "function"  # stands in a configuration for one that cannot be saved


class TaskDistances:
    """What `PAR` measures tasks by: an `ExpertsModel` with this has an `extractor`."""

    def samples(self, task):
        """What a task is measured by: its validation data, if it has every class.

        Otherwise its training data.
        """
        for data in (task.validation, task.train):
            if data is None:
                continue
            if is_dataset(data):
                data = next(data.batch(1000).as_numpy_iterator())
            x, y = np.asarray(data[0], "float32"), np.asarray(data[1])
            y = y.reshape(-1).astype("int64")
            if np.bincount(y, minlength=task.spec.num_classes).all():
                return x, y
        raise ValueError(
            f"Task {task.name!r} must have an example of each of its "
            f"{task.spec.num_classes} classes. Received none of some."
        )

    def extract(self, x) -> np.ndarray:
        """Features (n, d) of images in the frozen extractor."""
        if self.extractor is None and ("extractor", FIRST_EXPERT, 0) in self.memory:
            self.use_first_expert()
        if self.extractor is None:
            raise ValueError(
                "This model's `extractor` was a function, which is not saved with it. "
                "Set `model.extractor` to it before learning on."
            )
        return np.asarray(self.extractor(x))

    def adapt_extractor(self, task):
        """Lets the extractor take note of a new task, if it does such a thing."""
        if not isinstance(self.extractor, extractors.Extractor):
            return
        start = ("extractor", "state")
        shared = self.memory.shared.items()
        self.extractor.set_state({key[2]: v for key, v in shared if key[:2] == start})
        data = task.train
        if is_dataset(data):
            data = next(data.batch(1000).as_numpy_iterator())
        self.extractor.adapt(np.asarray(data[0][:1000]))
        for key, value in self.extractor.get_state().items():
            self.memory[*start, key] = value

    def compared(self, features) -> np.ndarray:
        """Features, or prototypes, as they are compared."""
        if isinstance(self.extractor, extractors.Extractor):
            return self.extractor.project(features)
        return features

    @property
    def measures_late(self) -> bool:
        """Whether the extractor is the first expert, which must first be trained."""
        return self.options.extractor == FIRST_EXPERT

    def use_first_expert(self):
        """Makes a frozen copy of the first expert the extractor."""
        start = ("extractor", FIRST_EXPERT)
        if self._experts.extractor is None:  # that expert may be removed one day
            self._experts.extractor = self._key(0)
        network = self.make_network(self._experts.extractor)
        if (*start, 0) not in self.memory:
            for i, value in enumerate(self.expert_values(0)):
                self.memory[*start, i] = value.copy()
        for i, variable in enumerate(network.variables):
            variable.assign(self.memory[*start, i])
        self.extractor = extractors.Body(network)

    def compare(self, features, y) -> dict:
        """Distances in [0, 1] to all tasks, and to the groups, with the nearest."""
        reference, o = self.options.reference, self.options
        if not self.experts:
            return {"distance": None, "nearest": None, "alpha": o.alpha, "beta": o.beta}
        features = self.compared(features)
        found = {}
        for t in self.task_names:
            if self.expert_of(t) is not None:
                old = self.compared(self.memory["prototypes", t])
                found[t] = task_distance.divergence(features, y, old, reference)
        distances = {
            t: task_distance.combined([v], reference) for t, v in found.items()
        }
        groups = {
            f"expert_{k}": task_distance.combined(
                [found[t] for t in e["tasks"]], reference
            )
            for k, e in enumerate(self.experts)
        }
        nearest = min(groups, key=groups.get)
        return {
            "distance": groups[nearest],
            "nearest": nearest,
            "distances": distances,
            "group_distances": groups,
            "alpha": o.alpha,
            "beta": o.beta,
        }
