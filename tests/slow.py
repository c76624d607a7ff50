"""Which tests are slow: measures them, and rewrites the list of them.

    python tests/slow.py                     # all of them, for more than an hour
    python tests/slow.py tests/layers        # those of a room; other lines stay
    KERAS_BACKEND=jax python tests/slow.py tests/contract

A test is slow if it took more than a limit of seconds of a processor, what is made for
it and the processes that it starts included, and is none of `ALWAYS`. `pytest` leaves
these out and `pytest -m ""` does not. `slow.txt` holds those that are slow on
TensorFlow, and so everywhere; `slow_jax.txt` and `slow_torch.txt` what else is slow
there. A machine that does other things changes such seconds by less than a half.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
LIMITS = {"tensorflow": 1.0, "jax": 2.0, "torch": 1.5}
_PARITY = "tests/contract/test_parity.py"
_CASES = (
    "Adam BatchNormalization gradient_accumulation_steps kernel_regularizer use_ema"
)
_ELSEWHERE = (
    *(f"{_PARITY}::test_it_ends_as_a_keras_model[{case}]" for case in _CASES.split()),
    f"{_PARITY}::test_mixed_precision[BatchNormalization-mixed_bfloat16]",
)
ALWAYS = {  # what a change breaks without being seen elsewhere
    "tensorflow": ("tests/backend/test_contract_on_", _PARITY, "tests/test_types.py"),
    "jax": _ELSEWHERE,
    "torch": _ELSEWHERE,
}
# On another backend the contract of these is slow: ARI's compiles for minutes, and of
# other baselines some stand for all.
_OTHERS = """AGEM APD ARI CAT CPG DARTSTransfer DERPP ExperienceReplay GEM GPM HAT ICaRL
    LMC LearnToGrow MAS MNTDP OnlineEWC PackNet PathNet ProgressiveNetwork SGF SupSup
    TRGP WSN""".split()
ELSEWHERE = {
    "tensorflow": (),
    "jax": (*_OTHERS, *"Independent L2 LwF SI".split()),
    "torch": tuple(_OTHERS),
}
_HERE = Path(__file__).parent
FOLDER = "MEASURED_TESTS"  # the environment variable that names where they are noted


def _list_of(backend: str) -> Path:
    end = "" if backend == "tensorflow" else f"_{backend}"
    return _HERE / f"slow{end}.txt"


def _read(path: Path) -> set[str]:
    return set(path.read_text("utf-8").split("\n")) - {""}


def listed(backend: str = BACKEND) -> set[str]:
    """Ids of the tests that are slow on a backend."""
    return _read(_list_of("tensorflow")) | _read(_list_of(backend))


def _seconds() -> float:
    found = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, _CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in found)


_CHILDREN = resource.RUSAGE_CHILDREN


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Notes what each test takes, in a file for each process of pytest."""
    start = _seconds()
    yield
    line = json.dumps([item.nodeid, round(_seconds() - start, 2)])
    with open(Path(os.environ[FOLDER], f"{os.getpid()}.txt"), "a") as file:
        file.write(f"{line}\n")


def main(arguments: list[str]) -> int:
    """Runs pytest with these arguments, and lists what was slow."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "pytest", "-p", "slow", "-m", "", *arguments]
        path = os.pathsep.join(filter(None, [str(_HERE), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, FOLDER: folder, "PYTHONPATH": path}
        code = subprocess.run(words, env=env, cwd=_HERE.parent).returncode
        lines = [x for f in Path(folder).iterdir() for x in f.read_text().splitlines()]
    took = dict(json.loads(line) for line in lines)
    slow = note(took, BACKEND)
    print(f"{slow} of {len(took)} tests are slow: above {LIMITS[BACKEND]} seconds")
    return code


def note(took: dict[str, float], backend: str) -> int:
    """Writes the list of a backend anew from the seconds that tests took there.

    Returns:
        How many of these tests are on it. Those that were not run stay as they are.
    """
    path = _list_of(backend)
    above = {test for test, seconds in took.items() if seconds > LIMITS[backend]}
    slow = {test for test in above if not test.startswith(ALWAYS[backend])}
    if backend != "tensorflow":
        slow -= listed("tensorflow")
    kept = {test for test in _read(path) if test not in took}
    path.write_text("".join(f"{x}\n" for x in sorted(slow | kept)), "utf-8")
    return len(slow)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
