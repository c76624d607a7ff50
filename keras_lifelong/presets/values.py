"""Plain values of a configuration from strangers, and how messages show them."""

from __future__ import annotations

from typing import Any

from keras_lifelong.presets import allowed

MOST_NUMBERS = 100_000  # of an array that stands in a configuration


def check_array(path: str, config: Any) -> None:
    """Refuses an array whose values are not plain numbers that stand there."""
    if not isinstance(config, dict) or set(config) != {"value", "dtype"}:
        raise ValueError(f"{path} is no array: it needs value and dtype")
    if config["dtype"] not in list(allowed.DTYPES):
        raise ValueError(f"{path} is an array of {short(config['dtype'])}")
    count, pending = 0, [(config["value"], 0)]
    while pending:
        value, depth = pending.pop()
        count += 1
        if count > MOST_NUMBERS or depth > 8:
            raise ValueError(f"{path} is an array of over {MOST_NUMBERS:,} numbers")
        if isinstance(value, list):
            pending += [(item, depth + 1) for item in value]
        elif not isinstance(value, int | float):
            raise ValueError(f"{path} is an array of what is no number")


def plain(name: Any, most: int = 80) -> str:
    """A name as it is shown in a message: in one line, and not for long."""
    text = "".join(c if c.isprintable() else "?" for c in str(name)[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def short(value: Any, most: int = 80) -> str:
    """A value as it is shown in a message; never more than a line."""
    if isinstance(value, list | dict) and len(value) > 20:
        return f"a {type(value).__name__} of {len(value):,} values"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of more than thirty digits"
    text = repr(value[: most + 1] if isinstance(value, str) else value)
    return text if len(text) <= most else text[: most - 1] + "…"
