"""How far a new task is from the groups of tasks of each expert (PAR, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NotRequired
from typing import TypedDict

import keras
import numpy as np

from keras_lifelong import heads
from keras_lifelong.layers import extractors
from keras_lifelong.metrics import task_distance
from keras_lifelong.metrics.target_groups import groups_of
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.streams import check_split
from keras_lifelong.streams.columns import plain
from keras_lifelong.streams.forms import is_dataset

FIRST_EXPERT = "first_expert"
FUNCTION = "function"  # stands in a configuration for one that cannot be saved
ROWS = 1000  # examples of a dataset that are looked at
_FROZEN = ("extractor", FIRST_EXPERT)  # keys in memory: of the frozen weights,
_STATE = ("extractor", "state")  # and of what an extractor notes of tasks


class Comparison(TypedDict):
    """What a new task is compared to, as the growth log has it.

    Attributes:
        distance: s in [0, 1], to the nearest group; None: there is no group.
        nearest: the name of that group, or None.
        distances: to each task, by name.
        group_distances: to each group, by name.
    """

    distance: float | None
    nearest: str | None
    distances: NotRequired[dict[str, float]]
    group_distances: NotRequired[dict[str, float]]


class TaskDistances:
    """Distances in [0, 1] of tasks, by the features of a frozen extractor.

    Of every learned task the memory has its prototypes, the mean feature of each class
    (classes, d), under `("prototypes", name)`; what the extractor notes of tasks is
    under `("extractor", "state", …)`, and the weights of a first expert that is the
    extractor under `("extractor", "first_expert", i)`.

    Args:
        extractor: see `PAR`.
        images: whether inputs are images (height, width, channels), for `None`.
        reference: see `PAR`.
        memory: a function that returns the `TaskMemory` of now.
        make_network: `make_network(cells) -> keras.Model`, of an expert.

    Attributes:
        extractor: a function of inputs (n, …) to features (n, d); None as long as the
            first expert, which it is, has not been trained, or where a function was
            not saved.
        config: of the extractor, as a configuration has it.
        cells: those of the first expert, if it is the extractor, as `make_network`
            takes them. They are kept, for that expert may be removed one day.
    """

    def __init__(
        self,
        extractor: str | dict | Callable | None,
        images: bool,
        reference: str,
        memory: Callable[[], TaskMemory],
        make_network: Callable,
    ):
        if extractor is None:
            extractor = "random_convolutions" if images else "pca"
        self.reference = reference
        self.extractor: Callable | None = None
        self.config: Any = extractor
        self.cells: str | None = None
        self._memory, self._make_network = memory, make_network
        if extractor not in (FIRST_EXPERT, FUNCTION):
            self.extractor = extractors.get(extractor)
            self.config = getattr(self.extractor, "config", FUNCTION)

    # What a task is measured by

    def samples(self, task) -> tuple[Any, np.ndarray]:
        """Inputs (n, …) and the classes (n,) by which a task is compared.

        Its validation data, if they have two examples of every class, else its
        training data. A task without classes has groups of examples instead, and an
        example may be of several: see `metrics.target_groups`.

        Raises:
            ValueError: if neither has every class, or both have one example alone.
        """
        spec, classes, found = task.spec, task.spec.num_classes, []
        rows: Any
        for data in (task.validation, task.train):
            if data is None:
                continue
            x, y = _arrays(data, spec)
            rows, groups = groups_of(y, spec)
            least = classes if heads.get(spec.kind).has_classes else 0
            counts = np.bincount(groups, minlength=least)
            if counts.all() and len(rows) > 1:
                found.append((counts.min(), x, rows, groups))
        if not found and not heads.get(spec.kind).has_classes:
            raise ValueError(
                f"Task {task.name!r} must have two examples or more, by which it is "
                "compared to others. Received: one."
            )
        if not found:
            raise ValueError(
                f"Task {task.name!r} must have an example of each of its "
                f"{classes} classes. Received none of some."
            )
        _, x, rows, groups = next((f for f in found if f[0] > 1), found[0])
        if len(np.unique(rows)) == len(rows) == _count(x):
            rows = slice(None)
        return keras.tree.map_structure(
            lambda part: np.asarray(part, "float32")[rows], x
        ), groups

    def features(self, x) -> np.ndarray:
        """Features (n, d) of inputs (n, …) in the frozen extractor.

        Several inputs are handed to a function as they come, and to an extractor of a
        name as all their values, side by side.

        Raises:
            ValueError: if there is no extractor.
        """
        if self.extractor is None and (*_FROZEN, 0) in self._memory():
            self._load_expert()
        if self.extractor is None:
            raise ValueError(
                "This model's `extractor` was a function, which is not saved with it. "
                "Set `model.extractor` to it before learning on."
            )
        return np.asarray(self.extractor(self._as_taken(x)))

    def _as_taken(self, x):
        """Inputs as the extractor takes them."""
        by_name = isinstance(self.extractor, extractors.Extractor)
        if not by_name or isinstance(self.extractor, ExpertBody):
            return x
        parts = keras.tree.flatten(x)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.reshape(p, (len(p), -1)) for p in parts], axis=1)

    def adapt(self, task) -> None:
        """Lets the extractor take note of a new task, if it does such a thing."""
        if not isinstance(self.extractor, extractors.Extractor):
            return
        memory = self._memory()
        state = {k[2]: v for k, v in memory.shared.items() if k[:2] == _STATE}
        self.extractor.set_state(state)
        x = keras.tree.map_structure(
            lambda part: np.asarray(part[:ROWS]), _arrays(task.train, task.spec)[0]
        )
        self.extractor.adapt(self._as_taken(x))
        for key, value in self.extractor.get_state().items():
            memory[*_STATE, key] = value

    # The first expert as the extractor

    @property
    def by_first_expert(self) -> bool:
        """Whether the extractor is the first expert, which must first be trained."""
        return self.config == FIRST_EXPERT

    def freeze_expert(self, cells: str, values: Sequence[np.ndarray]) -> None:
        """Makes a frozen copy of the first expert the extractor.

        If one was made before, it stays: prototypes are compared by it.

        Args:
            cells: of the expert, as `make_network` takes them.
            values: its weights, in the order of its network's variables.
        """
        memory = self._memory()
        if self.cells is None:
            self.cells = cells
        if (*_FROZEN, 0) not in memory:
            for i, value in enumerate(values):
                memory[*_FROZEN, i] = value.copy()
        self._load_expert()

    def restore(self, cells: str | None) -> None:
        """Goes on from another memory, in which the first expert has these cells."""
        self.cells = cells
        if self.by_first_expert:
            self.extractor = None  # another expert; its weights are in memory

    def _load_expert(self) -> None:
        network, memory = self._make_network(self.cells), self._memory()
        for i, variable in enumerate(network.variables):
            variable.assign(memory[*_FROZEN, i])
        self.extractor = ExpertBody(network)

    # Comparing

    def keep(self, name: str, features: np.ndarray, y: np.ndarray) -> None:
        """Keeps a task's prototypes of features (n, d) and labels (n,)."""
        self._memory()["prototypes", name] = task_distance.prototypes(features, y)

    def prototypes(self, name: str) -> np.ndarray:
        """The mean features of a learned task's classes, (classes, d)."""
        return self._memory()["prototypes", name]

    def compare(
        self, features, y: np.ndarray, groups: Mapping[str, Sequence[str]]
    ) -> Comparison:
        """A new task's distances to all tasks, and to their groups.

        Args:
            features: (n, d) of the new task; unused where there is no group.
            y: labels (n,).
            groups: the names of the tasks of each group, by the name of the group.
        """
        if not groups:
            return {"distance": None, "nearest": None}
        features = self._compared(features)
        grouped = {name for names in groups.values() for name in names}
        found = {}
        for name in self._memory().records:  # in the order they were learned
            if name in grouped:
                old = self._compared(self.prototypes(name))
                found[name] = task_distance.divergence(features, y, old, self.reference)
        distances = {name: self._distance([v]) for name, v in found.items()}
        to = {g: self._distance([found[n] for n in ns]) for g, ns in groups.items()}
        nearest = min(to, key=to.__getitem__)
        return {
            "distance": to[nearest],
            "nearest": nearest,
            "distances": distances,
            "group_distances": to,
        }

    def _distance(self, divergences: list[float]) -> float:
        return task_distance.combined(divergences, self.reference)

    def _compared(self, features):
        """Features, or prototypes, (n, d) as they are compared."""
        if isinstance(self.extractor, extractors.Extractor):
            return self.extractor.project(features)
        return features

    # What it holds

    def sizes(self) -> dict[str, int]:
        """Numbers held: "prototypes" of all tasks, and those of the "extractor"."""
        items = self._memory().items()
        count = getattr(self.extractor, "count_params", lambda: 0)
        return {
            "prototypes": sum(v.size for key, v in items if key[0] == "prototypes"),
            "extractor": count(),
        }


class ExpertBody(extractors.Body):
    """As `Body`, of networks that may have several inputs."""

    def __call__(self, images):
        images = keras.tree.map_structure(lambda x: np.asarray(x, "float32"), images)
        if not keras.tree.is_nested(images):
            return super().__call__(images)
        found = []
        for start in range(0, _count(images), self.rows):
            part = slice(start, start + self.rows)
            rows = keras.tree.map_structure(lambda x, part=part: x[part], images)
            found.append(self.features(rows))
        return np.concatenate(found)


def _count(x) -> int:
    """Examples in an array, or in a structure of some."""
    return len(keras.tree.flatten(x)[0])


def _arrays(data, spec) -> tuple:
    """`(x, y)` of a split in standard form, x in the structure of the network's inputs.

    Of a dataset, its first rows.
    """
    if is_dataset(data):
        x, y, _ = next(data.blocks(ROWS))
        data = check_split(x, y, spec, "examples")
    return plain(data[0]), data[1]
