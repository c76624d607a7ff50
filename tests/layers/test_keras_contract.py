"""Every registered layer is one of Keras': configuration, saving, shapes, precision."""

import importlib
import inspect
import pathlib

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_lifelong import keras_files

EDGES = [("skip_connect", 0), ("dil_conv_3x3", 1), ("max_pool_3x3", 0)]
EDGES = [*EDGES, ("none", 1), ("avg_pool_3x3", 2), ("sep_conv_3x3", 0)] + [("none", 0)] * 2
IMAGES = (2, 6, 6, 3)

# Arguments that a layer has no default for, by name; a new layer needs no more than
# to be registered where these fit it.
USUAL = {"units": 5, "filters": 4, "kernel_size": 3}
# Where more must be said: arguments, and what the layer is called with.
CASES = {
    "BatchNormalization": {},
    "Cell": {
        "init_kwargs": {"edges": EDGES, "filters": 4},
        "input_shape": {"before_shape": IMAGES, "last_shape": IMAGES},
    },
}


def registered():
    """Dict of the layers in `keras_lifelong.layers`, by the name they are saved by."""
    found = {}
    for name, module in keras_files.saved_classes().items():
        if module.startswith("keras_lifelong.layers."):
            found[name] = getattr(importlib.import_module(module), name)
    return {n: c for n, c in found.items() if issubclass(c, keras.layers.Layer)}
