"""A run killed at any moment goes on and ends with the same results."""

import json
import random
import shutil
import time
from pathlib import Path

import processes
import pytest

UNEQUAL = ("train_seconds_by_task", "wall_seconds", "compile_count", "peak_rss_mib")
QUICK = ["--set", "training.epochs=3", "--set", "stream.num_tasks=2"]


CONFIGS = Path(__file__).parents[1] / "zoo_configs"
METHODS = sorted(path.parent.name for path in CONFIGS.glob("*/digits.yaml"))


def start(directory, extra):
    words = ["run"]
    if "--config" not in extra:
        words += ["--config", str(CONFIGS / "den/digits.yaml")]
    return processes.Process([*words, "--output_dir", str(directory), *extra])


def results(directory):
    found = json.loads((directory / "results.json").read_text())
    return {k: v for k, v in found.items() if k not in UNEQUAL}


def finish(directory, extra):
    process = start(directory, extra)
    assert process.wait(timeout=300) == 0, process.said[-2000:]


def resume_through_kills(tmp_path, kills, extra):
    """Kills runs at random moments until there were `kills`; compares every end."""
    whole = tmp_path / "whole"
    begin = time.monotonic()
    finish(whole, extra)
    duration = time.monotonic() - begin
    expected = results(whole)
    rng = random.Random(0)
    killed = 0
    while killed < kills:
        directory = tmp_path / "killed"
        shutil.rmtree(directory, ignore_errors=True)
        finished = False
        while not finished and killed < kills:
            process = start(directory, extra)
            try:
                code = process.wait(timeout=rng.uniform(0.3, 1.0) * duration)
                assert code == 0, process.said[-2000:]
                finished = True
            except TimeoutError:
                process.kill()
                killed += 1
        if not finished:
            finish(directory, extra)
        assert results(directory) == expected
    return killed


def test_killed_runs_end_as_if_they_had_not_been(tmp_path):
    assert resume_through_kills(tmp_path, 2, QUICK) == 2


@pytest.mark.skipif("not config.getoption('-m')", reason="minutes; run with -m slow")
def test_twenty_kills(tmp_path):
    extra = ["--set", "training.epochs=10"]
    assert resume_through_kills(tmp_path, 20, extra) == 20


@pytest.mark.skipif("not config.getoption('-m')", reason="minutes; run with -m slow")
@pytest.mark.parametrize("method", METHODS)
def test_five_kills_of_every_method(method, tmp_path):
    extra = ["--config", str(CONFIGS / method / "digits.yaml")]
    extra += ["--set", "training.epochs=10", "--set", "stream.num_tasks=3"]
    assert resume_through_kills(tmp_path, 5, extra) == 5
