"""`compare`: puts runs side by side."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from absl import flags

from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.command import check_directory


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

    if arguments.out is not None:
        check_directory("out", arguments.out)
    with asked_wrongly(FileNotFoundError):
        results = runs.results_in(arguments.words)
        comparison = compare(results, arguments.metric, arguments.against)
    if missing := runs.unfinished(arguments.words):
        names = ", ".join(map(str, missing))
        print(f"Left out, as they are not finished: {names}", file=sys.stderr)
    shown = {"markdown": comparison.to_markdown, "csv": comparison.to_csv}
    print(shown.get(arguments.format, comparison.__str__)())
    if arguments.out is not None:
        from keras_lifelong import report

        path = report.write_comparison(comparison, arguments.out)
        print(f"Written: {path}, and beside it .md, .csv and figures/")


COMMAND = Command(
    "Put runs side by side: means over seeds, differences of pairs, figures.",
    _compare,
    optional=_compare_flags,
    usage="[--out DIRECTORY] [--metric NAME] [--against GROUP] [--format FORMAT]",
    words="RUN...",
)
