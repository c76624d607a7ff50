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

A preset is written into a directory beside its place, `.<name>.<eight letters>`, which
its writer holds a lock on as long as it lives. Then it changes places with the old one
in a single step, so that there is always one whole preset for a reader. (Where the
system cannot do that, in two steps, of which the first can be told and undone.) What a
writer that was killed leaves is not locked, and the next save removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np

from keras_lifelong.presets import json_text
from keras_lifelong.presets import places

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


def task_file(name: str, taken: Collection[str] = ()) -> str:
    """Path within a preset of a task's arrays.

    Args:
        name: of the task; any text.
        taken: paths of other tasks, casefolded. Of two that differ in case alone, which
            are one to some file systems, the later gets a digest of its name.

    >>> task_file("odd/name 0")
    'tasks/odd%2Fname%200.weights.h5'
    """
    quoted = urllib.parse.quote(name, safe="")
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


_OLD = ".old"  # of what is moved aside where two directories cannot change places
_MADE = re.compile(r"[a-z0-9_]{8}(?:\.old)?")  # as `tempfile` names, after our prefix


@contextlib.contextmanager
def replacing(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new directory, which takes the place of `directory` at the end of the block.

    If the block fails, `directory` stays as it is and nothing is left.

    Args:
        directory: a preset, or nothing.

    Raises:
        ValueError: if there is something else there by then.
        OSError: if the system refuses a step; the earlier preset is then in its place.
    """
    parent = directory.parent
    with places.held(parent):
        _clean(directory)
        made = tempfile.mkdtemp(prefix=f".{directory.name}.", dir=parent)
        new = pathlib.Path(made)
        lock = places.lock(new)
    try:
        yield new
        new.chmod(0o755)
        with places.held(parent):
            check_place(directory)
            _swap(directory, new)
    finally:
        try:
            _remove(new)  # what was there before, or what was not finished
        finally:
            if lock is not None:
                os.close(lock)


def check_place(directory: pathlib.Path) -> None:
    """Raises a ValueError if a preset would replace what is none."""
    if os.path.lexists(directory) and not (directory.is_dir() and is_preset(directory)):
        raise ValueError(
            "`directory` must be new, empty or an earlier preset. "
            f"Received: {str(directory)!r}."
        )


def recover(directory: pathlib.Path) -> None:
    """Undoes the first of two steps if a kill came before the second.

    It changes nothing else, and nothing while a writer is at work.
    """
    parent = directory.parent
    if os.path.lexists(directory) or not parent.is_dir():
        return
    if places.is_mine(parent):  # asked in the middle of this thread's own steps
        return
    with places.held(parent):
        for aside in _leftovers(directory):
            new = aside.with_name(aside.name.removesuffix(_OLD))
            undone = new != aside and new.is_dir()  # else the new one took its place
            if undone and not os.path.lexists(directory):
                os.rename(aside, directory)


def _swap(directory: pathlib.Path, new: pathlib.Path) -> None:
    if not os.path.lexists(directory):
        os.rename(new, directory)
        return
    if places.exchange(directory, new):
        return
    aside = new.with_name(new.name + _OLD)
    os.rename(directory, aside)
    try:
        os.rename(new, directory)
    except BaseException:
        os.rename(aside, directory)
        raise
    _remove(aside)


def _clean(directory: pathlib.Path) -> None:
    """Removes what writers that are dead left of a preset; its parent is locked."""
    for path in _leftovers(directory):
        try:
            lock = places.lock(path, wait=False)
        except BlockingIOError:
            continue  # its writer lives
        except FileNotFoundError:
            continue  # its writer has just removed it
        half = path.with_name(path.name + _OLD)
        if half.is_dir() and not os.path.lexists(directory):
            os.rename(half, directory)
        _remove(path)
        if lock is not None:
            os.close(lock)


def _leftovers(directory: pathlib.Path) -> list[pathlib.Path]:
    """Directories beside a preset that only a writer of it can have made."""
    start = f".{directory.name}."
    try:
        names = sorted(os.listdir(directory.parent))
    except FileNotFoundError:
        return []
    paths = [
        directory.parent / name
        for name in names
        if name.startswith(start) and _MADE.fullmatch(name[len(start) :])
    ]
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            if not path.is_symlink() and path.is_dir() and is_preset(path):
                found.append(path)
    return found


def _remove(path: pathlib.Path) -> None:
    # Another writer may be at it as well; what a kill leaves, the next save removes.
    shutil.rmtree(path, ignore_errors=True)


def describe(path: pathlib.Path) -> dict:
    """Size and sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def description(content: bytes) -> dict:
    """Size and sha256 of what a file holds, as `describe` gives them."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def files(directory: pathlib.Path) -> dict[str, dict]:
    """What `metadata.json` lists: every other file, by path within the preset."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): describe(path)
        for path in paths
        if path.name != METADATA
    }


def write_json(path: pathlib.Path, content) -> None:
    """Writes a file of JSON, as all of a preset are.

    Raises:
        ValueError: naming the file, if it would be more than a preset is read of.
    """
    try:
        path.write_bytes(json_text.text(content))
    except ValueError as error:
        raise ValueError(
            f"{path.name} of a preset would not be read again: {error}. The results of "
            "runs are the longest part: `model.results.clear()` leaves them out."
        ) from error


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
