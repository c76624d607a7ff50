"""Where what is kept in a preset: the names of its files.

config.json               class, constructor arguments, structure
tasks.json                the tasks in order: name, spec, notes, arrays, file
model.weights.h5          arrays that several tasks use, or all
tasks/<name>.weights.h5   arrays that one task uses
metrics.json              results of what was learned, and the log of growth
experiment.yaml           the settings it was learned under
figures/*.png             of the last result
README.md                 the model card
metadata.json             versions, sizes, lineage, size and sha256 of every file
"""

from __future__ import annotations

import glob
import hashlib
import json
import pathlib
import shutil
import urllib.parse
from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np

CONFIG = "config.json"
TASKS = "tasks.json"
WEIGHTS = "model.weights.h5"
METRICS = "metrics.json"
EXPERIMENT = "experiment.yaml"
CARD = "README.md"
METADATA = "metadata.json"
TASK_FOLDER, FIGURE_FOLDER = "tasks", "figures"
SCHEMA = 1

_TOP = {CONFIG, TASKS, WEIGHTS, METRICS, EXPERIMENT, CARD, METADATA}
_TOP |= {TASK_FOLDER, FIGURE_FOLDER}
_LONGEST = 120  # of a file's name; file systems take 255 bytes


def task_file(name: str, taken: Iterable[str] = ()) -> str:
    """Path within a preset of a task's arrays.

    Args:
        name: of the task; any text.
        taken: paths of other tasks. Of two that differ in case alone, which are one to
            some file systems, the later gets a digest of its name.

    >>> task_file("odd/name 0")
    'tasks/odd%2Fname%200.weights.h5'
    """
    quoted = urllib.parse.quote(name, safe="")
    taken = {path.casefold() for path in taken}
    path = f"{TASK_FOLDER}/{quoted}.weights.h5"
    if len(quoted) > _LONGEST or path.casefold() in taken or name in (".", ".."):
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        path = f"{TASK_FOLDER}/{quoted[:_LONGEST]}-{digest}.weights.h5"
    return path


def is_preset(directory: pathlib.Path) -> bool:
    """Whether a directory holds nothing but what a preset may hold."""
    for path in directory.iterdir():
        if path.name not in _TOP or path.is_symlink():
            return False
        folder = path.name in (TASK_FOLDER, FIGURE_FOLDER)
        endings = {TASK_FOLDER: ".weights.h5", FIGURE_FOLDER: ".png"}
        if folder != path.is_dir():
            return False
        if folder and any(
            p.is_dir() or not p.name.endswith(endings[path.name])
            for p in path.iterdir()
        ):
            return False
    return True


_OLD = "old"  # a preset that is being replaced


def replace(directory: pathlib.Path, new: pathlib.Path) -> None:
    """Puts a whole new directory in a place where there may be an old one."""
    if not directory.exists():
        new.rename(directory)
        return
    aside = new.with_name(f"{new.name}.{_OLD}")  # kept until the new one is there
    directory.rename(aside)
    try:
        new.rename(directory)
    except BaseException:
        aside.rename(directory)
        raise
    shutil.rmtree(aside)


def recover(directory: pathlib.Path) -> None:
    """Puts an old preset back that a kill in the middle of `replace` left aside."""
    if not directory.exists() and directory.parent.is_dir():
        for aside in directory.parent.glob(f".{glob.escape(directory.name)}.*.{_OLD}"):
            aside.rename(directory)
            return


def describe(path: pathlib.Path) -> dict:
    """Size and sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def files(directory: pathlib.Path) -> dict[str, dict]:
    """What `metadata.json` lists: every other file, by path within the preset."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): describe(path)
        for path in paths
        if path.name != METADATA
    }


def write_json(path: pathlib.Path, content) -> None:
    """Writes a file of JSON, as all of a preset are."""
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def identity(config: Mapping, arrays: Mapping[str, np.ndarray]) -> str:
    """What a model is, as a digest: the same model has the same, saved or loaded.

    Args:
        config: JSON.
        arrays: by name.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
