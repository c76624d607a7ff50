"""Showing that a process lives, while a trial is being run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterator


@contextlib.contextmanager
def beating(beat: Callable[[], object], interval: float) -> Iterator[None]:
    """Calls `beat` again and again, in a thread, as long as the block lasts.

    Args:
        beat: function without arguments; what it raises it has to see to itself.
        interval: seconds between two calls, and before the first.
    """
    done = threading.Event()

    def again():
        while not done.wait(interval):
            beat()

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
