"""One self-contained HTML page about a run: figures inlined, nothing fetched."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.files import write_atomic
from keras_lifelong.metrics import Result
from keras_lifelong.metrics import matrix as measures
from keras_lifelong.metrics.scores import higher_is_better
from keras_lifelong.metrics.table import duration
from keras_lifelong.metrics.table import number
from keras_lifelong.report import figures
from keras_lifelong.report.experts import distances
from keras_lifelong.report.experts import experts
from keras_lifelong.report.experts import genotypes
from keras_lifelong.report.knowledge import curves
from keras_lifelong.report.knowledge import slots
from keras_lifelong.report.routes import routes
from keras_lifelong.report.style import to_png
from keras_lifelong.report.transfer import configurations
from keras_lifelong.report.transfer import traces
from keras_lifelong.report.units import count_units

# Figure -> what it shows and how to read it.
FIGURES: dict[str, tuple[Callable, str, str]] = {
    "accuracy_over_tasks": (
        figures.accuracy_over_tasks,
        "Accuracy over tasks",
        "Each thin line is one task, from the moment it was learned (the dot) to the "
        "end; the thick line is the mean over the tasks learned so far. A line that "
        "stays level is a task that was kept; the task that lost most is red. The mean "
        "also falls when a new task is harder than the earlier ones.",
    ),
    "accuracy_matrix": (
        figures.accuracy_matrix,
        "Accuracy matrix",
        "Row i is the test score on every task right after learning task i; the bold "
        "diagonal is each task when it was new. Read down a column to see one task "
        "age: if the colour stays, nothing was forgotten. Empty cells were not "
        "measured.",
    ),
    "growth": (
        figures.growth,
        "Growth",
        "Grey is the network as it started; each colour is the task that made the "
        "network grow. Columns that stop growing mean that later tasks found what "
        "they needed in the units already there.",
    ),
    "configurations": (
        figures.configuration_table,
        "Shared layers",
        "One row for each task, one column for each layer that tasks may share, from "
        "the input up. Blue layers are the same for all tasks that share them; grey "
        "ones belong to the task alone. The bars count the tasks that share a layer.",
    ),
    "posterior": (
        figures.posterior,
        "The search for what to share",
        "For each task, how much was believed in each configuration after each epoch. "
        "A blue band that fills the panel is a clear choice; one that stays narrow "
        "means that several configurations explain the task almost equally well.",
    ),
    "distances": (
        figures.distance_map,
        "Distances of tasks",
        "Each row is a task when it was new, each column one learned before. Dark: the "
        "two are alike. A frame says that they share an expert. Distances from which "
        "the choice was made are means over the tasks of an expert.",
    ),
    "groups": (
        figures.tree_of_groups,
        "Who shares an expert",
        "Tasks on one branch use the same network, with a head each. New: an expert of "
        "its own; shared: trained on, held by distillation; frozen: used as it was.",
    ),
    "cells": (
        figures.cells,
        "Cells",
        "What the experts are made of. Every node adds up two operations; the output "
        "is all nodes together. A reduction cell halves the image.",
    ),
    "joint_net": (
        figures.joint_net,
        "Whose layers each task uses",
        "One row for each task, one column for each layer, from the input up. A cell "
        "has the colour and the name of the task that the layer was made for.",
    ),
    "conflicts": (
        figures.conflict_map,
        "Conflicts",
        "How little each new task agreed with those before it, on its own examples; it "
        "was bound to the framed one. At the right, the similarity of each layer to "
        "that task's: by default the most similar layers grow.",
    ),
    "knowledge_base": (
        figures.knowledge_base,
        "The knowledge base",
        "Each row is a slot for one set of parameters, each column the base after one "
        "more task. The colour is the task that the set was last trained on; the "
        "number is how well the set, as it is generated, still does that task.",
    ),
    "adaptation": (
        figures.adaptation,
        "How fast sets adapted",
        "Left: the accuracy of every candidate while a new task was learned. Right: "
        "what the estimator predicted for it before, against what it turned out to "
        "be; points along a rising line mean that it can tell candidates apart.",
    ),
}
# Figures that only some methods have, and when.
ONLY_IF: dict[str, Callable] = {
    "configurations": lambda result: configurations(result)[0],
    "posterior": traces,
    "distances": lambda result: np.isfinite(distances(result)[1]).any(),
    "groups": experts,
    "cells": genotypes,
    "joint_net": lambda result: routes(result)[0],
    "conflicts": lambda result: routes(result)[0],
    "knowledge_base": lambda result: slots(result)[0].size,
    "adaptation": curves,
}
NOT_GROWN = (
    "The units of each hidden layer (or, where no log of units is kept, the "
    "parameters after each task). This run added no units to its layers: all tasks "
    "were learned by what is drawn here."
)

_CSS = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--muted:#5b6673;
--line:#dfe4ea;--accent:#0072b2;--tint:0,114,178}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2029;--ink:#e6eaf0;
--muted:#9aa6b4;--line:#2d3642;--accent:#56b4e9;--tint:86,180,233}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:980px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:40px 0 8px}
p{margin:0 0 12px;max-width:86ch}
.muted,.note{color:var(--muted)}
.note{font-size:13.5px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));
gap:12px;margin:24px 0 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:12px 14px}
.card b{display:block;font-size:25px;line-height:1.25;font-weight:650;
font-variant-numeric:tabular-nums}
.card span{font-size:12.5px;color:var(--muted);display:block;line-height:1.35}
.card .name{color:var(--ink);font-weight:600;font-size:13px}
figure{margin:12px 0 0}
figure img{display:block;width:100%;height:auto;background:#fff;
border:1px solid var(--line);border-radius:10px}
figcaption{margin-top:10px;max-width:86ch;color:var(--muted)}
.scroll{overflow:auto;max-height:520px;background:var(--card);
border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:13.5px;
font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;white-space:nowrap;
border-bottom:1px solid var(--line)}
tr:last-child td,tr:last-child th{border-bottom:0}
thead th{position:sticky;top:0;background:var(--card);color:var(--muted);
font-weight:600;box-shadow:inset 0 -1px var(--line);z-index:1}
tbody th{font-weight:600;position:sticky;left:0;background:var(--card)}
th:first-child,td:first-child,.l{text-align:left}
td.own{font-weight:700}
summary{cursor:pointer;margin:14px 0 8px;color:var(--accent)}
pre{margin:0;padding:14px 16px;font:13px/1.5 ui-monospace,"Liberation Mono",Menlo,
monospace;overflow:auto;background:var(--card);border:1px solid var(--line);
border-radius:10px}
footer{margin-top:48px;font-size:13px;color:var(--muted)}
"""


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
    pictures = {
        name: to_png(draw(result))
        for name, (draw, _, _) in FIGURES.items()
        if name not in ONLY_IF or ONLY_IF[name](result)
    }
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
    grown = any(count_units(result)[2].flat)
    for name, content in pictures.items():
        _, headline, caption = FIGURES[name]
        if name == "growth" and not grown:
            caption = NOT_GROWN
        data = base64.b64encode(content).decode()
        parts.append(
            f'<h2>{headline}</h2><figure><img alt="{headline}: {escape(caption)}" '
            f'src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    parts += ["<h2>The numbers</h2>", _matrices(result)]
    parts += ["<h2>Task by task</h2>", _tasks(result)]
    parts += ["<h2>Growth log</h2>", _growth_log(result)]
    parts += ["<h2>Configuration</h2>", _config(result)]
    parts += ["<h2>Versions</h2>", _versions(result)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>{_CSS}</style></head>\n"
        f"<body><main>\n{body}\n<footer>Written by keras-lifelong from results.json, "
        "which lies beside this page.</footer>\n</main></body></html>\n"
    )


def _cards(result: Result) -> str:
    worse = "lost" if higher_is_better(result.metric) else "gained in error"
    cards = [
        ("ACC", number(result.acc), f"mean test {result.metric} in the end"),
        ("BWT", number(result.bwt, sign=True), "change of earlier tasks since learned"),
        ("Forgetting", number(result.forgetting), f"{worse} since the best measured"),
        ("Capacity", number(result.capacity, 2) + "×", "size over the base network's"),
        ("Parameters", f"{result.params_total:,}", f"base: {result.params_base:,}"),
    ]
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><span class="name">{escape(name)}</span>'
            f"<b>{escape(value)}</b><span>{escape(what)}</span></div>"
            for name, value, what in cards
        )
        + "</div>"
    )


def _table(
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
        R = result.matrices[name]
        summary = (
            f"{name}: ACC {number(measures.acc(R))}, BWT "
            f"{number(measures.bwt(R), sign=True)}, forgetting "
            f"{number(measures.forgetting(R))}"
        )
        if name == result.metric:
            summary += (
                f", AF {number(result.af, sign=True)}, forgetting ratio "
                f"{number(result.forgetting_ratio)}"
            )
        table = _matrix(result, name)
        parts.append(
            f"<p>{escape(summary)}</p>{table}"
            if name == result.metric
            else f"<details><summary>{escape(summary)}</summary>{table}</details>"
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
        depth = depth if higher_is_better(name) else 1 - depth
        return f'{own} style="background:rgba(var(--tint),{0.03 + 0.32 * depth:.2f})"'

    rows = [
        [f"after {task}", *(number(value) for value in R[i])]
        for i, task in enumerate(result.task_names)
    ]
    return _table([name, *result.task_names], rows, attributes=tint)


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
    return (
        f'<p class="note">{escape(result.metric)} on test data. Peak: at the epoch of '
        "best validation while the task was being learned. Parameters: of the whole "
        f"model after the task. Training took "
        f"{duration(sum(result.train_seconds_by_task))} of "
        f"{duration(result.wall_seconds)}, with {result.compile_count} compilations "
        f"and at most {result.peak_rss_mib:,.0f} MiB of memory.</p>"
        + _table([*heads, "parameters"], rows)
    )


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
        + _table(["task", "layer", "kind", "count", "why"], rows, left=(0, 1, 2, 4))
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
    return _table(["package", "version"], result.versions.items(), left=(0, 1))
