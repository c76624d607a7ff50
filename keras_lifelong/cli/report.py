"""`report`: draws a run again."""

from __future__ import annotations

from types import SimpleNamespace

from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.command import import_keras


def _report(arguments: SimpleNamespace) -> None:
    from keras_lifelong.run_directory import RunDirectory

    with asked_wrongly():
        directory = RunDirectory(arguments.run)
    import_keras(arguments.verbose)  # which the figures of methods bring
    directory.write_report()
    print(f"Written to {directory.path}: report.html, figures/")


COMMAND = Command(
    "Make a run's figures and page anew from its results.json.",
    _report,
    {"run": "The --output_dir of a finished run."},
)
