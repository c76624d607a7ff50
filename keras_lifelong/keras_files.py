"""Makes the package's classes known to Keras' saving without importing them.

`keras.models.load_model` finds a class under the name that it was registered by, so it
must have been imported. Methods and layers are imported when they are used, and a
process that loads a file has used none: in place of each class stands what imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import re
import sys
from typing import Any

PACKAGE = "keras_lifelong"
HERE = pathlib.Path(__file__).parent
_SAVED = re.compile(
    r"^@(?:\w+\.)*register_keras_serializable\(package=\"keras_lifelong\"\)\n"
    r"(?:@.*\n)*class +(\w+)",
    re.MULTILINE,
)


class Later:
    """Stands for a class until it is asked for anything.

    Args:
        module: the dotted name of its module.
        name: of the class.
    """

    def __init__(self, module: str, name: str):
        self._module, self._name = module, name

    def __getattr__(self, attribute: str) -> Any:
        cls = getattr(importlib.import_module(self._module), self._name)
        return getattr(cls, attribute)


def saved_classes() -> dict[str, str]:
    """Names of the classes that Keras may save, and the dotted name of their modules.

    They are found by their source.

    >>> saved_classes()["EWC"], saved_classes()["TuckerConv2D"]
    ('keras_lifelong.baselines.ewc', 'keras_lifelong.layers.factorised')
    """
    from keras_lifelong import method_files

    found = {}
    for path in sorted(HERE.rglob("*.py")):
        parts = path.relative_to(HERE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        for name in _SAVED.findall(path.read_text(encoding="utf-8")):
            found[name] = ".".join([PACKAGE, *parts])
    return found | method_files.methods()


def tell(keras: Any) -> None:
    """Makes what `saved_classes` names known to Keras, as far as it is not yet.

    Args:
        keras: the module.
    """
    known = keras.saving.get_custom_objects()
    for name, module in saved_classes().items():
        known.setdefault(f"{PACKAGE}>{name}", Later(module, name))


def tell_when_imported() -> None:
    """Calls `tell` as soon as Keras is imported, which it may be already."""
    if "keras" in sys.modules:
        tell(sys.modules["keras"])
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


class _Watch:
    """A finder that sees to it that `tell` is called after `import keras`."""

    def find_spec(self, name, path=None, target=None):
        del path, target
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec.loader)
        return spec


class _Telling:
    """Keras' own loader, and `tell` after it."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        tell(module)
