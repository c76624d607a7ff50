"""Presets written from a grammar of Keras' configurations, and what loading them does.

    PYTHONPATH=tests/presets python benchmarks/grammar_presets.py \\
        [COUNT [docs/trust.json]]

A tracer listens to every class or function that Keras looks up, every exported function
that its reader calls, every file that is opened and every process that is started. It
ends with an error if one is not on the list, or a preset takes over 5 s or 1 GiB. They
are drawn by hundreds; what was tried is written down after each.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import grammar
import trust_page

AT_ONCE = 100


def main(count: int, path: str | None = None) -> None:
    total: dict[str, float] = {}
    for seed in range(-(-count // AT_ONCE)):
        with tempfile.TemporaryDirectory() as folder:
            found = grammar.run(pathlib.Path(folder) / "preset", AT_ONCE, seed)
        for key, value in found.items():
            before = total.get(key, 0)
            largest = key in ("seconds", "mib")
            total[key] = max(before, value) if largest else before + value
        if path is not None:
            trust_page.record(path, "grammar", total)
        print(total, flush=True)
    assert total["mib"] <= grammar.LARGEST // 1024, "a process of over 1 GiB"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000, *sys.argv[2:3])
