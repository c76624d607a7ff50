"""Data to predict or to score, block by block: nothing is copied whole."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong.model.arguments import BATCH_SIZE
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import check_split
from keras_lifelong.streams import datasets
from keras_lifelong.streams import forms
from keras_lifelong.streams.checking import check_form
from keras_lifelong.streams.checking import check_inputs
from keras_lifelong.streams.checking import check_labels
from keras_lifelong.streams.columns import Columns
from keras_lifelong.streams.columns import are_several
from keras_lifelong.streams.columns import columns
from keras_lifelong.streams.weights import checked_weights
from keras_lifelong.training.callbacks import check_verbose
from keras_lifelong.training.callbacks import listed
from keras_lifelong.training.trainer import EVALUATION_ROWS
from keras_lifelong.training.trainer import evaluation_rows

ROWS = EVALUATION_ROWS[-1]  # of a block


class Rows:
    """The rows of an array, put into standard form as they are taken.

    Args:
        x: array (n, …), or `Columns`.
        convert: `convert(rows) -> array`.

    >>> Rows(np.arange(4), lambda rows: rows / 2)[1:3]
    array([0.5, 1. ])
    """

    def __init__(self, x: np.ndarray | Columns, convert: Callable):
        self._x, self._convert = x, convert
        self.shape = x.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._convert(self._x[rows])

    def part(self, rows: slice) -> Rows:
        """Some of the rows, not converted either."""
        return Rows(self._x[rows], self._convert)


def count(steps: int | None, batch_size: int | None, data: Any, shape: tuple):
    """How many examples so many steps are; None: all.

    Args:
        steps: number of batches, or None.
        batch_size: of a batch. None: that of data that come in batches, else 32.
        data: what was given.
        shape: of one example.
    """
    if steps is None:
        return None
    if batch_size is None and forms.is_dataset(data):
        batched = datasets.is_batched(data, shape, "data")
        batch_size = forms.batch_size_of(data) if batched else None
    elif batch_size is None and forms.is_loader(data):
        batch_size = forms.batch_size_of(data)
    return steps * (batch_size or BATCH_SIZE)


def elements(
    data: Any, shape: tuple, most: int | None, what: str, parts: tuple[int, ...]
) -> Iterator:
    """The blocks of a `tf.data.Dataset`, as arrays.

    Args:
        data: the data set, batched or not.
        shape: of one example.
        most: examples, or None for all.
        what: whose data these are, for messages.
        parts: how many tensors an element may have.

    Raises:
        ValueError: if it repeats for ever and `most` is None, it holds something else
            or nothing.
    """
    if most is None and datasets.is_endless(data):
        raise ValueError(
            f"{what} repeats for ever: pass `steps`. Received: an endless "
            "tf.data.Dataset and steps=None."
        )
    data = datasets.examples(data, shape, what, parts)
    data = data if most is None else data.take(most)
    is_empty = True
    for block in data.batch(ROWS).as_numpy_iterator():
        is_empty = False
        yield block
    if is_empty:
        raise ValueError(
            f"{what}: `x` must hold at least one example. Received: a tf.data.Dataset "
            "without any."
        )


def to_score(
    data: Any, sample_weight: Any, spec: TaskSpec, what: str, most: int | None
) -> Iterator[tuple]:
    """What `evaluate` is given, in parts: `Rows`, labels, and weights or None.

    Args:
        data: `(x, y)`, or what gives it.
        sample_weight: of arrays, or None.
        spec: the task's, with its input shape.
        what: whose data these are, for messages.
        most: examples, or None for all.

    Raises:
        ValueError: if they are bad: of arrays at once, of data sets on the way.
    """
    if forms.is_dataset(data):
        if sample_weight is not None:
            raise ValueError(
                f"{what}: `sample_weight` goes with arrays. Received: it with a "
                "tf.data.Dataset."
            )
        return _parts_to_score(data, spec, what, most)
    if forms.is_loader(data):
        data = forms.read_loader(data, what, (2, 3))
        if len(data) == 3:
            data, sample_weight = data[:2], data[2]
    x, y = check_form(data[0], data[1], spec, what)
    labels, weight = check_labels(y, spec, what)[:most], None
    if sample_weight is not None:
        weight = checked_weights(sample_weight, len(x), what)[:most]
    rows = Rows(x[:most], lambda part: check_inputs(part, spec, what))
    return iter([(rows, labels, weight)])


def _parts_to_score(data, spec, what, most) -> Iterator[tuple]:
    for block in elements(data, spec.input_shape or (), most, what, (2, 3)):
        x, y, weight = datasets.with_weights(block, what)
        x, y = check_split(x, y, spec, what)
        yield Rows(x, _as_it_is), y, weight


def to_predict(
    data: Any, convert: Callable, shape: tuple, most: int | None
) -> Iterator[Rows]:
    """What `predict` is given, as `Rows`; labels that come along are not used.

    Args:
        data: inputs, or what gives them.
        convert: `convert(x) -> x` checks rows and puts them into standard form.
        shape: of one example.
        most: examples, or None for all.

    Raises:
        ValueError: if they are bad.
    """
    if forms.is_dataset(data):
        for block in elements(data, shape, most, "`x`", (1, 2, 3)):
            x = block[0] if isinstance(block, tuple) else block
            yield Rows(convert(x), _as_it_is)
        return
    if forms.is_loader(data):
        data = forms.read_loader(data, "`x`")[0]
    if are_several(shape):
        x = columns(data, shape, "`x`").map(forms.as_array)
    else:
        x = forms.as_array(data)
    if x.shape and len(x):
        convert(x[:1])  # refuses what is bad before anything is computed
    else:
        convert(x)
    yield Rows(x[:most], convert)


def _as_it_is(rows):
    return rows


def spans(n: int, batch_size: int | None, calls: Calls) -> Iterator[slice]:
    """The rows that are computed at once, with the batch hooks of callbacks around.

    Args:
        n: rows in all.
        batch_size: at most so many, rounded up to one of a few sizes. None: all, which
            the reader cuts up itself.
        calls: a `Calls`.
    """
    size = n
    if batch_size is not None or calls.are_there:
        size = evaluation_rows(ROWS if batch_size is None else batch_size)
    for start in range(0, n, max(size, 1)):
        calls.batch("begin")
        yield slice(start, min(start + size, n))
        calls.batch("end")


class Calls:
    """Callbacks and the line that `verbose` asks for, of `evaluate` and `predict`.

    Args:
        callbacks: list of `keras.callbacks.Callback`, or None.
        model: the model.
        mode: "test" or "predict".
        verbose: 0 silent; 1, 2 or "auto": a line at the end.

    Raises:
        ValueError: if an argument is something else.
    """

    def __init__(self, callbacks: Sequence | None, model: Any, mode: str, verbose: Any):
        self._all = listed(callbacks)
        check_verbose(verbose)
        self._mode, self._verbose = mode, verbose
        self._number, self._rows = 0, 0
        for callback in self._all:
            callback.set_model(model)
            callback.set_params({"verbose": verbose, "epochs": 1, "steps": None})

    @property
    def are_there(self) -> bool:
        """Whether there is anybody to call."""
        return bool(self._all)

    def begin(self) -> None:
        """Before the first block."""
        self._start = time.perf_counter()
        for callback in self._all:
            getattr(callback, f"on_{self._mode}_begin")()

    def batch(self, when: str) -> None:
        """Before ("begin") and after ("end") each block."""
        for callback in self._all:
            getattr(callback, f"on_{self._mode}_batch_{when}")(self._number, {})
        self._number += when == "end"

    def end(self, rows: int, logs: dict[str, float] | None = None) -> None:
        """After the last block."""
        for callback in self._all:
            getattr(callback, f"on_{self._mode}_end")(logs or {})
        if self._verbose:
            seconds = time.perf_counter() - self._start
            scores = "".join(f" - {k}: {v:.4f}" for k, v in (logs or {}).items())
            print(f"{rows} rows - {seconds:.1f}s{scores}")
            sys.stdout.flush()
