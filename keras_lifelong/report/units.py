"""Growth of a network: units per layer by the task that added them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics import Result
from keras_lifelong.report import registry
from keras_lifelong.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_GROWN = (
    "The units of each hidden layer (or, where no log of units is kept, the "
    "parameters after each task). This run added no units to its layers: all tasks "
    "were learned by what is drawn here."
)
GROWN = (
    "Grey is the network as it started; each colour is the task that made the "
    "network grow. Columns that stop growing mean that later tasks found what "
    "they needed in the units already there."
)
# Kinds of log entries that say what was retrained or reused, not what was added.
NOT_GROWTH = ("select", "share", "configuration")


def count_units(result: Result) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Sums the growth log.

    Returns:
        Names of the layers in the order they appear, `(L,)`; units at the start,
        `(L,)`; units added by each task, `(L, T)`; those of them that are
        duplicates ("split"), `(L, T)`.
    """
    entries = [e for e in result.growth if e["kind"] not in NOT_GROWTH]
    layers = list(dict.fromkeys(str(entry["layer"]) for entry in entries))
    column = {name: t for t, name in enumerate(result.task_names)}
    initial = np.zeros(len(layers), dtype=int)
    added = np.zeros((len(layers), len(column)), dtype=int)
    split = np.zeros_like(added)
    for entry in entries:
        row, count = layers.index(str(entry["layer"])), int(entry["count"])
        if entry["kind"] == "initial" or entry["task"] not in column:
            initial[row] += count  # what was learned before is where it began
            continue
        added[row, column[entry["task"]]] += count
        if entry["kind"] == "split":
            split[row, column[entry["task"]]] += count
    return layers, initial, added, split


def _caption(result: Result) -> str:
    return GROWN if count_units(result)[2].any() else NOT_GROWN


@registry.figure("Growth", _caption)
def growth(result: Result) -> Figure:
    """Units per layer, coloured by the task that added them.

    Args:
        result: of any method. Of one that never grows, the layers are drawn as
            they are; without a growth log, the parameters after each task.

    Returns:
        A `matplotlib.figure.Figure`. A grown network gets a second panel with the
        units added by each task, which is also the key to the colours.

    ```python
    growth(Result.load("runs/den/results.json")).savefig("growth.png")
    ```
    """
    layers, initial, added, split = count_units(result)
    if not layers:
        return _parameters(result)
    if not added.any():
        return _not_grown(result, layers, initial)

    figure = style.new_figure(8.4, 4.6)
    bottom = 0.20 if _is_crowded(layers) else 0.125
    left = figure.add_axes((0.085, bottom, 0.385, 0.80 - bottom))
    right = figure.add_axes((0.565, bottom, 0.415, 0.80 - bottom))
    colours = style.task_colours(len(result.task_names))
    _columns(left, layers, initial, added, colours)
    _by_task(right, result, added, split, colours)
    start, more = int(initial.sum()), int(added.sum())
    places = int(np.count_nonzero(added.any(axis=0)))
    copies = f" ({int(split.sum()):,} of them by splitting)" if split.any() else ""
    percent = f", {100 * more / start:.0f} % more" if start else ""
    style.title(
        figure,
        f"{style.plain(result.method, 24)} added {more:,} units to {start:,}"
        f"{percent}{copies}",
        f"Units per layer by the task that added them; {places} of "
        f"{len(result.task_names)} tasks added some",
    )
    return figure


def _columns(axes, layers, initial, added, colours) -> None:
    x = np.arange(len(layers))
    width = 0.62 if len(layers) > 1 else 0.35
    axes.bar(x, initial, width, color=style.BASE)
    bottom = initial.astype(float)
    for t in np.nonzero(added.any(axis=0))[0]:
        axes.bar(x, added[:, t], width, bottom=bottom, color=colours[t], lw=0)
        bottom = bottom + added[:, t]
    total = initial + added.sum(axis=1)
    top = total.max()
    many = len(layers) > 6
    for i in range(len(layers)):
        more = added[i].sum()
        text = f"{total[i]:,}" + ("" if many or not more else f"\n+{more:,}")
        axes.text(
            x[i],
            total[i] + 0.015 * top,
            text,
            ha="center",
            va="bottom",
            fontsize=7.5 if many else 8.5,
            linespacing=1.1,
        )
        if not many and initial[i] > 0.09 * top:
            axes.text(
                x[i],
                initial[i] / 2,
                f"{initial[i]:,}\nat the start",
                ha="center",
                va="center",
                fontsize=8,
                color=style.MUTED,
            )
    axes.set_ylim(0, top * 1.15)
    axes.set_xlim(-0.6, len(layers) - 0.4)
    _layer_ticks(axes, layers)
    axes.set_ylabel("units")
    _quiet(axes)


def _is_crowded(layers: list[str]) -> bool:
    return len(layers) * max(len(style.plain(name, 14)) for name in layers) > 42


def _layer_ticks(axes, layers: list[str]) -> None:
    names = [style.plain(name, 14) for name in layers]
    turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    turn = turn if _is_crowded(layers) else {}
    style.ticks(axes.xaxis, range(len(names)), names, **turn)


def _by_task(axes, result: Result, added, split, colours) -> None:
    x = np.arange(added.shape[1])
    copies = split.sum(axis=0)
    fresh = added.sum(axis=0) - copies
    axes.bar(x, fresh, 0.74, color=colours)
    for t in np.nonzero(copies)[0]:
        pale = [0.8 + 0.2 * channel for channel in colours[t][:3]]
        look = {"color": pale, "edgecolor": colours[t], "hatch": "/////", "lw": 0.8}
        axes.bar(t, copies[t], 0.74, bottom=fresh[t], **look)
    total = fresh + copies
    for t in np.nonzero(total if len(x) <= 24 else np.zeros(1))[0]:
        axes.text(
            t,
            total[t] + 0.015 * total.max(),
            f"{total[t]}",
            ha="center",
            va="bottom",
            fontsize=8.5 if len(x) <= 12 else 7,
        )
    axes.set_ylim(0, total.max() * 1.15)
    axes.set_xlim(-0.7, len(x) - 0.3)
    names = [style.plain(n, 9) for n in result.task_names]
    if len(x) * max(map(len, names)) <= 40:
        style.ticks(axes.xaxis, x, names)
        axes.set_xlabel("units added by task")
    else:
        every = 1 if len(x) <= 12 else 2 if len(x) <= 24 else -(-len(x) // 10)
        style.ticks(axes.xaxis, x[::every], [f"{t}" for t in x[::every]])
        axes.set_xlabel("units added by task number (from 0)")
    if copies.any():
        axes.text(
            0.0,
            1.0,
            "filled: new units    hatched: copies of drifted units",
            transform=axes.transAxes,
            fontsize=8,
            color=style.MUTED,
            va="bottom",
        )
    _quiet(axes)


def _not_grown(result: Result, layers: list[str], initial: np.ndarray) -> Figure:
    figure = style.new_figure(8.4, 3.6)
    bottom = 0.25 if _is_crowded(layers) else 0.12
    axes = figure.add_axes((0.085, bottom, 0.89, 0.80 - bottom))
    x = np.arange(len(layers))
    axes.bar(x, initial, min(0.62, 0.16 * len(layers)), color=style.BASE)
    for i, count in enumerate(initial):
        axes.text(i, count + 0.015 * initial.max(), f"{count:,}", ha="center")
    axes.set_ylim(0, max(initial.max(), 1) * 1.15)
    axes.set_xlim(-0.6, len(layers) - 0.4)
    _layer_ticks(axes, layers)
    axes.set_ylabel("units")
    _quiet(axes)
    style.title(
        figure,
        f"{style.plain(result.method, 24)} did not grow: {initial.sum():,} units from "
        "start to end",
        "Units per layer of the hidden network; heads are not counted here",
    )
    return figure


def _parameters(result: Result) -> Figure:
    figure = style.new_figure(8.4, 3.6)
    axes = figure.add_axes((0.125, 0.15, 0.85, 0.65))
    x = np.arange(len(result.task_names))
    params = np.array(result.params_by_task, dtype=float)
    axes.bar(x, params, 0.62 if len(x) > 3 else 0.2 * len(x), color=style.BASE)
    for t in [0, len(x) - 1] if len(x) > 1 else [0]:
        text = f"{result.params_by_task[t]:,}"
        # The number is wider than a bar: keep it above the neighbours too.
        near = params[max(t - 1, 0) : t + 3] if len(x) > 8 else params[t]
        height = np.max(near) + 0.015 * params.max()
        side = "center" if len(x) <= 8 else "left" if t == 0 else "right"
        at = t + {"center": 0, "left": -0.31, "right": 0.31}[side]
        axes.text(at, height, text, ha=side, fontsize=8.5)
    axes.set_ylim(0, max(params.max(), 1) * 1.15)
    axes.set_xlim(-0.7, len(x) - 0.3)
    every = 1 if len(x) <= 12 else 2 if len(x) <= 24 else -(-len(x) // 10)
    style.ticks(axes.xaxis, x[::every], [f"{t}" for t in x[::every]])
    axes.set_xlabel("after task number (from 0)")
    axes.set_ylabel("parameters")
    _quiet(axes)
    capacity = result.capacity
    ending = f", {capacity:.2f}x the base network" if np.isfinite(capacity) else ""
    style.title(
        figure,
        f"{style.plain(result.method, 24)} ends with {result.params_total:,} "
        f"parameters{ending}",
        "Parameters of the whole model, all heads, after each task (the method keeps "
        "no growth log)",
    )
    return figure


def _quiet(axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(length=0)
    axes.grid(axis="y", lw=0.8)
    axes.spines["left"].set_visible(False)
