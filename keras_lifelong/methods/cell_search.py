"""Cell search by multinomial distribution learning (MDL).

Zheng et al.: Multinomial Distribution Learning for Effective Neural Architecture
Search, ICCV 2019, as PAR uses it (Wang et al., CVPR 2023). Every edge of a cell has a
distribution over operations. An epoch samples an architecture, trains the shared
weights under it and validates it; an operation that was tried less often than another
and is more accurate gains probability.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_lifelong.layers import head as heads
from keras_lifelong.layers.cell import NODES
from keras_lifelong.layers.cell import check_genotype
from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.layers.random import derive_seed
from keras_lifelong.layers.search_network import EDGES
from keras_lifelong.layers.search_network import KINDS
from keras_lifelong.layers.search_network import SearchNetwork
from keras_lifelong.model import LifelongModel
from keras_lifelong.streams import Task
from keras_lifelong.training import schedules
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.weight_decay import clip_and_decay

RULES = ("difference", "softmax")


class MDL:
    """The distributions over operations, and how they are learned.

    Args:
        rule: "difference": where an operation has been tried no more often than
            another of its edge and is more accurate, it takes `step` of the other's
            probability (the rule of the authors of MDL). "softmax": it gains `step`
            for each operation it so surpasses, loses it for each that surpasses it,
            and the probabilities are then put through a softmax, every time (PAR's
            program). The softmax draws them back to nearly equal after each epoch, so
            that the last epochs alone decide.
        step: how much probability moves.
        memory: in [0, 1): how much of what was known of an operation's accuracy stays
            when it is used again. 0: the last accuracy alone counts, as published.
        seed: of the sampling.

    Attributes:
        probabilities: (2, 14, 6): of the operations of each edge of both cells.

    Example:

    >>> mdl, accuracy = MDL(seed=0), np.array([0.4, 0.5, 0.5, 0.6, 0.7, 0.5])
    >>> for epoch in range(100):
    ...     choice = mdl.sample()
    ...     mdl.update(choice, accuracy[choice])
    >>> mdl.genotype()["normal"][0][0]
    'sep_conv_3x3'
    """

    def __init__(
        self,
        rule: str = "difference",
        step: float = 0.01,
        memory: float = 0.0,
        seed: int = 0,
    ):
        if rule not in RULES:
            raise ValueError(f"`rule` must be one of {RULES}. Received: {rule!r}")
        if not 0 < step < 1:
            raise ValueError(f"`step` must be in (0, 1). Received: {step!r}")
        if not 0 <= memory < 1:
            raise ValueError(f"`memory` must be in [0, 1). Received: {memory!r}")
        self.rule, self.step, self.memory, self.seed = rule, step, memory, seed
        shape = (len(KINDS), len(EDGES), len(OPERATIONS))
        self.probabilities = np.full(shape, 1 / len(OPERATIONS))
        self.times = np.zeros(shape, int)
        self.accuracy = np.zeros(shape)
        self.epoch = 0

    def sample(self, number=None) -> np.ndarray:
        """An architecture: an operation (2, 14) for every edge.

        Args:
            number: of the draw. None: the updates so far.
        """
        number = self.epoch if number is None else number
        rng = np.random.default_rng(derive_seed(self.seed, "mdl", number))
        draw = rng.random(self.probabilities.shape[:2])
        below = np.cumsum(self.probabilities, -1) < draw[..., None]
        return np.minimum(below.sum(-1), len(OPERATIONS) - 1)

    def update(self, choice: np.ndarray, accuracy) -> None:
        """Takes note of how an architecture did, and moves the probabilities.

        Args:
            choice: operations (2, 14), as of `sample`.
            accuracy: of the architecture; or (2, 14), of its edges.
        """
        used = np.arange(len(OPERATIONS)) == choice[..., None]
        self.times += used
        accuracy = np.broadcast_to(accuracy, choice.shape)[..., None]
        kept = np.where(self.times > 1, self.memory, 0)
        seen = kept * self.accuracy + (1 - kept) * accuracy
        self.accuracy = np.where(used, seen, self.accuracy)
        self.epoch += 1
        he, ha, p = self.times, self.accuracy, self.probabilities
        better = ha[..., :, None] > ha[..., None, :]  # [j, i]: j than i
        if self.rule == "softmax":
            fewer = he[..., :, None] < he[..., None, :]
            wins = (fewer & better).sum(-1)  # v1
            losses = (fewer & better).sum(-2)  # v2
            p = np.exp(p + self.step * (wins - losses))
            self.probabilities = p / p.sum(-1, keepdims=True)
            return
        takes = (he[..., :, None] <= he[..., None, :]) & better
        for j in range(len(OPERATIONS)):
            for i in range(len(OPERATIONS)):
                moved = np.minimum(self.step, p[..., i]) * takes[..., j, i]
                p[..., i] -= moved
                p[..., j] += moved

    def genotype(self) -> dict[str, list[tuple[str, int]]]:
        """The cells found: see `genotype_of`."""
        return genotype_of(self.probabilities)


def genotype_of(probabilities) -> dict[str, list[tuple[str, int]]]:
    """The two most probable edges into each node, each with its best operation.

    "none" is no answer. Ties go to the earlier operation and input.

    Args:
        probabilities: (2, 14, 6).
    """
    some = np.array(probabilities, float)
    some[..., OPERATIONS.index("none")] = -np.inf
    genotype = {}
    for kind, table in zip(KINDS, some, strict=True):
        genotype[kind] = []
        for node in range(NODES):
            edges = [k for k, (i, _) in enumerate(EDGES) if i == node]
            best = sorted(edges, key=lambda k: -table[k].max())[:2]
            genotype[kind] += [
                (OPERATIONS[int(table[k].argmax())], EDGES[k][1]) for k in sorted(best)
            ]
    return check_genotype(genotype)


@dataclasses.dataclass
class SearchSettings:
    """How cells are searched.

    Args:
        rule, step: see `MDL`.
        filters: C of the searched network.
        cells: its number of cells.
        weight_decay: λ of coupled L2.
        clip_norm: the global norm to which gradients are clipped.
        least_rate: the learning rate in which the cosine ends.
        memory: see `MDL`.
        validations: architectures that are compared after every epoch, each by its
            accuracy over the mean of that epoch's. 1: only the one that was trained, by
            its accuracy itself, as published; later ones then have the better weights.
        warmup: part of the epochs in which nothing is compared yet.
        sample_every: steps of the weights under one architecture. None: those of an
            epoch, as published; with few, all operations learn alike from the start.
    """

    rule: str = "difference"
    step: float = 0.01
    filters: int = 64
    cells: int = 4
    weight_decay: float = 3e-3
    clip_norm: float = 5.0
    least_rate: float = 1e-5
    memory: float = 0.0
    validations: int = 1
    warmup: float = 0.0
    sample_every: int | None = None

    def __post_init__(self):
        for name in ("validations", "sample_every"):
            value = getattr(self, name)
            if value is None and name == "sample_every":
                continue
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"`{name}` must be an integer of at least 1. Received: {value!r}"
                )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"`warmup` must be in [0, 1). Received: {self.warmup!r}")


class CellSearch:
    """Searches cells for a task, as a phase of whatever method needs them.

    The searched network serves search after search, and one compiled step every
    architecture that is sampled.

    Args:
        model: the `LifelongModel` whose trainer runs the phase.
        input_shape: of an image.
        classes: of the task.
        settings: a `SearchSettings`.
        augment: `augment(x, training)` for training images, or None.
        state: further variables that `augment` reads.
    """

    def __init__(self, model, input_shape, classes, settings, augment=None, state=()):
        self.model, self.settings = model, settings
        self.augment, self.state = augment, list(state)
        self.network = SearchNetwork(classes, settings.filters, settings.cells)
        self.network.build((None, *input_shape))

    def search(self, x, y, seed: int, rate: float, epochs: int | None = None):
        """A generator of one phase; it returns the genotype and what was observed.

        Args:
            x, y: the task's training data, labels 0 ... C-1. Half of it, drawn at
                random, is trained on, the other half compares architectures.
            seed: of the halves, the initial weights and the sampling.
            rate: the learning rate in which the cosine begins.
            epochs: None: those given to `fit`.
        """
        s = self.settings
        self.network.draw(derive_seed(seed, "weights"))
        order = np.random.default_rng(derive_seed(seed, "halves")).permutation(len(x))
        train, validation = np.array_split(order, 2)
        if not len(validation):
            raise ValueError("Cell search needs two examples. Received: 1")
        held_out = x[validation], y[validation]
        mdl = MDL(s.rule, s.step, s.memory, derive_seed(seed, "sampling"))
        choice, epoch, drawn = mdl.sample(), 0, 0
        self.network.choice.assign(choice)

        def observe(finished):
            nonlocal choice, epoch, drawn
            if not finished:
                drawn += 1
                self.network.choice.assign(mdl.sample(f"{epoch} training {drawn}"))
                return {}
            epoch += 1
            accuracy = self.accuracy(*held_out)
            if epoch > s.warmup * (epochs or 0):
                if s.validations > 1 or s.sample_every:
                    self.compare(mdl, held_out)
                else:
                    mdl.update(choice, accuracy)
            choice = mdl.sample(epoch)
            self.network.choice.assign(choice)
            return {
                "search_accuracy": accuracy,
                "probabilities": mdl.probabilities.tolist(),
            }

        result = yield Phase(
            "cell search",
            self.network.trainable_variables,
            loss=self.loss,
            gradients=clip_and_decay,
            arguments={
                "weight_decay": np.float32(s.weight_decay),
                "clip_norm": np.float32(s.clip_norm),
            },
            state=[*self.network.variables, *self.state],
            data=(x[train], y[train]),
            epochs=epochs,
            learning_rate=schedules.cosine(rate, s.least_rate),
            validate=False,
            observe=observe,
            observe_every=s.sample_every,
        )
        accuracy = result.history["search_accuracy"]
        probabilities = result.history["probabilities"][-1]
        return genotype_of(probabilities), accuracy, probabilities

    def compare(self, mdl, held_out):
        """Validates several architectures with the weights as they are now."""
        start = mdl.epoch
        drawn = [mdl.sample(f"{start} {k}") for k in range(self.settings.validations)]
        found = []
        for architecture in drawn:
            self.network.choice.assign(architecture)
            found.append(self.accuracy(*held_out))
        for architecture, accuracy in zip(drawn, found, strict=True):
            mdl.update(architecture, accuracy - float(np.mean(found)))

    def loss(self, x, y, weight, arguments):
        """Cross-entropy of the sampled architecture."""
        del arguments
        if self.augment is not None:
            x = self.augment(x, training=True)
        return heads.mean_loss("softmax", y, self.network(x, training=True), weight)

    def accuracy(self, x, y) -> float:
        """Accuracy of the sampled architecture."""
        forward = self.model.trainer.forward
        logits = forward(self.logits, x, self.network.variables)
        return float((logits.argmax(-1) == y).mean())

    def logits(self, x):
        return self.network(x, training=False)


@dataclasses.dataclass
class SearchResult:
    """What `search_cell` found.

    Attributes:
        genotype: the cells, as `CellNetwork` takes them.
        probabilities: (2, 14, 6), of the operations of each edge at the end.
        accuracy: of the architecture sampled in each epoch, on held-out data.
        compilations: training functions compiled.
    """

    genotype: dict[str, list[tuple[str, int]]]
    probabilities: np.ndarray
    accuracy: list[float]
    compilations: int


def search_cell(
    x,
    y,
    *,
    filters: int = 64,
    cells: int = 4,
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    weight_decay: float = 3e-3,
    rule: str = "difference",
    step: float = 0.01,
    memory: float = 0.0,
    validations: int = 1,
    warmup: float = 0.0,
    sample_every: int | None = None,
    augment=None,
    seed: int = 0,
    callbacks=None,
    verbose="auto",
) -> SearchResult:
    """Searches a normal and a reduction cell for a set of images.

    Args:
        x: images (n, height, width, channels).
        y: labels (n,), 0 ... C-1.
        filters, cells: C, and the number of cells, of the searched network.
        epochs, batch_size: of the search. One architecture is tried an epoch.
        learning_rate: of SGD with momentum 0.9, falling to 1e-5 along a cosine.
        weight_decay: λ of coupled L2.
        rule, step, memory: see `MDL`.
        validations, warmup, sample_every: see `SearchSettings`. With the published
            1, 0 and None a search of some ten epochs tells operations hardly apart.
        augment: a Keras layer applied to training images, e.g. `CropFlip()`, or None.
        seed: of everything random.
        callbacks, verbose: as in `fit`.

    Returns:
        A `SearchResult`.

    Raises:
        ValueError: if an argument or the data is bad.

    Example:

    ```python
    found = search_cell(x, y, filters=16, epochs=50)
    backbone = keras.Sequential(
        [keras.Input((32, 32, 3)), CellNetwork(found.genotype, filters=16)]
    )
    ```
    """
    x = np.asarray(x)
    if x.ndim != 4:
        raise ValueError(
            "`x` must be images (n, height, width, channels). "
            f"Received: shape {x.shape}"
        )
    settings = SearchSettings(
        rule,
        step,
        filters,
        cells,
        weight_decay,
        memory=memory,
        validations=validations,
        warmup=warmup,
        sample_every=sample_every,
    )
    MDL(rule, step, memory)  # checks them
    body = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Flatten()])
    model = LifelongModel(body, seed=seed)
    model.compile(keras.optimizers.SGD(learning_rate, momentum=0.9))
    found = {}

    def learn(task):
        search = CellSearch(
            model,
            x.shape[1:],
            task.spec.num_classes,
            settings,
            augment,
            [] if augment is None else augment.variables,
        )
        results = yield from search.search(*task.train, seed, learning_rate, epochs)
        found["genotype"], found["accuracy"], found["probabilities"] = results

    model.fit(
        Task("search", train=(x, y), validation_split=0),
        epochs=epochs,
        batch_size=batch_size,
        callbacks=callbacks,
        verbose=verbose,
        learn=learn,
    )
    return SearchResult(
        found["genotype"],
        np.array(found["probabilities"]),
        found["accuracy"],
        model.trainer.compile_count,
    )
