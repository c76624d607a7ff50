"""What callbacks keep between epochs, as JSON, so that a run goes on with it."""

from __future__ import annotations

import json
import os
from typing import Any

import keras
import numpy as np

_C = keras.callbacks

# What Keras' own callbacks keep over a run, by class; what judges a single phase begins
# anew with each and needs none. Files that they have written stay where they are.
_KEPT: dict[type, tuple[str, ...]] = {
    _C.ModelCheckpoint: (
        "best",
        "_batches_seen_since_last_saving",
        "_last_batch_seen",
    ),
    _C.CSVLogger: ("keys",),
    _C.History: ("history", "epoch"),
    _C.TensorBoard: (
        "_global_train_batch",
        "_global_test_batch",
        "_previous_epoch_iterations",
    ),
}


def state_of(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """What a callback keeps over a run, as JSON.

    Args:
        callback: one of Keras', or of one's own with `get_state()`, which returns a
            JSON dict, and `set_state(state)`. Any other is taken to keep nothing.

    Raises:
        ValueError: if what `get_state` returns is not JSON.
    """
    if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
        given = callback.get_state()
        try:
            return {"own": json.loads(json.dumps(given, allow_nan=True))}
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`get_state` of the callback {type(callback).__name__} must return a "
                f"JSON dict. Received: {given!r} ({error})."
            ) from error
    kept = {}
    for name in _names(callback):
        if hasattr(callback, name):
            kept[name] = _plain(getattr(callback, name))
    if isinstance(callback, _C.CSVLogger):
        goes_on = callback.csv_file is not None or callback.append
        there = goes_on and os.path.exists(callback.filename)
        kept["size"] = os.path.getsize(callback.filename) if there else 0
    return kept


def _names(callback) -> list[str]:
    return [n for kind, ns in _KEPT.items() if isinstance(callback, kind) for n in ns]


def _plain(value):
    """Numbers, also those in arrays and tensors of no dimension, as Python's."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return np.asarray(keras.ops.convert_to_numpy(value)).tolist()


def begin(callback: keras.callbacks.Callback, state: dict[str, Any] | None) -> None:
    """Calls `on_train_begin`, and gives a callback the state it had.

    Args:
        callback: the callback.
        state: as of `state_of`. None: it begins anew.
    """
    if isinstance(callback, _C.SwapEMAWeights):
        callback._ema_weights_in_model = False  # of another phase's optimizer
    if state and "size" in state:
        _begin_csv(callback, state["size"])
    else:
        callback.on_train_begin(None)
    if not state:
        return
    if "own" in state:
        callback.set_state(state["own"])
        return
    for name in _names(callback):
        if name in state:
            setattr(callback, name, state[name])


def _begin_csv(callback, size: int) -> None:
    """Goes on with a log: rows that the interrupted run wrote later are dropped."""
    if os.path.exists(callback.filename) and os.path.getsize(callback.filename) > size:
        os.truncate(callback.filename, size)
    append, callback.append = callback.append, True
    callback.on_train_begin(None)
    callback.append = append
