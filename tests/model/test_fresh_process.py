"""A preset is all that a process needs, whatever it has imported."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model import registry

METHODS = registry.names()


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_loads_in_a_process_that_has_imported_nothing(method, tmp_path):
    """Classes of methods and of layers are found by what the preset says."""
    backbone = [keras.Input((5,)), layers.Dense(4, activation="relu")]
    if method == "PAR":
        cells = kl.backbones.get("cells", (4, 4, 1), filters=2, cells=2)
        backbone = [layers.Input((4, 4, 1)), *cells.layers]
    network = keras.Sequential(backbone)
    x = np.ones((2, *network.input_shape[1:]), "float32")
    saved = registry.get(method)(network)
    saved.compile("adam")
    saved.add_task("a", kl.TaskSpec(2, input_shape=x.shape[1:]))
    if method == "PAR":
        saved.add_expert("a")
    saved.save_to_preset(tmp_path / "preset")
    np.save(tmp_path / "y.npy", saved.predict(x, task="a"))
    code = (
        "import numpy as np, sys, keras_lifelong as kl\n"
        f"model = kl.LifelongModel.from_preset({str(tmp_path / 'preset')!r})\n"
        f"x = np.ones({x.shape}, 'float32')\n"
        f"same = model.predict(x, task='a') == np.load({str(tmp_path / 'y.npy')!r})\n"
        f"print(type(model).__name__, same.all())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split()[-2:] == [method, "True"], done.stderr[-2000:]
