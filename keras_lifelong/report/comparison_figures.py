"""Figures of runs side by side: accuracy, size, forgetting and time by group."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics.comparison import Comparison
from keras_lifelong.metrics.comparison import Group
from keras_lifelong.metrics.intervals import interval
from keras_lifelong.metrics.measures import MEASURES
from keras_lifelong.metrics.table import duration
from keras_lifelong.metrics.table import number
from keras_lifelong.report import registry
from keras_lifelong.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's, without yellow, which is lost on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1b2430")
MARKS = ("o", "s", "D", "^", "v", "P", "X")
BAND = "Bands and bars are 95 % confidence intervals by Student's t over runs."


def _look(index: int) -> tuple[str, str]:
    """Colour and mark of a group; the mark changes when colours begin again."""
    return COLOURS[index % len(COLOURS)], MARKS[index // len(COLOURS) % len(MARKS)]


def _name(group: Group, width: int = 30) -> str:
    return style.plain(group.name, width)


def _best(comparison: Comparison, measure: str, up: bool) -> Group | None:
    """The group with the best mean of a measure; None if nobody's is known."""
    found = [(group.interval(measure).mean, group) for group in comparison.groups]
    known = [(mean, group) for mean, group in found if np.isfinite(mean)]
    choose: Callable = max if up else min
    return choose(known, key=lambda pair: pair[0])[1] if known else None


def _has(measure: str) -> Callable[[Comparison], bool]:
    return lambda comparison: measure in comparison.measures


@registry.figure(
    "Accuracy by tasks seen",
    "Mean test score of the tasks learned so far, after each task, mean over runs. A "
    "method that forgets falls; all fall where a new task is harder. " + BAND,
    of="comparison",
)
def accuracy_by_tasks_seen(comparison: Comparison) -> Figure:
    """Mean score of the tasks so far, a line for each group.

    Args:
        comparison: of `compare`.

    Returns:
        A `matplotlib.figure.Figure`, with a band of the interval where a group has
        several runs.
    """
    figure = style.new_figure(8.4, 4.5)
    axes = figure.add_axes((0.085, 0.125, 0.62, 0.70))
    ends = []
    for index, group in enumerate(comparison.groups):
        colour, mark = _look(index)
        lines = _level(group.by_tasks_seen())
        found = [interval(column) for column in lines.T]
        x = np.arange(1, lines.shape[1] + 1)
        mean = np.array([each.mean for each in found])
        half = np.nan_to_num([each.half for each in found])
        known = np.isfinite(mean)
        axes.fill_between(
            x[known],
            (mean - half)[known],
            (mean + half)[known],
            color=colour,
            alpha=0.13,
            lw=0,
        )
        axes.plot(x[known], mean[known], color=colour, marker=mark, ms=4.5, lw=1.8)
        if known.any():
            last = np.flatnonzero(known)[-1]
            ends.append((mean[last], _name(group, 26), colour, x[last]))
    _labels(axes, ends)
    axes.set_xlabel("tasks learned so far")
    axes.set_ylabel(f"mean test {style.plain(comparison.metric, 24)}", parse_math=False)
    _whole_numbers(axes.xaxis)
    _quiet(axes)
    best = _best(comparison, "acc", comparison.higher_is_better)
    style.title(
        figure,
        "What is known of the end is not comparable"
        if best is None
        else f"{_name(best)} ends best, at "
        f"{number(best.interval('acc').mean)} {style.plain(comparison.metric)}",
        "Mean test score of the tasks so far, after each; bands are 95 % intervals",
    )
    return figure


def _level(lines: list | np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.array(lines, dtype="float64"))


@registry.figure(
    "Accuracy against capacity",
    "Each point is a group: its mean score in the end, and the size of its model over "
    "that of the base network. Up and to the left is better. " + BAND,
    when=_has("capacity"),
    of="comparison",
)
def accuracy_against_capacity(comparison: Comparison) -> Figure:
    """ACC over capacity, a point for each group.

    Args:
        comparison: of `compare`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure = style.new_figure(8.4, 4.5)
    axes = figure.add_axes((0.085, 0.125, 0.62, 0.70))
    ends, sizes = [], []
    for index, group in enumerate(comparison.groups):
        colour, mark = _look(index)
        size, score = group.interval("capacity"), group.interval("acc")
        if not (np.isfinite(size.mean) and np.isfinite(score.mean)):
            continue
        axes.errorbar(
            size.mean,
            score.mean,
            xerr=np.nan_to_num(size.half),
            yerr=np.nan_to_num(score.half),
            color=colour,
            marker=mark,
            ms=8,
            mec="white",
            elinewidth=1.2,
        )
        ends.append((score.mean, _name(group, 26), colour, size.mean))
        sizes.append(size.mean)
    if sizes and max(sizes) > 10 * min(sizes) > 0:
        axes.set_xscale("log")
    _labels(axes, ends)
    axes.set_xlabel("parameters over those of the base network")
    axes.set_ylabel(f"mean test {style.plain(comparison.metric, 24)}", parse_math=False)
    _quiet(axes)
    style.title(
        figure,
        _sizes(sizes),
        "Mean test score in the end over the size of the whole model, all heads",
    )
    return figure


def _sizes(sizes: list[float]) -> str:
    if not sizes:
        return "Sizes are not known"
    low, high = f"{min(sizes):.2f}", f"{max(sizes):.2f}"
    return (
        f"Models of {low}{'' if low == high else f' to {high}'} times the base network"
    )


@registry.figure(
    "Forgetting",
    "What the earlier tasks lost between the best that was measured and the end. Zero "
    "is nothing lost; below zero, later tasks helped. " + BAND,
    when=_has("forgetting"),
    of="comparison",
)
def forgetting(comparison: Comparison) -> Figure:
    """Forgetting, a bar for each group.

    Args:
        comparison: of `compare`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    least = _best(comparison, "forgetting", up=False)
    finding = "Forgetting was not measured"
    if least is not None:
        lost = number(least.interval("forgetting").mean)
        finding = f"{_name(least)} forgets least: {lost}"
    reading = "What earlier tasks lost since their best, mean over tasks and runs"
    return _bars(comparison, "forgetting", finding, reading, lambda x: number(x, 4))


@registry.figure(
    "Time",
    "Seconds of training for all tasks, testing left out; of one machine and backend "
    "they can be compared, of several not. " + BAND,
    when=_has("seconds"),
    of="comparison",
)
def time(comparison: Comparison) -> Figure:
    """Seconds of training, a bar for each group.

    Args:
        comparison: of `compare`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    fastest = _best(comparison, "seconds", up=False)
    finding = "Times are not known"
    if fastest is not None:
        took = duration(fastest.interval("seconds").mean)
        finding = f"{_name(fastest)} is trained fastest: {took}"
    return _bars(comparison, "seconds", finding, "Training of all tasks", duration)


def _bars(
    comparison: Comparison,
    measure: str,
    finding: str,
    reading: str,
    words: Callable[[float], str],
) -> Figure:
    """A bar for each group with its interval, from the top in the order given."""
    count = len(comparison.groups)
    height = 1.35 + 0.34 * count
    figure = style.new_figure(8.4, height)
    bottom = 0.55 / height
    axes = figure.add_axes((0.30, bottom, 0.60, 1 - bottom - 0.72 / height))
    for index, group in enumerate(comparison.groups):
        found = group.interval(measure)
        if not np.isfinite(found.mean):
            continue
        half = float(np.nan_to_num(found.half))
        axes.barh(index, found.mean, 0.62, color=_look(index)[0], alpha=0.85)
        axes.errorbar(found.mean, index, xerr=half, color=style.INK, elinewidth=1.1)
        axes.annotate(
            words(found.mean),
            (max(found.mean, 0) + half, index),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axes.axvline(0, color=style.LINE, lw=0.8)
    names = [_name(group, 34) for group in comparison.groups]
    style.ticks(axes.yaxis, range(count), names)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlabel(MEASURES[measure].title)
    axes.margins(x=0.14)
    axes.tick_params(length=0)
    axes.grid(axis="x", lw=0.8)
    axes.spines["left"].set_visible(False)
    style.title(figure, finding, reading)
    return figure


def _labels(axes, ends: list[tuple[float, str, str, float]]) -> None:
    """Names of lines or points at the right edge, led there by a thin line."""
    axes.margins(x=0.04, y=0.08)
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    places = style.spread([e[0] for e in ends], (high - low) * 0.06, low, high)
    for y, (value, text, colour, x) in zip(places, ends, strict=True):
        axes.annotate(
            text,
            (x, value),
            xytext=(1.03, (y - low) / (high - low)),
            textcoords="axes fraction",
            color=colour,
            fontsize=8.5,
            va="center",
            parse_math=False,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.5},
        )
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)


def _whole_numbers(axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(12, integer=True))


def _quiet(axes) -> None:
    axes.tick_params(length=0)
    axes.grid(axis="y", lw=0.8)
    axes.spines["left"].set_visible(False)
