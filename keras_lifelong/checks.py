"""Checks a mapping against the signature of what it will be given to.

A section of a configuration is a call written as data: its keys are compared with the
callee's parameters and its values with the callee's annotations.

    >>> def mlp(units: list[int], activation: str = "relu"): ...
    >>> arguments("backbone", {"units": [64]}, mlp)
    {'units': [64], 'activation': 'relu'}
"""

from __future__ import annotations

import collections.abc
import difflib
import inspect
import types
import typing
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from typing import Any


def arguments(
    path: str,
    section: dict[str, Any],
    callee: Callable,
    skip: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> dict[str, Any]:
    """Checks a section and returns it with the defaults of the signature.

    Args:
        path: of the section, for the messages.
        section: the keys and values given.
        callee: a function, or a class, whose `__init__` is meant.
        skip: parameters that a configuration does not set.
        elsewhere: paths outside this section that a misplaced key may have meant.

    Raises:
        ValueError: for an unknown key, a value of the wrong type, or a missing one.
    """
    function = callee.__init__ if inspect.isclass(callee) else callee
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in {"self", *skip}
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    kinds = {name: _kind_of_default(p.default) for name, p in parameters.items()}
    kinds |= _annotations(function)
    for key, value in section.items():
        if key not in parameters:
            accepted = [f"{path}.{name}" for name in parameters]
            raise unknown_key(f"{path}.{key}", value, accepted, elsewhere)
        check(f"{path}.{key}", value, kinds[key])
    resolved = {}
    for name, parameter in parameters.items():
        value = section.get(name, parameter.default)
        if value is parameter.empty:
            raise ValueError(
                f"`{path}.{name}` is required and must be "
                f"{words(kinds[name])}. Received: {section!r}"
            )
        resolved[name] = _as_data(value)
    return resolved


def requirer(options: dict[str, Any]) -> Callable:
    """`require(name, accepted, holds)` of options by name.

    It raises a ValueError that names the option, says what is accepted and what was
    received, unless `holds(value)`; a value that cannot be compared does not hold.
    """

    def require(name: str, accepted: str, holds: Callable[[Any], Any]) -> None:
        value = options[name]
        try:
            fine = holds(value)
        except TypeError:
            fine = False
        if not fine:
            raise ValueError(f"`{name}` must be {accepted}. Received: {value!r}.")

    return require


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is an integer of at least `least`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check(path: str, value: Any, kind: Any) -> None:
    """Raises a ValueError if a value is not of an annotation's type."""
    if matches(value, kind):
        return
    message = f"`{path}` must be {words(kind)}. Received: {value!r}"
    options = [option for option in _literals(kind) if isinstance(option, str)]
    if options:
        message += f". Nearest: {nearest(str(value), options)}"
    elif isinstance(value, str):
        message += " (a string)"
    raise ValueError(message)


def unknown_key(
    path: str, value: Any, accepted: Collection[str], elsewhere: Collection[str] = ()
) -> ValueError:
    """The error for a key that nothing takes; `accepted` are full paths too."""
    section, _, key = path.rpartition(".")
    misplaced = [other for other in elsewhere if other.rpartition(".")[2] == key]
    keys = ", ".join(option.rpartition(".")[2] for option in accepted) or "no key"
    candidates = misplaced or accepted or elsewhere
    hint = f" Nearest: `{nearest(path, candidates)}`." if candidates else ""
    return ValueError(
        f"Unknown key `{path}`. Received: {path}={value!r}.{hint} "
        f"Accepted{f' in {section}' if section else ''}: {keys}"
    )


def nearest(word: str, options: Iterable[str]) -> str:
    """The option most like `word`; of dotted paths, first one with its last part."""
    options = list(options)
    last = word.rpartition(".")[2]
    same = [option for option in options if option.rpartition(".")[2] == last]

    def likeness(option: str) -> float:
        return difflib.SequenceMatcher(None, word.lower(), option.lower()).ratio()

    return max(same or options, key=likeness)


def _as_data(value: Any) -> Any:
    """Tuples of a signature's defaults become the lists that YAML reads back."""
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in value]
    return value


def _kind_of_default(default: Any) -> Any:
    """What an argument without annotation takes: anything, if its default is None."""
    for kind, accepted in ((bool, bool), (int, float), (float, float), (str, str)):
        if isinstance(default, kind):
            return accepted
    return Any


def _annotations(function: Callable) -> dict[str, Any]:
    """The evaluated annotations of the arguments; Any where one can't be evaluated.

    A name that is imported for type checkers only is no reason to refuse a value:
    the callee checks its arguments itself.
    """
    function = inspect.unwrap(function)
    annotations = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            annotations |= typing.get_type_hints(holder, function.__globals__)
        except (NameError, AttributeError, TypeError):
            annotations[name] = Any
    return annotations


def matches(value: Any, kind: Any) -> bool:
    """Whether a YAML value is of an annotation's type; unknown annotations accept."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, option) for option in inner)
    if origin is typing.Literal:
        return any(value == option and type(value) is type(option) for option in inner)
    if kind in (None, type(None)):
        return value is None
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (bool, str):
        return isinstance(value, kind)
    container = origin or kind
    if container in _LISTS:
        # The first argument speaks for all: list[int], tuple[int, ...].
        return isinstance(value, list | tuple) and all(
            matches(item, item_kind) for item in value for item_kind in inner[:1]
        )
    if container in _MAPPINGS:
        return isinstance(value, dict)
    return True


_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping)
_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    type(None): "null",
}


def words(kind: Any) -> str:
    """An annotation for people: `int | None` is "an integer or null"."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(option) for option in inner)
    if origin is typing.Literal:
        return " or ".join(str(option) for option in inner)
    container = origin or kind
    if container in _LISTS:
        return f"a list, each {words(inner[0])}" if inner else "a list"
    if container in _MAPPINGS:
        return "a mapping"
    return _WORDS.get(container, "a value")


def _literals(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return [item for option in typing.get_args(kind) for item in _literals(option)]
