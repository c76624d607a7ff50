"""Values in messages. Importing it costs nothing."""

from __future__ import annotations

from typing import Any


def shown(value: Any, most: int = 300) -> str:
    """A value as a message shows it: the beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} letters)"


def as_markdown(text: Any) -> str:
    r"""Text that stays text in Markdown, on one line, in a table's cell and elsewhere.

    >>> print(as_markdown("a|b *<i>*"))
    a\|b \*&lt;i&gt;\*
    """
    line = "".join(c if c.isprintable() else "?" for c in str(text))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\|`[]*~$":
        line = line.replace(mark, f"\\{mark}")
    return line
