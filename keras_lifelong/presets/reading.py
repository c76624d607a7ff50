"""A preset that is read: no file is used before it is known to be what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import stat
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import TypeVar

import numpy as np

from keras_lifelong.presets import hubs
from keras_lifelong.presets import json_text
from keras_lifelong.presets import layout
from keras_lifelong.presets import weights
from keras_lifelong.presets.hub_errors import HubError
from keras_lifelong.presets.source import Source

MOST_FILES = 100_000  # of a preset
LONGEST = 500  # letters of what a file made go wrong
TRIES = 5  # of reading a preset that is replaced each time

T = TypeVar("T")


class PresetError(ValueError):
    """A preset is refused: which, which file of it, and why."""


def read(uri: str | os.PathLike, use: Callable[[Preset], T]) -> T:
    """What `use` makes of a preset: of one and the same, if it is replaced meanwhile.

    Args:
        uri: see `Preset`.
        use: reads it. It is called again if the preset was replaced under it.

    Raises:
        PresetError, OSError: see `Preset`.
    """
    for left in reversed(range(TRIES)):
        if "://" not in os.fspath(uri):
            layout.recover(pathlib.Path(uri))
        source = hubs.source(uri)
        try:
            return use(Preset(uri, source))
        except PresetError:
            if not left or not source.replaced():
                raise
        finally:
            source.close()
    raise AssertionError("the last try returns or raises")


class Preset:
    """Reads a preset, wherever it is, file by file as they are asked for.

    A file is opened once: what is checked is what is used.

    Args:
        uri: a directory, "hf://user/name", "kaggle://…", or the name of a preset that
            the package ships.
        source: where its files come from. None: what `uri` says.

    Raises:
        PresetError: if it is no preset, or a file is not as it was written.
        OSError: if a hub does not give it.
    """

    def __init__(self, uri, source: Source | None = None):
        self.uri = os.fspath(uri)
        self.source = hubs.source(uri) if source is None else source
        with self.reading(layout.METADATA):
            content = self._bytes(layout.METADATA, json_text.LARGEST)
            self.metadata = json_text.parse(content)
            self._check_metadata()

    @contextlib.contextmanager
    def reading(self, file: str) -> Iterator[None]:
        """Names the preset and the file in whatever goes wrong while it is read.

        What a file from a stranger may make go wrong in here is not known: anything
        that is an error is one of the file.
        """
        try:
            yield
        except (PresetError, HubError, ImportError):
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:LONGEST]
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            raise PresetError(
                f"{self.uri!r} is no preset that can be loaded: {file}: {kind}{text}"
            ) from error

    def json(self, file: str, kind: type) -> Any:
        """The content of a file of JSON, which is a `kind`: dict or list."""
        with self.reading(file):
            content = json_text.parse(self.content(file))
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
            return weights.read(self.content(file), wanted)

    def content(self, file: str) -> bytes:
        """The bytes of a file, its size and digest checked."""
        with self.reading(file):
            if file not in self.metadata["files"]:
                raise ValueError(f"{layout.METADATA} does not list it")
            expected = self.metadata["files"][file]
            limit = expected["bytes"]
            if not file.endswith(".h5"):
                limit = min(limit, json_text.LARGEST)
            content = self._bytes(file, limit)
            if len(content) < expected["bytes"]:
                raise ValueError(
                    f"it is cut off: {len(content):,} bytes are left of "
                    f"{expected['bytes']:,}"
                )
            digest = hashlib.sha256(content).hexdigest()
            if digest != expected["sha256"]:
                raise ValueError(
                    "it is not what was written: its sha256 begins with "
                    f"{digest[:12]}, that in {layout.METADATA} with "
                    f"{expected['sha256'][:12]!r}"
                )
            return content

    def edited(self, file: str) -> bytes | None:
        """The bytes of a text that its owner may have changed; None if there is none.

        Raises:
            PresetError: if it is a link, no file, or longer than a text is.
        """
        with self.reading(file):
            try:
                return self._bytes(file, json_text.LARGEST)
            except PresetError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    return None
                raise

    @property
    def stored_bytes(self) -> int:
        """Bytes of the files of weights, as they are and not as they are said to be."""
        found = 0
        for file in self.metadata["files"]:
            if file.endswith(".h5"):
                expected = self.metadata["files"][file]["bytes"]
                with self.reading(file), self._open(file, expected) as opened:
                    found += os.fstat(opened.fileno()).st_size
        return found

    def check_all(self) -> None:
        """Checks every file that the preset lists, but for the card: it may be edited.

        Raises:
            PresetError: for the first that is not as it was written.
        """
        for file in self.metadata["files"]:
            if file != layout.CARD:
                self.content(file)

    @property
    def name(self) -> str:
        """The URI, or of a path its last part: the rest is this machine's affair."""
        return self.uri if "://" in self.uri else pathlib.Path(self.uri).name

    def _bytes(self, file: str, limit: int) -> bytes:
        with self._open(file, limit) as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it is a link, or no file")
            if found.st_size > limit:
                raise ValueError(
                    f"it is too large: {found.st_size:,} bytes, where {limit:,} are "
                    "expected"
                )
            return opened.read(limit)

    def _open(self, file: str, largest: int | None = None):
        try:
            return open(self.source.open(file, largest), "rb")
        except FileNotFoundError as error:
            raise PresetError(
                f"{self.uri!r} is no preset that can be loaded: it has no {file}"
            ) from error

    def _check_metadata(self):
        found = self.metadata
        if not isinstance(found, dict) or found.get("schema") != layout.SCHEMA:
            schema = found.get("schema") if isinstance(found, dict) else None
            raise ValueError(f"`schema` must be {layout.SCHEMA}. Received: {schema!r}")
        if not isinstance(found.get("files"), dict) or len(found["files"]) > MOST_FILES:
            raise ValueError(f"`files` must be a dict of at most {MOST_FILES:,} files")
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
