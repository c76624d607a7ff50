"""keras-lifelong: teach one Keras network task after task.

>>> import keras_lifelong as kl
>>> "DEN" in kl.__all__
True
"""

import importlib

__version__ = "0.1.0"

# Public names are imported when first used, so that importing the package is free.
_WHERE = {
    "DEN": "methods.den",
    "BindAndGrow": "methods.bind_and_grow",
    "ARI": "methods.ari",
    "LASEM": "methods.lasem",
    "PAR": "methods.par",
    "Finetune": "baselines.finetune",
    "Independent": "baselines.independent",
    "Joint": "baselines.joint",
    "L2": "baselines.l2",
    "EWC": "baselines.ewc",
    "LwF": "baselines.lwf",
    "LifelongModel": "model",
    "Phase": "training.phase",
    "Result": "metrics",
    "Task": "streams",
    "TaskSpec": "streams",
    "TaskStream": "streams",
    "upload_preset": "zoo",
}
_ROOMS = ("backbones", "metrics", "report", "search", "streams", "zoo")

__all__ = [*_WHERE, *_ROOMS]


def __getattr__(name):
    if name in _WHERE:
        module = importlib.import_module(f"keras_lifelong.{_WHERE[name]}")
        return getattr(module, name)
    if name in _ROOMS:
        return importlib.import_module(f"keras_lifelong.{name}")
    raise AttributeError(f"module 'keras_lifelong' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
