"""A preset that is read: no file is used before it is known to be what was written."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import stat
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_lifelong.presets import hubs
from keras_lifelong.presets import layout
from keras_lifelong.presets import weights

LARGEST_TEXT = 64 * 2**20  # bytes of a file of text


class PresetError(ValueError):
    """A preset is refused: which, which file of it, and why."""


class Preset:
    """Reads a preset, wherever it is, file by file as they are asked for.

    Args:
        uri: a directory, "hf://user/name", "kaggle://…", or the name of a preset that
            the package ships.

    Raises:
        PresetError: if it is no preset, or a file is not as it was written.
        OSError: if a hub does not give it.
    """

    def __init__(self, uri):
        self.uri = os.fspath(uri)
        self.source = hubs.source(uri)
        self._paths: dict[str, pathlib.Path] = {}
        with self.reading(layout.METADATA):
            path = self._fetched(layout.METADATA)
            self.metadata = _json(_plain_file(path, LARGEST_TEXT))
            self._check_metadata()

    @contextlib.contextmanager
    def reading(self, file: str) -> Iterator[None]:
        """Names the preset and the file in whatever goes wrong while it is read.

        What a file from a stranger may make go wrong in here is not known: anything
        that is an error is one of the file.
        """
        try:
            yield
        except (PresetError, hubs.HubError, ImportError):
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:1000]
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            raise PresetError(
                f"{self.uri!r} is no preset that can be loaded: {file}: {kind}{text}"
            ) from error

    def json(self, file: str, kind: type) -> Any:
        """The content of a file of JSON, which is a `kind`: dict or list."""
        with self.reading(file):
            content = _json(self.path(file))
            if not isinstance(content, kind):
                raise ValueError(
                    f"it must hold a {kind.__name__}. "
                    f"Received: a {type(content).__name__}"
                )
            return content

    def arrays(
        self, file: str, wanted: Callable[[str], bool] | None = None
    ) -> dict[str, np.ndarray]:
        """Arrays of a file of weights: those whose names are `wanted`, or all."""
        with self.reading(file):
            return weights.read(self.path(file), wanted)

    def path(self, file: str) -> pathlib.Path:
        """A file's place on this machine, its size and digest checked."""
        if file not in self._paths:
            with self.reading(file):
                if file not in self.metadata["files"]:
                    raise ValueError(f"{layout.METADATA} does not list it")
                expected = self.metadata["files"][file]
                path = self._fetched(file)
                if "/" in file and path.parent.is_symlink():
                    raise ValueError("its folder is a link")
                limit = expected["bytes"]
                if not file.endswith(".h5"):
                    limit = min(limit, LARGEST_TEXT)
                _plain_file(path, limit)
                if path.stat().st_size < expected["bytes"]:
                    raise ValueError(
                        f"it is cut off: {path.stat().st_size:,} bytes are left of "
                        f"{expected['bytes']:,}"
                    )
                digest = layout.describe(path)["sha256"]
                if digest != expected["sha256"]:
                    raise ValueError(
                        "it is not what was written: its sha256 begins with "
                        f"{digest[:12]}, that in {layout.METADATA} with "
                        f"{expected['sha256'][:12]}"
                    )
                self._paths[file] = path
        return self._paths[file]

    def check_all(self) -> None:
        """Checks every file that the preset lists, but for the card: it may be edited.

        Raises:
            PresetError: for the first that is not as it was written.
        """
        for file in self.metadata["files"]:
            if file != layout.CARD:
                self.path(file)

    @property
    def name(self) -> str:
        """The URI, or of a path its last part: the rest is this machine's affair."""
        return self.uri if "://" in self.uri else pathlib.Path(self.uri).name

    @property
    def stored_bytes(self) -> int:
        """Bytes that the files of weights are said to have."""
        listed = self.metadata["files"].items()
        return sum(entry["bytes"] for file, entry in listed if file.endswith(".h5"))

    def _fetched(self, file: str) -> pathlib.Path:
        try:
            return self.source.file(file)
        except FileNotFoundError as error:
            raise PresetError(
                f"{self.uri!r} is no preset that can be loaded: it has no {file}"
            ) from error

    def _check_metadata(self):
        found = self.metadata
        if not isinstance(found, dict) or found.get("schema") != layout.SCHEMA:
            schema = found.get("schema") if isinstance(found, dict) else None
            raise ValueError(f"`schema` must be {layout.SCHEMA}. Received: {schema!r}")
        if not isinstance(found.get("files"), dict):
            raise ValueError("`files` must be a dict")
        for file, entry in found["files"].items():
            if not is_safe(file):
                raise ValueError(f"the path {file!r} leaves the preset")
            fine = isinstance(entry, dict) and (
                type(entry.get("bytes")) is int
                and entry["bytes"] >= 0
                and isinstance(entry.get("sha256"), str)
            )
            if not fine:
                raise ValueError(f"`files` must give bytes and sha256 of {file!r}")


def is_safe(path: Any) -> bool:
    """Whether a path stays in its directory, on any system.

    >>> is_safe("tasks/a.weights.h5"), is_safe("../a"), is_safe("C:a")
    (True, False, False)
    """
    if not isinstance(path, str) or not path or len(path) > 500:
        return False
    if re.search(r'[\\:*?"<>|\x00-\x1f]', path):
        return False
    return all(part not in ("", ".", "..") for part in path.split("/"))


def _plain_file(path: pathlib.Path, limit: int) -> pathlib.Path:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is a link, or no file")
    if found.st_size > limit:
        raise ValueError(
            f"it is too large: {found.st_size:,} bytes, where {limit:,} are expected"
        )
    return path


def _json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
