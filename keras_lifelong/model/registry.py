"""Methods and baselines by name. A new one is one file, decorated with `register`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil

_REGISTRY: dict[str, type] = {}


def register(cls: type) -> type:
    """Class decorator: makes a method known by its class name, and to Keras' saving."""
    import keras

    _REGISTRY[cls.__name__] = cls
    return keras.saving.register_keras_serializable(package="keras_lifelong")(cls)


def _load_all():
    for package in ("keras_lifelong.methods", "keras_lifelong.baselines"):
        module = importlib.import_module(package)
        for found in pkgutil.iter_modules(module.__path__):
            importlib.import_module(f"{package}.{found.name}")


def get(name: str) -> type:
    """The class of a method or baseline.

    Raises:
        ValueError: if there is none of that name, with the nearest ones.

    Example:

    >>> get("Finetune").__name__
    'Finetune'
    """
    _load_all()
    if name not in _REGISTRY:
        near = difflib.get_close_matches(str(name), _REGISTRY) or sorted(_REGISTRY)
        raise ValueError(
            f"There is no method {name!r}. Did you mean {', '.join(near)}?"
        )
    return _REGISTRY[name]


def names() -> list[str]:
    """Names of all methods and baselines."""
    _load_all()
    return sorted(_REGISTRY)
