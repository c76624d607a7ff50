"""Runs what is missing of a paper's table; published and measured, side by side."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_lifelong
from keras_lifelong import runs
from keras_lifelong.files import write_atomic
from keras_lifelong.messages import as_markdown
from keras_lifelong.metrics import Result
from keras_lifelong.metrics import comparison_table
from keras_lifelong.metrics.intervals import Interval
from keras_lifelong.metrics.intervals import interval
from keras_lifelong.metrics.measures import MEASURES
from keras_lifelong.metrics.table import number
from keras_lifelong.papers import OTHERS
from keras_lifelong.papers import Row
from keras_lifelong.papers import Table
from keras_lifelong.run_directory import RunDirectory
from keras_lifelong.run_directory import seed_folder
from keras_lifelong.run_directory import seed_folders

MACHINE, TABLE, PAGE = "machine.json", "table.json", "table.md"
ALWAYS = ("acc", "params")  # have a column in any table
USUAL = ("acc", "forgetting", "capacity", "params", "seconds")  # shown of any row


class Reproduction:
    """A table of a paper in a directory: a folder for each row and seed.

    Args:
        table: of `papers.load`.
        out: the directory; made when something is learned.
        fast: share of the published schedule.
        command: what was typed, for the file.
    """

    def __init__(self, table: Table, out: str | Path, fast: float = 1.0, command=""):
        self.table, self.out, self.fast = table, Path(out), fast
        self.command = command
        self.failed: dict[str, str] = {}
        self._left: list[tuple[str, int]] = []  # to other programs

    def directory(self, row: str, seed: int) -> RunDirectory:
        """Where a row is run with a seed."""
        return RunDirectory(seed_folder(self.out / row, seed))

    def check(self, rows: Sequence[str], seeds: Sequence[int]) -> None:
        """Raises a ValueError if the directory holds runs of another schedule.

        Those that are there already stand in the table beside the new ones, so they
        are checked too, whatever rows and seeds are asked for.
        """
        for row, about in self.table.rows.items():
            if about.not_runnable is not None:
                continue
            asked = set(seeds) if row in rows else set()
            for seed in sorted(asked | set(seed_folders(self.out / row))):
                directory = self.directory(row, seed)
                directory.check_ours()
                runs.finished(directory, self.table.config(row, seed, self.fast))

    def run(
        self, rows: Sequence[str], seeds: Sequence[int], verbose: int | str = "auto"
    ) -> None:
        """Learns what is missing, row by row; an interrupted one goes on by task.

        What fails is noted in `failed`, what another program is at in `elsewhere`, and
        the next is learned.
        """
        for row in rows:
            if self.table.rows[row].not_runnable is not None:
                continue
            for seed in seeds:
                try:
                    self._learn(row, seed, verbose)
                except BlockingIOError as error:
                    self._left.append((row, seed))
                    print(f"{row}, seed {seed}: left out: {error}", flush=True)
                except (ArithmeticError, OSError, ValueError) as error:
                    self.failed[row] = " ".join(str(error).split())
                    print(f"{row}, seed {seed}: failed: {self.failed[row]}", flush=True)
                self.write()

    @property
    def elsewhere(self) -> list[str]:
        """What was left to another program and has no results yet."""
        left = [pair for pair in self._left if not self.directory(*pair).has_results]
        return [f"{row}, seed {seed}" for row, seed in left]

    def _learn(self, row: str, seed: int, verbose: int | str) -> None:
        config = self.table.config(row, seed, self.fast)
        directory = self.directory(row, seed)
        with directory.locked():
            if runs.finished(directory, config) is not None:
                return
            print(f"{row}, seed {seed}: {self.table.rows[row].label}", flush=True)
            single = "gain" in self.table.rows[row].published
            built = runs.build(config)
            runs.learn(config, directory, built, single=single, verbose=verbose)
            runs.write_json(directory.path / MACHINE, machine())

    # The table

    def seeds(self, row: str) -> list[int]:
        """The seeds whose runs have ended."""
        there = seed_folders(self.out / row)
        return [seed for seed in there if self.directory(row, seed).has_results]

    def content(self) -> dict[str, Any]:
        """What `table.json` holds: published, measured, difference, by row."""
        table = self.table
        return {
            "schema": 1,
            "table": table.name,
            "paper": table.paper,
            "title": table.title,
            "plus_minus": table.plus_minus,
            "note": table.note,
            "command": self.command,
            "fast": self.fast,
            "version": keras_lifelong.__version__,
            "rows": [self._row(name) for name in table.rows],
        }

    def _row(self, name: str) -> dict[str, Any]:
        row, seeds = self.table.rows[name], self.seeds(name)
        published: dict[str, dict[str, Any]] = {}
        for measure in row.published:
            value, half = row.number(measure)
            published[measure] = {"value": value, "plus_minus": half}
        content: dict[str, Any] = {
            "name": name,
            "label": row.label,
            "status": "measured" if seeds else "not measured",
            "published": published,
        }
        reason = row.not_runnable or (None if seeds else self.failed.get(name))
        if reason is not None:
            content |= {"status": "not runnable", "reason": reason}
            if row.not_runnable is None:
                content["status"] = "failed"
        if not seeds or row.not_runnable is not None:
            return content
        results = self._results(name, seeds)
        measured = {}
        for measure in dict.fromkeys([*USUAL, *row.published]):
            found = self._measured(row, measure, results)
            if found is not None and math.isfinite(found.mean):
                measured[measure] = {"mean": found.mean, "half": found.half}
        differences = {
            measure: measured[measure]["mean"] - published[measure]["value"]
            for measure in published
            if measure in measured
        }
        first = self.directory(name, seeds[0])
        return content | {
            "measured": measured,
            "difference": differences,
            "seeds": seeds,
            "schedule": self.table.schedule(name, self.fast),
            "machine": _read(first.path / MACHINE),
            "backend": results[seeds[0]].backend,
            "settings": self.table.config(name, seeds[0], self.fast).resolved,
        }

    def _results(self, row: str, seeds: Sequence[int]) -> dict[int, Result]:
        return {seed: self.directory(row, seed).result() for seed in seeds}

    def _measured(
        self, row: Row, measure: str, results: dict[int, Result]
    ) -> Interval | None:
        """A measure over seeds; None if there is none of it."""

        def values(of: dict[int, Result], name: str) -> dict[int, float]:
            return {s: MEASURES[name].of(r, r.metric) for s, r in of.items()}

        if measure in MEASURES:
            found = values(results, measure)
        elif measure == "hours":
            found = {s: v / 3600 for s, v in values(results, "seconds").items()}
        else:
            other = str(row.relative_to)
            both = [seed for seed in self.seeds(other) if seed in results]
            its = values(self._results(other, both), "seconds")
            own = values(results, "seconds")
            found = {seed: own[seed] / its[seed] for seed in both}
        return interval(list(found.values())) if found else None

    def write(self) -> Path:
        """Writes `table.json` and `table.md`; returns the path of the latter."""
        content = self.content()
        runs.write_json(self.out / TABLE, content)
        write_atomic(self.out / PAGE, markdown(content).encode("utf-8", "replace"))
        return self.out / PAGE


def title_of(measure: str) -> str:
    """The heading of a measure of a table."""
    return MEASURES[measure].title if measure in MEASURES else OTHERS[measure]


def markdown(content: dict[str, Any]) -> str:
    """A `table.json` as a page of Markdown; what it holds is text, never markup.

    What was published stands beside what was measured; accuracy and size were measured
    of every row, and have a column where none was published.
    """
    published = {m for row in content["rows"] for m in row["published"]}
    measures = [m for m in (*MEASURES, *OTHERS) if m in published]
    alone = [m for m in ALWAYS if m not in published]
    heads = ["row"]
    for measure in measures:
        title = title_of(measure)
        heads += [f"{title}, published", "measured", "difference"]
    heads += [title_of(measure) for measure in alone]
    heads += ["seeds", "schedule", "machine"]
    rows = [heads]
    for row in content["rows"]:
        cells = [row["label"]]
        for measure in measures:
            cells += _cells(row, measure)
        cells += [_cells(row, measure)[1] for measure in alone]
        cells.append(" ".join(map(str, row.get("seeds", []))))
        cells.append(_schedule(row, content["fast"]))
        cells.append(_machine_words(row))
        rows.append(cells)
    parts = [f"# {as_markdown(content['paper'])}: {as_markdown(content['title'])}"]
    if content.get("note"):
        parts.append(as_markdown(content["note"]))
    if content.get("plus_minus"):
        parts.append(f"Published ±: {as_markdown(content['plus_minus'])}.")
    parts.append("Measured ±: half of a 95 % interval by Student's t over seeds.")
    parts.append(comparison_table.markdown_table(rows))
    ending = f"keras-lifelong {as_markdown(content['version'])}"
    if content.get("command"):
        ending = f"{as_markdown(content['command'])} ({ending})"
    return "\n\n".join([*parts, ending]) + "\n"


def _cells(row: dict[str, Any], measure: str) -> list[str]:
    """Published, measured and difference of a measure, as a table shows them."""
    digits = MEASURES[measure].digits if measure in MEASURES else 2

    def shown(value: float, half: float | None, sign: bool = False) -> str:
        half = math.nan if half is None else half
        return comparison_table.estimate(Interval(value, half, 0), digits, sign)

    published = row["published"].get(measure)
    measured = row.get("measured", {}).get(measure)
    difference = row.get("difference", {}).get(measure)
    first = "·" if published is None else shown(*published.values())
    second = "·" if measured is None else shown(measured["mean"], measured["half"])
    if measured is None and row["status"] != "measured":
        second = row["status"]
    third = "·"
    if difference is not None:
        third = (
            f"{difference:+,.0f}" if not digits else number(difference, digits, True)
        )
    return [first, second, third]


def _schedule(row: dict[str, Any], fast: float) -> str:
    if "reason" in row:
        return row["reason"]
    if row["status"] != "measured":
        return "·"
    if not row["schedule"]:
        return "as published"
    changed = [
        f"{key} {_word(run)} of {_word(published)}"
        for key, (published, run) in row["schedule"].items()
    ]
    return f"{fast:g}: " + ", ".join(changed)


def _word(value: Any) -> Any:
    """A value in a cell: of a mapping with a name, such as a schedule's, the name."""
    return value.get("name", value) if isinstance(value, dict) else value


def _machine_words(row: dict[str, Any]) -> str:
    found = row.get("machine") or {}
    if not found:
        return "·"
    return f"{found['processor']}, {found['cores']} cores, {row['backend']}"


def machine() -> dict[str, Any]:
    """What kind of machine this is; no name of it."""
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():  # killed before it was written
        return None
    return json.loads(path.read_text(encoding="utf-8"))
