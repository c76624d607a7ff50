"""`publish`: sends a preset to a hub."""

from __future__ import annotations

from types import SimpleNamespace

from absl import flags

from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.command import import_keras
from keras_lifelong.cli.command import print_table


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
    import_keras(arguments.verbose)
    from keras_lifelong import zoo

    with asked_wrongly(ImportError):
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
        print_table(f"Would be sent to {arguments.to}", sizes)
        print("Nothing was sent.")
    else:
        print(f"Published: {done['uploaded']}")


COMMAND = Command(
    "Check a preset and upload it to a hub, with its model card.",
    _publish,
    {
        "preset": "Directory of a preset, such as runs/den/preset.",
        "to": "hf://user/name or kaggle://owner/model/framework/variation.",
    },
    _publish_flags,
    "[--dry_run] [--private] [--message TEXT] [--license NAME] [--dataset NAME ...]",
)
