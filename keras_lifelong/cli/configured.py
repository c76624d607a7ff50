"""What the commands that follow a configuration have in common."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from absl import flags

from keras_lifelong.cli.command import UsageError
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.command import import_keras
from keras_lifelong.cli.command import set_flag


def run_flags(values: flags.FlagValues) -> None:
    """Defines the flags of what learns."""
    set_flag(values, "training.epochs=1")
    text = "Seed of the run; short for --set seed=N."
    flags.DEFINE_integer("seed", None, text, flag_values=values)
    text = "Start anew: first remove what an earlier run wrote there."
    flags.DEFINE_boolean("overwrite", False, text, flag_values=values)


def asked(arguments: SimpleNamespace) -> tuple[Any, Any]:
    """The configuration and the directory that a command was given."""
    from keras_lifelong import config as config_lib
    from keras_lifelong.run_directory import RunDirectory

    import_keras(arguments.verbose)
    overrides = list(arguments.set)
    if arguments.seed is not None:
        overrides.append(f"seed={arguments.seed}")
    with asked_wrongly(FileNotFoundError):
        config = config_lib.load(arguments.config, overrides)
        directory = RunDirectory(arguments.output_dir)
        directory.check_ours()
    return config, directory


def check_same(directory: Any, config: Any) -> None:
    """Raises a UsageError if a directory holds a run of another configuration."""
    with asked_wrongly():
        differing = directory.differing(config)
    if differing:
        state = "a finished" if directory.has_results else "an interrupted"
        raise UsageError(
            f"{directory.path} holds {state} run of another configuration: "
            f"{differing}. Give another --output_dir, or --overwrite"
        )
