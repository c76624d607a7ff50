"""Types of what a `results.json` holds, which may be a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXTS = ("method", "stream", "backend", "metric")
_WHOLE = ("seed", "params_base", "compile_count")
_NUMBERS = ("wall_seconds", "peak_rss_mib")
_LONGEST = 10_000  # letters of a name
_LARGEST = 10**15  # of a count


def check(content: Mapping[str, Any]) -> None:
    """Refuses a result whose values are not of the types that `to_dict` writes.

    Args:
        content: of `results.json`, all keys there.

    Raises:
        ValueError: naming the key.
    """
    for key in _TEXTS:
        _text(key, content[key])
    for key in _WHOLE:
        _whole(key, content[key])
    for key in _NUMBERS:
        _number(key, content[key])
    names = content["task_names"]
    if not isinstance(names, list | tuple):
        raise _wrong("task_names", "a list of names", names)
    for name in names:
        _text("task_names", name)
    for key in ("params_by_task", "train_seconds_by_task", "peak_by_task"):
        if content[key] is not None:
            _numbers(key, content[key], whole=key == "params_by_task")
    for key in ("single_by_task", "flops_by_task"):
        _numbers(key, content.get(key, ()))
    curves = content.get("learning_curves", ())
    if not isinstance(curves, list | tuple):
        raise _wrong("learning_curves", "a list of lists of numbers", curves)
    for curve in curves:
        _numbers("learning_curves", curve)
    class_names = content.get("class_names", {})
    if not isinstance(class_names, Mapping):
        raise _wrong("class_names", "a dict", class_names)
    for key, given in class_names.items():
        _text("class_names", key)
        if not isinstance(given, list | tuple):
            raise _wrong("class_names", "a list of names for each task", given)
        for name in given:
            _text("class_names", name)
    for key in ("matrices", "config", "versions"):
        if not isinstance(content[key], Mapping):
            raise _wrong(key, "a dict", content[key])
    for key, value in content["versions"].items():
        _text(f"versions.{key}", value)
    if not isinstance(content["growth"], list | tuple):
        raise _wrong("growth", "a list of entries", content["growth"])
    for entry in content["growth"]:
        if not isinstance(entry, Mapping):
            raise _wrong("growth", "a list of dicts", entry)
        if "count" in entry:
            _whole("growth.count", entry["count"])


def _numbers(key: str, values: Any, whole: bool = False) -> None:
    if not isinstance(values, list | tuple):
        raise _wrong(key, "a list of numbers", values)
    for value in values:
        (_whole if whole else _number)(key, value)


def _text(key: str, value: Any) -> None:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise _wrong(key, f"a text of at most {_LONGEST:,} letters", value)


def _whole(key: str, value: Any) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or abs(value) > _LARGEST:
        raise _wrong(key, "a whole number", value)


def _number(key: str, value: Any) -> None:
    if value is None:  # what was not finite
        return
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not abs(value) <= _LARGEST:
        raise _wrong(key, "a number", value)


def _wrong(key: str, accepted: str, value: Any) -> ValueError:
    text = repr(value) if isinstance(value, str | float | bool) else ""
    shown = f" {text[:60]}" if text else f" a {type(value).__name__}"
    return ValueError(f"`{key}` must be {accepted}. Received:{shown}")
