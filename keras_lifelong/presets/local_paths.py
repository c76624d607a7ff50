"""What a configuration says of this machine, which is nobody else's affair."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

LEFT_OUT = "(local)"
_NAMED = re.compile(
    r"(?:.*_)?(?:path|paths|file|files|filename|filepath|folder|folders|dir|dirs"
    r"|directory|directories|root)"
)
_ABSOLUTE = re.compile(r"\s*(?:~|\.{1,2}[/\\]|/|\\\\|[A-Za-z]:[/\\]|file:)")
_WITHIN = re.compile(r"(?<![\w.:/-])(?:~?/[\w.~-]+/|[A-Za-z]:\\)")


def left_out(value: Any, key: str = "") -> Any:
    """A copy of plain data in which paths of this machine are `LEFT_OUT`.

    A text is one if its key says so ("path", "data_dir", …), if it is written as one,
    or if there is such a file or directory. URIs of hubs stay.

    >>> left_out({"name": "npz", "path": "data/mine.npz", "split": 2})
    {'name': 'npz', 'path': '(local)', 'split': 2}
    """
    if isinstance(value, dict):
        return {name: left_out(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [left_out(item, key) for item in value]
    if isinstance(value, pathlib.PurePath):
        return LEFT_OUT
    if isinstance(value, str) and _is_local(value, key):
        return LEFT_OUT
    return value


def _is_local(text: str, key: str) -> bool:
    if re.match(r"[a-z]+://", text) and not text.startswith("file:"):
        return False
    if text and _NAMED.fullmatch(key.lower()):
        return True
    if _ABSOLUTE.match(text) or _WITHIN.search(text):
        return True
    home = os.path.expanduser("~")
    if len(home) > 1 and home in text:
        return True
    return ("/" in text or os.sep in text) and len(text) < 4096 and os.path.exists(text)
