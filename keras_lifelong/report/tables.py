"""Tables that figures draw, of tasks and layers: cells, frames and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong.report import style


def shades():
    """A colour map from nearly white (0) to blue (1)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("alike", ["#f1f4f7", style.BLUE])


def cell(axes: Any, column: int, row: int, colour: Any, height: float = 0.9) -> None:
    """Fills a cell of a table, whose cells are 1 by 1 around whole numbers."""
    from matplotlib.patches import Rectangle

    place = (column - 0.47, row - height / 2)
    axes.add_patch(Rectangle(place, 0.94, height, color=colour, lw=0))


def outline(axes: Any, column: int, row: int, width: float, height: float) -> None:
    """A red frame inside a cell."""
    from matplotlib.patches import Rectangle

    place = (column - width / 2, row - height / 2)
    line: dict[str, Any] = {"fill": False, "edgecolor": style.RED, "lw": 1.6}
    axes.add_patch(Rectangle(place, width, height, **line))


def write(axes: Any, column: int, row: int, text: str, ink: Any, size: float) -> None:
    """Text in the middle of a cell, taken literally."""
    axes.text(
        column,
        row,
        text,
        color=ink,
        ha="center",
        va="center",
        fontsize=size,
        parse_math=False,
    )


def frame(
    axes: Any,
    columns: Sequence[str],
    rows: Sequence[str],
    widths: tuple[int, int] = (14, 12),
    rotate: bool = False,
) -> None:
    """The limits of a table and the names of its columns and rows; no axes.

    Args:
        axes: matplotlib's.
        columns, rows: names, from the left and from the top.
        widths: letters that a column's name and a row's name may have.
        rotate: writes the columns' names upwards.
    """
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for axis, names, width in zip(
        (axes.xaxis, axes.yaxis), (columns, rows), widths, strict=True
    ):
        shown = [style.plain(name, width) for name in names]
        style.ticks(axis, np.arange(len(names)), shown)
    axes.tick_params(length=0)
    if rotate:
        axes.tick_params(axis="x", rotation=90)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
