"""Keras finds what it saved of this package, which need not be imported before."""

import importlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import small
from keras import layers

import keras_lifelong as kl
from keras_lifelong import keras_files
from keras_lifelong.layers.factorised import TuckerDense

LOAD = """
import keras_lifelong
import keras
import numpy as np
model = keras.models.load_model("m.keras")
found = model.predict(np.load("x.npy"), task="t1")
np.testing.assert_allclose(found, np.load("y.npy"), atol=1e-6)
print(type(model).__name__)
"""


def test_every_class_is_found_by_its_source():
    for name, module in keras_files.saved_classes().items():
        cls = getattr(importlib.import_module(module), name)
        assert keras.saving.get_registered_name(cls) == f"keras_lifelong>{name}"


def test_what_stands_for_a_class_acts_as_it():
    later = keras_files.Later("keras_lifelong.layers.factorised", "TuckerDense")
    layer = later.from_config(TuckerDense(3).get_config())
    assert type(layer) is TuckerDense
    with pytest.raises(AttributeError, match="nothing"):
        later.nothing  # noqa: B018


def test_a_file_loads_in_a_fresh_process(tmp_path):
    backbone = small.backbone()
    backbone.add(TuckerDense(4))
    backbone.add(layers.ReLU())
    model = kl.EWC(backbone)
    model.compile("adam")
    small.learn(model, 1)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", small.X)
    np.save(tmp_path / "y.npy", model.predict(small.X, task="t1"))
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["EWC"], done.stderr[-2000:]
