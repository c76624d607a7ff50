"""What `fit` is given, in Keras' words, as a `Task` and `Settings`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong.heads.kind import is_whole
from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import check_split
from keras_lifelong.streams import datasets
from keras_lifelong.streams import forms
from keras_lifelong.streams.columns import columns
from keras_lifelong.streams.weights import checked_weights
from keras_lifelong.training.settings import Settings

BATCH_SIZE = 32  # of `fit`, as Keras has it


def settings(
    *,
    epochs: Any = 1,
    batch_size: Any = None,
    shuffle: Any = True,
    initial_epoch: Any = 0,
    steps_per_epoch: Any = None,
    validation_freq: Any = 1,
    validation_batch_size: Any = None,
    validation_steps: Any = None,
) -> Settings:
    """The arguments of `fit` that say how to train, checked.

    Raises:
        ValueError: naming the argument, what was received and what is accepted.
    """
    if isinstance(validation_freq, Container) and not isinstance(validation_freq, str):
        every = list(validation_freq) if isinstance(validation_freq, Iterable) else []
        if not every or not all(_is_integer(epoch, 1) for epoch in every):
            raise ValueError(
                "`validation_freq` must be an integer of at least 1, or a list of "
                f"epochs, counted from 1. Received: {validation_freq!r}."
            )
        validation_freq = [int(epoch) for epoch in every]
    else:
        validation_freq = _integer("validation_freq", validation_freq, 1)
    if not isinstance(shuffle, bool | np.bool_):
        raise ValueError(f"`shuffle` must be True or False. Received: {shuffle!r}.")
    epochs = _integer("epochs", epochs, 1)
    initial_epoch = _integer("initial_epoch", initial_epoch, 0)
    if initial_epoch >= epochs:
        raise ValueError(
            "`initial_epoch` must be below `epochs`, the number of the last epoch: "
            f"{epochs}. Received: {initial_epoch}."
        )
    return Settings(
        epochs=epochs,
        batch_size=BATCH_SIZE if batch_size is None else rows(batch_size),
        shuffle=bool(shuffle),
        initial_epoch=initial_epoch,
        steps_per_epoch=steps(steps_per_epoch, "steps_per_epoch"),
        validation_freq=validation_freq,
        validation_batch_size=steps(validation_batch_size, "validation_batch_size"),
        validation_steps=steps(validation_steps, "validation_steps"),
    )


def rows(batch_size: Any) -> int:
    """A checked `batch_size`."""
    if isinstance(batch_size, str):
        raise ValueError(
            "`batch_size` must be an integer of at least 1. Received: "
            f"{batch_size!r}. If it names a task, write `task={batch_size!r}`."
        )
    return _integer("batch_size", batch_size, 1)


def steps(value: Any, name: str = "steps") -> int | None:
    """A checked number of steps; None: all."""
    return None if value is None else _integer(name, value, 1)


def _integer(name, value, least):
    if not _is_integer(value, least):
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. Received: {value!r}."
        )
    return int(value)


def _is_integer(value, least):
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_integer and value >= least


# The data


def is_given_in_batches(data: Any) -> bool:
    """Whether data are no arrays, but something that gives them."""
    return forms.is_dataset(data) or forms.is_loader(data)


def batch_size_of(data: Any, input_shape: tuple) -> int | None:
    """Rows of a batch of data that come in batches; None if they do not."""
    if isinstance(data, Task):
        data = data.given_in_batches
    if forms.is_dataset(data):
        if not datasets.is_batched(data, input_shape, "train"):
            return None
    elif not forms.is_loader(data):
        return None
    return forms.batch_size_of(data)


def task_of(
    x: Any,
    y: Any,
    name: str,
    spec: TaskSpec | None,
    input_shape: tuple,
    *,
    validation_data: Any = None,
    validation_split: float | None = None,
    sample_weight: Any = None,
    class_weight: Any = None,
) -> Task:
    """The `Task` that `fit(x, y, task=name, ...)` is about.

    Args:
        x, y: arrays; or data that come in batches and None.
        name: of the task.
        spec: what its labels mean; None: inferred from them.
        input_shape: what the backbone accepts.
        validation_data: `(x, y)`, `(x, y, sample_weight)` or data in batches.
        validation_split: the last part of the arrays, which is held out; None: a tenth
            that is drawn.
        sample_weight, class_weight: see `Task`.

    Raises:
        ValueError: if they do not go together.
    """
    weights = {"sample_weight": sample_weight, "class_weight": class_weight}
    what = f"train of task {name!r}"
    validation = _validation(validation_data, weights)
    _check_validation_split(validation_split)
    if is_given_in_batches(x):
        _check_batches(x, y, validation_split, weights)
        if forms.is_dataset(x) and spec is None:
            spec = _spec_of_dataset(x, input_shape, what)
        return Task(
            name, spec, train=x, validation=validation, validation_split=0, **weights
        )
    if y is None:
        raise ValueError(
            f"`y` must be given with arrays. Received: x of type {type(x).__name__}, "
            "y=None."
        )
    x = columns(x, input_shape, what)
    if spec is None:
        spec = _inferred(x, y, what)
    if validation_split is None or validation is not None:
        return Task(name, spec, train=(x, y), validation=validation, **weights)
    x, y = check_split(x, y, spec, what)
    kept = math.floor(len(x) * (1.0 - validation_split))  # as Keras has it
    if validation_split and kept in (0, len(x)):
        raise ValueError(
            "`validation_split` must leave examples on both sides. Received: "
            f"{validation_split!r} of {len(x)} examples."
        )
    if sample_weight is not None:
        whole = checked_weights(sample_weight, len(x), what)
        weights["sample_weight"] = whole[:kept]
        weights["validation_sample_weight"] = whole[kept:] if validation_split else None
    if validation_split:
        validation = (x[kept:], y[kept:])
    return Task(
        name,
        spec,
        train=(x[:kept], y[:kept]),
        validation=validation,
        validation_split=0,
        **weights,
    )


def _validation(data, weights):
    """Validation data as a `Task` takes them; their weights go to `weights`."""
    if data is None or is_given_in_batches(data):
        return data
    if not isinstance(data, Sequence) or len(data) not in (2, 3):
        raise ValueError(
            "`validation_data` must be (x, y), (x, y, sample_weight), a "
            "tf.data.Dataset, a keras.utils.PyDataset or a DataLoader. "
            f"Received: {type(data).__name__}."
        )
    if len(data) == 3:
        weights["validation_sample_weight"] = data[2]
    return tuple(data[:2])


def _check_validation_split(value):
    if value is None:
        return
    is_number = isinstance(value, int | float | np.number)
    if not is_number or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(
            "`validation_split` must be in [0, 1), or None for a tenth that is drawn. "
            f"Received: {value!r}."
        )


def check_alone(x: Any, **given: Any) -> None:
    """Refuses what goes with arrays only beside data that come in batches.

    Raises:
        ValueError: naming the argument.
    """
    for name, value in given.items():
        if value is not None and is_given_in_batches(x):
            raise ValueError(
                f"`{name}` must be None where `x` gives batches of examples. Received: "
                f"x of type {type(x).__name__}, {name} of type {type(value).__name__}."
            )


def _check_batches(x, y, validation_split, weights):
    kind = type(x).__name__
    check_alone(x, y=y, sample_weight=weights["sample_weight"])
    if validation_split:
        raise ValueError(
            "`validation_split` goes with arrays; pass `validation_data`. Received: "
            f"{validation_split!r} and x of type {kind}."
        )


def _inferred(x, y, what):
    """The spec that labels suggest, if they can mean one thing only.

    A `Task` without a spec asks for the likely one; `fit` is not asked.
    """
    spec = TaskSpec.infer(x, y, what)
    array = None if spec.class_names else forms.as_array(y)
    if array is not None and array.dtype.kind == "f" and is_whole(array):
        raise ValueError(
            f"{what}: `y` must be integers if they are ids of classes (`y.astype(int)`)"
            "; whole-number floats may be numbers to predict, too. Or say which: "
            f"fit(Task(name, TaskSpec({spec.num_classes}), train=(x, y))), or "
            f"TaskSpec(1, 'regression'). Received: dtype {array.dtype}."
        )
    return spec


def _spec_of_dataset(data, input_shape, what):
    """The spec that the labels of a `tf.data.Dataset` suggest: it is read once."""
    if datasets.is_endless(data):
        raise ValueError(
            f"{what}: the labels of a data set that repeats for ever suggest no spec; "
            "pass a Task with a TaskSpec. Received: an endless tf.data.Dataset."
        )
    blocks = datasets.examples(data, input_shape, what).blocks(1024)
    found = [y for _, y, _ in blocks]
    if not found:
        raise ValueError(f"{what}: `x` must hold at least one example. Received: none.")
    y = np.concatenate(found)
    spec = _inferred(np.zeros((len(y), 1), "int8"), y, what)
    return dataclasses.replace(spec, input_shape=None)


_OF_TASKS = {
    "x": "train=(x, y)",
    "y": "train=(x, y)",
    "validation_data": "validation=(x, y)",
    "validation_split": "validation_split=0.2",
    "sample_weight": "sample_weight=weights",
}


def refuse_of_tasks(method: str, given: Mapping[str, Any]) -> None:
    """Refuses what each `Task` of a stream says itself, and what nothing takes.

    Raises:
        ValueError: naming the argument, and how a task says it.
        TypeError: if `fit` has no such argument either.
    """
    for name in given:
        if name not in _OF_TASKS:
            raise TypeError(f"{method}() got an unexpected keyword argument {name!r}")
        raise ValueError(
            f"`{name}` belongs to each task of a stream: Task(name, spec, …, "
            f"{_OF_TASKS[name]}). Received: {method}(…, {name}=…)."
        )


def limit(loaded: Any, settings: Settings, resumable: bool = False) -> None:
    """Cuts a `LoadedTask`'s data to the steps asked for; endless data need them.

    Args:
        loaded: changed in place.
        settings: those of the fit.
        resumable: whether a run that is killed is to go on as if it had not been.

    Raises:
        ValueError: if data repeat for ever and no steps are said, or it is to go on.
    """
    name, size = loaded.name, settings.batch_size
    endless = datasets.is_endless(loaded.train)
    if endless:
        if settings.steps_per_epoch is None:
            raise _endless("train", name, "steps_per_epoch")
        if resumable:
            raise ValueError(
                f"train of task {name!r} repeats for ever, and a checkpoint does not "
                "keep how far it was read: leave out `repeat()`, or `checkpoint_dir`. "
                "Received: an endless tf.data.Dataset and a `checkpoint_dir`."
            )
    if forms.is_dataset(loaded.train):
        steps = settings.steps_per_epoch if endless else None
        loaded.train = loaded.train.trained_by(size, steps)
    count = settings.validation_steps
    if count is not None and loaded.validation is not None:
        most = count * (settings.validation_batch_size or size)
        loaded.validation = taken(loaded.validation, most)
        if loaded.validation_weight is not None:
            loaded.validation_weight = loaded.validation_weight[:most]
    elif datasets.is_endless(loaded.validation):
        raise _endless("validation", name, "validation_steps")
    if datasets.is_endless(loaded.test):
        raise ValueError(
            f"test of task {name!r} must end. Received: a tf.data.Dataset that "
            "repeats for ever."
        )


def _endless(split, name, argument):
    return ValueError(
        f"{split} of task {name!r} repeats for ever: pass `{argument}`. Received: an "
        f"endless tf.data.Dataset and {argument}=None."
    )


def taken(data: Any, count: int | None) -> Any:
    """The first `count` examples of a pair of arrays or a data set; None: all."""
    if count is None:
        return data
    if forms.is_dataset(data):
        return data.take(count)
    return tuple(part[:count] for part in data)
