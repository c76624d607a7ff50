"""Processes on another backend, and the contract of methods and layers in one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

# So that two processes don't wait for each other's threads at every small operation.
_TORCH = {"OMP_NUM_THREADS": "1"}


def need(*names):
    """Skips where a package is not installed; it is not imported here."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install keras-lifelong[{name}]")


def environment(backend, **more):
    """Of a process that runs on a backend, with this package and these tests."""
    path = [ROOT, ROOT / "tests", ROOT / "tests/backend"]
    path = [*map(str, path), os.environ.get("PYTHONPATH")]
    return {
        **os.environ,
        **(_TORCH if backend == "torch" else {}),
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        **more,
    }


def finish(backend, work, cwd=None, **more) -> str:
    """What Python code said that ended well in a fresh process on a backend."""
    done = subprocess.run(
        [sys.executable, "-c", work],
        cwd=cwd,
        env=environment(backend, **more),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def leaves_out(marks) -> bool:
    """Whether a run with such `-m` is one without the slow tests."""
    return marks == "not slow"


def contract(backend, folder, marks, **more):
    """What pytest said of the contract; it leaves `predictions.npy` in the folder.

    Args:
        backend: the name of one.
        folder: an empty one.
        marks: pytest's `-m`: which tests. Slow on other backends are also those of ARI
            and of networks of all forms, which JAX takes minutes to compile.
        more: of the environment.
    """
    tests = ["tests/contract", "tests/layers/test_keras_contract.py"]
    words = [sys.executable, "-m", "pytest", *tests, "-n", "0", "-q"]
    words += ["-m", marks]
    words += ["-p", "no:cacheprovider", f"--junitxml={folder / 'said.xml'}"]
    more["CONTRACT_PREDICTIONS"] = str(folder / "predictions.npy")
    env = environment(backend, **more)
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)


def assert_it_holds(done, folder, cases):
    """All passed or said why not, and every one of `cases` was there.

    Args:
        done, folder: what `contract` gave and was given.
        cases: names of methods.
    """
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0
    found = list(ElementTree.parse(folder / "said.xml").iter("testcase"))
    skipped = [case.find("skipped") for case in found]
    assert all(s is None or s.get("message") for s in skipped)
    passed = {case.get("name") for case in found if case.find("skipped") is None}
    for case in cases:  # none was left out
        assert any(f"[{case}" in name or f"-{case}" in name for name in passed)


def assert_it_learned(folder, expected):
    """What `contract` left is what another backend learned from the same weights.

    Args:
        folder: given to `contract`.
        expected: predictions (n, 2) of the other backend.
    """
    predictions = np.load(folder / "predictions.npy")
    np.testing.assert_allclose(predictions, expected, atol=1e-4)
    assert np.ptp(predictions[:, 0]) > 0.2  # it did learn something
