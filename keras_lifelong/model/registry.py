"""Methods and baselines by name. A new one is one file, decorated with `register`.

They are found by looking at the files of `methods/` and `baselines/`; there is no
second list. `get` imports the one that is asked for.
"""

from __future__ import annotations

import importlib

from keras_lifelong import method_files
from keras_lifelong.registry import Registry

_METHODS = Registry("method")


def register(cls: type) -> type:
    """Class decorator: makes a method known by its class name, and to Keras' saving.

    Raises:
        ValueError: if another class has this name; if it is a file of `methods/` or
            `baselines/` in which `@register` does not stand right above the class, so
            that it would not be found by another process.

    Example:

    ```python
    @register
    class HalfStep(LifelongModel):
        ...
    ```
    """
    import keras

    method_files.check(cls.__name__, cls.__module__)
    _METHODS.register(cls.__name__)(cls)
    return keras.saving.register_keras_serializable(package="keras_lifelong")(cls)


def get(name: str) -> type:
    """The class of a method or baseline.

    Raises:
        ValueError: if there is none of that name, with the nearest ones.

    Example:

    >>> get("Finetune").__name__
    'Finetune'
    """
    known = names()
    if name not in known:
        raise _METHODS.unknown(name, known)
    if name not in _METHODS:
        importlib.import_module(method_files.methods()[name])
    return _METHODS.get(name)


def names() -> list[str]:
    """Names of all methods and baselines, those registered elsewhere included."""
    return sorted({*method_files.methods(), *_METHODS.names()})
