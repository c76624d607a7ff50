"""The tables of a comparison: for a terminal, as Markdown and as CSV.

A `Comparison` is printed by these, and so is not imported here.
"""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from keras_lifelong.messages import as_markdown
from keras_lifelong.metrics.intervals import Interval
from keras_lifelong.metrics.table import clip
from keras_lifelong.metrics.table import grid
from keras_lifelong.metrics.table import number

NOTE = (
    "± is half of a 95 % confidence interval by Student's t over runs; differences are "
    "means over pairs of runs with the same seed and stream. * marks those whose "
    "interval excludes 0."
)
LONGEST = 60  # letters of a group's name


def estimate(found: Interval, digits: int, sign: bool = False) -> str:
    """A mean with its half width, such as "0.806 ± 0.004"; the mean alone of one run.

    >>> estimate(Interval(0.80649, 0.004, 3), 3)
    '0.806 ± 0.004'
    """
    if not math.isfinite(found.mean):
        return "·"
    mean = number(found.mean, digits, sign) if digits else f"{found.mean:,.0f}"
    if not math.isfinite(found.half):
        return mean
    half = number(found.half, digits) if digits else f"{found.half:,.0f}"
    return f"{mean} ± {half}"


def one(value: float, digits: int) -> str:
    """A measure of one run; "·" where it is unknown."""
    return estimate(Interval(float(value), math.nan, 1), digits)


def means(comparison: Any) -> list[list[str]]:
    """Rows of the first table, headings first: a group, its runs, its measures."""
    columns = comparison.columns
    rows = [[comparison.metric, "runs", *(measure.title for _, measure in columns)]]
    for group in comparison.groups:
        cells = [estimate(group.interval(name), m.digits) for name, m in columns]
        rows.append([group.name, str(len(group.results)), *cells])
    return rows


def differences(comparison: Any) -> list[list[str]]:
    """Rows of the second table, headings first; no more than these without pairs."""
    columns = comparison.columns
    heading = f"less {comparison.reference.name}"
    rows = [[heading, "pairs", *(measure.title for _, measure in columns)]]
    for group in comparison.groups:
        found = [comparison.difference(group, name) for name, _ in columns]
        known = [difference for difference in found if difference is not None]
        if not known:
            continue
        cells = [
            estimate(difference, measure.digits, sign=True)
            + ("*" if difference.excludes_zero else "")
            for difference, (_, measure) in zip(known, columns, strict=True)
        ]
        rows.append([group.name, str(known[0].count), *cells])
    return rows


def text(comparison: Any) -> str:
    """The tables for a terminal."""
    parts = []
    for rows in (means(comparison), differences(comparison)):
        if len(rows) > 1:
            parts += [*grid([[clip(r[0], LONGEST), *r[1:]] for r in rows]), ""]
    return "\n".join([*parts, NOTE])


def markdown(comparison: Any) -> str:
    """The tables as Markdown."""
    tables = [means(comparison), differences(comparison)]
    return (
        "\n\n".join([*(markdown_table(t) for t in tables if len(t) > 1), NOTE]) + "\n"
    )


def markdown_table(rows: list[list[str]]) -> str:
    """A table of Markdown, headings first; what cells hold is text, never markup.

    >>> print(markdown_table([["a|b", "n"], ["<i>", "1"]]))
    | a\\|b | n |
    |---|---:|
    | &lt;i&gt; | 1 |
    """
    lines = [
        "| " + " | ".join(as_markdown(cell) for cell in row) + " |" for row in rows
    ]
    lines.insert(1, "|---|" + "---:|" * (len(rows[0]) - 1))
    return "\n".join(lines)


def csv_text(comparison: Any) -> str:
    """A row for each group: seeds, and of each measure the mean, the half width, and
    the difference from the reference with its half width and number of pairs.

    What is unknown is empty.
    """
    heads = ["group", "metric", "seeds"]
    for name in comparison.measures:
        ends = ("", "_half", "_difference", "_difference_half", "_pairs")
        heads += [f"{name}{end}" for end in ends]
    rows = [heads]
    for group in comparison.groups:
        seeds = " ".join(map(str, group.seeds))
        row = [_harmless(group.name), _harmless(comparison.metric), seeds]
        for name in comparison.measures:
            mean = group.interval(name)
            difference = comparison.difference(group, name)
            row += [_cell(mean.mean), _cell(mean.half)]
            if difference is None:
                row += ["", "", "0"]
            else:
                row += [_cell(difference.mean), _cell(difference.half)]
                row.append(str(difference.count))
        rows.append(row)
    return _written(rows)


def _written(rows: list[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def _cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def _harmless(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
