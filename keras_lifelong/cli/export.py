"""`export`: writes a stream as one file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import UsageError
from keras_lifelong.cli.command import asked_wrongly
from keras_lifelong.cli.command import set_flag


def _export(arguments: SimpleNamespace) -> None:
    from keras_lifelong import config as config_lib
    from keras_lifelong import streams

    out = Path(arguments.out)
    if out.suffix != ".npz" or out.exists():
        reason = "exists already" if out.exists() else "does not end in .npz"
        raise UsageError(f"--out {out} {reason}")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no directory {out.parent}")
    with asked_wrongly():
        config = config_lib.resolve_stream(arguments.stream, arguments.set)
        stream = config.build_stream()
    streams.export_npz(stream, out)
    print(f"Written: {out}. To use it: stream: {{name: npz, path: {out}}}")


COMMAND = Command(
    "Write a stream as one npz file, to be read where TensorFlow isn't.",
    _export,
    {
        "stream": "Name of a stream, as `list` prints it.",
        "out": "The .npz file to write; it must not exist.",
    },
    lambda values: set_flag(values, "stream.num_tasks=3"),
    "[--set stream.KEY=VALUE ...]",
)
