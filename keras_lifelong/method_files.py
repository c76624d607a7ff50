"""Which methods there are, by the source of `methods/` and `baselines/`.

Nothing is imported: this is how `import keras_lifelong` knows its methods and stays
free, and how a preset's method is found by a process that has imported none.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
import re
from collections.abc import Callable

HERE = pathlib.Path(__file__).parent
PACKAGES = tuple(f"{__package__}.{name}" for name in ("methods", "baselines"))

# `@register`, then other decorators if there are any, then the class.
_DECORATED = re.compile(
    r"^@(?:\w+\.)*register *(?:#.*)?\n(?:@.*\n)*class +(\w+)", re.MULTILINE
)


@functools.cache
def methods() -> dict[str, str]:
    """Names of all methods and baselines, and the dotted name of each one's module.

    >>> methods()["Finetune"]
    'keras_lifelong.baselines.finetune'
    """
    found: dict[str, str] = {}
    for package in PACKAGES:
        found |= decorated(package, HERE / package.rpartition(".")[2])
    return dict(sorted(found.items()))


def decorated(package: str, folder: str | pathlib.Path) -> dict[str, str]:
    """Classes that `@register` stands above in the source of a package.

    Args:
        package: its dotted name.
        folder: where its source is; looked through with all folders in it.

    Returns:
        Dict of each class's name to the dotted name of its module.
    """
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        for name in _DECORATED.findall(path.read_text(encoding="utf-8")):
            found[name] = ".".join([package, *parts])
    return found


def lazily(package: str) -> Callable[[str], type]:
    """A module's `__getattr__` that imports the methods of its folder when asked.

    Args:
        package: its dotted name.
    """

    def getattribute(name: str) -> type:
        module = methods().get(name, "")
        if not module.startswith(f"{package}."):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(module), name)

    return getattribute


def check(name: str, module: str) -> None:
    """Raises a ValueError if a method's class cannot be found by its source.

    Args:
        name: of the class.
        module: in which it is defined; those outside the package may be anything.
    """
    if not module.startswith(tuple(f"{package}." for package in PACKAGES)):
        return
    if name not in methods():
        methods.cache_clear()  # its file may be newer than this process
    if methods().get(name) != module:
        raise ValueError(
            f"The class {name} of {module} is not found by its source: write "
            "`@register` on the line above the class, outside of any block, and give "
            "the class a name that no other method has."
        )
