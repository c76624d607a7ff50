"""The annotations agree with the code and with each other."""

import ast
import subprocess
import sys
from pathlib import Path

import keras_lifelong

ROOT = Path(__file__).parents[1]


def test_mypy_finds_nothing_in_the_package(tmp_path):
    command = (sys.executable, "-m", "mypy", "keras_lifelong", "--cache-dir", tmp_path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "keras_lifelong/py.typed").is_file()


def test_checkers_find_the_names_that_are_imported_when_used():
    code = ast.parse(Path(keras_lifelong.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in code.body if isinstance(node, ast.If))
    names = {alias.asname: line.module for line in block.body for alias in line.names}
    where = {name: f"keras_lifelong.{at}" for name, at in keras_lifelong._WHERE.items()}
    assert names == where | dict.fromkeys(keras_lifelong._ROOMS, "keras_lifelong")
