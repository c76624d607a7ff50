"""Figures of ARI: the sets it held, how well, and how fast they adapted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics import Result
from keras_lifelong.report import registry
from keras_lifelong.report import style
from keras_lifelong.report import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def slots(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """What each slot (rows) held after each task (columns).

    Returns:
        The number of the task that its set was last trained on, -1 where it was empty;
        and the accuracy of the set, as it is stored, on that task's examples.
    """
    names = [str(n) for n in result.task_names]
    entries = [e for e in result.growth if e["kind"] == "keep"]
    count = max((_number(e) for e in entries), default=-1) + 1
    tasks = np.full((count, len(names)), -1)
    accuracy = np.full(tasks.shape, np.nan)
    for e in entries:
        place = _number(e), names.index(str(e["task"]))
        tasks[place] = names.index(str(e["why"]["learned"]))
        accuracy[place] = e["why"].get("accuracy", np.nan)
    return tasks, accuracy


def _number(entry) -> int:
    return int(str(entry["layer"]).rpartition(" ")[2])


def curves(result: Result) -> list[tuple[str, bool, list[float]]]:
    """The accuracy of every candidate while it was trained, of all tasks but the first.

    Returns:
        Triples of the task, whether the candidate was newly drawn, and its curve.
    """
    first = str(result.task_names[0])
    return [
        (str(e["task"]), e["why"].get("learned") is None, e["why"]["curve"])
        for e in result.growth
        if e["kind"] == "explore" and str(e["task"]) != first
    ]


def estimates(result: Result) -> list[tuple[str, float, float]]:
    """Of every candidate but the first task's: task, predicted and true rate."""
    first = str(result.task_names[0])
    return [
        (str(e["task"]), float(e["why"]["predicted"]), float(e["why"]["rate"]))
        for e in result.growth
        if e["kind"] == "explore" and str(e["task"]) != first
    ]


@registry.figure(
    "The knowledge base",
    "Each row is a slot for one set of parameters, each column the base after one "
    "more task. The colour is the task that the set was last trained on; the "
    "number is how well the set, as it is generated, still does that task.",
    when=lambda result: slots(result)[0].size,
)
def knowledge_base(result: Result) -> Figure:
    """Which task each slot's set came from, after each task, and how well it is kept.

    Args:
        result: of a method with a knowledge base.

    Returns:
        A `matplotlib.figure.Figure`: slots in rows, tasks in columns, in the colour of
        the task that the set was last trained on; the number is the accuracy of the
        set as it is stored on that task's examples.

    Raises:
        ValueError: if the growth log has no such thing.

    ```python
    knowledge_base(Result.load("runs/ari/results.json")).savefig("base.png")
    ```
    """
    tasks, accuracy = slots(result)
    if not tasks.size:
        raise ValueError("`result` has no knowledge base in its growth log.")
    count, steps = tasks.shape
    figure = style.new_figure(8.4, 1.75 + 0.21 * max(count, 4))
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.1, 0.6 / height, 0.72, 1 - 1.4 / height))
    colours = style.task_colours(steps)
    for slot, step in zip(*np.nonzero(tasks >= 0), strict=True):
        colour = colours[tasks[slot, step]]
        tables.cell(axes, step, slot, colour)
        if steps <= 12 and np.isfinite(accuracy[slot, step]):
            text = f"{accuracy[slot, step]:.2f}"
            tables.write(axes, step, slot, text, style.ink_on(colour), 6.5)
    for step, colour in enumerate(colours[: 24 if steps > 12 else steps]):
        name = style.plain(result.task_names[step], 14)
        at = count * (step + 0.5) / len(colours[:24]) - 0.5
        axes.text(steps - 0.3, at, f"■ {name}", fontsize=8, color=colour, va="center")
    axes.set_xlim(-0.5, steps - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    shown = np.arange(0, steps, -(-steps // 12))
    style.ticks(axes.xaxis, shown, [f"{i + 1}" for i in shown])
    style.ticks(
        axes.yaxis, np.arange(0, count, 2), [f"{i}" for i in range(0, count, 2)]
    )
    axes.set_xlabel("tasks learned so far")
    axes.set_ylabel("slot")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    last = tasks[:, -1]
    style.title(
        figure,
        f"{style.plain(result.method, 24)} keeps {np.sum(last >= 0)} sets of "
        f"parameters, of {len(set(last[last >= 0]))} of {steps} tasks",
        "Colour: the task a set was last trained on. Number: its accuracy, as stored, "
        "on examples of that task",
    )
    return figure


@registry.figure(
    "How fast sets adapted",
    "Left: the accuracy of every candidate while a new task was learned. Right: "
    "what the estimator predicted for it before, against what it turned out to "
    "be; points along a rising line mean that it can tell candidates apart.",
    when=curves,
)
def adaptation(result: Result) -> Figure:
    """How fast known and new sets learned new tasks, and how well that was foreseen.

    Args:
        result: of a method with a knowledge base, of two tasks or more.

    Returns:
        A `matplotlib.figure.Figure`: at the left the mean accuracy while a new task was
        learned, from sets of the base and from newly drawn ones; at the right every
        candidate's predicted and true adaptation rate.

    Raises:
        ValueError: if the growth log has no candidates of a second task.
    """
    found, points = curves(result), estimates(result)
    if not found:
        raise ValueError("`result` has no candidates of a second task in its log.")
    figure = style.new_figure(8.4, 4.2)
    left = figure.add_axes((0.085, 0.13, 0.5, 0.66))
    right = figure.add_axes((0.68, 0.13, 0.3, 0.66))
    speeds = {}
    kinds = ((False, "from the base", style.BLUE), (True, "newly drawn", style.RED))
    for drawn, label, colour in kinds:
        of = [curve for _, fresh, curve in found if fresh == drawn]
        if not of:
            continue
        for curve in of:
            left.plot(curve, color=colour, lw=0.5, alpha=0.25)
        mean = np.mean([c[: min(map(len, of))] for c in of], 0)
        speeds[drawn] = mean.mean()
        left.plot(mean, color=colour, lw=2.4, label=f"{label} ({len(of)})")
    left.set_xlabel("measurements: every few steps, then every epoch")
    left.set_ylabel("training accuracy")
    left.legend(frameon=False, fontsize=8.5, loc="lower right")
    tasks = list(dict.fromkeys(t for t, _, _ in points))
    colours = style.task_colours(len(tasks))
    for task, predicted, true in points:
        right.plot(predicted, true, "o", ms=4, color=colours[tasks.index(task)])
    right.set_xlabel("predicted rate")
    right.set_ylabel("true rate")
    if len(speeds) == 2:
        difference = speeds[False] - speeds[True]
        faster = "faster" if difference > 0 else "slower"
        finding = (
            f"known sets learn {faster}: {abs(difference):.3f} of accuracy on average"
        )
    else:
        finding = f"{len(found)} candidates were tried"
    style.title(
        figure,
        f"{style.plain(result.method, 24)}: {finding}",
        "Left: thin lines are candidates, thick their mean. Right: dark is early",
    )
    return figure
