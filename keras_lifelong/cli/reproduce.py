"""`reproduce`: runs a paper's table."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

from absl import flags

from keras_lifelong.cli.command import PROGRAM
from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import UsageError
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.command import check_directory
from keras_lifelong.cli.command import import_keras


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
    import_keras(arguments.verbose)
    with asked_wrongly(FileNotFoundError):
        path, name = papers.find(arguments.words[0])
        table = papers.load(path, name)
        fast = checks.check("--fast", arguments.fast, papers.Share)
        rows = list(table.rows) if arguments.rows is None else arguments.rows
        if not rows:
            raise ValueError(f"--rows names none. All: {', '.join(table.rows)}")
        for row in rows:
            if row not in table.rows:
                near = checks.nearest(row, table.rows)
                known = ", ".join(table.rows)
                raise ValueError(
                    f"There is no row {row!r}. Nearest: {near}. All: {known}"
                )
        seeds = runs.seeds_of(arguments.seeds)
        out = Path(arguments.out or Path("runs", name))
        check_directory("out", out)
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
    said = []
    if work.failed:
        reasons = [f"{row}: {reason}" for row, reason in work.failed.items()]
        said.append(f"Rows that failed: {'; '.join(reasons)}")
    if work.elsewhere:
        said.append(f"Another program is still at: {'; '.join(work.elsewhere)}")
    if said:
        raise OSError(". ".join(said))


COMMAND = Command(
    "Run a paper's table, as it stands in zoo_configs/papers; goes on likewise.",
    _reproduce,
    optional=_reproduce_flags,
    usage="[--fast SHARE] [--rows ROW,...] [--seeds 0,1,2] [--out DIRECTORY]",
    words="TABLE",
)
