"""Writes docs/results.md from the files in results/ alone.

    python benchmarks/results_document.py

A file is either a `table.json` of `keras-lifelong reproduce`, copied there, or a
record: title, what was measured, command, seeds, version, kind of machine and where it
is from. Tables of papers without a file are shown as not measured.
"""

import json
import pathlib

from keras_lifelong import papers
from keras_lifelong import reproduce
from keras_lifelong.messages import as_markdown
from keras_lifelong.metrics.comparison_table import markdown_table
from keras_lifelong.strict_yaml import parse

ROOT = pathlib.Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "results", ROOT / "docs" / "results.md"
OPENING = """# What was measured

Made by `python benchmarks/results_document.py` from the files in `results/`, and from
nothing else: each says with which command, seeds, version and kind of machine. What has
no file was not measured.
"""


def record(name, content):
    """A record as a section: what was measured, and how."""
    origin = content["origin"]
    how = [
        f"command: {content['command'] or 'not kept'}",
        f"seeds: {', '.join(map(str, content['seeds'] or [])) or 'not kept'}",
        f"version: {content['version']}",
        f"machine: {content['machine']}",
        f"from: {origin['kind']}, {origin['date']}, commit {origin['commit']}, "
        f"{origin['note']}",
    ]
    parts = [
        f"### {as_markdown(content['title'])}",
        as_markdown(content["measured"]),
    ]
    if content.get("rows"):
        parts.append(markdown_table(numbers(content["rows"])))
    parts += ["\n".join(f"- {as_markdown(line)}" for line in how)]
    return [*parts, f"File: `results/{name}`."]


def numbers(rows):
    """A table of measured and published numbers, headings first."""
    keys = list(dict.fromkeys(k for row in rows for k in row["measured"]))
    sides = ["measured"]
    sides += ["published"] if any(row["published"] for row in rows) else []
    ends = {"measured": "", "published": ", published"}
    heads = [f"{key}{ends[side]}" for key in keys for side in sides]
    table = [["row", *heads]]
    for row in rows:
        cells = []
        for key in keys:
            for side in sides:
                value = row[side].get(key)
                cells.append("·" if value is None else f"{value:,}")
        table.append([row["name"], *cells])
    return table


def not_measured(measured):
    """A line for each table of a paper that has no file in results/."""
    rows = [["table", "what", "rows"]]
    for name, path in papers.names().items():
        if name not in measured:
            raw = parse(path.read_text(encoding="utf-8"))
            what = f"{raw['table']['paper']}: {raw['table']['title']}"
            rows.append([name, what, str(len(raw["rows"]))])
    return rows


def document():
    """The text of docs/results.md."""
    files = sorted(RESULTS.rglob("*.json"))
    contents = {
        file.relative_to(RESULTS).as_posix(): json.loads(file.read_text("utf-8"))
        for file in files
    }
    tables = {name: c for name, c in contents.items() if "table" in c}
    parts = [OPENING, "## Tables of papers, row by row"]
    for name, content in tables.items():
        text = reproduce.markdown(content).replace("# ", "### ", 1).rstrip()
        parts += [text, f"File: `results/{name}`."]
    missing = not_measured({content["table"] for content in tables.values()})
    parts += [
        "Not measured row by row; `keras-lifelong reproduce TABLE` runs them, "
        "`--fast 0.05` a twentieth of their schedules:",
        markdown_table(missing),
        "## Other measurements",
    ]
    for name, content in contents.items():
        if name not in tables:
            parts += record(name, content)
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
    print(f"Written: {PAGE.relative_to(ROOT)}")
