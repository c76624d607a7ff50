"""The presets that the package ships: a small one of each method, trained on digits.

`python -m keras_lifelong.zoo.build` makes them.
"""

from __future__ import annotations

import json
import pathlib

from keras_lifelong.presets import layout

FOLDER = pathlib.Path(__file__).parent / "presets"


def names() -> list[str]:
    """Names that `LifelongModel.from_preset` takes without a network."""
    return sorted(p.parent.name for p in FOLDER.glob(f"*/{layout.METADATA}"))


def path(name: str) -> pathlib.Path:
    """The directory of a shipped preset.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in names():
        raise ValueError(f"`name` must be one of {names()}. Received: {name!r}.")
    return FOLDER / name


def describe(name: str) -> dict:
    """What a shipped preset is.

    Args:
        name: one of `names()`.

    Returns:
        Dict of "method", "tasks" (names), "parameters", "stream", "metric", "acc" (the
        mean of the metric over all tasks, in the end), and "lineage".

    Example:

    >>> describe("den_digits")["method"]
    'DEN'
    """
    directory = path(name)
    metadata = json.loads((directory / layout.METADATA).read_text(encoding="utf-8"))
    found = {key: metadata[key] for key in ("method", "tasks", "parameters", "lineage")}
    results = json.loads((directory / layout.METRICS).read_text(encoding="utf-8"))
    last = results["results"][-1]
    return found | {key: last[key] for key in ("stream", "metric", "acc")}
