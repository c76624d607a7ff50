"""One entry of the log of growth."""

from __future__ import annotations

from typing import Any
from typing import TypedDict


class GrowthEntry(TypedDict):
    """Why a unit, layer or expert exists, was removed, or is shared.

    Attributes:
        task: the task for which it was done.
        layer: the name of the layer, or of what stands in its place.
        kind: what was done: "initial", "add", "split", "select", "share", ...
        count: how many units.
        why: the numbers that decided it: JSON.
    """

    task: str
    layer: str
    kind: str
    count: int
    why: dict[str, Any]
