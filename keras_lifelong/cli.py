"""The program `keras-lifelong`, whose commands are in `COMMANDS`.

It leaves with 0 only when what was asked for was done, with 2 when it was asked for
something that can't be (a wrong flag or configuration), with 1 when it failed on the
way, and with 130 when it was interrupted. Keras is imported when a command needs it,
so that `--help` and most mistakes are answered at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags

import keras_lifelong

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


def _import_keras(verbose: bool) -> None:
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
def _asked_wrongly(*kinds: type[Exception]) -> Iterator[None]:
    """Errors in here are the asker's: a wrong file or argument, not a failed run."""
    wrong: tuple[type[Exception], ...] = (ValueError, *kinds)
    try:
        yield
    except wrong as error:
        raise UsageError(str(error)) from error


# === run ===


def _run_flags(values: flags.FlagValues) -> None:
    _set_flag(values, "training.epochs=1")
    text = "Seed of the run; short for --set seed=N."
    flags.DEFINE_integer("seed", None, text, flag_values=values)
    text = "Start anew: first remove what an earlier run wrote there."
    flags.DEFINE_boolean("overwrite", False, text, flag_values=values)


def _learning_flags(values: flags.FlagValues) -> None:
    _run_flags(values)
    text = "Go on even if the data are no longer those that the run began with."
    flags.DEFINE_boolean("accept_changed_data", False, text, flag_values=values)
    text = "Repeat with each of these seeds, 0,1,2 or 0-4, in folders seed-N."
    flags.DEFINE_string("seeds", None, text, flag_values=values)
    text = "Learn a network for each task as well, over which the gain is."
    flags.DEFINE_boolean("single", False, text, flag_values=values)


def _run(arguments: SimpleNamespace) -> None:
    if arguments.seeds is not None:
        _run_seeds(arguments)
        return
    config, directory = _asked(arguments)
    result = _learn(arguments, config, directory)
    if result is not None:
        print(result)
        print(f"Written to {directory.path}: results.json, preset/, report.html")


def _learn(arguments: SimpleNamespace, config: Any, directory: Any) -> Any:
    """The result of what is learned now; None where it was there already."""
    from keras_lifelong import runs

    with directory.locked():
        if directory.started and not arguments.overwrite:
            _check_same(directory, config)
            if directory.has_results:
                _finish(directory, config, arguments.single)
                return None
        with _asked_wrongly():
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
    with _asked_wrongly():
        seeds = runs.seeds_of(arguments.seeds)
        directories = runs.folders(out, seeds)
    for seed, directory in directories.items():
        one = SimpleNamespace(**vars(arguments) | {"seed": seed})
        one.output_dir = directory.path
        _learn(one, *_asked(one))
    results = [directory.result() for directory in directories.values()]
    print(runs.summarise(out, results))
    print(f"Written to {out}: {runs.SUMMARY}, comparison.html, and {runs.SEED}N")


def _asked(arguments: SimpleNamespace) -> tuple[Any, Any]:
    """The configuration and the directory that a command was given."""
    from keras_lifelong import config as config_lib
    from keras_lifelong.run_directory import RunDirectory

    _import_keras(arguments.verbose)
    overrides = list(arguments.set)
    if arguments.seed is not None:
        overrides.append(f"seed={arguments.seed}")
    with _asked_wrongly(FileNotFoundError):
        config = config_lib.load(arguments.config, overrides)
        directory = RunDirectory(arguments.output_dir)
        directory.check_ours()
    return config, directory


def _check_same(directory, config) -> None:
    with _asked_wrongly():
        differences = directory.differences(config)
    if differences:
        state = "a finished" if directory.has_results else "an interrupted"
        keys = [f"{k} is {a!r} there, {b!r} here" for k, (a, b) in differences.items()]
        raise UsageError(
            f"{directory.path} holds {state} run of another configuration: "
            f"{'; '.join(keys)}. Give another --output_dir, or --overwrite"
        )


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


# === tune ===


def _tune(arguments: SimpleNamespace) -> None:
    from keras_lifelong import tune

    config, directory = _asked(arguments)
    with directory.locked():
        if directory.started and not arguments.overwrite:
            _check_same(directory, config)
        with _asked_wrongly(ImportError):  # of what a sampler needs
            tuner = tune.make_tuner(config, directory.path, arguments.overwrite)
        directory.begin(config)
        tuner.search(verbose=1 if arguments.verbose else 0)
        names = tune.draw(tuner, directory.path)
        if importlib.util.find_spec("tensorboard") is not None:
            tuner.write_hparams(directory.path / "tensorboard")
    print(tune.table(tuner))
    print(
        f"Written to {directory.path}: {tune.PROJECT}/trials.csv, "
        f"{', '.join(f'figures/{name}' for name in names)}; models of the front in "
        f"{tune.PROJECT}/trial_*/preset/"
    )


# === report ===


def _report(arguments: SimpleNamespace) -> None:
    from keras_lifelong.run_directory import RunDirectory

    with _asked_wrongly():
        directory = RunDirectory(arguments.run)
    _import_keras(arguments.verbose)  # which the figures of methods bring
    directory.write_report()
    print(f"Written to {directory.path}: report.html, figures/")


# === compare ===


def _compare_flags(values: flags.FlagValues) -> None:
    text = "Directory for the table as a page, Markdown and CSV, and figures."
    flags.DEFINE_string("out", None, text, flag_values=values)
    text = "Metric to compare by; by default the main one, if all have it."
    flags.DEFINE_string("metric", None, text, flag_values=values)
    text = "Name of the group that others are compared with; the first by default."
    flags.DEFINE_string("against", None, text, flag_values=values)
    text = "What is printed: text, markdown or csv."
    accepted = ["text", "markdown", "csv"]
    flags.DEFINE_enum("format", "text", accepted, text, flag_values=values)


def _compare(arguments: SimpleNamespace) -> None:
    from keras_lifelong import runs
    from keras_lifelong.metrics import compare

    with _asked_wrongly(FileNotFoundError):
        results = runs.results_in(arguments.words)
        comparison = compare(results, arguments.metric, arguments.against)
    shown = {"markdown": comparison.to_markdown, "csv": comparison.to_csv}
    print(shown.get(arguments.format, comparison.__str__)())
    if arguments.out is not None:
        from keras_lifelong import report

        path = report.write_comparison(comparison, arguments.out)
        print(f"Written: {path}, and beside it .md, .csv and figures/")


# === reproduce ===


def _reproduce_flags(values: flags.FlagValues) -> None:
    text = "Share of the published schedule, above 0 and at most 1."
    flags.DEFINE_float("fast", 1.0, text, flag_values=values)
    text = "Names of rows to run, separated by commas; all by default."
    flags.DEFINE_list("rows", None, text, flag_values=values)
    text = "Seeds to run each row with, such as 0,1,2 or 0-4."
    flags.DEFINE_string("seeds", "0", text, flag_values=values)
    text = "Directory of the runs and the table; runs/TABLE by default."
    flags.DEFINE_string("out", None, text, flag_values=values)


def _reproduce(arguments: SimpleNamespace) -> None:
    from keras_lifelong import checks
    from keras_lifelong import papers
    from keras_lifelong import reproduce
    from keras_lifelong import runs

    if len(arguments.words) > 1:
        raise UsageError(f"reproduce takes one TABLE. Received: {arguments.words}")
    _import_keras(arguments.verbose)
    with _asked_wrongly(FileNotFoundError):
        path, name = papers.find(arguments.words[0])
        table = papers.load(path, name)
        fast = checks.check("--fast", arguments.fast, papers.Share)
        rows = arguments.rows or list(table.rows)
        for row in rows:
            if row not in table.rows:
                near = checks.nearest(row, table.rows)
                known = ", ".join(table.rows)
                raise ValueError(
                    f"There is no row {row!r}. Nearest: {near}. All: {known}"
                )
        seeds = runs.seeds_of(arguments.seeds)
        out = Path(arguments.out or Path("runs", name))
        command = [PROGRAM, "reproduce", name]
        command += ["--fast", f"{fast:g}"] if fast < 1 else []
        command += ["--rows", ",".join(rows)] if arguments.rows else []
        command += ["--seeds", arguments.seeds]
        work = reproduce.Reproduction(table, out, fast, shlex.join(command))
        work.check(rows, seeds)
    out.mkdir(parents=True, exist_ok=True)
    work.run(rows, seeds)
    page = work.write()
    print(page.read_text(encoding="utf-8"))
    print(f"Written: {page} and {reproduce.TABLE}; runs in {out}/ROW/{runs.SEED}N")
    if work.failed:
        reasons = [f"{row}: {reason}" for row, reason in work.failed.items()]
        raise OSError(f"Rows that failed: {'; '.join(reasons)}")


# === publish ===


def _publish_flags(values: flags.FlagValues) -> None:
    text = "Check everything and show what would be sent, but send nothing."
    flags.DEFINE_boolean("dry_run", False, text, flag_values=values)
    text = "Make a new repository of Hugging Face private."
    flags.DEFINE_boolean("private", False, text, flag_values=values)
    text = "Message of the commit or version."
    flags.DEFINE_string("message", None, text, flag_values=values)
    text = "Licence of your model, by the hub's name for it; left out if not given."
    flags.DEFINE_string("license", None, text, flag_values=values)
    text = "Data set that it learned, by the hub's name for it; repeatable."
    flags.DEFINE_multi_string("dataset", [], text, flag_values=values)


def _publish(arguments: SimpleNamespace) -> None:
    _import_keras(arguments.verbose)
    from keras_lifelong import zoo

    with _asked_wrongly(ImportError):
        done = zoo.publish(
            arguments.preset,
            arguments.to,
            message=arguments.message,
            private=arguments.private,
            dry_run=arguments.dry_run,
            license=arguments.license,
            datasets=arguments.dataset,
        )
    if arguments.dry_run:
        print(done["card"])
        sizes = {name: f"{size:,} bytes" for name, size in done["files"].items()}
        _print_table(f"Would be sent to {arguments.to}", sizes)
        print("Nothing was sent.")
    else:
        print(f"Published: {done['uploaded']}")


# === list ===


def _list(arguments: SimpleNamespace) -> None:
    from keras_lifelong import backbones
    from keras_lifelong import papers
    from keras_lifelong import streams
    from keras_lifelong import zoo
    from keras_lifelong.model import registry

    _import_keras(arguments.verbose)
    # A method's file opens with its name and its paper.
    methods = {
        name: _first_line(inspect.getmodule(registry.get(name))).removeprefix(
            f"{name}: "
        )
        for name in registry.names()
    }
    functions = {name: backbones.function(name) for name in backbones.names()}
    _print_table("Methods", methods)
    _print_table("Streams", {name: streams.describe(name) for name in streams.names()})
    _print_table("Backbones", {name: _first_line(f) for name, f in functions.items()})
    _print_table("Configurations", dict(_configs()))
    _print_table(
        "Tables of papers", {n: _opening(f) for n, f in papers.names().items()}
    )
    _print_table("Presets", {name: _preset_line(name) for name in zoo.names()})


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _preset_line(name: str) -> str:
    from keras_lifelong import zoo

    found = zoo.describe(name)
    return (
        f"{found['method']} on {found['stream']}, {len(found['tasks'])} tasks: mean "
        f"{found['metric']} {found['acc']:.3f}, {found['parameters']:,} parameters"
    )


def _configs() -> Iterable[tuple[str, str]]:
    """Path and first comment of each configuration, here or beside the package."""
    here = Path(__file__).parent  # a wheel holds them, a checkout has them beside
    places = (Path("zoo_configs"), here / "zoo_configs", here.parent / "zoo_configs")
    folder = next((f for f in places if f.is_dir()), None)
    if folder is None:
        return
    for path in sorted(folder.rglob("*.yaml")):
        if path.relative_to(folder).parts[0] != "papers":
            yield str(path), _opening(path)


def _opening(path: Path) -> str:
    """The first comment of a file."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def _print_table(title: str, rows: dict[str, str]) -> None:
    print(f"{title}:")
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        print(f"  {name:<{width}}  {text}".rstrip())
    if not rows:
        print("  none found")
    print()


# === export ===


def _export(arguments: SimpleNamespace) -> None:
    from keras_lifelong import config as config_lib
    from keras_lifelong import streams

    out = Path(arguments.out)
    if out.suffix != ".npz" or out.exists():
        reason = "exists already" if out.exists() else "does not end in .npz"
        raise UsageError(f"--out {out} {reason}")
    with _asked_wrongly():
        config = config_lib.resolve_stream(arguments.stream, arguments.set)
        stream = config.build_stream()
    streams.export_npz(stream, out)
    print(f"Written: {out}. To use it: stream: {{name: npz, path: {out}}}")


# === flags and help ===


def _set_flag(values: flags.FlagValues, example: str) -> None:
    text = f"KEY=VALUE over the configuration, such as {example}; repeatable."
    flags.DEFINE_multi_string("set", [], text, flag_values=values)


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


COMMANDS = {
    "run": Command(
        "Learn a stream of tasks; goes on where an interrupted run stopped.",
        _run,
        {
            "config": "YAML file, such as those in zoo_configs/.",
            "output_dir": "Directory of this run; made if absent.",
        },
        _learning_flags,
        "[--set KEY=VALUE ...] [--seed N | --seeds 0,1,2] [--single] [--overwrite] "
        "[--accept_changed_data]",
    ),
    "tune": Command(
        "Search for the best trade-offs of accuracy and size; goes on likewise.",
        _tune,
        {
            "config": "YAML file with a section `search`.",
            "output_dir": "Directory of this search; made if absent.",
        },
        _run_flags,
        "[--set KEY=VALUE ...] [--seed N] [--overwrite]",
    ),
    "report": Command(
        "Make a run's figures and page anew from its results.json.",
        _report,
        {"run": "The --output_dir of a finished run."},
    ),
    "compare": Command(
        "Put runs side by side: means over seeds, differences of pairs, figures.",
        _compare,
        optional=_compare_flags,
        usage="[--out DIRECTORY] [--metric NAME] [--against GROUP] [--format FORMAT]",
        words="RUN...",
    ),
    "reproduce": Command(
        "Run a paper's table, as it stands in zoo_configs/papers; goes on likewise.",
        _reproduce,
        optional=_reproduce_flags,
        usage="[--fast SHARE] [--rows ROW,...] [--seeds 0,1,2] [--out DIRECTORY]",
        words="TABLE",
    ),
    "publish": Command(
        "Check a preset and upload it to a hub, with its model card.",
        _publish,
        {
            "preset": "Directory of a preset, such as runs/den/preset.",
            "to": "hf://user/name or kaggle://owner/model/framework/variation.",
        },
        _publish_flags,
        "[--dry_run] [--private] [--message TEXT] [--license NAME] "
        "[--dataset NAME ...]",
    ),
    "list": Command(
        "Print the methods, streams, backbones, configurations and presets there are.",
        _list,
    ),
    "export": Command(
        "Write a stream as one npz file, to be read where TensorFlow isn't.",
        _export,
        {
            "stream": "Name of a stream, as `list` prints it.",
            "out": "The .npz file to write; it must not exist.",
        },
        lambda values: _set_flag(values, "stream.num_tasks=3"),
        "[--set stream.KEY=VALUE ...]",
    ),
}
