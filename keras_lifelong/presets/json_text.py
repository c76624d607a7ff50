"""The JSON of presets: how much of it is read, and so how much is written."""

from __future__ import annotations

import json
from typing import Any

LARGEST = 64 * 2**20  # bytes
MOST_VALUES = 3_000_000


def check(content: bytes) -> None:
    """Raises a ValueError if a text is more than is read.

    Its brackets are counted before it is read: 60 MB of `[]` would be gigabytes.
    """
    if len(content) > LARGEST:
        raise ValueError(f"it is of {len(content):,} bytes, where {LARGEST:,} are most")
    values = content.count(b",") + content.count(b"[") + content.count(b"{")
    if values > MOST_VALUES:
        raise ValueError(
            f"it holds {values:,} values, where {MOST_VALUES:,} are the most"
        )


def parse(content: bytes) -> Any:
    """JSON, if it is no more than a file of a preset is.

    Raises:
        ValueError: if it is no JSON, nested too deep, or too much.
    """
    check(content)
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def text(content: Any) -> bytes:
    """JSON as it is written.

    Raises:
        ValueError: if it would be more than is read.
    """
    written = json.dumps(content, indent=1).encode("utf-8")
    check(written)
    return written
