"""Figures of any run: accuracy over tasks, accuracy matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics import Result
from keras_lifelong.metrics.directions import higher_is_better
from keras_lifelong.metrics.directions import sign
from keras_lifelong.report import registry
from keras_lifelong.report import style

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# A change smaller than this share of the metric's value is called none.
SMALL = 0.0005


def losses(result: Result) -> np.ndarray:
    """How much worse each task is in the end than when learned, `(T,)`.

    Positive is worse, for metrics and errors alike; NaN where not measured.
    """
    change = result.matrix.diagonal() - result.matrix[-1]
    return sign(result.higher_is_better()) * change


def faded(result: Result) -> np.ndarray:
    """Which of the earlier tasks lost more than a trifle (`SMALL`), bool `(T-1,)`."""
    known = result.matrix[np.isfinite(result.matrix)]
    scale = max(1.0, np.abs(known).max()) if known.size else 1.0
    return losses(result)[:-1] > SMALL * scale  # False where not measured


def verdict(result: Result) -> str:
    """What became of the tasks, in words, such as "task_0 lost 0.120"."""
    if len(result.task_names) == 1:
        return "one task learned"
    lost = losses(result)[:-1]
    if not np.isfinite(lost).any():
        return "tasks were not measured one by one"
    worst = int(np.nanargmax(lost))
    name = style.plain(result.task_names[worst])
    places = style.digits(result.matrix)
    if not faded(result).any():
        return "no task was forgotten"
    most = " most" if np.isfinite(lost).sum() > 1 else ""
    return f"{name} lost{most} ({lost[worst]:.{places}f})"


@registry.figure(
    "Accuracy over tasks",
    "Each thin line is one task, from the moment it was learned (the dot) to the "
    "end; the thick line is the mean over the tasks learned so far. A line that "
    "stays level is a task that was kept; the task that lost most is red. The mean "
    "also falls when a new task is harder than the earlier ones.",
)
def accuracy_over_tasks(result: Result) -> Figure:
    """Each task's metric from when it was learned to the end, and their mean.

    Args:
        result: of a run on T >= 1 tasks.

    Returns:
        A `matplotlib.figure.Figure`: a thin line for each task that starts with a
        dot where it was learned, the mean over the tasks so far as a thick blue
        line, and the task that lost most in red.

    ```python
    accuracy_over_tasks(Result.load("runs/den/results.json")).savefig("a.png")
    ```
    """
    R, tasks = result.matrix, len(result.task_names)
    figure = style.new_figure(8.4, 4.5)
    axes = figure.add_axes((0.085, 0.125, 0.72, 0.70))
    x = np.arange(1, tasks + 1)
    lost = losses(result)
    worst = int(np.nanargmax(lost[:-1])) if faded(result).any() else None

    dot = 5.5 if tasks <= 12 else 4.5
    for j in range(tasks):
        colour, width, z = (style.LINE, 1.1, 2)
        if j == worst:
            colour, width, z = (style.RED, 1.8, 4)
        tested = j + np.flatnonzero(np.isfinite(R[j:, j]))
        axes.plot(x[tested], R[tested, j], color=colour, lw=width, zorder=z)
        axes.plot(x[j], R[j, j], "o", color=colour, ms=dot, mec="white", zorder=z)
        if not np.isfinite(R[:-1, j]).any():  # measured in the end only
            axes.plot(x[-1], R[-1, j], "o", color=colour, ms=dot, mec="white", zorder=z)
    mean = np.array([R[i, : i + 1].mean() for i in range(tasks)])
    known = np.isfinite(mean)
    if tasks > 1:
        axes.plot(x[known], mean[known], color="white", lw=5.0, zorder=5)
        axes.plot(x[known], mean[known], color=style.BLUE, lw=2.6, zorder=6)
        if tasks <= 12:
            axes.plot(x, mean, "o", color=style.BLUE, ms=4.5, zorder=6)
    else:
        axes.plot(x, mean, "o", color=style.BLUE, ms=8, zorder=6)

    _scale(axes, R, result.metric)
    _labels_at_end(axes, result, mean, worst)
    axes.set_xlim(*_ends(tasks))
    step = 1 if tasks <= 12 else 2 if tasks <= 24 else -(-tasks // 12)
    style.ticks(axes.xaxis, x[step - 1 :: step], [f"{i}" for i in x[step - 1 :: step]])
    axes.set_xlabel("tasks learned so far")
    axes.set_ylabel(f"test {style.plain(result.metric, 30)}", parse_math=False)
    axes.tick_params(length=0)
    axes.grid(axis="y", lw=0.8)
    axes.spines["left"].set_visible(False)

    places = style.digits(R)
    style.title(
        figure,
        f"{style.plain(result.method, 24)} ends at a mean {style.plain(result.metric)} "
        f"of {_text(mean[-1], places)}; {verdict(result)}"
        if tasks > 1
        else f"{style.plain(result.method, 24)} reaches "
        f"{_text(mean[-1], places)} {style.plain(result.metric)} on its one task",
        "Test score of every task, from when it was learned (dot) to the end of the "
        "stream",
    )
    return figure


def _ends(tasks: int) -> tuple[float, float]:
    """Limits of the x axis: room for half a dot on either side."""
    return (0.0, 2.0) if tasks == 1 else (1 - 0.03 * tasks, 1.015 * tasks)


def _text(value: float, places: int) -> str:
    return f"{value:.{places}f}" if np.isfinite(value) else "unknown"


def _scale(axes, R: np.ndarray, metric: str) -> None:
    """A range that shows differences but does not make a drama of noise."""
    values = R[np.isfinite(R)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    bounded = low >= 0.0 and high <= 1.0 and higher_is_better(metric)
    least = 0.04 if bounded else 0.05 * max(abs(high), 1e-6)
    span = max(high - low, least)
    middle = (high + low) / 2
    low = min(low, middle - span / 2) - 0.08 * span
    high = max(high, middle + span / 2) + 0.08 * span
    if bounded:
        # Nothing is above 1; a line at 1 keeps room for its thickness.
        low, high = max(low, -0.02), min(high, 1.0 + 0.06 * span)
    axes.set_ylim(low, high)
    if bounded:
        ticks = [t for t in axes.get_yticks() if low <= t <= min(high, 1.0)]
        axes.set_yticks(ticks)


def _labels_at_end(axes, result: Result, mean: np.ndarray, worst: int | None) -> None:
    """Names the lines at their right ends instead of in a legend."""
    R, tasks = result.matrix, len(result.task_names)
    places = style.digits(R)
    labels = []
    if np.isfinite(mean[-1]):
        what = "mean of all" if tasks > 1 else style.plain(result.task_names[0], 30)
        labels.append((mean[-1], f"{what}  {mean[-1]:.{places}f}", style.BLUE, "bold"))
    others = range(tasks) if 1 < tasks <= 10 else [] if worst is None else [worst]
    for j in others:
        if not np.isfinite(R[-1, j]):
            continue
        colour = style.RED if j == worst else style.MUTED
        name = style.plain(result.task_names[j], 11)
        weight = "bold" if j == worst else "normal"
        labels.append((R[-1, j], f"{name}  {R[-1, j]:.{places}f}", colour, weight))
    low, high = axes.get_ylim()
    gap = (high - low) * 0.058
    places_y = style.spread([label[0] for label in labels], gap, low + gap / 2, high)
    left, right = _ends(tasks)
    pad = (right - left) * 0.03
    if tasks == 1:
        right = 1.06
    for y, (value, text, colour, weight) in zip(places_y, labels, strict=True):
        axes.plot(
            [right, right + 0.8 * pad],
            [value, y],
            color=colour,
            lw=0.7,
            alpha=0.7,
            clip_on=False,
        )
        axes.text(
            right + pad,
            y,
            text,
            color=colour,
            weight=weight,
            fontsize=8.5,
            va="center",
            parse_math=False,
        )


@registry.figure(
    "Accuracy matrix",
    "Row i is the test score on every task right after learning task i; the bold "
    "diagonal is each task when it was new. Read down a column to see one task "
    "age: if the colour stays, nothing was forgotten. Empty cells were not "
    "measured.",
)
def accuracy_matrix(result: Result) -> Figure:
    """The accuracy matrix as a heat map: rows after a task, columns the task tested.

    Args:
        result: of a run on T >= 1 tasks.

    Returns:
        A `matplotlib.figure.Figure`; numbers stand in the cells up to 20 tasks, a
        colour bar beyond.

    ```python
    accuracy_matrix(Result.load("runs/den/results.json")).savefig("matrix.png")
    ```
    """
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    R, tasks = result.matrix, len(result.task_names)
    values = R[np.isfinite(R)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    better_up = result.higher_is_better()
    # At least this range, so that equal tasks look equal.
    span = max(high - low, 0.10 if high <= 1.0 else 0.1 * abs(high))
    low, high = (high - span, high) if better_up else (low, low + span)
    blues = colormaps["Blues"](np.linspace(0.04, 0.86, 256))
    colours = LinearSegmentedColormap.from_list("ours", blues)
    if not better_up:
        colours = colours.reversed()

    side, top, bottom, width = 1.45, 0.78, 0.62, 8.4
    wide = min((width - side - (0.3 if tasks <= 20 else 0.8)) / tasks, 1.9)
    cell = min(wide, 0.8 if tasks <= 3 else 0.5 if tasks <= 10 else 0.34)
    height = top + 0.12 + cell * tasks + bottom
    figure = style.new_figure(width, height)
    axes = figure.add_axes(
        (side / width, bottom / height, wide * tasks / width, cell * tasks / height)
    )
    image = axes.imshow(
        R, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
    )
    names = [style.plain(n, 14) for n in result.task_names]
    short = names if tasks <= 10 and max(map(len, names)) * 0.082 < wide else None
    every = 1 if tasks <= 20 else -(-tasks // 10)
    shown = range(0, tasks, every)
    style.ticks(axes.yaxis, shown, [names[i] for i in shown])
    style.ticks(axes.xaxis, shown, [short[i] if short else f"{i}" for i in shown])
    axes.set_xlabel("tested on" + ("" if short else " task number (from 0)"))
    axes.set_ylabel("after learning")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(0.5, tasks - 1), minor=True)
    axes.set_yticks(np.arange(0.5, tasks - 1), minor=True)
    axes.grid(which="minor", color="white", lw=1.6 if tasks <= 20 else 0.4)
    axes.tick_params(which="minor", length=0)
    if tasks <= 20:
        _cell_numbers(axes, R, low, high, colours)
    else:
        bar = figure.add_axes(
            (
                (side + wide * tasks + 0.15) / width,
                bottom / height,
                0.13 / width,
                cell * tasks / height,
            )
        )
        figure.colorbar(image, cax=bar).outline.set_visible(False)
        bar.tick_params(length=0)
    count = int(faded(result).sum())
    if tasks == 1:
        finding = f"{names[0]} reached {_text(R[0, 0], style.digits(R))}"
    elif not np.isfinite(losses(result)[:-1]).any():
        finding = "Measured only after the last task"
    elif count == 0:
        finding = f"All {tasks} tasks are as good in the end as when they were learned"
    else:
        fades = "fades" if count == 1 else "fade"
        finding = f"{count} of {tasks - 1} earlier tasks {fades}; {verdict(result)}"
    style.title(
        figure,
        finding,
        f"Test {style.plain(result.metric)} by task: read down a column to see one "
        "task age; darker is better",
    )
    return figure


def _cell_numbers(
    axes, R: np.ndarray, low: float, high: float, colours: Colormap
) -> None:
    tasks = len(R)
    places = style.digits(R) if tasks <= 10 else 3 if tasks <= 14 else 2
    size = 9.0 if tasks <= 10 else 7.5
    for i, j in zip(*np.nonzero(np.isfinite(R)), strict=True):
        depth = (R[i, j] - low) / (high - low)
        text = f"{R[i, j]:.{places}f}"
        if tasks > 10 and text.startswith("0."):
            text = text[1:]
        axes.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            fontsize=size,
            color=style.ink_on(colours(depth)),
            weight="bold" if i == j else "normal",
        )
