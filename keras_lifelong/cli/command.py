"""What a command of the program is, and what all of them need."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from absl import flags

PROGRAM = "keras-lifelong"


class UsageError(Exception):
    """What was asked for can't be done: exit status 2."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A sub-command.

    Args:
        summary: what it does, in a sentence.
        execute: does it, given the values of its flags.
        required: flags that must be given: name -> help.
        optional: defines the other flags.
        usage: the other flags, for the help.
        words: what stands beside the flags, once or more; none if empty.
    """

    summary: str
    execute: Callable[[SimpleNamespace], None]
    required: dict[str, str] = dataclasses.field(default_factory=dict)
    optional: Callable[[flags.FlagValues], None] = lambda values: None
    usage: str = ""
    words: str = ""


def import_keras(verbose: bool) -> None:
    """Imports Keras, without the lines TensorFlow's C++ writes to stderr meanwhile.

    No setting hides them all, and they would bury the one line of an error.
    """
    if verbose or "keras" in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            importlib.import_module("keras")
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def asked_wrongly(*kinds: type[Exception]) -> Iterator[None]:
    """Errors in here are the asker's: a wrong file or argument, not a failed run."""
    wrong: tuple[type[Exception], ...] = (ValueError, *kinds)
    try:
        yield
    except wrong as error:
        raise UsageError(str(error)) from error


def check_directory(flag: str, path: str | Path) -> None:
    """UsageError if a directory is to be written where a file is, or under one."""
    for place in (Path(path), *Path(path).parents):
        if place.exists():
            if not place.is_dir():
                raise UsageError(
                    f"--{flag} must be a directory. Received: {path}, but "
                    f"{place} is a file"
                )
            return


def set_flag(values: flags.FlagValues, example: str) -> None:
    """Defines `--set`, with an example of it in its help."""
    text = f"KEY=VALUE over the configuration, such as {example}; repeatable."
    flags.DEFINE_multi_string("set", [], text, flag_values=values)


def print_table(title: str, rows: dict[str, str]) -> None:
    """Prints names and what they are, under a title."""
    print(f"{title}:")
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        print(f"  {name:<{width}}  {text}".rstrip())
    if not rows:
        print("  none found")
    print()
