"""What one backend learned, the others use; and none of it needs TensorFlow."""

import re
from importlib import metadata

import backends
import keras
import numpy as np
import pytest
import small
from keras import layers
from packaging.requirements import Requirement

import keras_lifelong as kl
from keras_lifelong.zoo import shipped

X = small.X.reshape(-1, 6, 1, 1)[:16]
DIGITS = np.random.default_rng(1).uniform(size=(8, 8, 8, 1)).astype("float32")

# In a process where TensorFlow can't be imported: learn, save, load, go on, report.
WORK = """
import sys

sys.modules.update(tensorflow=None, tensorflow_datasets=None)
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_lifelong as kl
import test_between_backends as here

here.assert_others_are_read()
backend, folder = keras.backend.backend(), Path.cwd()
here.learn(folder / backend)
model = keras.models.load_model(folder / backend / "model.keras")
here.assert_predicts(model, folder / backend)
here.report(folder / backend)
digits = next(iter(kl.streams.get("split_mnist")))
model = kl.Finetune(here.images())
model.compile("adam")
with pytest.raises(ImportError, match="'mnist' is read with tensorflow-datasets"):
    model.fit(digits)
assert not [n for n in sys.modules if n.startswith("tensorflow.")]
"""


def images():
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten()])


def network():
    """With a convolution, normalisation and dropout."""
    return keras.Sequential(
        [
            keras.Input((6, 1, 1)),
            layers.Conv2D(3, (3, 1), padding="same"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(4, activation="relu"),
        ]
    )


def learn(folder):
    """Learns a task and leaves a preset, a file of Keras' and what it predicts."""
    model = kl.Finetune(network())
    model.compile(keras.optimizers.Adam(0.01))
    x = small.X.reshape(-1, 6, 1, 1)
    model.fit(kl.Task("t", train=(x, small.labels(1))), epochs=2, verbose=0)
    model.save_to_preset(folder / "preset")
    model.save(folder / "model.keras")
    np.save(folder / "predictions.npy", model.predict(X, task="t"))


def assert_predicts(model, folder):
    expected = np.load(folder / "predictions.npy")
    np.testing.assert_allclose(model.predict(X, task="t"), expected, atol=1e-5)


def answers():
    """Of the shipped presets, one a method, for their last tasks."""
    found = {}
    for name in shipped.names():
        model = kl.LifelongModel.from_preset(name)
        found[name] = model.predict(DIGITS, task=model.task_names[-1])
    return found


def assert_others_are_read():
    """All that lies in the working folder, by whichever backend it was left."""
    from pathlib import Path

    for preset in Path.cwd().glob("*/preset"):
        model = kl.LifelongModel.from_preset(preset)
        assert_predicts(model, preset.parent)
        small_task = kl.Task("u", train=(X, np.arange(16) % 2))
        model.fit(small_task, epochs=1, verbose=0)  # it goes on
        assert np.isfinite(model.predict(X, task="u")).all()
    with np.load("answers.npz") as expected:
        found = answers()
        assert sorted(found) == sorted(expected)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


def report(folder):
    """A run of the program on data that need no TensorFlow, and its page."""
    from keras_lifelong import cli

    file = folder / "run.yaml"
    file.write_text(
        "method: {name: Finetune}\nbackbone: {name: mlp, units: [4]}\n"
        "stream: {name: digits}\n"
        "training: {epochs: 1, batch_size: 64, optimizer: adam, learning_rate: 1e-3}\n"
    )
    words = ["run", "--config", str(file), "--output_dir", str(folder / "run")]
    assert cli.main(words) == 0
    assert cli.main(["report", "--run", str(folder / "run")]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What this process learned, and what it predicts by the shipped presets."""
    folder = tmp_path_factory.mktemp("backends")
    learn(folder / keras.backend.backend())
    np.savez(folder / "answers.npz", **answers())
    return folder


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_tensorflow_a_backend_reads_all_and_is_read(backend, folder):
    """The second reads what the first has left, too."""
    backends.need(backend)
    if keras.backend.backend() == backend:
        pytest.skip("needs two")
    backends.finish(backend, WORK, cwd=folder)
    model = kl.LifelongModel.from_preset(folder / backend / "preset")
    assert_predicts(model, folder / backend)


# === Requirements ===


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_requirements_name_all_that_no_deps_leaves_out(backend):
    """Of what is installed here: the dependencies of dependencies, but TensorFlow's."""
    listed = _listed(backends.ROOT / "requirements" / f"{backend}.txt")
    assert "tensorflow" not in listed and "tensorflow-datasets" not in listed
    wanted, todo = set(), [*listed]
    while todo:
        name = todo.pop()
        if name in wanted:
            continue
        wanted.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # not installed here
        for requirement in map(Requirement, needs):
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                todo.append(_normal(requirement.name))
    assert sorted(wanted - listed) == []


def test_requirements_hold_what_the_package_needs():
    listed = _listed(backends.ROOT / "requirements" / "without_tensorflow.txt")
    text = (backends.ROOT / "pyproject.toml").read_text()
    block = re.search(r"\ndependencies = \[(.*?)\n\]", text, re.S)[1]
    needed = {_normal(Requirement(r).name) for r in re.findall(r'"(.+?)"', block)}
    assert needed - listed == {
        "tensorflow",
        "tensorflow-datasets",
        "importlib-resources",  # of tensorflow-datasets
    }


def _listed(path) -> set[str]:
    found = set()
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            found |= _listed(path.parent / line[3:])
        elif line:
            found.add(_normal(Requirement(line).name))
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
