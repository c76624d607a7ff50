"""Cell search by multinomial distribution learning (MDL).

Zheng et al.: Multinomial Distribution Learning for Effective Neural Architecture
Search, ICCV 2019, as PAR uses it (Wang et al., CVPR 2023). Every edge of a cell has a
distribution over operations. An epoch samples an architecture, trains the shared
weights under it and validates it; an operation that was tried less often than another
and is more accurate gains probability.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import heads as kinds
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.par.mdl import MDL
from keras_lifelong.methods.par.mdl import genotype_of
from keras_lifelong.methods.par.search_network import SearchNetwork
from keras_lifelong.model import LifelongModel
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams import Task
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training import schedules
from keras_lifelong.training.hooks import clip_and_decay
from keras_lifelong.training.phase import Phase
from keras_lifelong.training.trainer import evaluation_rows


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
        warmup: part of the epochs in which nothing is compared yet. How cells do under
            shared weights says little of how they do alone until these have had a
            thousand steps or so.
        sample_every: steps of the weights under one architecture. None: those of an
            epoch, as published; with few, all operations learn alike from the start.
        sampled: see `MDL`. Cells that are found use eight edges; with the published
            "edges" weights learn to work with up to 14.
        batch_statistics: whether architectures are validated with the statistics of
            the batch. False: with running ones, as published, which of an operation
            are means over all architectures that it was part of.
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
    sampled: str = "edges"
    batch_statistics: bool = False

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

    One network serves all searches, and one compiled step all architectures.

    Args:
        model: the `LifelongModel` whose trainer runs the phase.
        input_shape: of an image.
        classes: of the task; or outputs, where it has none.
        settings: a `SearchSettings`.
        augment: `augment(x, training)` for training images, or None.
        state: further variables that `augment` reads.
        kind: of the loss; by another than "softmax" architectures are compared, too,
            in the place of the accuracy by 1 / (1 + loss).
    """

    def __init__(
        self,
        model,
        input_shape,
        classes,
        settings,
        augment=None,
        state=(),
        kind: Any = "softmax",
    ):
        self.model, self.settings, self.kind = model, settings, kind
        self.augment, self.state = augment, list(state)
        self.network = SearchNetwork(classes, settings.filters, settings.cells)
        self.network.build((None, *input_shape))

    def search(self, x, y, seed: int, rate: float, epochs: int | None = None):
        """A generator of one phase; it returns the genotype and what was observed.

        Args:
            x, y: the task's training data, labels 0 ... C-1, or (n, outputs) where it
                has no classes. Half of it, drawn at random, is trained on, the other
                half compares architectures.
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
        mdl = MDL(s.rule, s.step, s.memory, s.sampled, derive_seed(seed, "sampling"))
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
        """The sampled architecture's, as a rule cross-entropy."""
        del arguments
        if self.augment is not None:
            x = self.augment(x, training=True)
        return heads.mean_loss(self.kind, y, self.network(x, training=True), weight)

    def accuracy(self, x, y) -> float:
        """Accuracy of the sampled architecture, or what stands for it: see `kind`."""
        logits = self.logits
        if self.settings.batch_statistics:
            # the last batch is filled with examples: zeros would have statistics, too
            logits, rows = self.batch_logits, evaluation_rows(len(x))
            x = x[np.resize(np.arange(len(x)), -(-len(x) // rows) * rows)]
        forward = self.model.trainer.forward
        logits = forward(logits, x, self.network.variables)[: len(y)]
        if self.kind == "softmax":
            return float((logits.argmax(-1) == y).mean())
        losses = heads.per_sample_loss(self.kind, y, ops.convert_to_tensor(logits))
        return 1 / (1 + float(ops.mean(losses)))

    def logits(self, x):
        return self.network(x, training=False)

    def batch_logits(self, x):
        """By the statistics of the batch; the running ones stay as they are."""
        values = [(v, v.value) for v in self.network.variables]
        with keras.StatelessScope(state_mapping=values):
            return self.network(x, training=True)


class CellSearches:
    """The searches of a method, task after task: a `CellSearch` by kind and outputs.

    Arguments are as of `CellSearch`.
    """

    def __init__(self, model, input_shape, settings: SearchSettings, augment=None):
        self._model, self._input_shape = model, input_shape
        self._settings, self._augment = settings, augment
        self._kept: dict[tuple, CellSearch] = {}

    def search(self, task, seed: int, rate: float, epochs: int | None = None):
        """A generator of one phase, which searches cells for a task.

        Args:
            task: with its training data.
            seed, rate, epochs: see `CellSearch.search`.

        Returns:
            Dict of "genotype", "accuracy" by epoch and "probabilities" at the end.

        Raises:
            ValueError: if the data are a `tf.data.Dataset`.
        """
        if is_dataset(task.train):
            raise ValueError(
                f"Task {task.name!r} is a tf.data.Dataset, on which cells are not "
                "searched. Pass arrays, or `search=False`."
            )
        (x, y), spec = task.train, task.spec
        if kinds.get(spec.kind).has_classes:
            y = np.asarray(y).reshape(-1).astype("int32")
            search = self.of(spec.num_classes)
        else:
            search = self.of(spec.units, self._model.loss_kind(task.name))
        found = yield from search.search(x, y, seed, rate, epochs)
        return dict(zip(("genotype", "accuracy", "probabilities"), found, strict=True))

    def of(self, outputs: int, kind: Any = "softmax") -> CellSearch:
        """The search for tasks of so many outputs, made if it is not there yet."""
        if (outputs, kind) not in self._kept:
            state = [] if self._augment is None else self._augment.variables
            self._kept[outputs, kind] = CellSearch(
                self._model,
                self._input_shape,
                outputs,
                self._settings,
                self._augment,
                state,
                kind,
            )
        return self._kept[outputs, kind]


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
    sampled: str = "edges",
    batch_statistics: bool = False,
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
        rule, step, memory, sampled: see `MDL`.
        validations, warmup, sample_every, batch_statistics: see `SearchSettings`. With
            the published 1, 0 and None a search of some ten epochs tells operations
            hardly apart.
        augment: a Keras layer applied to training images, e.g. `CropFlip()`, or None.
        seed: of everything random.
        callbacks, verbose: as in `fit`.

    Returns:
        `SearchResult`.

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
        sampled=sampled,
        batch_statistics=batch_statistics,
    )
    MDL(rule, step, memory, sampled)  # checks them
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
