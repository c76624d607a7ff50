"""What a task's labels mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_lifelong import heads
from keras_lifelong.streams import labels
from keras_lifelong.streams.columns import Columns
from keras_lifelong.streams.columns import checked_shape
from keras_lifelong.streams.columns import seen_columns
from keras_lifelong.streams.columns import shape_config
from keras_lifelong.streams.numbers import as_numbers
from keras_lifelong.streams.numbers import data_error
from keras_lifelong.streams.numbers import require

HEADS = ("per_task", "shared")


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What a task's labels mean, and so which head it needs.

    | kind        | labels                     | outputs of the head |
    |-------------|----------------------------|---------------------|
    | categorical | see below                  | C                   |
    | binary      | (n,), 0 or 1               | 1                   |
    | multilabel  | (n, C), each 0 or 1        | C                   |
    | regression  | (n, C), or (n,) if C is 1  | C                   |
    | sequence    | (n, longest), see below    | C + 1 at each step  |

    Labels of a categorical task are whole numbers (n,), 0 ... C-1, integers or floats;
    or one-hot (n, C), exactly one 1 in each row; or, where `class_names` are given,
    names of classes (n,): strings, or a categorical of pandas.

    Labels of a sequence task are words: characters 0 ... C-1, and -1 after the last one
    of each. Its network ends in features (batch, time, width); see `heads.sequence`.

    Args:
        num_classes: C; at least 2 for categorical, exactly 2 for binary. For
            regression, the number of values to predict; for sequence, of characters.
        kind: "categorical", "binary", "multilabel", "regression" or "sequence", or
            another one that `keras_lifelong.heads` knows.
        input_shape: shape of one example, `None` where a dimension is free; of several
            inputs a dict of shapes, or a tuple of shapes; None if it isn't known.
        head: "per_task", or "shared" by all tasks that say so.
        class_names: C different texts, in the order of the outputs; two for a binary
            task; None: the classes have no names. They are kept with the task.

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
    input_shape: Any = None
    head: str = "per_task"
    class_names: tuple[str, ...] | None = None

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
            object.__setattr__(self, "input_shape", checked_shape(self.input_shape))
        if self.class_names is not None:
            object.__setattr__(self, "class_names", self._checked_names())

    def _checked_names(self):
        names = self.class_names
        if heads.get(self.kind).goal != "classification":
            raise ValueError(
                f"`class_names` of a TaskSpec go with classes, a {self.kind} task has "
                f"none. Received: {names!r}"
            )
        is_list = isinstance(names, list | tuple)
        if (
            not is_list
            or not all(isinstance(name, str) and name for name in names)
            or len(set(names)) != len(names)
            or len(names) != self.num_classes
        ):
            raise ValueError(
                f"`class_names` of a TaskSpec must be {self.num_classes} different "
                f"texts, one for each class. Received: {str(names)[:200]}"
            )
        return tuple(names)

    @property
    def units(self) -> int:
        """Outputs of the head."""
        return heads.get(self.kind).units(self)

    def to_config(self) -> dict[str, Any]:
        """The arguments as JSON-able data; `from_config` is the inverse."""
        config = dataclasses.asdict(self)
        if self.input_shape is not None:
            config["input_shape"] = shape_config(self.input_shape)
        names = config.pop("class_names")  # without names as it was before there were
        return config if names is None else {**config, "class_names": list(names)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TaskSpec:
        """The inverse of `to_config`."""
        return cls(**config)

    @classmethod
    def infer(cls, x: Any, y: Any, what: str = "data") -> TaskSpec:
        """The spec that training data suggest.

        Whole numbers (n,) or (n, 1), also as floats, are categorical, and must hold
        every class from 0 on; so are (n, C) with exactly one 1 in each row, and names
        of classes (n,). Other (n, C) of nothing but 0 and 1 are multilabel; other
        floats are regression. For anything else, such as numbers to predict that
        happen to be whole, write the spec.

        Raises:
            ValueError: if the labels are none of these, with the spec to write; `what`
                says whose they are.
        """
        x = seen_columns(x, len(y) if hasattr(y, "__len__") else None)
        if isinstance(x, Columns):
            shape = x.map(lambda part: as_numbers(part, what, "x")).example_shape
        else:
            shape = as_numbers(x, what, "x").shape[1:]
        names = labels.class_names(y)
        if names is not None:
            alone = f"one class, {names[0]!r}" if names else "no category"
            require(len(names) > 1, what, "y", "hold two classes at least", alone)
            return cls(len(names), "categorical", shape, class_names=names)
        y = as_numbers(y, what, "y")
        require(y.size, what, "y", "hold at least one label", f"shape {y.shape}")
        require(y.ndim < 3, what, "y", "be (n,) or (n, C)", f"shape {y.shape}")
        for kind in heads.names():
            classes = heads.get(kind).infer(y)
            if classes is not None:
                spec = cls(classes, kind, shape)
                if spec.kind == "categorical" and y.size == len(y):
                    _check_gaps(y.reshape(-1), classes, what)
                return spec
        accepted = "be floats, or 0 and 1, in several columns without a spec"
        raise data_error(what, "y", accepted, f"dtype {y.dtype}")


def _check_gaps(y, classes, what):
    """Refuses ids of classes some of which are missing: what is meant is not known."""
    found = np.unique(y)
    least, most = float(found[0]), float(found[-1])
    if least < 0 or len(found) == classes or most < 1:
        return  # what is below 0, or alone, is refused with all other labels
    shown = ", ".join(f"{value:g}" for value in found[:8].astype(float))
    more = "" if len(found) <= 8 else f", … {len(found)} in all"
    count = len(found)
    write = f"write TaskSpec({classes}) if there are {classes}"
    if count > 1:
        write += (
            f", or number them 0 ... {count - 1} (`np.unique(y, return_inverse=True)`)"
        )
    raise data_error(
        what,
        "y",
        f"hold every class from 0 on, or come with a TaskSpec: {write}; of numbers to "
        'predict, write TaskSpec(1, "regression")',
        f"{count} classes: {shown}{more}",
    )
