"""YAML as people expect it: no key twice, 1e-3 is a number, no more than is written.

In YAML a few hundred bytes may stand for gigabytes: an alias is a list that is written
once and meant often. What a text means is counted before it is made.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

LONGEST = 2**18  # letters of a text: PyYAML reads about 100,000 a second
MOST_VALUES = 200_000  # that a text may mean, each alias as often as it stands there
MOST_LETTERS = 16 * LONGEST  # of all of these
DEEPEST = 100  # levels
LONGEST_NUMBER = 400  # digits
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in (
        *("null", "bool", "int", "float", "str", "timestamp"),
        *("seq", "map", "merge", "value"),
    )
)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes the strings which `_Loader` would read as numbers."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice and reads 1e-3 as a number.

    PyYAML keeps the last of two equal keys without a word, and follows YAML 1.1, where
    1e-3 (no dot) is a string.
    """


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise ValueError(f"Keys must be strings. Received: {key!r}")
        if key in seen:
            raise ValueError(
                f"The key `{key}` is given twice, again in line "
                f"{key_node.start_mark.line + 1}. Received: both"
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def parse(text: str) -> Any:
    """Reads YAML as data: no objects, no key twice, 1e-3 is a number.

    Raises:
        ValueError: saying where the YAML is wrong, or what of it is too much.
    """
    if len(text) > LONGEST:
        raise ValueError(
            f"This YAML has {len(text):,} letters; {LONGEST:,} are the most"
        )
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"This is not YAML: {str(error)[:500]}") from error
    except RecursionError as error:
        raise ValueError("This YAML is nested too deep") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"This is not YAML: {type(error).__name__}") from error
    finally:
        loader.dispose()


def _count(root: yaml.Node) -> None:
    """Refuses a text that means more than anybody would write."""
    known: dict[int, tuple[int, int, int]] = {}  # of a node: values, letters, levels
    above: set[int] = set()

    def line(node):
        return node.start_mark.line + 1

    def visit(node):
        if id(node) in known:
            return known[id(node)]
        if id(node) in above:
            raise ValueError(f"This YAML holds itself, in line {line(node)}")
        if node.tag not in _PLAIN:
            raise ValueError(
                f"This is not YAML of plain data: {node.tag[:80]!r} in line "
                f"{line(node)}"
            )
        above.add(id(node))
        values, letters, levels = 1, 0, 0
        if isinstance(node, yaml.ScalarNode):
            letters = len(node.value)
            if node.tag.endswith((":int", ":float")) and letters > LONGEST_NUMBER:
                raise ValueError(
                    f"This YAML has a number of {letters:,} digits in line {line(node)}"
                )
        else:
            parts = node.value
            if isinstance(node, yaml.MappingNode):
                parts = [part for pair in node.value for part in pair]
            for part in parts:
                more = visit(part)
                values, letters = values + more[0], letters + more[1]
                levels = max(levels, more[2])
        above.remove(id(node))
        if values > MOST_VALUES or letters > MOST_LETTERS:
            raise ValueError(
                f"This YAML means more than {MOST_VALUES:,} values: see the aliases in "
                f"line {line(node)}"
            )
        if levels >= DEEPEST:
            raise ValueError(f"This YAML is nested more than {DEEPEST} levels deep")
        known[id(node)] = values, letters, levels + 1
        return known[id(node)]

    visit(root)


def dump(data: Any) -> str:
    """Writes plain data as YAML that `parse` reads back to the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
