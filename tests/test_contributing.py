"""CONTRIBUTING's recipes work as they stand: what it tells one to write is run."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CONFIG = "zoo_configs/half_step/digits.yaml"
# A path in backquotes with a colon, then a block: a file and its content.
FILES = re.compile(r"^ *`([\w/]+\.\w+)`:\n\n( *)```\w*\n(.*?)\n\2```$", re.M | re.S)


def files() -> dict[str, str]:
    """The files that CONTRIBUTING tells one to write, by path."""
    return {path: textwrap.dedent(text) + "\n" for path, _, text in FILES.findall(TEXT)}


def commands(after: str) -> list[str]:
    """The lines of the first block without a language after some words."""
    block = re.search(r"\n *```\n(.*?)\n *```\n", TEXT[TEXT.index(after) :], re.S)
    return textwrap.dedent(block.group(1)).splitlines()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package with the files of CONTRIBUTING, without presets."""
    place = tmp_path_factory.mktemp("tree")
    for name in ("keras_lifelong", "zoo_configs"):
        left_out = shutil.ignore_patterns("__pycache__", "*.h5", "*.npz", "*_digits")
        shutil.copytree(ROOT / name, place / name, ignore=left_out)
    for path, text in files().items():
        assert not (place / path).exists(), f"{path} is in the tree already"
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text, encoding="utf-8")
    return place


def test_a_method_is_one_file_and_one_configuration(copy):
    assert set(files()) == {
        "keras_lifelong/baselines/half_step.py",
        CONFIG,
    }
    doc, run, load, listed = (
        _run(line, copy) for line in commands("`tests/test_contributing.py` writes")
    )
    assert "in shorter steps" in doc
    expected = re.search(r"ACC (\S+), BWT (\S+) \(seed 0\)", files()[CONFIG])
    measured = re.search(r"ACC (\S+)  BWT (\S+)", run)
    for said, found in zip(expected.groups(), measured.groups(), strict=True):
        assert float(said) == pytest.approx(float(found), abs=0.02), run
    assert "(HalfStep)" in load and "task_4" in load
    assert re.search(r"^  HalfStep +after the first task, shared", listed, re.M)
    assert CONFIG in listed
    code = "import keras_lifelong as kl; print('HalfStep' in kl.__all__, kl.__file__)"
    known, file = _run(f'python -c "{code}"', copy).split()
    assert known == "True" and Path(file).is_relative_to(copy)


def _run(line: str, place: Path) -> str:
    """The output of a line of CONTRIBUTING, run in a folder."""
    program, _, rest = line.partition(" ")
    assert program == "python"
    done = subprocess.run(
        f"{sys.executable} {rest}",
        shell=True,
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
    )
    assert done.returncode == 0, f"{line}: {done.stderr[-3000:]}"
    return done.stdout
