"""The annotations agree with the code and with each other."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_mypy_finds_nothing_in_the_package(tmp_path):
    command = (sys.executable, "-m", "mypy", "keras_lifelong", "--cache-dir", tmp_path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "keras_lifelong/py.typed").is_file()
