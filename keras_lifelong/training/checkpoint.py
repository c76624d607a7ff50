"""Checkpoints at phase boundaries: a run killed at any moment goes on from the last.

A method's `learn` is a generator, which cannot be stored. It is resumed by restoring
the model as it was when the task began and running the generator again: for every
phase that had finished, its recorded result is handed back and the weights it left
are loaded, so that all edits of structure in between happen as they did before.

    checkpoint/
      state.json          which files hold, and what has been measured
      model-<task>.npz    the model when task <task> began
      phase-<task>-<i>.npz  the active network's weights after its phase i

Every file is written beside its place and moved there; `state.json` is written last,
and files of older checkpoints, which it does not name, are removed. Nothing else in
the directory is touched.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import pathlib
import re
import zipfile
from typing import Any

import numpy as np
from keras import ops

from keras_lifelong.files import write_atomic
from keras_lifelong.training.phase import PhaseResult
from keras_lifelong.training.protocol import Trainable

STATE = "state.json"
# what a checkpoint may remove: its arrays, and what a killed run had begun to write
_OURS = re.compile(
    r"(?:model-\d+|phase-\d+-\d+)\.npz"
    r"|\.(?:state\.json|model-\d+\.npz|phase-\d+-\d+\.npz)\.\d+\.tmp"
)
_UNREADABLE = (
    *(AttributeError, EOFError, LookupError, OSError, TypeError, ValueError),
    zipfile.BadZipFile,
)


def _save_arrays(path, arrays: dict[str, np.ndarray]) -> str:
    """Writes arrays; returns the digest of the file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # takes them for its options
    write_atomic(path, buffer.getvalue())
    return _digest(buffer.getvalue())


def _load_arrays(path, digest: str) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    if _digest(content) != digest:
        raise ValueError("it is not the file that this run wrote")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _digest(content) -> str:
    if isinstance(content, dict):
        content = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _read_state(path) -> dict[str, Any]:
    """What `_commit` wrote, as it wrote it."""
    state = json.loads(path.read_text(encoding="utf-8"))
    if state.pop("digest") != _digest(state):
        raise ValueError("it was edited, or is another run's")
    return state


def _differing(there, here, path="") -> list[str]:
    """Paths of the values in which two JSON dicts differ, with short values."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        values = f"{there!r} there, {here!r} here"
        shown = f" ({values})" if len(values) < 80 else ""
        return [] if there == here else [f"{path}{shown}"]
    found = []
    for key in {**there, **here}:
        at = f"{path}.{key}" if path else key
        found += _differing(there.get(key), here.get(key), at)
    return found


class NoRecorder:
    """Keeps nothing: what `fit` uses when it is given no checkpoint."""

    def replay(self, index, phase):
        return None

    def record(self, index, phase, result, peak):
        pass


class Checkpoint:
    """The checkpoint of one `fit_stream`.

    Args:
        directory: created if absent.
        model: the model.
        run: what makes this run what it is: a JSON dict.
        callbacks: the `Callbacks` of the run, whose state is part of it.
        accept_changed_data: whether it may go on with other data than it began with.

    Raises:
        ValueError: if `directory` holds a checkpoint that cannot be read, with the
            file and the reason, or that of another run, with what differs.
    """

    def __init__(
        self,
        directory,
        model: Trainable,
        run: dict,
        callbacks,
        accept_changed_data: bool = False,
    ):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.model = model
        self.callbacks = callbacks
        self.run = json.loads(json.dumps(run))
        self.state: dict[str, Any] = {
            "task": 0,
            "measured": {},
            "callbacks": {},
            "model": None,
            "phases": [],
            "data": [],
        }
        self._accept_changed_data = accept_changed_data
        self._file = STATE
        self.resumed = (self.directory / STATE).exists()
        if self.resumed:
            try:
                self.state = _read_state(self.directory / STATE)
                there, kept = self.state["run"], self.state["callbacks"]
                state, arrays = self._read()
            except _UNREADABLE as error:
                raise ValueError(
                    f"The checkpoint in {str(self.directory)!r} cannot be read: "
                    f"{self._file} ({type(error).__name__}: {str(error)[:300]}). "
                    "Remove it to start anew."
                ) from error
            differing = _differing(there, self.run)
            if differing:
                raise ValueError(
                    f"The checkpoint in {str(self.directory)!r} is of another run, "
                    f"which differs in {', '.join(differing)}. Give another directory, "
                    "or remove it to start anew."
                )
            self.model.set_state(state, arrays)
            self.callbacks.set_state(kept)
        self._data: list[str] = list(self.state["data"])

    @property
    def tasks_done(self) -> int:
        """How many tasks were learned and evaluated."""
        return self.state["task"]

    @property
    def measured(self) -> dict:
        """What `begin_task` was last given: the results so far."""
        return copy.deepcopy(self.state["measured"])

    def _read(self) -> tuple[dict, dict]:
        """Reads every file, so that a broken one is found before time is spent."""
        entries = [self.state["model"], *self.state["phases"]]
        arrays = []
        for entry in entries:
            self._file = entry["file"]
            path = self.directory / self._file
            arrays.append(_load_arrays(path, entry["sha256"]))
        self._phases = [
            {**entry, "arrays": a}
            for entry, a in zip(entries[1:], arrays[1:], strict=True)
        ]
        return entries[0]["config"], arrays[0]

    def check_data(self, index: int, task) -> None:
        """Refuses to go on with other data than those that the run began with.

        Args:
            index: of the task in the stream.
            task: a `Task`.

        Raises:
            ValueError: naming the task.
        """
        data, found = self._data, task.digest()
        if index < len(data) and data[index] != found and not self._accept_changed_data:
            raise ValueError(
                f"The data of task {task.name!r} are not those that the run in "
                f"{str(self.directory)!r} began with: its results would be of both. "
                "Give another directory, remove it to start anew, or pass "
                "`accept_changed_data=True` (--accept-changed-data)."
            )
        data[index:] = [found, *data[index + 1 :]]

    def begin_task(self, index: int, measured: dict):
        """Marks that `index` tasks are learned and stores the model as it is now."""
        if self.resumed and index == self.state["task"] and self.state["model"]:
            return  # restored a moment ago
        config, arrays = self.model.get_state()
        file = f"model-{index}.npz"
        digest = _save_arrays(self.directory / file, arrays)
        self.state = {
            "run": self.run,
            "task": index,
            "measured": copy.deepcopy(measured),
            "callbacks": self.callbacks.get_state(),
            "model": {"file": file, "sha256": digest, "config": config},
            "phases": [],
            "data": self._data[: index + 1],
        }
        self._phases = []
        self._commit()

    def replay(self, index: int, phase) -> PhaseResult | None:
        """The recorded result of phase `index`, its weights restored, or None."""
        if not self.resumed or index >= len(self._phases):
            return None
        entry = self._phases[index]
        if entry["result"]["name"] != phase.name:
            raise ValueError(
                f"The checkpoint in {str(self.directory)!r} was written by another "
                f"configuration: phase {index} is {entry['result']['name']!r} there "
                f"and {phase.name!r} here."
            )
        variables = self._variables(phase)
        for i, variable in enumerate(variables):
            variable.assign(entry["arrays"][f"{i}"])
        self.model.phase_began(phase)
        self.model.store_active()
        self.model.phase_ended()
        self.callbacks.set_state(entry["callbacks"])
        return PhaseResult(**entry["result"])

    def peak(self, index: int):
        """The state of the peak recorded after phase `index`."""
        return self._phases[index]["peak"]

    def _variables(self, phase) -> list:
        found = [*self.model.active_variables(), *phase.variables]
        return list({id(v): v for v in [*found, *(phase.state or [])]}.values())

    def record(self, index: int, phase, result: PhaseResult, peak):
        """Stores a finished phase and the weights it left."""
        file = f"phase-{self.state['task']}-{index}.npz"
        values = [ops.convert_to_numpy(v) for v in self._variables(phase)]
        arrays = {f"{i}": v for i, v in enumerate(values)}
        digest = _save_arrays(self.directory / file, arrays)
        entry = {
            "file": file,
            "sha256": digest,
            "result": result.to_config(),
            "peak": peak,
            "callbacks": self.callbacks.get_state(),
        }
        self.state["phases"].append(entry)
        self._commit()

    def finish(self, tasks: int, measured: dict):
        """Stores the model after the last task."""
        self.resumed = False
        self.begin_task(tasks, measured)

    def _commit(self):
        text = json.dumps({**self.state, "digest": _digest(self.state)}).encode()
        write_atomic(self.directory / STATE, text)
        named = {STATE, self.state["model"]["file"]}
        named |= {entry["file"] for entry in self.state["phases"]}
        for path in self.directory.iterdir():
            if path.name not in named and _OURS.fullmatch(path.name):
                path.unlink()
