"""Presets are checked on JAX and PyTorch as on TensorFlow."""

import os
import subprocess
import sys

import backends
import pytest

FILES = ("test_trust.py", "test_graphs.py", "test_weights.py", "test_many_layers.py")


@pytest.mark.skipif(
    "os.environ.get('KERAS_BACKEND', 'tensorflow') != 'tensorflow'",
    reason="one process starts the others",
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_what_is_refused_there_too(backend):
    backends.need(backend)
    files = [f"tests/presets/{name}" for name in FILES]
    words = [sys.executable, "-m", "pytest", "-n0", "-q", "-m", "not slow", *files]
    env = backends.environment(backend)
    done = subprocess.run(
        words, cwd=backends.ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert " passed" in done.stdout and os.path.exists(backends.ROOT / files[0])
