"""JSON that people can read: plain types, a line for a row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any, where: str) -> Any:
    """`value` in plain JSON types; numbers that are not finite become None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise ValueError(
        f"`{where}` can't be written as JSON: use numbers, strings, booleans, "
        f"None, lists and dicts. Received: {value!r} of type {type(value).__name__}"
    )


def pretty(value: Any, indent: str = "") -> str:
    """JSON with one line for each row of a matrix, entry of a log, leaf of a dict."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        parts = [f"{json.dumps(k)}: {pretty(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inner + p for p in parts) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, list | dict) for v in value):
        parts = [json.dumps(v, allow_nan=False) for v in value]
        return "[\n" + ",\n".join(inner + p for p in parts) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
