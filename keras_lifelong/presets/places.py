"""Two processes at one place: directories that are held, or change places in a step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pathlib
import threading
from collections.abc import Iterator

_EXCHANGE = 2  # RENAME_EXCHANGE of Linux
_HERE = -100  # AT_FDCWD: paths as they are
_held = threading.local()  # folders that this thread holds


def exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Lets two directories change places in one step; False if that is unknown here."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # of the file system
        return False
    raise OSError(number, os.strerror(number), str(one))


def is_mine(folder: pathlib.Path) -> bool:
    """Whether this thread is in a block of `held(folder)`."""
    return str(folder) in _folders()


def _folders() -> list[str]:
    if not hasattr(_held, "folders"):
        _held.folders = []
    return _held.folders


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Holds a folder for a moment, in which presets in it change places."""
    if str(folder) in _folders():
        yield
        return
    descriptor = lock(folder)
    _folders().append(str(folder))
    try:
        yield
    finally:
        _folders().remove(str(folder))
        if descriptor is not None:
            os.close(descriptor)


def lock(folder: pathlib.Path, wait: bool = True) -> int | None:
    """Locks a directory; the system lets go when it is closed or the process ends.

    Returns:
        A file descriptor, or None where the system has no such locks: there only
        writers that do not meet are safe.

    Raises:
        BlockingIOError: if another holds it and `wait` is False.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
