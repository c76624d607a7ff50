"""One self-contained HTML page about runs side by side, and its tables as files."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from keras_lifelong.files import write_atomic
from keras_lifelong.metrics import Comparison
from keras_lifelong.metrics import comparison_table
from keras_lifelong.report import page
from keras_lifelong.report import registry
from keras_lifelong.report import style

FIGURES, PAGE = "figures", "comparison.html"
TABLES = ("comparison.md", "comparison.csv")


def write_comparison(comparison: Comparison, output_dir: str | os.PathLike) -> Path:
    """Writes `comparison.html`, `.md` and `.csv`, and `figures/*.png`.

    Every file is written whole or not at all, the page last. As the page of a run it
    holds its pictures, fetches and runs nothing, and escapes what comes from users.

    Args:
        comparison: of `compare`.
        output_dir: a directory; made if missing.

    Returns:
        The path of `comparison.html`.

    ```python
    write_comparison(kl.compare(results), "runs/comparison")
    ```
    """
    output_dir = Path(output_dir)
    figures = registry.figures_for(comparison)
    pictures = {f.name: style.to_png(f.draw(comparison)) for f in figures}
    for name, content in pictures.items():
        write_atomic(output_dir / FIGURES / f"{name}.png", content)
    texts = (comparison.to_markdown(), comparison.to_csv())
    for name, text in zip(TABLES, texts, strict=True):
        write_atomic(output_dir / name, text.encode("utf-8", "replace"))
    path = output_dir / PAGE
    content = html(comparison, pictures).encode("utf-8", "xmlcharrefreplace")
    write_atomic(path, content)
    return path


def html(comparison: Comparison, pictures: dict[str, bytes]) -> str:
    """Returns the page as text, with `pictures` (name -> PNG) inlined."""
    groups = comparison.groups
    runs = sum(len(group.results) for group in groups)
    heading = " · ".join(style.plain(group.name, 40) for group in groups[:4])
    heading += f" and {len(groups) - 4} more" if len(groups) > 4 else ""
    parts = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="muted">{runs} runs in {len(groups)} groups · test metric: '
        f"{escape(comparison.metric)}</p>",
        "<h2>Means over runs</h2>",
        f'<p class="note">{escape(comparison_table.NOTE)}</p>',
        page.table(*_split(comparison_table.means(comparison))),
    ]
    differences = comparison_table.differences(comparison)
    if len(differences) > 1:
        reference = escape(comparison.reference.name)
        parts += [f"<h2>Difference from {reference}</h2>"]
        parts += [page.table(*_split(differences))]
    parts += [page.shown_figure(comparison, *picture) for picture in pictures.items()]
    meanings = [[m.title, m.meaning] for _, m in comparison.columns]
    parts += ["<h2>What the columns are</h2>"]
    parts += [page.table(["column", "meaning"], meanings, left=(0, 1))]
    parts += ["<h2>Runs</h2>", _runs(comparison)]
    return page.document(heading, parts, "Written by keras-lifelong from results.json.")


def _split(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return rows[0], rows[1:]


def _runs(comparison: Comparison) -> str:
    rows = [
        [group.name, result.seed, result.stream, result.backend]
        + [
            comparison_table.one(group.values(name)[i], measure.digits)
            for name, measure in comparison.columns
        ]
        for group in comparison.groups
        for i, result in enumerate(group.results)
    ]
    heads = ["group", "seed", "stream", "backend"]
    heads += [measure.title for _, measure in comparison.columns]
    return page.table(heads, rows, left=(0, 2, 3))
