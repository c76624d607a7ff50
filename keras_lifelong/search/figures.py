"""Figures of a search: the Pareto front, and how it was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics.directions import higher_is_better
from keras_lifelong.metrics.directions import sign
from keras_lifelong.report import style
from keras_lifelong.search import pareto

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _points(rows, low: str, high: str) -> np.ndarray:
    """Objectives (n, 2) to be minimised: `low` as it is, `high` with its sign."""
    if not rows:
        raise ValueError("`rows` must have one trial or more. Received: none")
    turned = -sign(high)
    return np.array([[float(row[low]), turned * float(row[high])] for row in rows])


@style.styled
def front(rows: list[dict], low: str = "params", high: str = "gain") -> Figure:
    """The trials by their two objectives, and the front of those that none beats.

    Args:
        rows: of the trials, as of `ParetoTuner.rows`.
        low, high: names of the objectives, to be small and to be great; `high` may be
            an error, as far as its name tells, which is to be small too.

    Returns:
        A `matplotlib.figure.Figure`: trials on the front are blue and numbered, the
        others grey.

    Raises:
        ValueError: if there are no trials.

    ```python
    front(tuner.rows()).savefig("front.png")
    ```
    """
    points = _points(rows, low, high)
    best = pareto.non_dominated(points)
    x, y = points[:, 0], -sign(high) * points[:, 1]
    figure = style.new_figure(8.4, 4.6)
    axes = figure.add_axes((0.1, 0.12, 0.87, 0.68))
    axes.scatter(x[~best], y[~best], s=22, color=style.BASE, lw=0)
    order = np.lexsort((y, x))
    stairs = [i for i in order if best[i]]
    axes.step(x[stairs], y[stairs], where="post", color=style.BLUE, lw=1.2)
    axes.scatter(x[best], y[best], s=34, color=style.BLUE, lw=0, zorder=3)
    seen = set()
    for i in stairs:
        place = (x[i], y[i])
        if place not in seen:
            text = style.plain(str(rows[i].get("trial", i)), 6)
            axes.annotate(text, place, (4, 5), textcoords="offset points", fontsize=8)
        seen.add(place)
    axes.set_xlabel(low)
    axes.set_ylabel(high)
    axes.margins(0.06)
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    style.title(
        figure,
        f"{len(seen)} trade-offs of {len(rows)} trials are beaten by none",
        f"Blue, numbered by trial: no other has less {low} and "
        f"{'more' if higher_is_better(high) else 'less'} {high}",
    )
    return figure


@style.styled
def hypervolume(rows: list[dict], low: str = "params", high: str = "gain") -> Figure:
    """How much the front had found after each trial.

    Args:
        rows, low, high: as of `front`; trials in their order.

    Returns:
        A `matplotlib.figure.Figure` of the part of the final hypervolume.

    Raises:
        ValueError: if there are no trials.
    """
    points = _points(rows, low, high)
    reference = pareto.beyond(points)
    counts = np.arange(1, len(points) + 1)
    found = np.array([pareto.hypervolume(points[:n], reference) for n in counts])
    part = found / found[-1]
    figure = style.new_figure(8.4, 3.4)
    axes = figure.add_axes((0.1, 0.16, 0.87, 0.58))
    axes.step(counts, part, where="post", color=style.BLUE, lw=1.6)
    axes.set_ylim(0, 1.05)
    axes.set_xlim(1, max(len(points), 2))
    axes.set_xlabel("trials")
    axes.set_ylabel("part of the hypervolume")
    when = int(np.argmax(part >= 0.99)) + 1
    style.title(
        figure,
        f"99 % of what was found was found after {when} of {len(points)} trials",
        f"Hypervolume of {high} against {low} within a tenth beyond the worst trial",
    )
    return figure
