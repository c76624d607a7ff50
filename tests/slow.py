"""Which tests are slow: measures them, and rewrites `tests/slow.txt`.

    python tests/slow.py                     # all of them, which takes an hour
    python tests/slow.py tests/layers        # those of a room; other lines stay

A test is slow if it took more than `LIMIT` seconds of a processor, what is made for it
and the processes that it starts included, and is in none of the files of `ALWAYS`.
`pytest` leaves these out and `pytest -m ""` does not. A machine that does other things
changes such seconds by less than a half.
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

LIMIT = 2.0
ALWAYS = (  # what a change breaks without being seen elsewhere
    "tests/backend/test_contract_on_",
    "tests/contract/test_parity.py",
    "tests/test_types.py",
)
# On other backends the contract of these is slow: ARI's compiles for minutes, and of
# other baselines SI and ExperienceReplay stand for all.
ELSEWHERE = tuple(
    "ARI AGEM APD DERPP GEM GPM MAS MNTDP OnlineEWC PackNet ProgressiveNetwork SupSup "
    "WSN".split()
)
LISTED = Path(__file__).with_name("slow.txt")
FOLDER = "MEASURED_TESTS"  # the environment variable that names where they are noted


def listed() -> set[str]:
    """Ids of the tests that are slow."""
    return set(LISTED.read_text("utf-8").split("\n")) - {""}


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
        here = str(LISTED.parent)
        path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        env = {**os.environ, FOLDER: folder, "PYTHONPATH": path}
        code = subprocess.run(words, env=env, cwd=LISTED.parents[1]).returncode
        lines = [x for f in Path(folder).iterdir() for x in f.read_text().splitlines()]
    took = dict(json.loads(line) for line in lines)
    above = {test for test, seconds in took.items() if seconds > LIMIT}
    slow = {test for test in above if not test.startswith(ALWAYS)}
    kept = {test for test in listed() if test not in took}
    LISTED.write_text("".join(f"{x}\n" for x in sorted(slow | kept)), "utf-8")
    print(f"{len(slow)} of {len(took)} tests are slow: above {LIMIT} seconds")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
