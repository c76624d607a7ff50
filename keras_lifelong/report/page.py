"""One self-contained HTML page about a run: figures inlined, nothing fetched."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.files import write_atomic
from keras_lifelong.metrics import Result
from keras_lifelong.metrics import gain_by_step
from keras_lifelong.metrics import learning_area
from keras_lifelong.metrics.table import duration
from keras_lifelong.metrics.table import mebibytes
from keras_lifelong.metrics.table import number
from keras_lifelong.report import registry
from keras_lifelong.report import style

# The page runs nothing and fetches nothing, even if a text should get out of its place.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


def write(result: Result, output_dir: str | os.PathLike) -> Path:
    """Writes `figures/*.png` and `report.html` into a directory.

    Every file is written whole or not at all, the page last. The page holds its
    pictures and needs no network; it contains no script, and strings that came
    from users are escaped.

    Args:
        result: the run to report.
        output_dir: the run's directory; made if missing.

    Returns:
        The path of `report.html`.

    ```python
    write(Result.load("runs/den/results.json"), "runs/den")
    ```
    """
    output_dir = Path(output_dir)
    figures = registry.figures_for(result)
    pictures = {figure.name: style.to_png(figure.draw(result)) for figure in figures}
    for name, content in pictures.items():
        write_atomic(output_dir / "figures" / f"{name}.png", content)
    path = output_dir / "report.html"
    write_atomic(path, html(result, pictures).encode("utf-8", "xmlcharrefreplace"))
    return path


def html(result: Result, pictures: dict[str, bytes]) -> str:
    """Returns the page as text, with `pictures` (name -> PNG) inlined."""
    tasks = len(result.task_names)
    heading = f"{result.method} on {result.stream}"
    parts = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="muted">{tasks} task{"s" * (tasks != 1)} in order · seed '
        f"{escape(str(result.seed))} · {escape(result.backend)} · test metric: "
        f"{escape(result.metric)} · {duration(result.wall_seconds)} in all</p>",
        _cards(result),
    ]
    parts += [shown_figure(result, *picture) for picture in pictures.items()]
    parts += ["<h2>The numbers</h2>", _matrices(result)]
    parts += ["<h2>Task by task</h2>", _tasks(result)]
    parts += ["<h2>Growth log</h2>", _growth_log(result)]
    parts += ["<h2>Configuration</h2>", _config(result)]
    parts += ["<h2>Versions</h2>", _versions(result)]
    note = "Written by keras-lifelong from results.json, which lies beside this page."
    return document(heading, parts, note)


def document(heading: str, parts: Sequence[str], note: str) -> str:
    """A whole page of parts that are HTML already; it fetches and runs nothing.

    Args:
        heading: of the window; a text, which is escaped.
        parts: of the body, in order.
        note: its last line; a text, which is escaped.
    """
    body = "\n".join(parts)
    css = resources.files(__package__).joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>\n{css}</style></head>\n"
        f"<body><main>\n{body}\n<footer>{escape(note)}</footer>\n"
        "</main></body></html>\n"
    )


def shown_figure(result: Any, name: str, content: bytes) -> str:
    """A picture with its title and caption, for a result or comparison."""
    figure = registry.get(name)
    title, caption = escape(figure.title), escape(figure.explain(result))
    data = base64.b64encode(content).decode()
    return (
        f'<h2>{title}</h2><figure><img alt="{title}: {caption}" '
        f'src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _cards(result: Result) -> str:
    worse = "lost" if result.higher_is_better() else "gained in error"
    cards = [
        ("ACC", number(result.acc), f"mean test {result.metric} in the end"),
        ("BWT", number(result.bwt, sign=True), "change of earlier tasks since learned"),
        ("Forgetting", number(result.forgetting), f"{worse} since the best measured"),
        ("Capacity", number(result.capacity, 2) + "×", "size over the base network's"),
        ("Parameters", f"{result.params_total:,}", f"base: {result.params_base:,}"),
    ]
    if result.single_by_task:
        gain = number(result.multi_task_gain, 2, sign=True) + " %"
        cards.append(("Gain", gain, "over a network for each task"))
    if result.learning_curves:
        area = number(result.learning_area)
        cards.append(("Learning area", area, "mean validation score while learning"))
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><span class="name">{escape(name)}</span>'
            f"<b>{escape(value)}</b><span>{escape(what)}</span></div>"
            for name, value, what in cards
        )
        + "</div>"
    )


def table(
    heads: Iterable[str],
    rows: Iterable[Iterable[Any]],
    left: tuple[int, ...] = (0,),
    attributes: Callable[[int, int], str] = lambda row, column: "",
) -> str:
    """A table of escaped cells; `left` are the columns aligned to the left."""

    def tag(name: str, column: int, text: Any, extra: str = "") -> str:
        align = ' class="l"' if column in left and not extra else ""
        return f"<{name}{align}{extra}>{escape(str(text))}</{name}>"

    head = "".join(tag("th", c, text) for c, text in enumerate(heads))
    lines = [
        "<tr>"
        + "".join(
            tag("td", c, text, attributes(r, c)) if c else tag("th", c, text)
            for c, text in enumerate(row)
        )
        + "</tr>"
        for r, row in enumerate(rows)
    ]
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _matrices(result: Result) -> str:
    names = [result.metric, *(m for m in result.matrices if m != result.metric)]
    parts = []
    for name in names:
        found = result.measures(name)
        summary = (
            f"{name}: ACC {number(found['acc'])}, BWT "
            f"{number(found['bwt'], sign=True)}, forgetting "
            f"{number(found['forgetting'])}"
        )
        if name == result.metric:
            summary += (
                f", AF {number(result.af, sign=True)}, forgetting ratio "
                f"{number(result.forgetting_ratio)}"
            )
        numbers = _matrix(result, name)
        parts.append(
            f"<p>{escape(summary)}</p>{numbers}"
            if name == result.metric
            else f"<details><summary>{escape(summary)}</summary>{numbers}</details>"
        )
    note = (
        '<p class="note">ACC: mean of the last row. BWT: mean change of the earlier '
        "tasks from the diagonal to the last row; AF the same over all tasks. "
        "Forgetting: from the best ever measured to the last row. Forgetting ratio: "
        "share of each earlier task’s peak that is left. “·” was not measured.</p>"
    )
    return note + "".join(parts)


def _matrix(result: Result, name: str) -> str:
    R = result.matrices[name]
    known = R[np.isfinite(R)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)

    def tint(row: int, column: int) -> str:
        value = R[row, column - 1] if column else np.nan
        own = ' class="own"' if row == column - 1 else ""
        if not np.isfinite(value) or high == low:
            return own
        depth = (value - low) / max(high - low, 0.1 * abs(high))
        depth = depth if result.higher_is_better(name) else 1 - depth
        return f'{own} style="background:rgba(var(--tint),{0.03 + 0.32 * depth:.2f})"'

    rows = [
        [f"after {task}", *(number(value) for value in R[i])]
        for i, task in enumerate(result.task_names)
    ]
    return table([name, *result.task_names], rows, attributes=tint)


def _tasks(result: Result) -> str:
    R = result.matrix
    peaks = result.peak_by_task or [float("nan")] * len(R)
    rows = [
        [
            task,
            number(R[j, j]),
            number(peaks[j]),
            number(R[-1, j]),
            number(R[-1, j] - R[j, j], sign=True),
            duration(result.train_seconds_by_task[j]),
            f"{result.params_by_task[j]:,}",
        ]
        for j, task in enumerate(result.task_names)
    ]
    heads = ["task", "learned", "peak", "in the end", "change", "training time"]
    heads.append("parameters")
    for head, cells in _more_by_task(result):
        heads.append(head)
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    if result.class_names:
        heads.append("classes")
        for row, task in zip(rows, result.task_names, strict=True):
            row.append(_classes(result.class_names.get(task, ())))
    return (
        f'<p class="note">{escape(result.metric)} on test data. Peak: at the epoch of '
        "best validation while the task was being learned. Parameters: of the whole "
        f"model after the task. Training took "
        f"{escape(duration(sum(result.train_seconds_by_task)))} of "
        f"{escape(duration(result.wall_seconds))}, with "
        f"{escape(str(result.compile_count))} compilations and at most "
        f"{mebibytes(result.peak_rss_mib)} MiB of memory."
        f"{_more_note(result)}</p>" + table(heads, rows)
    )


def _more_by_task(result: Result) -> list[tuple[str, list[str]]]:
    """Columns of what not every run has measured: headings and cells."""
    columns = [
        (f"{name} in the end", [number(v) for v in result.matrices[name][-1]])
        for name in result.matrices
        if name != result.metric
    ]
    if result.single_by_task:
        single = list(result.single_by_task)
        gains = gain_by_step(result.matrix, single, result.higher_is_better())
        columns.append(("alone", [number(value) for value in single]))
        columns.append(("gain so far, %", [number(g, 2, sign=True) for g in gains]))
    if result.learning_curves:
        areas = [learning_area([curve]) for curve in result.learning_curves]
        columns.append(("learning area", [number(area) for area in areas]))
    if result.flops_by_task:
        flops = ["·" if n is None else f"{n:,}" for n in result.flops_by_task]
        columns.append(("FLOPs", flops))
    return columns


def _more_note(result: Result) -> str:
    """What these columns are; plain text."""
    notes = []
    if result.single_by_task:
        transfer = number(result.forward_transfer, sign=True)
        notes.append(
            "Alone: a network of its own, learned by Independent. Gain so far: over "
            "these, mean over the tasks learned. Forward transfer, how much better a "
            f"task is when learned than alone: {transfer}."
        )
    if result.learning_curves:
        notes.append(
            "Learning area: mean of the validation scores over the epochs in which the "
            "task was learned."
        )
    if result.flops_by_task:
        notes.append("FLOPs: of using the task for one example.")
    return escape("".join(f" {note}" for note in notes))


def _classes(names: Sequence[str]) -> str:
    """The names of the first ten classes."""
    more = ", …" if len(names) > 10 else ""
    return ", ".join(name[:40] for name in names[:10]) + more


def _growth_log(result: Result) -> str:
    if not result.growth:
        return '<p class="note">This method keeps no log of growth.</p>'
    rows = [
        [e["task"], e["layer"], e["kind"], f"{e['count']:,}", _why(e.get("why"))]
        for e in result.growth
    ]
    return (
        '<p class="note">Every change of structure, in order, and why. initial: units '
        "of the base network. add: new units that were kept after pruning. split: "
        "copies of units that drifted. select: existing units that were retrained "
        "(no growth). share and own: layers that a task shares, or has for itself. "
        "configuration: how its layers were chosen.</p>"
        + table(["task", "layer", "kind", "count", "why"], rows, left=(0, 1, 2, 4))
    )


def _why(why: Any) -> str:
    if isinstance(why, dict):
        shown = {k: v for k, v in why.items() if not k.startswith("trace")}  # drawn
        return ", ".join(f"{key} {_short(value)}" for key, value in shown.items())
    return "" if why is None else _short(why)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _config(result: Result) -> str:
    if not result.config:
        return '<p class="note">The run was started from Python, not from a file.</p>'
    import yaml

    content = result.to_dict()["config"]  # plain types only
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return f"<pre>{escape(text)}</pre>"


def _versions(result: Result) -> str:
    if not result.versions:
        return '<p class="note">Not recorded.</p>'
    return table(["package", "version"], result.versions.items(), left=(0, 1))
