"""Values in messages. Importing it costs nothing."""

from __future__ import annotations

from typing import Any


def shown(value: Any, most: int = 300) -> str:
    """A value as a message shows it: the beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} letters)"
