"""The examples run as they stand."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
ENDINGS = {
    "den_digits.py": "Figures:",
    "your_own_tasks.py": "parameters",
    "your_own_backbone.py": "predicts the same",
}


@pytest.mark.parametrize("name", sorted(ENDINGS))
def test_example(name, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert ENDINGS[name] in done.stdout


def test_every_example_is_tested():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(ENDINGS)
