"""Every registered layer is one of Keras': configuration, saving, shapes, precision.

Keras' own `run_layer_test` says what that means. A new layer is checked by being
registered. This file runs on TensorFlow with all other tests, and on JAX and PyTorch
with `tests/contract`.
"""

import importlib
import inspect

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_lifelong import keras_files
from keras_lifelong.layers.residual import ResidualBlock
from keras_lifelong.layers.residual import Stem

EDGES = [
    *(("skip_connect", 0), ("max_pool_3x3", 1), ("none", 0), ("avg_pool_3x3", 2)),
    *(("none", 0), ("none", 3), ("none", 1), ("none", 2)),
]
# PyTorch 2.13 overwrites memory in the gradient of strided 1x1 convolutions of fewer
# than eight channels on a CPU, and the process ends.
IMAGES = (2, 6, 6, 8)
WEIGHTS = {"shapes": [(3, 4), (4,)], "slots": 2, "units": [3]}

# What a layer is given that has no default, by the argument's name, and how many axes
# its input has, by a part of its own name. A layer that needs more has a case.
USUAL = {"units": 5, "filters": 4, "kernel_size": 3}
SHAPES = {"Dense": (2, 5), "1D": (2, 6, 3), "3D": (2, 4, 4, 4, 3)}
CASES = {
    "HeadSlot": {"init_kwargs": {"units": 5}, "input_shape": (2, 5)},
    "Cell": {
        "init_kwargs": {"edges": EDGES, "filters": 8},
        "input_shape": {"before_shape": IMAGES, "last_shape": IMAGES},
        "run_training_check": False,  # Keras' own gives one input
    },
    "CellNetwork": {
        "init_kwargs": {
            "genotype": {"normal": EDGES, "reduce": EDGES},
            "filters": 8,
            "cells": 2,
            "stem_multiplier": 1,
        },
    },
    "ChunkedHypernetwork": {
        "init_kwargs": {**WEIGHTS, "chunk": 5},
        "input_data": np.array([0, 1], "int32"),
    },
    "StructuredChunkedHypernetwork": {
        "init_kwargs": WEIGHTS,
        "input_data": np.array([0, 1], "int32"),
    },
}


def registered():
    """Dict of the package's layers by the name that they are saved by."""
    found = {}
    for name, module in keras_files.saved_classes().items():
        if module.startswith("keras_lifelong.layers."):
            found[name] = getattr(importlib.import_module(module), name)
    return {n: c for n, c in found.items() if issubclass(c, keras.layers.Layer)}


LAYERS = registered()


def case(name):
    """Arguments of `run_layer_test` for a layer."""
    given = dict(CASES.get(name, {}))
    if "init_kwargs" not in given:
        needed = {}
        for cls in LAYERS[name].__mro__:
            for key, value in inspect.signature(cls.__init__).parameters.items():
                if key in USUAL and value.default is value.empty:
                    needed[key] = USUAL[key]
        given["init_kwargs"] = needed
    if not {"input_shape", "input_data"} & given.keys():
        shapes = [shape for part, shape in SHAPES.items() if part in name]
        given["input_shape"] = shapes[0] if shapes else IMAGES
    return given


@pytest.fixture
def quick(request):
    """Uncompiled where that is quicker: not on JAX, which runs few operations alone."""
    if keras.backend.backend() != "jax":
        request.getfixturevalue("eager")


def check(layer, **given):
    TestCase().run_layer_test(layer, **given)


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_a_layer_of_keras(name, quick):
    check(LAYERS[name], **case(name))


def test_what_is_checked_is_registered():
    assert CASES.keys() <= LAYERS.keys()
    assert {"GrowableDense", "TuckerConv2D", "ResidualBlock"} <= LAYERS.keys()


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (Stem, {"pool": True}),
        (ResidualBlock, {"strides": 2}),
        (ResidualBlock, {"strides": 2, "projection": False}),
    ],
)
def test_other_arguments(layer, arguments, quick):
    check(layer, init_kwargs={"filters": 12, **arguments}, input_shape=IMAGES)


@pytest.mark.skipif("keras.backend.backend() == 'torch'", reason="no halves on a CPU")
@pytest.mark.parametrize("layer", [Stem(8, pool=True), ResidualBlock(8, 2)])
def test_halves_are_near_what_floats_are(layer):
    x = np.random.default_rng(0).normal(size=IMAGES).astype("float32")
    expected = np.array(layer(x))
    config = {**layer.get_config(), "dtype": "mixed_float16"}
    half = type(layer).from_config(config)
    half.build(IMAGES)
    half.set_weights(layer.get_weights())
    found = np.array(half(x))
    assert found.dtype == "float16"
    np.testing.assert_allclose(found, expected, atol=0.02)
