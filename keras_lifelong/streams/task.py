"""A task: a name, what its labels mean, and its data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.streams.checking import check_form
from keras_lifelong.streams.checking import check_labels
from keras_lifelong.streams.datasets import has_weights
from keras_lifelong.streams.digest import of_task
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.streams.forms import is_loader
from keras_lifelong.streams.forms import read_loader
from keras_lifelong.streams.sampling import hold_out
from keras_lifelong.streams.spec import TaskSpec
from keras_lifelong.streams.weights import checked_class_weight
from keras_lifelong.streams.weights import checked_weights
from keras_lifelong.streams.weights import of_classes

__all__ = ["Task", "TaskSpec"]


class Task:
    """One task of a stream.

    Each split is one of:

    - a pair `(x, y)` of arrays, or tensors of any backend;
    - a function without arguments that returns such a pair, called whenever the split
      is read: nothing is kept, so a task costs no memory until then;
    - a `tf.data.Dataset` of `(x, y)` or `(x, y, sample_weight)`, batched or not, read a
      block at a time;
    - a `keras.utils.PyDataset` or a PyTorch `DataLoader`, which is read whole when it
      is first needed, and kept: it takes the memory of all its examples, and what it
      draws at random is drawn once. A third part of its batches is `sample_weight`.

    Reading a split of the first three gives what was passed in; `check_split` makes it
    standard.

    Without `validation`, a part of `train` is held out: the same at every access, in
    proportion to the classes, and never a class's only example. A `Dataset` can't be
    split so: pass `validation`, or `validation_split=0` to have none.

    Args:
        name: how the task is called, for example in `predict(x, task=name)`.
        spec: a `TaskSpec`; None: inferred from the training labels when first needed,
            see `TaskSpec.infer`.
        train: training data.
        validation: validation data, or None.
        test: test data, or None.
        validation_split: the part of `train` to hold out, in [0, 1).
        seed: of the hold-out, an integer of 0 or more.
        sample_weight: how much each training example counts in the loss, (n,), 0 or
            more; what is held out is scored by its part. None: 1 each.
        class_weight: dict from classes, by index or name, to what the weight of their
            training examples is multiplied by; 1 for those not named.
        validation_sample_weight: of the validation data, (n,).

    Raises:
        ValueError: if an argument is not one of these.

    Example:

    >>> x, y = np.zeros((20, 4), "float32"), np.arange(20) % 2
    >>> task = Task("monday", train=(x, y))
    >>> task.spec.num_classes, len(task.train[0]), len(task.validation[0])
    (2, 18, 2)
    """

    def __init__(
        self,
        name: str,
        spec: TaskSpec | None = None,
        *,
        train: Any,
        validation: Any = None,
        test: Any = None,
        validation_split: float = 0.1,
        seed: int = 0,
        sample_weight: Any = None,
        class_weight: Mapping[int | str, float] | None = None,
        validation_sample_weight: Any = None,
    ):
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"`name` of a Task must be a non-empty string. Received: {name!r}"
            )
        if spec is not None and not isinstance(spec, TaskSpec):
            raise ValueError(
                f"`spec` of task {name!r} must be a TaskSpec or None. "
                f"Received: {spec!r}"
            )
        if not 0 <= validation_split < 1:
            raise ValueError(
                f"`validation_split` of task {name!r} must be in [0, 1). "
                f"Received: {validation_split!r}"
            )
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(
                f"`seed` of task {name!r} must be an integer of 0 or more. "
                f"Received: {seed!r}"
            )
        self.name = name
        self._spec = spec
        self._validation_split = validation_split
        self._seed = seed
        self._splits = {"train": train, "validation": validation, "test": test}
        self._weights = {"train": sample_weight, "validation": validation_sample_weight}
        self._class_weight: dict | None = None
        if class_weight is not None:
            self._class_weight = checked_class_weight(class_weight)
        if validation is None and validation_sample_weight is not None:
            raise ValueError(
                f"`validation_sample_weight` of task {name!r} goes with `validation`. "
                "Received: it and validation=None"
            )
        for split, data in self._splits.items():
            if not callable(data) and not (data is None and split != "train"):
                self._check_form(split, data)

    @property
    def spec(self) -> TaskSpec:
        """What the labels mean. Reads the training labels once if it wasn't given."""
        if self._spec is None:
            data = self._read("train")
            if is_dataset(data):
                raise ValueError(
                    f"Task {self.name!r} needs a `spec`: none is inferred from a "
                    "tf.data.Dataset. Received: spec=None"
                )
            x, y = data
            self._spec = TaskSpec.infer(x, y, f"train of task {self.name!r}")
        return self._spec

    @property
    def foreseen_spec(self) -> TaskSpec | None:
        """The spec, where no data have to be read for it; else None."""
        data = self._splits["train"]
        if callable(data) or is_dataset(data) or is_loader(data):
            return self._spec
        return self.spec

    @property
    def is_tested(self) -> bool:
        """Whether there are test data."""
        return self._splits["test"] is not None

    @property
    def train(self) -> Any:
        """Training data, less what is held out for validation."""
        return self._part("train") if self._holds_out else self._read("train")

    @property
    def validation(self) -> Any:
        """Validation data; None only with `validation_split=0`."""
        return self._part("validation") if self._holds_out else self._read("validation")

    @property
    def test(self) -> Any:
        """Test data, or None."""
        return self._read("test")

    @property
    def given_in_batches(self) -> Any:
        """The training data, if they are no arrays but give them; else None."""
        data = self._splits["train"]
        return data if is_dataset(data) or is_loader(data) else None

    def weight(self, split: str) -> np.ndarray | None:
        """How much each example of a split counts in the loss, (n,); None: all as much.

        Args:
            split: "train", "validation" or "test".

        Raises:
            ValueError: if there is not one weight for each example.
        """
        source = self._source(split)
        data = self._read(source)
        by_class = self._class_weight if split == "train" else None
        given = self._weights.get(source)
        if given is None and not by_class:
            return None
        what = f"{source} of task {self.name!r}"
        if is_dataset(data):
            if given is not None:
                raise ValueError(
                    f"{what}: `sample_weight` goes with arrays; of a tf.data.Dataset "
                    "it is the third part: (x, y, sample_weight). Received: both"
                )
            return None  # see `weight_of_labels`
        y = check_form(data[0], data[1], self.spec, what)[1]
        y = check_labels(y, self.spec, what)
        weight = np.ones(len(y), "float32")
        if given is not None:
            weight = checked_weights(given, len(y), what)
        if by_class:
            weight = weight * of_classes(by_class, y, self.spec, what)
        if self._holds_out:
            weight = weight[self._rows(split, y, what)]
        return weight

    def weight_of_labels(self, split: str) -> Callable | None:
        """The weight of examples by their labels, of a split that is a data set.

        Args:
            split: "train", "validation" or "test".

        Returns:
            A function of labels that gives float32 (n,); None: all count alike.

        Raises:
            ValueError: if `class_weight` names a class that the task has not.
        """
        by_class, spec = self._class_weight, self.spec
        if split != "train" or not by_class:
            return None
        what = f"labels of task {self.name!r}"
        of_classes(by_class, np.zeros(0, "int32"), spec, what)
        return lambda y: of_classes(by_class, check_labels(y, spec, what), spec, what)

    def is_weighed(self, split: str) -> bool:
        """Whether the examples of a split do not all count alike."""
        source = self._source(split)
        data = self._read(source)
        if self._weights.get(source) is not None:
            return True
        if split == "train" and self._class_weight:
            return True
        return is_dataset(data) and has_weights(data)

    def with_class_weight(self, class_weight: Mapping[int | str, float]) -> Task:
        """This task with other weights of its classes."""
        task = copy.copy(self)
        task._splits, task._weights = dict(self._splits), dict(self._weights)
        task._class_weight = checked_class_weight(class_weight)
        return task

    def with_spec(self, spec: TaskSpec) -> Task:
        """This task with another spec."""
        task = copy.copy(self)
        task._spec = spec
        return task

    def read(self) -> Task:
        """This task with its data at hand: functions are called for it, once each."""
        task = copy.copy(self)
        task._splits = {split: self._read(split) for split in self._splits}
        task._weights = dict(self._weights)
        return task

    @property
    def _holds_out(self) -> bool:
        return self._splits["validation"] is None and self._validation_split > 0

    def digest(self) -> str:
        """A digest of the task's data, by which a run knows them; see `digest.of_task`.

        Functions are called for it, as whenever a split is read.
        """
        splits = {split: self._read(split) for split in self._splits}
        weights = {**self._weights, "class": self._class_weight}
        for of, value in weights.items():
            if value is not None:
                splits[f"weights: {of}"] = value
        return of_task(self.name, splits, [self._validation_split, self._seed])

    def _read(self, split):
        data = self._splits[split]
        if callable(data) and not is_loader(data):
            data = data()
            self._check_form(split, data)
        if is_loader(data):
            what = f"{split} of task {self.name!r}"
            x, y, *weights = read_loader(data, what, (2, 3))
            self._splits[split] = data = (x, y)  # another pass may have another order
            if weights and self._weights.get(split) is None:
                self._weights[split] = weights[0]
        return data

    def _source(self, split):
        """The split that a split's examples were given in."""
        return "train" if split == "validation" and self._holds_out else split

    def _part(self, split):
        """What training data are for one split, if validation data are held out."""
        what = f"train of task {self.name!r}"
        x, y = check_form(*self._read("train"), self.spec, what)
        y = check_labels(y, self.spec, what, trained=True)
        rows = self._rows(split, y, what)
        return x[rows], y[rows]

    def _rows(self, split, y, what):
        """The training rows that are for one split."""
        has_classes = heads.get(self.spec.kind).has_classes
        classes = y if has_classes else np.zeros(len(y))
        try:
            kept, held = hold_out(classes, self._validation_split, self._seed)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from error
        return kept if split == "train" else held

    def _check_form(self, split, data):
        if is_dataset(data):
            if split == "train" and self._holds_out:
                raise ValueError(
                    f"Task {self.name!r}: no validation data can be held out of a "
                    "tf.data.Dataset; pass `validation`, or `validation_split=0` to "
                    f"have none. Received: validation_split={self._validation_split}"
                )
        elif is_loader(data):
            return
        elif not isinstance(data, tuple | list) or len(data) != 2:
            raise ValueError(
                f"`{split}` of task {self.name!r} must be a pair (x, y), a function "
                "that returns one, a tf.data.Dataset, a keras.utils.PyDataset or a "
                f"DataLoader. Received: {type(data).__name__}"
            )

    def __repr__(self):
        spec = self._spec or "spec to be inferred"
        return f"<Task {self.name!r}: {spec}>"
