"""YAML as people expect it: no key twice, and 1e-3 is a number."""

from __future__ import annotations

import re
from typing import Any

import yaml


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
        ValueError: saying where the YAML is wrong.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"This is not YAML: {error}") from error


def dump(data: Any) -> str:
    """Writes plain data as YAML that `parse` reads back to the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
