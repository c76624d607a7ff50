"""Figures of PAR: how far tasks were apart, who shares an expert, and found cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics import GrowthEntry
from keras_lifelong.metrics import Result
from keras_lifelong.report import registry
from keras_lifelong.report import style
from keras_lifelong.report import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECISIONS = {"allocate": "new", "reuse": "shared", "freeze": "frozen"}
SHORT = {
    "max_pool_3x3": "max",
    "avg_pool_3x3": "avg",
    "skip_connect": "skip",
    "sep_conv_3x3": "sep",
    "dil_conv_3x3": "dil",
    "none": "none",
}
INPUTS = 2  # of a cell, before its nodes


def decisions(result: Result) -> list[GrowthEntry]:
    """The log entries by which tasks got an expert, in the order of the tasks."""
    return [e for e in result.growth if e["kind"] in DECISIONS]


def distances(result: Result) -> tuple[list[str], np.ndarray]:
    """Names of the tasks (T), and (T, T): how far each, in the row, was from others.

    NaN where a distance was not measured, as to later tasks.
    """
    entries = decisions(result)
    names = [str(e["task"]) for e in entries]
    table = np.full((len(names), len(names)), np.nan)
    for i, entry in enumerate(entries):
        for other, value in (entry["why"].get("distances") or {}).items():
            if other in names:
                table[i, names.index(other)] = float(value)
    return names, table


def experts(result: Result) -> dict[str, list[GrowthEntry]]:
    """By expert: the entries of its tasks, in their order."""
    found: dict[str, list[GrowthEntry]] = {}
    for entry in decisions(result):
        found.setdefault(str(entry["layer"]), []).append(entry)
    return found


def genotypes(result: Result) -> list[tuple[list[str], dict]]:
    """Different cells, each with the experts that have them."""
    found: list[tuple[list[str], dict]] = []
    for expert, entries in experts(result).items():
        cells = entries[0]["why"].get("genotype")
        if not cells:
            continue
        for names, known in found:
            if known == cells:
                names.append(expert)
                break
        else:
            found.append(([expert], cells))
    return found


@registry.figure(
    "Distances of tasks",
    "Each row is a task when it was new, each column one learned before. Dark: the "
    "two are alike. A frame says that they share an expert. Distances from which "
    "the choice was made are means over the tasks of an expert.",
    when=lambda result: np.isfinite(distances(result)[1]).any(),
    name="distances",
)
def distance_map(result: Result) -> Figure:
    """How far each task was from those before it, and what was decided.

    Args:
        result: of a method that measures the distance of tasks.

    Returns:
        A `matplotlib.figure.Figure`: a new task in each row, an earlier one in each
        column, dark where they are near; framed where both share an expert.

    Raises:
        ValueError: if the growth log has no distances.

    ```python
    distance_map(Result.load("runs/par/results.json")).savefig("distances.png")
    ```
    """
    names, table = distances(result)
    if np.isnan(table).all():
        raise ValueError("`result` has no distances of tasks in its growth log.")
    entries, count = decisions(result), len(names)
    side = float(np.clip(0.36 * count, 2.2, 7.0))
    figure = style.new_figure(8.4, side + 1.75)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((1.5 / width, 0.85 / height, side / width, side / height))
    shade = tables.shades().reversed()  # near is dark
    for i in range(count):
        for j in range(i):
            if np.isfinite(table[i, j]):
                same = entries[i]["layer"] == entries[j]["layer"]
                _cell(axes, i, j, table[i, j], shade, same, count)
        kind, expert = DECISIONS[entries[i]["kind"]], entries[i]["layer"]
        note = f"{kind}: {style.plain(str(expert), 12)}"
        axes.text(
            count - 0.3,
            i,
            note,
            va="center",
            parse_math=False,
            fontsize=8,
            color=style.MUTED,
        )
    tables.frame(axes, names, names, (10, 10), rotate=True)
    shared = sum(e["kind"] != "allocate" for e in entries)
    style.title(
        figure,
        f"{style.plain(result.method, 24)}: {shared} of {count} tasks share an expert "
        "with an earlier one",
        "Distance of the task in the row from that in the column: dark is near (0), "
        "light far (1). Framed: same expert",
    )
    return figure


def _cell(axes, i, j, value, shade, same, count):
    tables.cell(axes, j, i, shade(value), 0.94)
    if same:
        tables.outline(axes, j, i, 0.86, 0.86)
    if count <= 12:
        ink = "white" if value < 0.45 else style.INK
        tables.write(axes, j, i, f"{value:.2f}", ink, 7)


@registry.figure(
    "Who shares an expert",
    "Tasks on one branch use the same network, with a head each. New: an expert of "
    "its own; shared: trained on, held by distillation; frozen: used as it was.",
    when=experts,
    name="groups",
)
def tree_of_groups(result: Result) -> Figure:
    """The experts and the tasks that share them, as a tree.

    Args:
        result: of a method whose tasks share experts.

    Returns:
        A `matplotlib.figure.Figure`: the model at the left, an expert on each branch,
        with the size and the origin of its cells, and its tasks at the right, with the
        distance at which each came to it.

    Raises:
        ValueError: if the growth log has no experts.
    """
    groups = experts(result)
    if not groups:
        raise ValueError("`result` has no experts in its growth log.")
    rows = sum(len(entries) for entries in groups.values())
    figure = style.new_figure(8.4, 1.0 + 0.24 * max(rows + len(groups), 8))
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.02, 0.1 / height, 0.96, 1 - 0.85 / height))
    y, middles = 0.0, []
    for expert, entries in groups.items():
        places = y + np.arange(len(entries))
        y = places[-1] + 1.6
        middle = float(places.mean())
        middles.append(middle)
        axes.text(
            0.2,
            middle,
            _about(expert, entries[0]),
            va="center",
            parse_math=False,
            fontsize=8.5,
        )
        for place, entry in zip(places, entries, strict=True):
            _branch(axes, 0.47, middle, 0.57, place)
            text = style.plain(str(entry["task"]), 24)
            s = entry["why"].get("distance")
            how = DECISIONS[entry["kind"]] + ("" if s is None else f", {s:.2f}")
            axes.text(0.575, place, text, va="center", parse_math=False, fontsize=8.5)
            axes.text(
                0.82,
                place,
                how,
                va="center",
                parse_math=False,
                fontsize=8,
                color=style.MUTED,
            )
    root = float(np.mean(middles))
    for middle in middles:
        _branch(axes, 0.12, root, 0.19, middle)
    axes.text(
        0.0,
        root,
        style.plain(result.method, 12),
        va="center",
        parse_math=False,
        weight="bold",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(y - 0.8, -0.8)
    axes.axis("off")
    style.title(
        figure,
        f"{len(groups)} experts serve {rows} tasks",
        "Each expert with its parameters and the origin of its cells; each task with "
        "what was decided and its distance from the nearest group",
    )
    return figure


def _about(expert, first) -> str:
    cell = first["why"].get("cell")
    origin = f", cells {cell}" if cell else ""
    return f"{style.plain(expert, 12)} ({first['count']:,}{origin})"


def _branch(axes, x, y, to_x, to_y):
    middle = (x + to_x) / 2
    axes.plot([x, middle, middle, to_x], [y, y, to_y, to_y], color=style.LINE, lw=1)


@registry.figure(
    "Cells",
    "What the experts are made of. Every node adds up two operations; the output "
    "is all nodes together. A reduction cell halves the image.",
    when=genotypes,
)
def cells(result: Result) -> Figure:
    """The cells of the experts, drawn as graphs.

    Args:
        result: of a method whose experts are made of cells.

    Returns:
        A `matplotlib.figure.Figure` with a row for each of the first six genotypes: the
        normal cell at the left, the reduction cell at the right. An arrow is an
        operation; convolutions are blue.

    Raises:
        ValueError: if the growth log has no cells.
    """
    found = genotypes(result)[:6]
    if not found:
        raise ValueError("`result` has no cells in its growth log.")
    figure = style.new_figure(8.4, 0.8 + 2.1 * len(found))
    height = figure.get_size_inches()[1]
    for row, (names, genotype) in enumerate(found):
        for column, kind in enumerate(("normal", "reduce")):
            bottom = 1 - (0.8 + 2.1 * row + 1.95) / height
            axes = figure.add_axes((0.02 + 0.49 * column, bottom, 0.47, 1.75 / height))
            _graph(axes, genotype[kind])
            label = f"{style.plain(', '.join(names), 30)}: {kind} cell"
            axes.set_title(label, fontsize=8.5, loc="left", parse_math=False)
    convolutions = sum(
        "conv" in op for _, g in found for edges in g.values() for op, _ in edges
    )
    total = sum(len(edges) for _, g in found for edges in g.values())
    style.title(
        figure,
        f"{convolutions} of {total} operations in the cells are convolutions",
        "Squares: the two inputs of a cell; circles: its nodes, of which the output is "
        "made. Blue: convolutions",
    )
    return figure


def _graph(axes, edges):
    """One cell: inputs at the left, nodes in a bow, an arrow for each operation."""
    nodes = len(edges) // 2
    place = {0: (0.0, 0.8), 1: (0.0, 0.2)}
    for n in range(nodes):
        place[INPUTS + n] = (1.0 + n, 0.5 + (0.28 if n % 2 else -0.28))
    for k, (op, source) in enumerate(edges):
        target = INPUTS + k // 2
        _arrow(axes, place[source], place[target], op, bend=0.12 * (-1) ** k)
    for index, (x, y) in place.items():
        marker = "s" if index < INPUTS else "o"
        axes.plot(x, y, marker, ms=15, mfc="white", mec=style.MUTED, mew=1)
        name = ("k-2", "k-1")[index] if index < INPUTS else str(index - INPUTS)
        axes.text(x, y, name, ha="center", va="center", parse_math=False, fontsize=7)
    axes.set_xlim(-0.25, nodes + 0.25)
    axes.set_ylim(-0.05, 1.05)
    axes.axis("off")


def _arrow(axes, start, end, op, bend):
    from matplotlib.patches import FancyArrowPatch

    colour = style.BLUE if "conv" in op else style.LINE
    arrow = FancyArrowPatch(
        start,
        end,
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>",
        mutation_scale=8,
        shrinkA=8,
        shrinkB=8,
        color=colour,
        lw=1.1,
    )
    axes.add_patch(arrow)
    x, y = 0.42 * start[0] + 0.58 * end[0], 0.42 * start[1] + 0.58 * end[1]
    axes.text(
        x,
        y - 0.35 * bend * (end[0] - start[0]),
        SHORT.get(op, style.plain(op, 8)),
        fontsize=6.5,
        color=colour if "conv" in op else style.MUTED,
        ha="center",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )
