"""The table that `print(result)` shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# A matrix of more tasks would not fit a terminal; then a line per task is shown.
MAX_MATRIX = 20
NAME_WIDTH = 14


def clip(name: str, width: int = NAME_WIDTH) -> str:
    """`name` on one line, at most `width` characters."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= width else name[: width - 1] + "…"


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """A number for a table; "·" where there is none."""
    if value is None or math.isnan(value):
        return "·"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    # "-0.0000" would suggest a loss where there is none.
    return text.replace("-", "+" if sign else "") if float(text) == 0.0 else text


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.42 s, 12.3 s, 4 min 05 s, 1 h 12 min; or "·"."""
    if math.isnan(seconds):
        return "·"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def mebibytes(size: float) -> str:
    """A whole number of MiB; "·" where it is not known."""
    return "·" if math.isnan(size) else f"{size:,.0f}"


def grid(rows: list[list[str]]) -> list[str]:
    """Lines of a table: first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return lines


def _matrix_lines(result: Any) -> list[str]:
    tasks = len(result.task_names)
    digits = 4 if tasks <= 10 else 3 if tasks <= 14 else 2
    names = [clip(name, NAME_WIDTH if tasks <= 6 else 9) for name in result.task_names]
    heads = names if tasks <= 10 else [str(j) for j in range(tasks)]
    rows = [[f"{result.metric} on", *heads]]
    for i, values in enumerate(result.matrix):
        label = names[i] if tasks <= 10 else f"{i} {names[i]}"
        rows.append([f"after {label}", *(number(v, digits) for v in values)])
    return grid(rows)


def _task_lines(result: Any) -> list[str]:
    learned, last = result.matrix.diagonal(), result.matrix[-1]
    rows = [[result.metric, "learned", "in the end", "change"]]
    for j, name in enumerate(result.task_names):
        change = number(last[j] - learned[j], sign=True)
        rows.append([clip(name), number(learned[j]), number(last[j]), change])
    return grid(rows)


def result_table(result: Any) -> str:
    """Returns the text of `print(result)`: matrix, ACC, BWT, size, time.

    Args:
        result: a `metrics.Result`, which is printed by this and so is not imported
            here: its attributes are all that is used.
    """
    tasks = len(result.task_names)
    lines = [
        f"{result.method} on {result.stream}, {tasks} task{'s' * (tasks > 1)} "
        f"(seed {result.seed}, {result.backend})",
        "",
    ]
    lines += _matrix_lines(result) if tasks <= MAX_MATRIX else _task_lines(result)
    lines.append("")
    for name in [result.metric, *(m for m in result.matrices if m != result.metric)]:
        found, counted = result.measures(name), int(result.scored(name).sum())
        of = f" ({counted} of {tasks} tasks)" if counted < tasks else ""
        line = (
            f"{name}{of}: ACC {number(found['acc'])}  "
            f"BWT {number(found['bwt'], sign=True)}  "
            f"forgetting {number(found['forgetting'])}"
        )
        if name == result.metric and not np.isnan(result.forgetting_ratio):
            line += f"  forgetting ratio {number(result.forgetting_ratio)}"
        lines.append(line)
    untested = np.tril(np.isnan(result.matrix[:-1]))[:, result.scored()]
    if np.isfinite(result.bwt) and np.isnan(result.forgetting):
        lines.append(
            f"{int(untested.sum())} scores of earlier tasks were not measured on the "
            "way, which forgetting needs"
        )
    more = []
    if result.single_by_task:
        more.append(f"gain {number(result.multi_task_gain, 2, sign=True)} %")
        transfer = number(result.forward_transfer, sign=True)
        more.append(f"forward transfer {transfer} (over a network for each task)")
    if result.learning_curves:
        more.append(f"learning area {number(result.learning_area)}")
    if more:
        lines.append("  ".join(more))
    lines.append(
        f"size: {result.params_total:,} parameters, capacity "
        f"{number(result.capacity, 3)}x the base network's {result.params_base:,}"
    )
    lines.append(
        f"time: {duration(sum(result.train_seconds_by_task))} training of "
        f"{duration(result.wall_seconds)} in all, {result.compile_count} "
        f"compilation{'s' * (result.compile_count != 1)}, "
        f"peak memory {mebibytes(result.peak_rss_mib)} MiB"
    )
    return "\n".join(lines)
