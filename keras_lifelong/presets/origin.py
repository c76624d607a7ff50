"""What a preset says of itself and of those that it goes back to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MOST = 1000  # presets that one goes back to
KEPT = 100  # of them that a new one names, each with all its tasks: the newest
_IDENTITY = re.compile("[0-9a-f]{64}")


def check(metadata: Mapping[str, Any]) -> None:
    """Refuses what a child could not write down, or a card not show.

    Args:
        metadata: what metadata.json holds.

    Raises:
        ValueError: naming the entry.
    """
    _check_one("", metadata)
    lineage = metadata.get("lineage")
    if not isinstance(lineage, list) or len(lineage) > MOST:
        raise ValueError(
            f"`lineage` must be a list of at most {MOST} presets. "
            f"Received: a {type(lineage).__name__}"
        )
    for i, parent in enumerate(lineage):
        if not isinstance(parent, dict) or set(parent) != {"id", "preset", "tasks"}:
            raise ValueError(f"`lineage[{i}]` must be a dict of id, preset and tasks")
        _check_one(f"lineage[{i}].", parent)
    for key in ("method", "summary"):
        if not isinstance(metadata.get(key), str):
            raise ValueError(f"`{key}` must be a text")
    parameters, shape = metadata.get("parameters"), metadata.get("input_shape")
    if type(parameters) is not int or parameters < 0:
        raise ValueError("`parameters` must be a whole number of at least 0")
    if not _is_shape(shape) and not (
        isinstance(shape, list | dict)
        and shape
        and all(map(_is_shape, shape.values() if isinstance(shape, dict) else shape))
        and all(_is_text(key) for key in shape if isinstance(shape, dict))
    ):
        raise ValueError(
            "`input_shape` must be a list of whole numbers, or of several inputs a "
            "list or dict of such"
        )


def _check_one(where: str, entry: Mapping[str, Any]) -> None:
    if not _is_text(entry.get("id")) or not _IDENTITY.fullmatch(entry["id"]):
        raise ValueError(f"`{where}id` must be 64 hexadecimal digits")
    if not _is_text(entry.get("preset")):
        raise ValueError(f"`{where}preset` must be a name")
    tasks = entry.get("tasks")
    if not isinstance(tasks, list) or not all(_is_text(task) for task in tasks):
        raise ValueError(f"`{where}tasks` must be a list of names")


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(type(d) is int or d is None for d in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 10_000
