"""Checks values against the signature of what they will be given to.

A section of a configuration is a call written as data: its keys are compared with the
callee's parameters and its values with the callee's annotations. What a value may be
stands there alone, ranges and choices too, so a constructor that checks its arguments
by `checked` says the same of a value as a configuration does.

    >>> def mlp(units: list[Annotated[int, AtLeast(1)]], activation: str = "relu"): ...
    >>> arguments("backbone", {"units": [64]}, mlp)
    {'units': [64], 'activation': 'relu'}
    >>> checked(mlp, {"units": [0]})
    Traceback (most recent call last):
    ValueError: `units` must be a list, each an integer of at least 1. Received: [0]
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Annotated
from typing import Any

from keras_lifelong.messages import shown


@dataclasses.dataclass(frozen=True)
class In:
    """The range of a number, within `typing.Annotated`.

    Args:
        low: the least value, or None.
        high: the largest, or None.
        open_low: whether `low` itself is outside.
        open_high: whether `high` itself is outside.

    >>> words(Annotated[float, In(0, 1, open_high=True)])
    'a number in [0, 1)'
    """

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is within."""
        low, high = self.low, self.high
        if low is not None and not (value > low or value == low and not self.open_low):
            return False
        return high is None or value < high or value == high and not self.open_high

    def words(self, kind: str) -> str:
        """What is accepted, of numbers of a kind."""
        low, high = _digits(self.low), _digits(self.high)
        if self.low is None:
            return f"{kind} {'below' if self.open_high else 'of at most'} {high}"
        if self.high is None:
            return f"{kind} {'above' if self.open_low else 'of at least'} {low}"
        opening, closing = "[("[self.open_low], "])"[self.open_high]
        return f"{kind} in {opening}{low}, {high}{closing}"


def AtLeast(low: float) -> In:
    """The range of all numbers from `low` on."""
    return In(low)


def Above(low: float) -> In:
    """The range of all numbers above `low`."""
    return In(low, open_low=True)


@dataclasses.dataclass(frozen=True)
class ArgumentsOf:
    """A mapping of arguments of a callee, within `typing.Annotated`.

    Args:
        callee: a function or class.
        without: its parameters that the mapping may not set.

    >>> words(Annotated[dict, ArgumentsOf(checked, without=("callee",))])
    'a mapping of values, path'
    """

    callee: Callable
    without: tuple[str, ...] = ()

    def holds(self, value: Mapping[str, Any]) -> bool:
        """Whether every key is a parameter and every value of its type."""
        known = kinds(self.callee, self.without)
        return all(k in known and matches(v, known[k]) for k, v in value.items())

    def words(self, kind: str) -> str:
        """What is accepted."""
        return f"{kind} of {', '.join(kinds(self.callee, self.without))}"


Seed = Annotated[int, In(0, 2**32, open_high=True)]


def checked(
    callee: Callable, values: Mapping[str, Any], path: str = ""
) -> dict[str, Any]:
    """The values that a callee has parameters for, as plain data, in their order.

    Args:
        callee: a function, or a class, whose `__init__` is meant.
        values: by name, as `locals()` in the callee's first line has them; those of
            other names are left out.
        path: of a section, which then stands before a name in messages.

    Returns:
        Dict of the values: numbers of NumPy are Python's, lists and dicts are copies.

    Raises:
        ValueError: naming the argument, what is accepted and what was received, if a
            value is not of its annotation's type, range or choices.
    """
    start = f"{path}." if path else ""
    return {
        name: check(f"{start}{name}", values[name], kind)
        for name, kind in kinds(callee).items()
        if name in values
    }


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
    accepted = kinds(callee, skip)
    for key, value in section.items():
        if key not in accepted:
            known = [f"{path}.{name}" for name in accepted]
            raise unknown_key(f"{path}.{key}", value, known, elsewhere)
    given = checked(callee, section, path)
    resolved = {}
    for name, parameter in _parameters(callee).items():
        if name not in accepted:
            continue
        if name not in given and parameter.default is parameter.empty:
            raise ValueError(
                f"`{path}.{name}` is required and must be "
                f"{words(accepted[name])}. Received: {shown(section)}"
            )
        resolved[name] = given.get(name, plain(parameter.default))
    return resolved


def kinds(callee: Callable, skip: Collection[str] = ()) -> dict[str, Any]:
    """What each parameter of a callee may be: its annotation, or its default's type."""
    parameters = _parameters(callee)
    found = {name: _kind_of_default(p.default) for name, p in parameters.items()}
    found |= _annotations(_function(callee))
    return {name: found[name] for name in parameters if name not in skip}


def check(path: str, value: Any, kind: Any) -> Any:
    """A value as plain data, if it is what an annotation says.

    Raises:
        ValueError: naming the path, what is accepted and what was received.
    """
    found = plain(value)
    if matches(found, kind):
        return found
    message = f"`{path}` must be {words(kind)}. Received: {shown(value)}"
    raise ValueError(f"{message}{_hint(found, kind)}")


def plain(value: Any) -> Any:
    """A value as YAML would read it back: no tuples and nothing of NumPy's.

    >>> import numpy as np
    >>> plain({"units": (np.int64(3), np.float32(0.5))})
    {'units': [3, 0.5]}
    """
    if type(value).__module__ == "numpy":  # which `--help` need not import
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


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
        f"Unknown key `{path}`. Received: {path}={shown(value)}.{hint} "
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


def _hint(value: Any, kind: Any) -> str:
    """What is wrong with a value, where its `repr` may not show it."""
    if isinstance(value, float) and not math.isfinite(value):
        return " (not finite)"
    if not isinstance(value, str):
        return ""
    if value == "None" and matches(None, kind):
        return " (a string; YAML's word for None is null)"
    options = [option for option in _literals(kind) if isinstance(option, str)]
    return f". Nearest: {nearest(value, options)}" if options else " (a string)"


def _function(callee: Callable) -> Callable:
    return callee.__init__ if inspect.isclass(callee) else callee


def _parameters(callee: Callable) -> dict[str, inspect.Parameter]:
    """The parameters that a value can be given to by name."""
    return {
        name: parameter
        for name, parameter in inspect.signature(_function(callee)).parameters.items()
        if name != "self"
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


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
    annotations: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            annotations |= typing.get_type_hints(
                holder, function.__globals__, include_extras=True
            )
        except (NameError, AttributeError, TypeError):
            annotations[name] = Any
    return annotations


def matches(value: Any, kind: Any) -> bool:
    """Whether plain data is what an annotation says; unknown annotations accept."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        kind, *limits = inner
        return matches(value, kind) and all(limit.holds(value) for limit in limits)
    if origin in _UNIONS:
        return any(matches(value, option) for option in inner)
    if origin is typing.Literal:
        return any(value == option and type(value) is type(option) for option in inner)
    if kind in (None, type(None)):
        return value is None
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max  # NaN is not
    if kind in (bool, str):
        return isinstance(value, kind)
    container = origin or kind
    if container in _LISTS:
        # The first argument speaks for all: list[int], tuple[int, ...].
        return isinstance(value, list | tuple) and all(
            matches(item, item_kind) for item in value for item_kind in inner[:1]
        )
    if container in _MAPPINGS:
        return isinstance(value, dict) and all(
            matches(part, part_kind)
            for item in value.items()
            for part, part_kind in zip(item, inner, strict=False)  # inner may be none
        )
    if container is collections.abc.Callable:
        return callable(value)
    return True


_UNIONS = (typing.Union, types.UnionType)
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping)
_WORDS = {
    int: "an integer",
    float: "a number",
    str: "a string",
    collections.abc.Callable: "a function",
}


def words(kind: Any) -> str:
    """An annotation for people.

    >>> words(int | None), words(bool), words(list[int] | None)
    ('an integer or None', 'True or False', 'a list, each an integer, or None')
    >>> words(typing.Literal["dynamic", "constant"] | None)
    "one of 'dynamic', 'constant' or None"
    """
    phrases = sorted(_phrases(kind), key="None".__eq__)  # None comes last
    if len(phrases) == 1:
        return phrases[0]
    *first, last = phrases
    comma = "," if any("," in phrase for phrase in first) else ""
    rest = phrases[len(_literals(kind)) :]
    start = "one of " if len(phrases) > 2 and rest in ([], ["None"]) else ""
    return f"{start}{', '.join(first)}{comma} or {last}"


def _phrases(kind: Any) -> list[str]:
    """Every alternative of an annotation for people."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        return [phrase for option in inner for phrase in _phrases(option)]
    if origin is typing.Literal:
        return [repr(option) for option in inner]
    if origin is Annotated:
        text = words(inner[0])
        for limit in inner[1:]:
            text = limit.words(text)
        return [text]
    if kind is bool:
        return ["True", "False"]
    if kind in (None, type(None)):
        return ["None"]
    container = origin or kind
    if container in _LISTS:
        return [f"a list, each {words(inner[0])}" if inner else "a list"]
    if container in _MAPPINGS:
        named = inner and inner[1] is not Any
        return [f"a mapping, each {words(inner[1])}" if named else "a mapping"]
    return [_WORDS.get(container, "a value")]


def _literals(kind: Any) -> list[Any]:
    """The choices that an annotation lists; not those within lists and mappings."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return list(inner)
    if origin in _UNIONS:
        return [item for option in inner for item in _literals(option)]
    return []


def _digits(number: float | None) -> str:
    """A bound as people write it.

    >>> _digits(2**32), _digits(0.5)
    ('2**32', '0.5')
    """
    if isinstance(number, int) and number > 2**16 and number.bit_count() == 1:
        return f"2**{number.bit_length() - 1}"
    return str(number)
