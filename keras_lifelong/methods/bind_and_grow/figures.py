"""Figures of BindAndGrow: whose layer each task uses, and the conflicts of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics import Result
from keras_lifelong.report import registry
from keras_lifelong.report import style
from keras_lifelong.report import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def routes(result: Result) -> tuple[list[str], list[str], np.ndarray]:
    """What the growth log says of routes.

    Returns:
        Names of the tasks (T), of the units (U) from the input up, and (T, U): the
        index of the task that each unit was made for. All empty for other methods.
    """
    log = result.growth if result.method == "BindAndGrow" else []
    bound = {str(e["task"]): e for e in log if e["kind"] == "bind"}
    if not bound:
        return [], [], np.zeros((0, 0), int)
    tasks = [t for t in result.task_names if t in bound or t == result.task_names[0]]
    units = [str(u) for u in next(iter(bound.values()))["why"]["units"]]
    table = np.zeros((len(tasks), len(units)), int)
    for t, name in enumerate(tasks):
        if name not in bound:
            table[t] = t
            continue
        table[t] = table[tasks.index(str(bound[name]["why"]["to"]))]
        for e in result.growth:
            grown = e["kind"] == "grow" and str(e["task"]) == name
            if grown and str(e["layer"]) in units:  # else it is each task's own
                table[t, units.index(str(e["layer"]))] = t
    return tasks, units, table


def conflicts(result: Result) -> tuple[list[str], np.ndarray, list[int]]:
    """Names of the tasks, (T, T) norms of conflict, and the task each is bound to.

    NaN where no conflict was measured; -1 for a task that is bound to none.
    """
    tasks = routes(result)[0]
    table, to = np.full((len(tasks),) * 2, np.nan), [-1] * len(tasks)
    for e in result.growth:
        if e["kind"] != "bind" or str(e["task"]) not in tasks:
            continue
        t = tasks.index(str(e["task"]))
        to[t] = tasks.index(str(e["why"]["to"]))
        for other, found in e["why"]["conflicts"].items():
            table[t, tasks.index(str(other))] = float(found["norm"])
    return tasks, table, to


def _ends(names: list[str], width: int) -> list[str]:
    """Names of which those of paths that are too long have lost their beginnings.

    >>> _ends(["dense", "stage_1/block_2/conv"], 10)
    ['dense', '…ck_2/conv']
    """
    return [
        "…" + name[1 - width :] if "/" in name and len(name) > width else name
        for name in names
    ]


@registry.figure(
    "Whose layers each task uses",
    "One row for each task, one column for each layer, from the input up. A cell "
    "has the colour and the name of the task that the layer was made for.",
    when=lambda result: routes(result)[0],
)
def joint_net(result: Result) -> Figure:
    """Whose layers each task uses, as a table of tasks and layers.

    Args:
        result: of a method whose tasks are routed through shared layers.

    Returns:
        A `matplotlib.figure.Figure`: a row for each task, a column for each layer, in
        the colour of the task that the layer was made for; tasks that share a layer
        have the same colour there (BindAndGrow, Fig. 1).

    Raises:
        ValueError: if the growth log has no routes.

    ```python
    joint_net(Result.load("runs/bind/results.json")).savefig("routes.png")
    ```
    """
    tasks, units, table = routes(result)
    if not tasks:
        raise ValueError("`result` has no routes of tasks in its growth log.")
    upwards = len(units) > 8  # the names, which then need more room below
    low = 1.15 if upwards else 0.55
    figure = style.new_figure(8.4, 1.2 + low + 0.3 * max(len(tasks), 3))
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.15, low / height, 0.83, 1 - (low + 0.8) / height))
    colours = style.task_colours(len(tasks))
    for t in range(len(tasks)):
        for u in range(len(units)):
            colour = colours[table[t, u]]
            tables.cell(axes, u, t, colour)
            if len(units) <= 12:
                name = style.plain(tasks[table[t, u]], 12)
                tables.write(axes, u, t, name, style.ink_on(colour), 7.5)
    tables.frame(axes, _ends(units, 14), tasks, rotate=upwards)
    own = np.mean([table[t] == t for t in range(len(tasks))])
    style.title(
        figure,
        f"{style.plain(result.method, 24)}: {len(np.unique(table, axis=0))} different "
        f"networks of {len(tasks)} tasks; {own:.0%} of the layers are a task's own",
        "Each cell names the task whose layer is used; of one colour: one layer",
    )
    return figure


@registry.figure(
    "Conflicts",
    "How little each new task agreed with those before it, on its own examples; it "
    "was bound to the framed one. At the right, the similarity of each layer to "
    "that task's: by default the most similar layers grow.",
    when=lambda result: routes(result)[0],
    name="conflicts",
)
def conflict_map(result: Result) -> Figure:
    """How much each task was in conflict with those before it.

    Args:
        result: of a method that binds tasks by conflict.

    Returns:
        A `matplotlib.figure.Figure`: at the left, a new task in each row and an
        earlier one in each column, dark where they agree, framed where it was bound;
        at the right the similarity, by layer, to the task it was bound to.

    Raises:
        ValueError: if the growth log has no conflicts.
    """
    tasks, table, to = conflicts(result)
    if not tasks:
        raise ValueError("`result` has no conflicts of tasks in its growth log.")
    _, units, _ = routes(result)
    rho = np.full((len(tasks), len(units)), np.nan)
    for e in result.growth:
        if e["kind"] == "bind" and str(e["task"]) in tasks:
            found = e["why"]["conflicts"][e["why"]["to"]]
            rho[tasks.index(str(e["task"]))] = found["rho"]
    figure = style.new_figure(8.4, 2.2 + 0.3 * max(len(tasks), 4))
    height = figure.get_size_inches()[1]
    low, tall = 0.95 / height, 1 - 1.95 / height
    shades = tables.shades()
    for values, left, width, names, label, flip in (
        (table, 0.13, 0.4, tasks, "conflict with", True),
        (rho, 0.6, 0.38, units, "similarity by layer, to the one bound to", False),
    ):
        axes = figure.add_axes((left, low, width, tall))
        known = values[np.isfinite(values)]
        bottom, top = known.min(), max(known.max(), known.min() + 1e-9)
        for i, j in zip(*np.nonzero(np.isfinite(values)), strict=True):
            level = (values[i, j] - bottom) / (top - bottom)
            colour = shades(1 - level if flip else level)
            tables.cell(axes, j, i, colour)
            if len(names) <= 10:
                text = f"{values[i, j]:.2f}"
                tables.write(axes, j, i, text, style.ink_on(colour), 7)
            if flip and to[i] == j:
                tables.outline(axes, j, i, 0.84, 0.8)
        rows = tasks if flip else [""] * len(tasks)
        tables.frame(axes, _ends(names, 10), rows, (10, 12), rotate=True)
        axes.set_title(label, fontsize=8.5, loc="left")
    style.title(
        figure,
        f"{style.plain(result.method, 24)} binds each task to the one it agrees with",
        "Dark: alike. Framed: bound to. Numbers: norm of conflict; Spearman's ρ",
    )
    return figure
