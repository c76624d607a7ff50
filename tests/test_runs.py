"""Runs of several seeds, single-task nets beside them, and runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keras_lifelong import cli
from keras_lifelong import config as config_lib
from keras_lifelong import runs
from keras_lifelong import streams
from keras_lifelong.metrics import Result
from keras_lifelong.report import page
from keras_lifelong.report import registry

CONFIG = """
method: {name: FakeMethod}
backbone: {name: mlp, units: [8]}
stream: {name: digits, num_tasks: 2}
"""


@pytest.fixture
def run(tmp_path, fake_method, monkeypatch):
    """Calls `keras-lifelong run` in a directory; its scores follow the seed."""
    fit_stream = fake_method.fit_stream

    def scored(self, *args, **kwargs):
        result = fit_stream(self, *args, **kwargs)
        result.matrices["accuracy"][:] = 0.5 + self.seed / 10
        return result

    def write(result, output_dir):
        (Path(output_dir) / "report.html").write_text(str(result))

    monkeypatch.setattr(fake_method, "fit_stream", scored)
    monkeypatch.setattr(page, "write", write)
    monkeypatch.setattr(registry, "figures_for", lambda result: [])  # take seconds
    (tmp_path / "a.yaml").write_text(CONFIG)

    def call(*more, out="out"):
        words = ["run", "--config", str(tmp_path / "a.yaml")]
        return cli.main([*words, "--output_dir", str(tmp_path / out), *more])

    call.out, call.method = tmp_path / "out", fake_method
    return call


def test_a_stream_is_asked_once_whether_its_data_are_there(monkeypatch):
    asked = []
    data = np.zeros((8, 2), "float32"), np.arange(8) % 2
    task = streams.Task("a", train=data, test=data)
    stream = streams.TaskStream(lambda i: task, num_tasks=1, check=asked.append)
    config = config_lib.resolve(
        {
            "method": {"name": "Finetune"},
            "backbone": {"name": "mlp", "units": [2]},
            "stream": {"name": "digits"},
        }
    )
    monkeypatch.setattr(streams, "get", lambda **arguments: stream)
    built, model = runs.build(config)
    model.compile("adam", run_eagerly=True)
    model.fit_stream(built, verbose=0)
    assert asked == [0]
    stream.check()
    assert asked == [0, 0]


def test_seeds_are_runs_in_folders_with_one_summary(run, capsys):
    assert run("--seeds", "0,1,2") == 0
    for seed in range(3):
        result = Result.load(run.out / f"seed-{seed}" / "results.json")
        assert (result.seed, result.config["seed"]) == (seed, seed)
        assert result.flops_by_task == [20, 20]
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2]
    acc = summary["measures"]["acc"]
    assert acc["values"] == pytest.approx([0.5, 0.6, 0.7])
    assert acc["mean"] == pytest.approx(0.6)
    # t of two degrees of freedom is 4.30265, the deviation 0.1
    assert acc["half"] == pytest.approx(4.30265 * 0.1 / 3**0.5, abs=1e-5)
    assert "0.6000 ± 0.2484" in capsys.readouterr().out
    assert (run.out / "comparison.html").is_file()


def test_seeds_are_resumed_one_by_one(run, capsys):
    run.method.stop_at = 1
    assert run("--seeds", "0,1") == 130
    assert "--seeds 0,1" in capsys.readouterr().err  # the command that goes on
    run.method.stop_at = None
    assert run("--seeds", "0,1") == 0
    assert "Resuming the interrupted run" in capsys.readouterr().out
    assert run("--seeds", "0-2") == 0
    assert "seed-0 is finished; nothing changed" in capsys.readouterr().out
    assert json.loads((run.out / "summary.json").read_text())["seeds"] == [0, 1, 2]


def test_all_seeds_are_checked_before_the_first_is_learned(run, capsys):
    assert run("--seeds", "1", "--set", "method.growth=3") == 0
    assert run("--seeds", "0,1") == 2
    assert "seed-1 holds a finished run of another" in capsys.readouterr().err
    assert not (run.out / "seed-0").exists()


def test_unfinished_seeds_are_named_where_they_are_left_out(run, capsys):
    assert run("--seeds", "0") == 0
    run.method.stop_at = 1
    assert run("--seeds", "0,1") == 130
    capsys.readouterr()
    assert cli.main(["compare", str(run.out), "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert said.err == f"Left out, as they are not finished: {run.out / 'seed-1'}\n"
    assert len(said.out.strip().splitlines()) == 2


def test_one_seed_is_no_run_in_a_directory_of_several(run, capsys):
    assert run("--seeds", "0") == 0
    for more in ((), ("--overwrite",), ("--seed", "5")):
        assert run(*more) == 2
        said = capsys.readouterr().err
        assert "holds runs of several seeds, as seed-0" in said and "--seeds" in said
    assert not (run.out / "config.yaml").exists()


def test_a_directory_of_one_seed_is_none_of_several(run, capsys):
    assert run() == 0
    assert run("--seeds", "0,1") == 2
    assert "holds a run of one seed" in capsys.readouterr().err
    assert run("--seeds", "0,1", "--seed", "3") == 2
    assert "Received: both" in capsys.readouterr().err


def test_a_run_of_data_that_are_not_there_is_not_begun(run, monkeypatch, capsys):
    def check(self):
        raise FileNotFoundError("no image of task 9")

    monkeypatch.setattr(streams.TaskStream, "check", check)
    assert run() == 1
    assert "error: no image of task 9" in capsys.readouterr().err
    assert not (run.out / "config.yaml").exists()


def test_single_task_nets_are_learned_beside(run, monkeypatch):
    from keras_lifelong.model import registry as methods

    alone = type("Independent", (run.method,), {})
    get = methods.get
    monkeypatch.setattr(
        methods, "get", lambda name: alone if name == "Independent" else get(name)
    )
    monkeypatch.setattr(
        alone,
        "__init__",
        lambda self, backbone, seed=0, pretrained=False: run.method.__init__(
            self, backbone, seed=seed
        ),
    )
    scored = run.method.fit_stream

    def halved(self, *args, **kwargs):
        result = scored(self, *args, **kwargs)
        result.matrices["accuracy"][:] = 0.25
        return result

    monkeypatch.setattr(alone, "fit_stream", halved)
    assert run("--single") == 0
    result = Result.load(run.out / "results.json")
    assert result.single_by_task == [0.25, 0.25]
    assert result.multi_task_gain == 100.0
    assert result.forward_transfer == 0.25
    assert Result.load(run.out / "single" / "results.json").matrix[1, 1] == 0.25
    assert "gain +100.00 %" in (run.out / "report.html").read_text()
    # of a run that ended without them
    assert run(out="later") == 0
    assert run("--single", out="later") == 0
    later = Result.load(run.out.parent / "later" / "results.json")
    assert later.single_by_task == [0.25, 0.25]


def test_runs_are_compared_from_their_directories(run, capsys, tmp_path):
    assert run("--seeds", "0,1") == 0
    for seed in ("0", "1"):
        name = f"other-{seed}"
        assert run("--seed", seed, "--set", "method.growth=3", out=name) == 0
    capsys.readouterr()
    words = ["compare", str(run.out), *(str(tmp_path / f"other-{s}") for s in (0, 1))]
    assert cli.main([*words, "--out", str(tmp_path / "table")]) == 0
    out = capsys.readouterr().out
    assert "FakeMethod (growth=10)" in out and "less FakeMethod (growth=10)" in out
    names = {path.name for path in (tmp_path / "table").iterdir()}
    assert names == {"comparison.html", "comparison.md", "comparison.csv"}
    assert cli.main([*words, "--format", "csv"]) == 0
    head, *rows = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("group,metric,seeds,acc,acc_half,acc_difference")
    assert len(rows) == 2
    assert cli.main([*words, "--against", "EWC"]) == 2
    assert "No group is called 'EWC'" in capsys.readouterr().err


def test_a_run_given_twice_counts_once(run, tmp_path):
    assert run() == 0
    found = runs.results_in([run.out, run.out / "results.json"])
    assert len(found) == 1


def test_curves_of_many_epochs_are_means_of_parts():
    from keras_lifelong.model.results import thinned

    curve = np.linspace(0, 1, 1000).tolist()
    assert len(thinned(curve)) == 200
    assert np.mean(thinned(curve)) == pytest.approx(0.5)
    assert thinned([0.1, 0.2]) == [0.1, 0.2]
