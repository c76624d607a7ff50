"""Rows of a benchmark in a file: what is missing is computed, then all is printed.

A file holds a line of JSON for each row and seed, so that a benchmark that is killed
loses one row and that several can share a file.
"""

import json
import pathlib
import time

import numpy as np


def read(path, **names):
    """The rows of a file that have these values under these names."""
    rows = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    return [r for r in rows if all(r.get(k) == v for k, v in names.items())]


def run(path, names, rows, seeds, measure, only=None):
    """Adds what is missing of rows x seeds to a file.

    Args:
        path: the file; made with its directories if missing.
        names: what all these rows are kept under, such as `{"part": "search"}`.
        rows: names of rows.
        seeds: integers.
        measure: function of a row's name and a seed; returns a dict for JSON.
        only: names of rows to compute, of `rows`; None or empty: all.

    Returns:
        All rows of the file under `names`, as dicts.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    for seed in seeds:
        for row in rows:
            key = {**names, "row": row, "seed": seed}
            # Read again for each: another process may have added it meanwhile.
            if (only and row not in only) or read(path, **key):
                continue
            start = time.perf_counter()
            found = {**key, **measure(row, seed)}
            found["wall"] = time.perf_counter() - start
            with path.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(found, flush=True)
    return read(path, **names)


def table(results, keys):
    """Prints mean and deviation over seeds: a line a row, the `keys` that it has."""
    rows = list(dict.fromkeys(r["row"] for r in results))
    width = max(map(len, rows), default=0)
    for row in rows:
        same = [r for r in results if r["row"] == row]
        cells = []
        for key in keys:
            values = np.array([r[key] for r in same if key in r], float)
            if len(values):
                cells.append(f"{key} {values.mean():.4f} +- {values.std():.4f}")
        print(f"{row:{width}s}  {'  '.join(cells)}  ({len(same)} seeds)")
