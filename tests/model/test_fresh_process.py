"""A preset is all that a process needs, whatever it has imported."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model import registry

METHODS = registry.names()

# The process that imports Keras is forked for each preset, before it has used any
# method: what a child then imports, no other child has.
FRESH = """
import json, os, sys, traceback
import numpy as np
import keras
import keras_lifelong as kl

ours = "keras_lifelong.methods.", "keras_lifelong.baselines.", "keras_lifelong.layers."
early = [name for name in sys.modules if name.startswith(ours)]

def check(directory):
    model = kl.LifelongModel.from_preset(directory + "/preset")
    found = model.predict(np.load(directory + "/x.npy"), task="a")
    same = bool((found == np.load(directory + "/y.npy")).all())
    return {"method": type(model).__name__, "same": same, "early": early}

for directory in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            said = check(directory)
        except BaseException:
            said = {"error": traceback.format_exc()}
        with open(directory + "/said.json", "w") as file:
            json.dump(said, file)
        os._exit(0)
    os.waitpid(child, 0)
"""


def saved(method, directory):
    """A preset of the method, an input, and what it answers here."""
    backbone = [keras.Input((5,)), layers.Dense(4, activation="relu")]
    if method == "PAR":
        cells = kl.backbones.get("cells", (4, 4, 1), filters=2, cells=2)
        backbone = [layers.Input((4, 4, 1)), *cells.layers]
    network = keras.Sequential(backbone)
    x = np.ones((2, *network.input_shape[1:]), "float32")
    model = registry.get(method)(network)
    model.compile("adam")
    model.add_task("a", kl.TaskSpec(2, input_shape=x.shape[1:]))
    if method == "PAR":
        model.add_expert("a")
    model.save_to_preset(directory / "preset")
    np.save(directory / "x.npy", x)
    np.save(directory / "y.npy", model.predict(x, task="a"))


@pytest.fixture(scope="module")
def fresh(request, tmp_path_factory):
    """What the presets were in processes that had imported nothing, by method.

    Of the methods whose tests are run.
    """
    mine = [item for item in request.session.items if item.path == request.path]
    params = [item.callspec.params for item in mine if hasattr(item, "callspec")]
    wanted = [p["method"] for p in params if "method" in p]
    directories = {name: tmp_path_factory.mktemp(name) for name in wanted}
    for name, directory in directories.items():
        saved(name, directory)
    words = [sys.executable, "-c", FRESH, *map(str, directories.values())]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {
        name: json.loads((directory / "said.json").read_text())
        for name, directory in directories.items()
    }


@pytest.mark.compiled
@pytest.mark.parametrize("method", METHODS)
def test_a_preset_loads_in_a_process_that_has_imported_nothing(method, fresh):
    """Classes of methods and of layers are found by what the preset says."""
    assert fresh[method] == {"method": method, "same": True, "early": []}
