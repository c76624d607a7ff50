"""`run`: learns what a configuration says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags

from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import UsageError
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.configured import asked
from keras_lifelong.cli.configured import check_same
from keras_lifelong.cli.configured import run_flags
from keras_lifelong.cli.devices import devices_flag
from keras_lifelong.cli.devices import share_out


def _learning_flags(values: flags.FlagValues) -> None:
    run_flags(values)
    text = "Go on even if the data are no longer those that the run began with."
    flags.DEFINE_boolean("accept_changed_data", False, text, flag_values=values)
    text = "Repeat with each of these seeds, 0,1,2 or 0-4, in folders seed-N."
    flags.DEFINE_string("seeds", None, text, flag_values=values)
    text = "Learn a network for each task as well, over which the gain is."
    flags.DEFINE_boolean("single", False, text, flag_values=values)
    devices_flag(values)


def _run(arguments: SimpleNamespace) -> None:
    if arguments.seeds is not None:
        _run_seeds(arguments)
        return
    config, directory = asked(arguments)
    share_out(arguments.devices, config)
    result = _learn(arguments, config, directory)
    if result is not None:
        print(result)
        print(f"Written to {directory.path}: results.json, preset/, report.html")


def _learn(arguments: SimpleNamespace, config: Any, directory: Any) -> Any:
    """The result of what is learned now; None where it was there already."""
    from keras_lifelong import runs

    with directory.locked():
        if directory.started and not arguments.overwrite:
            check_same(directory, config)
            if directory.has_results:
                _finish(directory, config, arguments.single)
                return None
        with asked_wrongly():
            built = runs.build(config)
        return runs.learn(
            config,
            directory,
            built,
            overwrite=arguments.overwrite,
            accept_changed_data=arguments.accept_changed_data,
            single=arguments.single,
        )


def _run_seeds(arguments: SimpleNamespace) -> None:
    from keras_lifelong import runs

    if arguments.seed is not None:
        raise UsageError(f"give --seed or --seeds. Received: both ({arguments.seeds})")
    out = Path(arguments.output_dir)
    with asked_wrongly():
        seeds = runs.seeds_of(arguments.seeds)
        directories = runs.folders(out, seeds)
    each = []
    for seed, folder in directories.items():
        one = SimpleNamespace(**vars(arguments) | {"seed": seed})
        one.output_dir = folder.path
        config, directory = asked(one)
        if directory.started and not one.overwrite:
            check_same(directory, config)  # all of them, before the first is learned
        each.append((one, config, directory))
    share_out(arguments.devices, each[0][1])
    for one, config, directory in each:
        _learn(one, config, directory)
    results = [directory.result() for directory in directories.values()]
    print(runs.summarise(out, results))
    print(f"Written to {out}: {runs.SUMMARY}, comparison.html, and {runs.SEED}N")


def _finish(directory: Any, config: Any, single: bool) -> None:
    """A run that has its results lacks at most the report, or what was not asked."""
    from keras_lifelong import runs

    result = directory.result()
    if single and not result.single_by_task:
        runs.with_single(result, config, directory).save(
            directory.path / "results.json"
        )
        directory.write_report()
        print(f"{directory.path} was finished; the gain over single-task nets is new")
    elif directory.has_report:
        print(f"{directory.path} is finished; nothing changed. --overwrite starts anew")
    else:
        directory.write_report()
        print(f"{directory.path} was finished but for its report, which is written now")


COMMAND = Command(
    "Learn a stream of tasks; goes on where an interrupted run stopped.",
    _run,
    {
        "config": "YAML file, such as those in zoo_configs/.",
        "output_dir": "Directory of this run; made if absent.",
    },
    _learning_flags,
    "[--set KEY=VALUE ...] [--seed N | --seeds 0,1,2] [--single] [--overwrite] "
    "[--accept_changed_data] [--devices N]",
)
