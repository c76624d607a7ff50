"""A task: a name, what its labels mean, and its data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.streams.digest import of_task
from keras_lifelong.streams.sampling import hold_out

HEADS = ("per_task", "shared")


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What a task's labels mean, and so which head it needs.

    | kind        | labels                     | outputs of the head |
    |-------------|----------------------------|---------------------|
    | categorical | integers (n,), 0 ... C-1   | C                   |
    | binary      | (n,), 0 or 1               | 1                   |
    | multilabel  | (n, C), each 0 or 1        | C                   |
    | regression  | (n, C), or (n,) if C is 1  | C                   |

    Args:
        num_classes: C; at least 2 for categorical, exactly 2 for binary. For
            regression, the number of values to predict.
        kind: "categorical", "binary", "multilabel" or "regression", or another one
            that `keras_lifelong.heads` knows.
        input_shape: shape of one example, `None` where a dimension is free; None if
            it isn't known.
        head: "per_task", or "shared" by all tasks that say so.

    Raises:
        ValueError: if an argument is not one of these.

    Example:

    >>> TaskSpec(10, input_shape=(28, 28, 1)).units
    10
    >>> TaskSpec(2, kind="binary").units
    1
    """

    num_classes: int
    kind: str = "categorical"
    input_shape: tuple | None = None
    head: str = "per_task"

    def __post_init__(self):
        try:
            kind = heads.get(self.kind)
        except ValueError as error:
            raise ValueError(f"`kind` of a TaskSpec: {error}") from error
        if self.head not in HEADS:
            raise ValueError(
                f"`head` of a TaskSpec must be one of {', '.join(HEADS)}. "
                f"Received: {self.head!r}"
            )
        if not kind.accepts_classes(self.num_classes):
            raise ValueError(
                f"`num_classes` of a {self.kind} TaskSpec must be "
                f"{kind.accepted_classes()}. Received: {self.num_classes!r}"
            )
        object.__setattr__(self, "num_classes", int(self.num_classes))
        if self.input_shape is not None:
            object.__setattr__(self, "input_shape", tuple(self.input_shape))

    @property
    def units(self) -> int:
        """Outputs of the head."""
        return heads.get(self.kind).units(self)

    def to_config(self) -> dict[str, Any]:
        """The arguments as JSON-able data; `from_config` is the inverse."""
        config = dataclasses.asdict(self)
        if self.input_shape is not None:
            config["input_shape"] = list(self.input_shape)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TaskSpec:
        """The inverse of `to_config`."""
        return cls(**config)

    @classmethod
    def infer(cls, x: Any, y: Any, what: str = "data") -> TaskSpec:
        """The spec that training data suggest.

        Integers (n,) or (n, 1) are categorical with `max + 1` classes; (n, C) of
        nothing but 0 and 1 are multilabel; other floats are regression. For anything
        else, such as one-hot labels of one class each, write the spec.

        Raises:
            ValueError: if the labels are none of these; `what` says whose they are.
        """
        x, y = _as_numbers(x, what, "x"), _as_numbers(y, what, "y")
        _require(y.size, what, "y", "hold at least one label", f"shape {y.shape}")
        _require(y.ndim < 3, what, "y", "be (n,) or (n, C)", f"shape {y.shape}")
        for kind in heads.names():
            classes = heads.get(kind).infer(y)
            if classes is not None:
                if kind == "categorical":
                    _check_count(classes, len(y), what)
                return cls(classes, kind, x.shape[1:])
        accepted = "be floats, or 0 and 1, in several columns without a spec"
        raise _error(what, "y", accepted, f"dtype {y.dtype}")


def _check_count(classes: int, examples: int, what: str) -> None:
    """Refuses labels that are numbers of something else: a head has a unit for each."""
    most = max(10_000, 100 * examples)
    accepted = f"be classes below {most:,} without a spec"
    _require(classes <= most, what, "y", accepted, f"a label of {classes - 1:,}")


class Task:
    """One task of a stream.

    Each split is a pair `(x, y)` of arrays, a function without arguments that returns
    such a pair (called whenever the split is read; nothing is kept, so a task costs no
    memory until then), or a `tf.data.Dataset` of **unbatched** examples `(x, y)`.
    Reading a split gives what was passed in; `check_split` makes it standard.

    Without `validation`, a part of `train` is checked and held out: the same at every
    access, in proportion to the classes, and never a class's only example. A `Dataset`
    can't be split so: pass `validation`, or `validation_split=0` to have none.

    Args:
        name: how the task is called, for example in `predict(x, task=name)`.
        spec: a `TaskSpec`; None: inferred from the training labels when first needed,
            see `TaskSpec.infer`.
        train: training data.
        validation: validation data, or None.
        test: test data, or None.
        validation_split: the part of `train` to hold out, in [0, 1).
        seed: of the hold-out, an integer of 0 or more.

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
    def train(self) -> Any:
        """Training data, less what is held out for validation."""
        if self._holds_out:
            return self._remainder_and_held_out()[0]
        return self._read("train")

    @property
    def validation(self) -> Any:
        """Validation data; None only with `validation_split=0`."""
        if self._holds_out:
            return self._remainder_and_held_out()[1]
        return self._read("validation")

    @property
    def test(self) -> Any:
        """Test data, or None."""
        return self._read("test")

    @property
    def _holds_out(self) -> bool:
        return self._splits["validation"] is None and self._validation_split > 0

    def digest(self) -> str:
        """A digest of the task's data, by which a run knows them; see `digest.of_task`.

        Functions are called for it, as whenever a split is read.
        """
        splits = {split: self._read(split) for split in self._splits}
        return of_task(self.name, splits, [self._validation_split, self._seed])

    def _read(self, split):
        data = self._splits[split]
        if callable(data):
            data = data()
            self._check_form(split, data)
        return data

    def _remainder_and_held_out(self):
        what = f"train of task {self.name!r}"
        x, y = check_split(*self._read("train"), self.spec, what)
        has_classes = heads.get(self.spec.kind).has_classes
        classes = y if has_classes else np.zeros(len(y))
        try:
            kept, held = hold_out(classes, self._validation_split, self._seed)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from error
        return (x[kept], y[kept]), (x[held], y[held])

    def _check_form(self, split, data):
        if is_dataset(data):
            if split == "train" and self._holds_out:
                raise ValueError(
                    f"Task {self.name!r}: no validation data can be held out of a "
                    "tf.data.Dataset; pass `validation`, or `validation_split=0` to "
                    f"have none. Received: validation_split={self._validation_split}"
                )
        elif not isinstance(data, tuple | list) or len(data) != 2:
            raise ValueError(
                f"`{split}` of task {self.name!r} must be a pair (x, y), a function "
                "that returns one, or a tf.data.Dataset. Received: "
                f"{type(data).__name__}"
            )

    def __repr__(self):
        spec = self._spec or "spec to be inferred"
        return f"<Task {self.name!r}: {spec}>"


def is_dataset(data: Any) -> bool:
    """Whether `data` is a `tf.data.Dataset` (without importing TensorFlow)."""
    return hasattr(data, "as_numpy_iterator") and hasattr(data, "batch")


def check_split(
    x: Any, y: Any, spec: TaskSpec, what: str = "data"
) -> tuple[np.ndarray, np.ndarray]:
    """Checks data against a spec and returns them in standard form.

    Args:
        x: inputs (n, *spec.input_shape), numbers. Floats become float32; integers stay
            integers (int32), for embeddings: images are to be scaled to [0, 1] before.
        y: labels as in `TaskSpec`'s table.
        spec: the task's `TaskSpec`.
        what: which data these are, for messages, as "train of task 'task_3'". Data
            whose `what` begins with "train" must have two classes at least.

    Returns:
        `(x, y)`; y is int32 (n,) for categorical, float32 (n, units) for other kinds.
        Arrays that are so already are not copied.

    Raises:
        ValueError: naming the data and argument, what was received and what is
            accepted: wrong shape or dtype, different lengths, NaN or infinity, labels
            out of range, no examples, or training data of one class.

    Example:

    >>> x, y = check_split([[0.5], [1.0]], [0, 1], TaskSpec(2, "binary"))
    >>> y.tolist()
    [[0.0], [1.0]]
    """

    def require(condition, argument, accepted, received):
        _require(condition, what, argument, accepted, received)

    x, y = _as_numbers(x, what, "x"), _as_numbers(y, what, "y")
    shape, expected = x.shape[1:], spec.input_shape
    require(len(x) > 0, "x", "hold at least one example", f"shape {x.shape}")
    if expected is None:
        require(shape, "x", "have shape (n, ...)", f"shape {x.shape}")
    else:
        fits = len(shape) == len(expected) and all(
            e in (None, s) for s, e in zip(shape, expected, strict=True)
        )
        sizes = ", ".join("any" if e is None else str(e) for e in expected)
        require(fits, "x", f"have shape (n, {sizes})", f"shape {x.shape}")
    counts = f"{len(y)} labels for {len(x)} examples"
    require(len(x) == len(y), "y", "hold one label for each example", counts)
    if x.dtype.kind in "iu":
        top = np.iinfo("int32").max
        fits = -top <= x.min(initial=0) and x.max(initial=0) <= top
        require(fits, "x", "fit into int32", f"up to {np.abs(x).max(initial=0)}")
        x = x.astype("int32", copy=False)
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused
        x = x if x.dtype == "int32" else x.astype("float32", copy=False)
    require(_is_finite(x), "x", "be finite", "NaN, infinity or beyond float32")

    kind = heads.get(spec.kind)
    shapes = kind.label_shapes(len(y), spec)
    accepted = f"have shape {' or '.join(map(str, shapes))} for a {spec.kind} task"
    require(y.shape in shapes, "y", accepted, f"shape {y.shape}")
    require(_is_finite(y), "y", "be finite", "NaN or infinity")
    y = kind.check_labels(
        y, spec, lambda condition, *texts: require(condition, "y", *texts)
    )
    if kind.has_classes and what.startswith("train"):
        alone = f"{len(y)} labels, all {y.min():g}"
        require(y.min() != y.max(), "y", "hold two classes at least", alone)
    return x, y


def _require(condition, what, argument, accepted, received):
    if not condition:
        raise _error(what, argument, accepted, received)


def _error(what, argument, accepted, received):
    return ValueError(f"{what}: `{argument}` must {accepted}. Received: {received}")


def _as_numbers(values, what, argument):
    try:
        array = np.asarray(values)
    except ValueError:  # NumPy's word for rows of different length
        array = np.empty((), object)
    received = f"{type(values).__name__} of dtype {array.dtype}, shape {array.shape}"
    accepted = "be an array of numbers with a row for each example"
    is_fit = array.dtype.kind in "biuf" and array.ndim > 0
    _require(is_fit, what, argument, accepted, received)
    return array


def _is_finite(array):
    # min and max pass NaN on, and need no array of booleans.
    return array.size == 0 or bool(np.isfinite([array.min(), array.max()]).all())
