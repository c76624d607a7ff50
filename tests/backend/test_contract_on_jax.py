"""The second backend: the whole contract, in one process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import small

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    """What `pytest tests/contract` said on JAX, and what it left."""
    pytest.importorskip("jax", reason="runs the contract on JAX")
    folder = tmp_path_factory.mktemp("jax")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": path,
        "CONTRACT_PREDICTIONS": str(folder / "predictions.npy"),
        # The same small programs are compiled again and again: by each of them once.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    words = [sys.executable, "-m", "pytest", "tests/contract", "-n", "0", "-q"]
    words += ["-p", "no:cacheprovider", f"--junitxml={folder / 'said.xml'}"]
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return done, folder


def test_the_contract_holds_on_jax(contract):
    done, folder = contract
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0
    cases = list(ElementTree.parse(folder / "said.xml").iter("testcase"))
    skipped = [case.find("skipped") for case in cases]
    assert all(s is None or s.get("message") for s in skipped)
    passed = {case.get("name") for case in cases if case.find("skipped") is None}
    for case in small.CASES:  # none was left out
        assert any(f"[{case}" in name or f"-{case}" in name for name in passed)


@pytest.mark.skipif("os.environ.get('KERAS_BACKEND') == 'jax'", reason="needs two")
def test_both_backends_learn_the_same_from_the_same_weights(contract):
    _, folder = contract
    predictions = np.load(folder / "predictions.npy")
    np.testing.assert_allclose(
        predictions, small.learned_from_given_weights(), atol=1e-4
    )
    assert np.ptp(predictions[:, 0]) > 0.2  # it did learn something
