"""Settings and fixtures for all tests."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import sys
from pathlib import Path
from typing import Literal

import hypothesis
import numpy as np
import pytest
import slow

ROOT = Path(__file__).parents[1]

# Before anything imports Keras: TensorFlow reads this once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# XLA spends most of its time making code faster that a test runs a few times.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

# What TensorFlow and Keras make stays: nothing of it is gone through for garbage, which
# takes a quarter of the time that tests are collected in.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


_SHARED_DATA = ROOT.parent / "shared" / "tfds"
if _SHARED_DATA.is_dir():
    os.environ.setdefault("TFDS_DATA_DIR", str(_SHARED_DATA))

# Same examples in every run, and no deadline: the first call of a layer compiles, and
# a machine that does other things is no fault of a test.
hypothesis.settings.register_profile(
    "keras_lifelong",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("keras_lifelong")


class FakeMethod:
    """A method that learns nothing, and can be stopped at a task, for quick tests."""

    stop_at: int | None = None
    error: BaseException = KeyboardInterrupt()

    def __init__(
        self,
        backbone,
        growth: int = 10,
        l1: float = 1e-5,
        expansion: Literal["dynamic", "constant"] | None = "dynamic",
        seed: int = 0,
        name: str | None = None,
    ):
        if growth < 1:
            raise ValueError(f"`growth` must be at least 1. Received: {growth}")
        self.backbone, self.growth, self.seed = backbone, growth, seed
        self.results = []

    def compile(self, optimizer, loss, metrics):
        self.optimizer, self.loss, self.metrics = optimizer, loss, metrics

    def check_stream(self, stream):
        """It scores any task by any metric."""

    def fit_stream(
        self,
        stream,
        *,
        epochs,
        batch_size,
        verbose,
        checkpoint_dir,
        accept_changed_data=False,
        evaluate_every=1,
        evaluate_last=1,
    ):
        del accept_changed_data, evaluate_every, evaluate_last
        from keras_lifelong.metrics import Result

        path = Path(checkpoint_dir) / "state.json"
        path.parent.mkdir(exist_ok=True)
        done = json.loads(path.read_text()) if path.exists() else []
        for index, task in enumerate(stream):
            if index == type(self).stop_at:
                raise type(self).error
            if index >= len(done):
                done.append({"name": task.name, "epochs": epochs})
                path.write_text(json.dumps(done))
        tasks = len(done)
        self.task_names = [entry["name"] for entry in done]
        return Result(
            method="FakeMethod",
            stream=stream.name,
            seed=self.seed,
            backend="none",
            metric=self.metrics[0],
            task_names=[entry["name"] for entry in done],
            matrices={name: np.full((tasks, tasks), 0.5) for name in self.metrics},
            params_base=10,
            params_by_task=[10] * tasks,
            wall_seconds=1.0,
            versions={"keras": "3"},
        )

    def flops(self, name):
        return 20

    def save_to_preset(self, path):
        Path(path).mkdir()
        (Path(path) / "config.json").write_text("{}")


@pytest.fixture
def fake_method(monkeypatch):
    """Makes `method: {name: FakeMethod}` known, as a class of its own for the test."""
    from keras_lifelong.model import registry

    fake = type("FakeMethod", (FakeMethod,), {})
    known = registry.names
    get = registry.get
    monkeypatch.setattr(registry, "names", lambda: [*known(), "FakeMethod"])
    monkeypatch.setattr(
        registry, "get", lambda name: fake if name == "FakeMethod" else get(name)
    )
    return fake


# === Order ===

# A file is run by one process, and these take longest: begun last, they would leave
# the other processes idle.
LONGEST = [
    "backend/test_contract_on_jax.py",
    "backend/test_contract_on_torch.py",
    "test_types.py",
    "methods/ari/test_ari.py",
    "contract/test_learning.py",
    "contract/test_names.py",
    "methods/par/test_par.py",
    "test_faults.py",
    "methods/bind_and_grow/test_bind_and_grow.py",
    "search/test_oracle.py",
    "search/test_distributed.py",
    "test_resume.py",
    "contract/test_reading.py",
    "contract/test_compiled.py",
]


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items):
    listed = slow.listed()
    elsewhere = slow.BACKEND != "tensorflow"
    for item in items:
        compiles_long = item.path.name == "test_networks.py" or any(
            f"[{name}{end}" in item.name
            for name in slow.ELSEWHERE[slow.BACKEND]
            for end in "]- "
        )
        if item.nodeid in listed or (elsewhere and compiles_long):
            item.add_marker("slow")
    place = {ROOT / "tests" / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))  # stable


# === Compilation ===

# XLA keeps what it compiles as pieces of memory, of which Linux gives a process 65,530.
MOST_PIECES = 30_000


def _pieces_of_memory():
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # another system, which does not count them
        return 0


def pytest_runtest_logfinish():
    """On JAX, whose tests are hundreds in one process, frees what was compiled."""
    if slow.BACKEND == "jax" and _pieces_of_memory() > MOST_PIECES:
        import jax

        jax.clear_caches()
        gc.collect()


_xla_is_wanted = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before any fixture of a test, those of its whole file included."""
    global _xla_is_wanted
    random.seed(0)  # Keras takes the seeds from it that a test gives no initializer
    np.random.seed(0)
    _xla_is_wanted = item.get_closest_marker("compiled") is not None


@pytest.fixture(scope="session", autouse=True)
def xla_where_it_is_tested():
    """XLA compiles dense networks only in tests that are marked `compiled`.

    To compile one takes seconds, and tests learn for milliseconds. TensorFlow's graphs
    are traced all the same. JAX has no other compiler, so there nothing changes.
    """
    from keras_lifelong import backend

    prefers_xla = backend.prefers_xla

    def prefers(has_convolution):
        wanted = _xla_is_wanted or backend.NAME == "jax"
        return wanted and prefers_xla(has_convolution)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "prefers_xla", prefers)
        yield


@pytest.fixture(scope="session", autouse=True)
def arrays_of_tensors():
    """Lets tests, and tests alone, say `np.asarray(layer(x))` on PyTorch, too."""
    from keras_lifelong import backend

    if backend.NAME != "torch":
        yield
        return
    import torch

    as_array = torch.Tensor.__array__

    def __array__(self, *args, **kwargs):
        caller = sys._getframe(1).f_code.co_filename
        of_test = caller.startswith(str(ROOT / "tests"))
        return as_array(self.detach() if of_test else self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "__array__", __array__)
        yield


@pytest.fixture
def eager(request):
    """Runs steps uncompiled: for tests of many tiny models, where compiling is all.

    Not those marked `traced`, whose steps are many.
    """
    if request.node.get_closest_marker("traced"):
        yield
        return
    with uncompiled():
        yield


@pytest.fixture(scope="module")
def eager_module():
    """As `eager`, for fixtures of a whole file as well.

    Where hundreds of models are made, compiled code would also fill the process: XLA
    does not free it, and at 65,530 pieces of memory Linux gives no more.
    """
    with uncompiled():
        yield


@contextlib.contextmanager
def uncompiled():
    from keras_lifelong import backend

    if backend.NAME == "jax":
        import jax

        with jax.disable_jit():
            yield
        return
    if backend.NAME == "torch":  # nothing is compiled there
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def real_data():
    """Skips unless a prepared data set is there: `real_data("mnist")`."""

    def need(name):
        folder = os.environ.get("TFDS_DATA_DIR", "")
        if not (Path(folder) / name).is_dir():
            pytest.skip(f"{name} is not in TFDS_DATA_DIR ({folder or 'not set'})")

    return need
