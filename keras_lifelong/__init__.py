"""keras-lifelong: teach one Keras network task after task.

>>> import keras_lifelong as kl
>>> "DEN" in kl.__all__
True
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` finds; methods are Any, for they are not listed
    from keras_lifelong import backbones as backbones
    from keras_lifelong import metrics as metrics
    from keras_lifelong import report as report
    from keras_lifelong import search as search
    from keras_lifelong import streams as streams
    from keras_lifelong import zoo as zoo
    from keras_lifelong.metrics import Result as Result
    from keras_lifelong.metrics import compare as compare
    from keras_lifelong.model import LifelongModel as LifelongModel
    from keras_lifelong.streams import Task as Task
    from keras_lifelong.streams import TaskSpec as TaskSpec
    from keras_lifelong.streams import TaskStream as TaskStream
    from keras_lifelong.training.phase import Phase as Phase
    from keras_lifelong.zoo import upload_preset as upload_preset

__version__ = "0.1.0"

# Public names are imported when first used, so that importing the package is free.
# Methods and baselines are not listed here: they are found by their files.
_WHERE = {
    "LifelongModel": "model",
    "Phase": "training.phase",
    "Result": "metrics",
    "Task": "streams",
    "TaskSpec": "streams",
    "TaskStream": "streams",
    "compare": "metrics",
    "upload_preset": "zoo",
}
_ROOMS = ("backbones", "metrics", "report", "search", "streams", "zoo")


def _methods():
    # not `from keras_lifelong import …`, which would ask `__getattr__` first
    return importlib.import_module("keras_lifelong.method_files").methods()


def __getattr__(name):
    if name == "__all__":
        return [*_methods(), *_WHERE, *_ROOMS]
    if name in _WHERE:
        module = importlib.import_module(f"keras_lifelong.{_WHERE[name]}")
        return getattr(module, name)
    if name in _ROOMS:
        return importlib.import_module(f"keras_lifelong.{name}")
    if not name.startswith("_") and name in _methods():
        return getattr(importlib.import_module(_methods()[name]), name)
    raise AttributeError(f"module 'keras_lifelong' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__getattr__("__all__")})


# Then `keras.models.load_model` finds what was saved, without importing anything now.
importlib.import_module("keras_lifelong.keras_files").tell_when_imported()
