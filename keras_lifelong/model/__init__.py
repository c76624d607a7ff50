"""The base of all methods and baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from keras_lifelong.model.lifelong import LifelongModel

__all__ = ["LifelongModel"]


def __getattr__(name: str) -> Any:
    """Imported when first asked for: the registry beside it needs no Keras."""
    if name != "LifelongModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_lifelong.model.lifelong import LifelongModel

    return LifelongModel
