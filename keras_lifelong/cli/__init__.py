"""The program `keras-lifelong`, whose commands are in `COMMANDS`.

It leaves with 0 only when what was asked for was done, with 2 when it was asked for
something that can't be (a wrong flag or configuration), with 1 when it failed on the
way, and with 130 when it was interrupted. Keras is imported when a command needs it,
so that `--help` and most mistakes are answered at once.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from types import SimpleNamespace

from absl import flags

import keras_lifelong
from keras_lifelong.cli import compare
from keras_lifelong.cli import export
from keras_lifelong.cli import listing
from keras_lifelong.cli import publish
from keras_lifelong.cli import report
from keras_lifelong.cli import reproduce
from keras_lifelong.cli import run
from keras_lifelong.cli import tune
from keras_lifelong.cli.command import PROGRAM
from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import UsageError

COMMANDS = {
    "run": run.COMMAND,
    "tune": tune.COMMAND,
    "report": report.COMMAND,
    "compare": compare.COMMAND,
    "reproduce": reproduce.COMMAND,
    "publish": publish.COMMAND,
    "list": listing.COMMAND,
    "export": export.COMMAND,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status.

    Args:
        argv: the arguments after the program's name; None takes those of the process.

    Example:

    ```python
    status = main(["run", "--config", "zoo_configs/den/digits.yaml",
                   "--output_dir", "runs/den_digits", "--set", "training.epochs=2"])
    ```
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    verbose = "--verbose" in argv
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return _dispatch(argv)
    except UsageError as error:
        return _fail(error, 2, verbose)
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: interrupted.{_how_to_resume(argv)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader left (`… | head`); nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ArithmeticError, MemoryError, OSError, ValueError) as error:
        return _fail(error, 1, verbose)


def _dispatch(argv: list[str]) -> int:
    if not argv:
        raise UsageError(f"name a command: {', '.join(COMMANDS)}. See --help")
    name, *rest = argv
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"{PROGRAM} {keras_lifelong.__version__}")
        return 0
    if name not in COMMANDS:
        from keras_lifelong.checks import nearest

        raise UsageError(
            f"unknown command {name!r}. Nearest: {nearest(name, COMMANDS)}. "
            f"Accepted: {', '.join(COMMANDS)}"
        )
    command = COMMANDS[name]
    values = _define(command)
    if {"-h", "--help"} & set(rest):
        print(_command_help(name, values))
        return 0
    command.execute(_parse(name, values, rest))
    return 0


def _define(command: Command) -> flags.FlagValues:
    """The command's flags, in a registry of their own rather than absl's global one."""
    values = flags.FlagValues()
    for name, text in command.required.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    command.optional(values)
    text = "Show the traceback of an error, and TensorFlow's own log."
    flags.DEFINE_boolean("verbose", False, text, flag_values=values)
    return values


def _parse(
    name: str, values: flags.FlagValues, arguments: list[str]
) -> SimpleNamespace:
    values.set_gnu_getopt(True)
    arguments = [_with_underscores(word) for word in arguments]
    try:
        left = values([name, *arguments])[1:]
    except flags.Error as error:
        raise UsageError(f"{name}: {error}") from error
    words = COMMANDS[name].words
    if left and not words:
        raise UsageError(
            f"{name} takes flags only. Received: {shlex.join(left)}"
            + (". Repeat --set for each KEY=VALUE" if "=" in left[0] else "")
        )
    parsed = values.flag_values_dict()
    missing = [f"--{flag}" for flag in COMMANDS[name].required if not parsed[flag]]
    if words and not left:
        missing.insert(0, words.rstrip("."))
    if missing:
        raise UsageError(f"{name} needs {' and '.join(missing)}. See {name} --help")
    return SimpleNamespace(**parsed, words=left)


def _with_underscores(word: str) -> str:
    """A flag by the name that absl has for it: `--dry-run` is `--dry_run`."""
    if not word.startswith("--") or word == "--":
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _fail(error: BaseException, status: int, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    plain = isinstance(error, UsageError | OSError | ValueError)
    kind = "" if plain else f"{type(error).__name__}: "
    text = " ".join(str(error).split())  # Keras' messages have several lines
    print(f"{PROGRAM}: error: {kind}{text}", file=sys.stderr)
    return status


def _how_to_resume(argv: list[str]) -> str:
    if argv[:1] not in (["run"], ["tune"], ["reproduce"]):
        return ""
    again = shlex.join([PROGRAM, *(word for word in argv if word != "--overwrite")])
    return f" What is learned is kept. To go on from there:\n  {again}"


def _usage(name: str) -> str:
    command = COMMANDS[name]
    required = [f"--{flag} {flag.upper()}" for flag in command.required]
    parts = (PROGRAM, name, command.words, *required, command.usage)
    return " ".join(part for part in parts if part)


def _help() -> str:
    lines = [
        "Networks that keep learning new tasks.",
        "",
        "Usage:",
        *(f"  {_usage(name)}" for name in COMMANDS),
        "",
        "Commands:",
        *(f"  {name:<10}{command.summary}" for name, command in COMMANDS.items()),
        "",
        f"{PROGRAM} COMMAND --help tells its flags; {PROGRAM} --version, the version.",
    ]
    return "\n".join(lines)


def _command_help(name: str, values: flags.FlagValues) -> str:
    lines = [COMMANDS[name].summary, "", f"Usage: {_usage(name)}", "", "Flags:"]
    for flag in values:
        text = values[flag].help.partition(";\n")[0]  # absl's own words on repetition
        lines.append(f"  --{flag:<12}{text}")
    return "\n".join(lines)
