"""What all figures share: colours, type, titles. matplotlib is imported late."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

DPI = 200  # twice the 100 at which the sizes below are meant

INK, MUTED, LINE, FAINT, GRID = "#1b2430", "#5b6673", "#93a0ae", "#aab4c0", "#e7ebf0"
# Okabe and Ito's blue and vermillion: apart for every kind of colour vision.
BLUE, RED = "#0072b2", "#d55e00"
BASE = "#c9d1da"

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: same everywhere
    "font.size": 9.0,
    "text.color": INK,
    "text.usetex": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": True,
    "axes.spines.bottom": True,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": "cycler('color', ['0.5'])",
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.solid_capstyle": "round",
    "hatch.linewidth": 0.7,
    "savefig.bbox": None,
}


def styled(draw: Callable) -> Callable:
    """Runs a drawing function under our style, whatever the user's own is."""

    @wraps(draw)
    def inside(*args: Any, **kwargs: Any):
        import matplotlib

        with matplotlib.rc_context(_RC):
            return draw(*args, **kwargs)

    return inside


def new_figure(width: float, height: float):
    """A figure of our size on the Agg canvas; pyplot knows nothing of it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def plain(text: str, width: int = 18) -> str:
    """A user's string on one line of at most `width` characters."""
    text = "".join(c if c.isprintable() else "?" for c in str(text))
    return text if len(text) <= width else text[: width - 1] + "…"


def title(figure: Any, finding: str, reading: str) -> None:
    """Two lines at the top left: what was found, and what is drawn."""
    width, height = figure.get_size_inches()
    left = 0.16 / width
    # Names come from users: "$" must not start a formula.
    figure.text(
        left,
        1 - 0.14 / height,
        finding,
        fontsize=_fit(figure, finding, 11.5, "bold"),
        weight="bold",
        va="top",
        parse_math=False,
    )
    figure.text(
        left,
        1 - 0.43 / height,
        reading,
        fontsize=_fit(figure, reading, 9.0, "normal"),
        color=MUTED,
        va="top",
        parse_math=False,
    )


def _fit(figure: Any, text: str, size: float, weight: str) -> float:
    """The font size at which `text` fits the figure's width."""
    probe = figure.text(0, 0, text, fontsize=size, weight=weight, parse_math=False)
    extent = probe.get_window_extent(figure.canvas.get_renderer()).width
    probe.remove()
    room = figure.bbox.width - 0.32 * figure.dpi
    return size * min(1.0, room / max(extent, 1.0))


def ticks(axis: Any, positions: Any, labels: list[str], **kwargs: Any) -> None:
    """Sets tick labels literally (no formulas in them)."""
    axis.set_ticks(list(positions), labels=labels, **kwargs)
    for label in axis.get_ticklabels():
        label.set_parse_math(False)


def digits(values: Any) -> int:
    """Decimals that tell these values apart: 4 where all are near 1, else 3."""
    values = np.asarray(values, dtype="float64")
    values = values[np.isfinite(values)]
    if values.size and np.abs(values).max() >= 100:
        return 0
    near_one = values.size and values.min() > 0.98 and values.max() <= 1.0
    return 4 if near_one else 3


def spread(heights: Any, gap: float, low: float, high: float) -> np.ndarray:
    """Moves labels apart: positions nearest to `heights` that differ by `gap`.

    Args:
        heights: wanted positions.
        gap: smallest distance between two labels.
        low: lowest position allowed.
        high: highest position allowed, where they all fit.

    >>> spread([1.0, 1.0], 0.5, 0.0, 2.0).tolist()
    [0.75, 1.25]
    """
    heights = np.asarray(heights, dtype="float64")
    order = np.argsort(heights, kind="stable")
    blocks = []  # of labels that touch: [sum of wanted bottoms, count]
    for rank, index in enumerate(order):
        blocks.append([heights[index] - gap * rank, 1])
        while len(blocks) > 1 and (
            blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]
        ):
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    bases = np.concatenate([[], *([total / count] * count for total, count in blocks)])
    top = high - gap * (len(heights) - 1)
    placed = np.empty_like(heights)
    placed[order] = np.clip(bases, low, max(top, low)) + gap * np.arange(len(heights))
    return placed


def task_colours(count: int) -> list:
    """`count` colours from dark (early) to light (late), ordered for every eye."""
    from matplotlib import colormaps

    # From navy over teal to light green; the map's pale end is lost on white.
    return [colormaps["YlGnBu_r"](x) for x in np.linspace(0.04, 0.68, max(count, 1))]


def ink_on(colour: tuple[float, ...]) -> str:
    """White or ink, whichever reads better on a background (contrast of WCAG 2)."""

    def luminance(rgb: tuple[float, ...]) -> float:
        linear = np.power((np.array(rgb[:3]) + 0.055) / 1.055, 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    # Equal contrast would be at 4; on saturated blue white reads better than that.
    return "white" if 1.05 / (luminance(colour) + 0.05) > 3.5 else INK


def to_png(figure: Any) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(_RC):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
