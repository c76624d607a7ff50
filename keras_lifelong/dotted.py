"""Nested mappings by dotted path, such as "training.epochs"."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import MutableMapping
from typing import Any

from keras_lifelong.messages import shown


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted path.

    >>> flatten({"a": {"b": 1, "c": [2]}, "d": {}})
    {'a.b': 1, 'a.c': [2]}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Each path at which two nested mappings differ -> (value in one, in the other).

    Where one has a mapping and the other another value, that is a single difference;
    what is not there is None.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
    {'a.c': (2, 3), 'd': (None, 4)}
    >>> differences({"a": {"b": 1}}, {"a": 0.5}), differences({"a": {"b": 1}}, {})
    ({'a': ({'b': 1}, 0.5)}, {'a.b': (1, None)})
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**one, **other}:
        a, b = one.get(key), other.get(key)
        pair = [{} if part is None else part for part in (a, b)]
        if all(isinstance(part, Mapping) for part in pair):
            found |= differences(pair[0], pair[1], f"{prefix}{key}.")
        elif a != b:
            found[f"{prefix}{key}"] = (a, b)
    return found


def put(tree: MutableMapping[str, Any], path: str, value: Any) -> None:
    """Sets what is at a path, and makes the mappings that lead there.

    Raises:
        ValueError: if there is something else than a mapping on the way.

    >>> tree = {"a": {"b": 1}}
    >>> put(tree, "a.c.d", 2)
    >>> tree
    {'a': {'b': 1, 'c': {'d': 2}}}
    """
    *parents, last = path.split(".")
    section: Any = tree
    for depth, key in enumerate(parents, 1):
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise ValueError(
                f"`{path}` can't be set: `{'.'.join(parents[:depth])}` is "
                f"{shown(section)}, not a mapping"
            )
    section[last] = value


def get(tree: Mapping[str, Any], path: str) -> Any:
    """What is at a path; None if nothing is.

    >>> get({"a": {"b": 1}}, "a.b"), get({"a": 1}, "a.b")
    (1, None)
    """
    found: Any = tree
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
