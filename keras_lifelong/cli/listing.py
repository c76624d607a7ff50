"""`list`: what there is."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

from keras_lifelong.cli.command import Command
from keras_lifelong.cli.command import import_keras
from keras_lifelong.cli.command import print_table


def _list(arguments: SimpleNamespace) -> None:
    from keras_lifelong import backbones
    from keras_lifelong import papers
    from keras_lifelong import streams
    from keras_lifelong import zoo
    from keras_lifelong.model import registry

    import_keras(arguments.verbose)
    # A method's file opens with its name and its paper.
    methods = {
        name: _first_line(inspect.getmodule(registry.get(name))).removeprefix(
            f"{name}: "
        )
        for name in registry.names()
    }
    functions = {name: backbones.function(name) for name in backbones.names()}
    print_table("Methods", methods)
    print_table("Streams", {name: streams.describe(name) for name in streams.names()})
    print_table("Backbones", {name: _first_line(f) for name, f in functions.items()})
    print_table("Configurations", dict(_configs()))
    print_table("Tables of papers", {n: _opening(f) for n, f in papers.names().items()})
    print_table("Presets", {name: _preset_line(name) for name in zoo.names()})


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
    from keras_lifelong import papers

    folder = papers.shipped()
    if folder is None:
        return
    for path in sorted(folder.rglob("*.yaml")):
        if path.relative_to(folder).parts[0] != papers.FOLDER:
            yield str(path), _opening(path)


def _opening(path: Path) -> str:
    """The first comment of a file."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


COMMAND = Command(
    "Print the methods, streams, backbones, configurations and presets there are.",
    _list,
)
