"""Processes of their own, forked from one that has imported Keras once.

To import TensorFlow and Keras takes longer than most of what a test does in a process.
The one that is forked has imported them and used nothing: not this package, no device.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["keras", "keras_tuner", "optuna", "sklearn.datasets"])


class Process:
    """A process that has just begun, with what it is to do.

    Args:
        work: Python code, or a list of words after `python -m keras_lifelong`.
        cwd: the folder in which it runs. None: ours.
        env: what its environment holds beside ours.
        path: folders whose modules it finds before any other.
        compiled: whether XLA compiles dense networks, as it does for users. Where it
            does, nothing of this package is imported before the work begins.
    """

    def __init__(self, work, cwd=None, env=None, path=(), compiled=False):
        handle, said = tempfile.mkstemp(prefix="said-")
        os.close(handle)
        self._said = Path(said)
        environment = {**os.environ, **(env or {})}
        path = [str(folder) for folder in path]
        arguments = (work, str(cwd or Path.cwd()), environment, path, compiled, said)
        self._process = _forked.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, -9 if it was killed.

        Raises:
            TimeoutError: if it runs for longer than so many seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"The process still runs after {timeout} seconds.")
        return self.returncode

    def kill(self) -> None:
        """As `kill -9` does, whatever it is doing."""
        self._process.kill()
        self.wait()

    @property
    def said(self) -> str:
        """What it has printed, to standard output and to standard error."""
        return self._said.read_text(errors="replace")

    def __del__(self):
        self._said.unlink(missing_ok=True)


def run(work, **kwargs) -> Process:
    """A `Process` that has ended."""
    process = Process(work, **kwargs)
    process.wait()
    return process


def finish(work, **kwargs) -> str:
    """What a process said that ended well."""
    process = run(work, **kwargs)
    assert process.returncode == 0, process.said[-4000:]
    return process.said


def _run(work, cwd, environment, path, compiled, said):
    """In the process itself."""
    output = os.open(said, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = path
    if not compiled:
        from keras_lifelong import backend

        backend.prefers_xla = lambda has_convolution: False
    if isinstance(work, str):
        exec(compile(work, "<work>", "exec"), {"__name__": "__main__"})
        return
    from keras_lifelong import cli

    sys.argv = ["keras_lifelong", *work]
    sys.exit(cli.main(work))
