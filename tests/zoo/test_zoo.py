"""The presets that the package ships load without a network, and go on learning."""

import json
import subprocess
import sys

import pytest
import yaml

import keras_lifelong as kl
from keras_lifelong import cli
from keras_lifelong import config as config_lib
from keras_lifelong.model import registry
from keras_lifelong.presets import layout
from keras_lifelong.presets.reading import Preset

NAMES = kl.zoo.names()


def test_there_is_one_of_each_method():
    assert sorted(kl.zoo.describe(name)["method"] for name in NAMES) == registry.names()


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_preset_does_what_it_says(name):
    preset = Preset(name)
    preset.check_all()
    directory = kl.zoo.path(name)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 900 * 2**10
    assert {p.relative_to(directory).as_posix() for p in files} == {
        *preset.metadata["files"],
        layout.METADATA,
    }
    model = kl.LifelongModel.from_preset(name)
    said, (result,) = kl.zoo.describe(name), model.results
    assert type(model).__name__ == said["method"] and model.task_names == said["tasks"]
    assert model.count_params() == said["parameters"]
    stream = kl.streams.get("digits", seed=0)
    for j, task in enumerate(stream):
        found = model.evaluate(task)["accuracy"]
        assert found == pytest.approx(result.matrix[-1, j], abs=0.03)
    assert result.acc > 0.9


@pytest.mark.parametrize("name", ["den_digits", "par_digits", "bind_and_grow_digits"])
def test_a_shipped_preset_goes_on_learning(name):
    model = kl.LifelongModel.from_preset(name)
    x, y = kl.streams.get("digits", seed=1)[0].train
    x = x[:, ::-1]  # as they have not been seen yet
    model.fit(x, y, task="upside down", epochs=20, batch_size=32, verbose=0)
    assert model.evaluate(x, y, task="upside down")["accuracy"] > 0.9
    assert len(model.task_names) == 6


def test_it_loads_in_a_process_without_network_or_home(tmp_path):
    code = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise OSError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import numpy as np, keras_lifelong as kl\n"
        "model = kl.LifelongModel.from_preset('den_digits')\n"
        "print(model.predict(np.zeros((1, 8, 8, 1)), task='task_0').shape)\n"
        "print('kagglehub' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HOME": "/nonexistent", "PATH": "", "KERAS_BACKEND": "tensorflow"},
    )
    lines = done.stdout.split("\n")
    assert lines[:2] == ["(1, 2)", "False"], done.stderr[-2000:]


def test_names_that_are_not_shipped():
    with pytest.raises(ValueError, match=r"den_digits.*Received: 'den_digit'"):
        kl.LifelongModel.from_preset("den_digit")
    with pytest.raises(ValueError, match="`name` must be one of .*Received: 'x'"):
        kl.zoo.path("x")


def test_the_program_lists_and_shows_what_it_would_publish(capsys):
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in NAMES)
    words = ["publish", "--preset", str(kl.zoo.path("ewc_digits"))]
    assert cli.main([*words, "--to", "hf://me/ewc", "--dry_run"]) == 0
    said = capsys.readouterr().out
    front = yaml.safe_load(said.split("---\n")[1])
    assert front["model-index"][0]["name"] == "ewc"
    assert "Nothing was sent." in said and "model.weights.h5" in said
    assert cli.main([*words, "--to", "ewc", "--dry_run"]) == 2
    assert "`uri` must be a hub's" in capsys.readouterr().err
    assert cli.main(["publish", "--preset", "zoo_configs", "--to", "hf://me/x"]) == 2
    assert "is no preset that can be loaded" in capsys.readouterr().err


def test_the_experiment_of_a_preset_can_be_run_again():
    path = kl.zoo.path("den_digits") / layout.EXPERIMENT
    config = config_lib.load(path)
    meant, said = json.loads(json.dumps(config.resolved)), path.read_text()
    written = yaml.safe_load(said)
    grown = (
        "method",
        "stream",
        "training",
    )  # arguments that came later have their defaults
    assert all(written[key].items() <= meant[key].items() for key in grown)
    assert {**meant, **dict.fromkeys(grown)} == {**written, **dict.fromkeys(grown)}
    assert isinstance(config.build_model((8, 8, 1)), kl.DEN)
