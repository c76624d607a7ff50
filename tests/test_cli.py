"""The program: its words, its exit statuses, and what it leaves in a directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import keras_lifelong
from keras_lifelong import cli
from keras_lifelong import run_directory
from keras_lifelong.metrics import Result
from keras_lifelong.report import page

ROOT = Path(__file__).parents[1]

CONFIG = """
method: {name: FakeMethod}
backbone: {name: mlp, units: [8]}
stream: {name: digits, num_tasks: 2}
training: {epochs: 3}
"""


@pytest.fixture
def run(tmp_path, fake_method, monkeypatch):
    """Calls `keras-lifelong run` in `tmp_path / "out"`, with a quick report."""

    def write(result, output_dir):
        (Path(output_dir) / "figures").mkdir(exist_ok=True)
        (Path(output_dir) / "report.html").write_text(str(result))

    monkeypatch.setattr(page, "write", write)
    config = tmp_path / "a.yaml"
    config.write_text(CONFIG)

    def call(*more):
        directory = str(tmp_path / "out")
        return cli.main(
            ["run", "--config", str(config), "--output_dir", directory, *more]
        )

    call.out = tmp_path / "out"
    call.method = fake_method
    call.config = config
    return call


def tree(directory):
    """Path -> (content, time of change) of all files."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


# === Words and statuses ===


def program(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        **kwargs,
    )


def test_help_needs_no_keras():
    code = (
        "import sys; from keras_lifelong.cli import main; "
        "codes = [main(['--help']), main(['run', '--help']), main(['rum']), "
        "main(['run', '--config', 'x'])]; "
        "heavy = {'keras', 'tensorflow', 'numpy', 'yaml'} & set(sys.modules); "
        "print(codes, heavy)"
    )
    done = program("-c", code)
    assert done.stdout.endswith("[0, 0, 2, 2] set()\n"), done
    assert "keras-lifelong run --config CONFIG --output_dir OUTPUT_DIR" in done.stdout


def test_module_is_the_program():
    done = program("-m", "keras_lifelong", "--version")
    assert done.returncode == 0
    assert done.stdout == f"keras-lifelong {keras_lifelong.__version__}\n"
    done = program("-m", "keras_lifelong", "rnu")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "keras-lifelong: error: unknown command 'rnu'. Nearest: run. "
        "Accepted: run, tune, report, compare, reproduce, publish, list, export\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a command: run, tune, report, compare, reproduce, publish, list,"),
        (["rum"], "Nearest: run"),
        (["run"], "run needs --config and --output_dir. See run --help"),
        (["run", "--config", "x"], "run needs --output_dir"),
        (["run", "--confg", "x"], "Unknown command line flag 'confg'. Did you mean"),
        (["run", "--config", "x", "--output_dir", "y", "a=1"], "Repeat --set for each"),
        (["run", "--config", "x", "--output_dir", "y", "--seed", "z"], "--seed=z"),
        (["run", "--config", "nowhere.yaml", "--output_dir", "y"], "nowhere.yaml"),
        (["report", "--run", "a", "b"], "report takes flags only. Received: b"),
        (["compare"], "compare needs RUN. See compare --help"),
        (["compare", "nowhere"], "There is no results.json in nowhere"),
        (["run", "--config", "x", "--output_dir", "y", "--seeds", "0,0"], "each once"),
        (["run", "--config", "x", "--output_dir", "y", "--seeds", "a"], "'a'"),
        (
            ["run", "--config", "x", "--output_dir", "y", "--seeds", "9" * 5000],
            "--seeds must be whole numbers",
        ),
        (["run", "--config", "x", "--output_dir", "y", "--seeds", "٣"], "'٣'"),
        (["export", "--stream", "digits", "--out", "x.npy"], "does not end in .npz"),
        (
            ["export", "--stream", "digits", "--out", "nowhere/x.npz"],
            "--out nowhere/x.npz: there is no directory nowhere",
        ),
        (
            ["compare", "a", "--out", f"{__file__}/x"],
            f"--out must be a directory. Received: {__file__}/x, but",
        ),
        (
            ["reproduce", "papers/den/figure6", "--out", __file__],
            "--out must be a directory.",
        ),
        (["export", "--stream", "digit", "--out", "x.npz"], "Nearest: digits"),
    ],
)
def test_usage_errors(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("keras-lifelong: error: ")
    assert err.count("\n") == 1
    assert words in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_command_help_names_every_flag(command, capsys):
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: keras-lifelong {command}" in out
    assert "repeat this option" not in out
    for flag in cli.COMMANDS[command].required:
        assert f"\n  --{flag} " in out


def test_list_names_everything_with_its_source(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("DEN", "EWC", "digits", "permuted_mnist", "den_conv"):
        line = next(line for line in out.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 3, line
    assert "  zoo_configs/den/digits.yaml  " in out


def test_list_ends_quietly_when_the_reader_leaves():
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m keras_lifelong list | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("Methods:\n", "")


# === A run ===


def test_a_run_leaves_all_of_the_contract(run, capsys):
    assert run("--set", "training.epochs=5", "--seed", "7") == 0
    assert {path.name for path in run.out.iterdir() if path.name[0] != "."} == {
        "config.yaml",
        "checkpoint",
        "preset",
        "results.json",
        "figures",
        "report.html",
    }
    stored = yaml.safe_load((run.out / "config.yaml").read_text())
    assert (stored["training"]["epochs"], stored["seed"]) == (5, 7)
    result = Result.load(run.out / "results.json")
    assert result.config == stored
    assert (result.seed, result.task_names) == (7, ["task_0", "task_1"])
    assert "task_1" in capsys.readouterr().out


def test_the_stored_configuration_makes_the_same_run(run, tmp_path, capsys):
    assert run("--set", "method.l1=1e-7") == 0
    again = tmp_path / "again"
    config = str(run.out / "config.yaml")
    assert cli.main(["run", "--config", config, "--output_dir", str(again)]) == 0
    for name in ("config.yaml", "results.json"):
        assert (again / name).read_bytes() == (run.out / name).read_bytes()


def test_a_finished_run_is_left_alone(run, capsys):
    assert run() == 0
    before = tree(run.out)
    assert run() == 0
    assert "is finished; nothing changed" in capsys.readouterr().out
    assert tree(run.out) == before


def test_a_finished_run_of_another_configuration_is_an_error(run, capsys):
    assert run() == 0
    before = tree(run.out)
    assert run("--set", "training.epochs=4") == 2
    err = capsys.readouterr().err
    assert "a finished run of another configuration" in err
    assert "training.epochs is 3 there, 4 here" in err
    assert tree(run.out) == before


def test_overwrite_starts_anew_and_removes_only_ours(run):
    assert run() == 0
    (run.out / "notes.txt").write_text("mine")
    assert run("--overwrite", "--set", "training.epochs=4") == 0
    assert (run.out / "notes.txt").read_text() == "mine"
    assert json.loads((run.out / "checkpoint/state.json").read_text()) == [
        {"name": "task_0", "epochs": 4},
        {"name": "task_1", "epochs": 4},
    ]
    assert not (run.out / ".removed").exists()


def test_overwrite_with_a_bad_configuration_removes_nothing(run, capsys):
    assert run() == 0
    before = tree(run.out)
    assert run("--overwrite", "--set", "method.growth=0") == 2
    assert "`growth` must be at least 1. Received: 0" in capsys.readouterr().err
    assert tree(run.out) == before


def test_an_interrupted_run_is_resumed(run, capsys):
    run.method.stop_at = 1
    assert run("--overwrite") == 130
    err = capsys.readouterr().err
    command = f"keras-lifelong run --config {run.config} --output_dir {run.out}"
    assert err.rstrip().endswith(command)
    assert not (run.out / "results.json").exists()
    assert len(json.loads((run.out / "checkpoint/state.json").read_text())) == 1

    run.method.stop_at = None
    assert run() == 0
    assert "Resuming the interrupted run" in capsys.readouterr().out
    assert (run.out / "results.json").exists()


def test_an_interrupted_run_of_another_configuration_is_an_error(run, capsys):
    run.method.stop_at = 1
    run()
    before = tree(run.out)
    assert run("--set", "stream.num_tasks=3", "--set", "method.l1=0") == 2
    err = capsys.readouterr().err
    assert "an interrupted run of another configuration" in err
    assert (
        "method.l1 is 1e-05 there, 0 here; stream.num_tasks is 2 there, 3 here" in err
    )
    assert tree(run.out) == before


def test_a_failure_on_the_way_is_one_line_and_resumable(run, capsys):
    run.method.stop_at, run.method.error = 1, OSError(28, "No space left on device")
    assert run() == 1
    err = capsys.readouterr().err
    assert err == "keras-lifelong: error: [Errno 28] No space left on device\n"
    assert run("--verbose") == 1
    assert "Traceback" in capsys.readouterr().err
    run.method.stop_at = None
    assert run() == 0


def test_a_bug_shows_its_traceback(run):
    run.method.stop_at, run.method.error = 0, KeyError("oops")
    with pytest.raises(KeyError):
        run()


def test_killed_before_the_report_only_the_report_is_made(run, capsys):
    assert run() == 0
    before = tree(run.out)
    (run.out / "report.html").unlink()
    assert run() == 0
    assert "but for its report" in capsys.readouterr().out
    after = tree(run.out)
    assert after.pop("report.html")
    assert before.pop("report.html")
    assert after == before


def test_killed_while_the_preset_was_written(run):
    assert run() == 0
    for name in ("results.json", "report.html", "preset/config.json"):
        (run.out / name).unlink()
    assert run() == 0
    assert (run.out / "preset/config.json").exists()


@pytest.mark.parametrize("name", run_directory.OURS)
def test_what_no_run_wrote_is_never_touched(run, name, capsys):
    run.out.mkdir()
    path = run.out / name
    path.write_text("mine") if path.suffix else path.mkdir()
    for flags in ((), ("--overwrite",)):
        assert run(*flags) == 2
        assert f"holds {name}, which no run wrote" in capsys.readouterr().err
    assert [entry.name for entry in run.out.iterdir()] == [name]


def test_output_dir_is_a_file(run, capsys):
    run.out.write_text("mine")
    assert run() == 2
    assert "Received a file" in capsys.readouterr().err


def test_bad_configurations_leave_no_directory(run, capsys):
    assert run("--set", "training.epoch=1") == 2
    assert "Nearest: `training.epochs`" in capsys.readouterr().err
    assert not run.out.exists()


def test_metrics_for_other_tasks_are_refused_before_the_run_begins(run, capsys):
    given = "method={name: Finetune}", "training.metrics=[character_error_rate]"
    assert run("--set", given[0], "--set", given[1]) == 2
    said = capsys.readouterr().err
    assert "`metrics` of `compile` must have one for categorical tasks" in said
    assert not (run.out / "config.yaml").exists()
    assert not (run.out / "checkpoint").exists()


@contextlib.contextmanager
def another_run_in(directory):
    directory.mkdir()
    with open(directory / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_two_runs_in_one_directory(run, capsys):
    with another_run_in(run.out):
        assert run() == 1
        assert "Another run is writing to" in capsys.readouterr().err
    assert run() == 0


# === report, export ===


def test_report_is_made_anew(run, capsys):
    assert run() == 0
    (run.out / "report.html").unlink()
    assert cli.main(["report", "--run", str(run.out)]) == 0
    assert (run.out / "report.html").exists()


def test_report_of_nothing(tmp_path, capsys):
    assert cli.main(["report", "--run", str(tmp_path)]) == 1
    assert "There is no results.json" in capsys.readouterr().err
    assert cli.main(["report", "--run", str(tmp_path / "x")]) == 1


def test_report_of_a_truncated_result(run, capsys):
    assert run() == 0
    path = run.out / "results.json"
    path.write_text(path.read_text()[:-40])
    assert cli.main(["report", "--run", str(run.out)]) == 1
    assert "results.json" in capsys.readouterr().err


def test_export_is_read_back(tmp_path, capsys):
    from keras_lifelong import streams

    out = tmp_path / "digits.npz"
    arguments = ["export", "--stream", "digits", "--out", str(out)]
    assert cli.main([*arguments, "--set", "stream.num_tasks=2", "--set", "seed=3"]) == 0
    stream = streams.get("npz", path=str(out))
    expected = streams.get("digits", num_tasks=2, seed=3)
    assert [task.name for task in stream] == ["task_0", "task_1"]
    for task, other in zip(stream, expected, strict=True):
        assert (task.train[0] == other.train[0]).all()
    assert cli.main(arguments) == 2
    assert "exists already" in capsys.readouterr().err


# === The whole, with a real method ===


def test_the_real_thing(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config, out = "zoo_configs/finetune/digits.yaml", tmp_path / "out"
    done = program(
        *("-m", "keras_lifelong", "run", "--config", config, "--output_dir", str(out)),
        *("--set", "training.epochs=1", "--set", "stream.num_tasks=2"),
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "results.json").read_text())
    assert content["schema"] == 1
    assert content["method"] == "Finetune"
    assert content["stream"] == "digits"
    assert content["config"]["training"]["epochs"] == 1
    assert content["peak_rss_mib"] > 100
    assert content["wall_seconds"] > 0
    assert {"keras", "keras_lifelong"} <= set(content["versions"])
    assert (out / "report.html").stat().st_size > 10_000
    assert list((out / "figures").glob("*.png"))
    from keras_lifelong import LifelongModel

    model = LifelongModel.from_preset(str(out / "preset"))
    assert model.task_names == ["task_0", "task_1"]
