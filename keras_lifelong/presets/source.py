"""Where the files of a preset come from: what all places have in common, directories.

What is opened stays what it is: a folder is opened once, its files below it, and a link
is never followed. Hubs are in `hubs.py`.
"""

from __future__ import annotations

import errno
import os
import pathlib


class Source:
    """The files of one preset, which `uri` names; see `source`."""

    def __init__(self, uri: str, place, version: str | None = None):
        self.uri, self._place, self.version = uri, place, version
        self._pinned = None  # what all files are of, once one has been fetched

    def file(self, name: str, largest: int | None = None) -> pathlib.Path:
        """A regular file here that holds one file of the preset.

        It is fetched only now: who reads two tasks fetches those. All files of one
        source are of one version, whatever is pushed in between.

        Args:
            name: path within the preset, with `/`, as `"tasks/one.weights.h5"`.
            largest: bytes above which Hugging Face is not asked for it.

        Raises:
            ValueError: if `name` leads out of the preset.
            FileNotFoundError: if the preset has no such file.
            HubError: if a hub does not give it, or it is too large; a later call may.
            ImportError: if the hub's client is not installed.
        """
        raise NotImplementedError  # there is one class for each place

    def open(self, name: str, largest: int | None = None) -> int:
        """A descriptor of one file of the preset, for reading; see `file`.

        What is open stays what it is, whatever takes the file's name meanwhile.

        Raises:
            ValueError: if it is a link or leads out of the preset.
            OSError: as `file`.
        """
        return _opened(self.file(name, largest))

    def replaced(self) -> bool:
        """Whether another preset has taken this one's place since it was opened."""
        return False

    def close(self) -> None:
        """Lets go of what is open."""

    def upload(
        self,
        directory: pathlib.Path,
        message: str,
        private: bool,
        license: str | None,
    ) -> str:
        """Publishes a preset here, as `upload` does; returns its URI."""
        raise NotImplementedError  # a directory is no place to publish at


class Directory(Source):
    """A preset in a directory, which stays the one that was opened first."""

    _folder: int | None = None

    def open(self, name, largest=None):
        if self._folder is None:
            self._folder = os.open(self._place, _FOLDER)
        *parents, last = inside(name).split("/")
        try:
            if not parents:
                return _opened(last, self._folder)
            inner = self._folder
            for part in parents:
                outer, inner = inner, _inner(part, inner)
                if outer != self._folder:
                    os.close(outer)
            try:
                return _opened(last, inner)
            finally:
                os.close(inner)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.uri!r} has no file {name!r} ({self._place / name})."
            ) from error

    def replaced(self):
        if self._folder is None:
            return False
        mine = os.fstat(self._folder)
        try:
            there = os.stat(self._place)
        except FileNotFoundError:
            return True
        return (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino)

    def close(self):
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def file(self, name, largest=None):
        path = self._place / inside(name)
        if not path.is_file():
            raise FileNotFoundError(f"{self.uri!r} has no file {name!r} ({path}).")
        return path


def inside(name: str) -> str:
    """Checks that the name of a file stays within the preset, on any system."""
    drive = pathlib.PureWindowsPath(name).drive
    if {"", ".", ".."} & set(name.split("/")) or "\\" in name or drive:
        raise ValueError(
            f"`name` must be the path of a file within the preset. Received: {name!r}."
        )
    return name


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe would keep who opens it waiting for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _opened(path, folder: int | None = None) -> int:
    try:
        return os.open(path, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("it is a link, or no file") from error
        raise


def _inner(name: str, folder: int) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ValueError("its folder is a link") from error
        raise
