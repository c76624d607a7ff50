"""Figures of LASEM: which layers tasks share, and how sure that was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_lifelong.metrics import Result
from keras_lifelong.report import registry
from keras_lifelong.report import style
from keras_lifelong.report import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def configurations(result: Result) -> tuple[list[str], list[str], np.ndarray]:
    """What the growth log says of shared layers.

    Returns:
        Names of the tasks (T), of the layers (L) from the input up, and (T, L): the
        probability of sharing the layer where it was shared, minus it where not, so
        that the sign is the choice. All empty for methods that choose no layers.
    """
    entries = [e for e in result.growth if e["kind"] in ("share", "own")]
    entries = [e for e in entries if "probability_of_sharing" in _why(e)]
    tasks = list(dict.fromkeys(str(e["task"]) for e in entries))
    layers = list(dict.fromkeys(str(e["layer"]) for e in entries))
    table = np.full((len(tasks), len(layers)), np.nan)
    for e in entries:
        p = float(e["why"]["probability_of_sharing"])
        place = tasks.index(str(e["task"])), layers.index(str(e["layer"]))
        table[place] = np.copysign(max(p, 1e-9), 1 if e["kind"] == "share" else -1)
    return tasks, layers, table


def grouped(
    layers: list[str], table: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Neighbours that were chosen together, as one column.

    Args:
        layers, table: of `configurations`.

    Returns:
        Names of the columns (C), the table (T, C), and how many layers each has (C,).

    >>> names, table, counts = grouped(["a", "b", "c"], np.array([[0.5, 0.5, -0.5]]))
    >>> names, table.tolist(), counts.tolist()
    (['a +1', 'c'], [[0.5, -0.5]], [2, 1])
    """
    starts = [
        i
        for i in range(len(layers))
        if not i or not np.array_equal(table[:, i - 1], table[:, i], equal_nan=True)
    ]
    counts = np.diff([*starts, len(layers)])
    names = [
        f"{layers[i]} +{n - 1}" if n > 1 else layers[i]
        for i, n in zip(starts, counts, strict=True)
    ]
    return names, table[:, starts], counts


def _why(entry) -> dict:
    why = entry.get("why")
    return why if isinstance(why, dict) else {}


@registry.figure(
    "Shared layers",
    "One row for each task, one column for each layer that tasks may share, from "
    "the input up. Blue layers are the same for all tasks that share them; grey "
    "ones belong to the task alone. The bars count the tasks that share a layer.",
    when=lambda result: configurations(result)[0],
    name="configurations",
)
def configuration_table(result: Result) -> Figure:
    """The layers each task shares, and the share of tasks that share each layer.

    Neighbours that were chosen together are one column: `conv_1 +2` has three layers.

    Args:
        result: of a method that chooses layers to share.

    Returns:
        A `matplotlib.figure.Figure`: task by layer, blue where shared, with the
        probability that the search gave to sharing; above it, for each layer, how
        many of the tasks share it (LASEM, Fig. 4).

    Raises:
        ValueError: if the growth log has no choices of layers.

    ```python
    configuration_table(Result.load("runs/lasem/results.json")).savefig("table.png")
    ```
    """
    tasks, layers, table = configurations(result)
    if not tasks:
        raise ValueError("`result` has no choices of shared layers in its growth log.")
    layers, table, counts = grouped(layers, table)
    shared, few = table > 0, len(layers) <= 14
    room = 0.45 if len(layers) <= 7 else 1.5  # for names that are written upwards
    figure = style.new_figure(8.4, 1.45 + room + 0.27 * max(len(tasks), 4))
    height = figure.get_size_inches()[1]
    left, wide = 0.16, 0.81
    low, top = room / height, 0.62 / height
    bars = figure.add_axes((left, 1 - top - 0.75 / height, wide, 0.7 / height))
    axes = figure.add_axes((left, low, wide, 1 - top - 0.85 / height - low))
    x, part = np.arange(len(layers)), shared.mean(axis=0)
    bars.bar(x, part, 0.5, color=style.BLUE)
    for i, value in enumerate(part):
        text = f"{value:.0%}" if few else ""
        bars.text(i, value + 0.05, text, ha="center", fontsize=8.5)
    bars.set_xlim(-0.5, len(layers) - 0.5)
    bars.set_ylim(0, 1.3)
    bars.set_ylabel("tasks\nsharing", rotation=0, ha="right", va="center")
    bars.tick_params(length=0, labelleft=False, labelbottom=False)
    bars.spines["left"].set_visible(False)
    for t in range(len(tasks)):
        for i in range(len(layers)):
            colour = style.BLUE if shared[t, i] else style.BASE
            tables.cell(axes, i, t, colour, 0.88)
            if few and len(tasks) <= 30:
                ink = "white" if shared[t, i] else style.INK
                text = f"{abs(table[t, i]):.2f}"
                tables.write(axes, i, t, text, ink, 8)
    tables.frame(axes, layers, tasks, (22, 14), rotate=room > 1)
    share = np.average(shared.mean(axis=0), weights=counts)
    style.title(
        figure,
        f"{style.plain(result.method, 24)}: {share:.0%} of all layers are "
        f"shared, {style.plain(layers[int(part.argmax())], 24)} most often",
        "Blue: the task shares the layer. Grey: it has its own."
        + " Numbers: probability of sharing" * few,
    )
    return figure


def traces(result: Result) -> dict[str, tuple[np.ndarray, int]]:
    """By task: the prior (epochs, configurations) as it was searched, and its step."""
    found = {}
    for entry in result.growth:
        why = _why(entry)
        trace = np.array(why.get("trace", []), dtype=float)
        if entry["kind"] == "configuration" and trace.ndim == 2 and len(trace) > 1:
            found[str(entry["task"])] = trace, int(why["trace_every"])
    return found


@registry.figure(
    "The search for what to share",
    "For each task, how much was believed in each configuration after each epoch. "
    "A blue band that fills the panel is a clear choice; one that stays narrow "
    "means that several configurations explain the task almost equally well.",
    when=traces,
)
def posterior(result: Result) -> Figure:
    """How belief in the configurations changed while each task was learned.

    Args:
        result: of a method that searches configurations by EM.

    Returns:
        A `matplotlib.figure.Figure` with a small panel for each task (the first 12):
        epochs across, and the probability of each configuration as a band; the one
        that was chosen is blue.

    Raises:
        ValueError: if the growth log has no search.
    """
    found = traces(result)
    if not found:
        raise ValueError("`result` has no search of configurations in its growth log.")
    names = list(found)[:12]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure(8.4, 0.9 + 1.55 * rows)
    height = figure.get_size_inches()[1]
    for k, name in enumerate(names):
        trace, every = found[name]
        row, column = divmod(k, columns)
        width = 0.93 / columns
        axes = figure.add_axes(
            (
                0.06 + column * width,
                1 - (0.85 + 1.55 * row + 1.05) / height,
                width * 0.86,
                1.0 / height,
            )
        )
        _bands(axes, trace, every)
        axes.set_title(
            f"{style.plain(name, 12)}: {_label(int(trace[-1].argmax()), trace)}",
            fontsize=8.5,
            loc="left",
            parse_math=False,
        )
        if column:
            axes.set_yticklabels([])
    sure = np.mean([trace[-1].max() for trace, _ in found.values()])
    style.title(
        figure,
        f"{style.plain(result.method, 24)} gives the chosen configuration a "
        f"probability of {sure:.2f} on average",
        "Belief by epoch; blue: the configuration chosen in the end (1 shared, 0 own, "
        "from the input up)",
    )
    return figure


def _bands(axes, trace: np.ndarray, every: int) -> None:
    chosen = int(trace[-1].argmax())
    order = [chosen, *[i for i in np.argsort(-trace[-1]) if i != chosen]]
    epochs = every * np.arange(1, len(trace) + 1)
    bottom = np.zeros(len(trace))
    for rank, index in enumerate(order):
        top = bottom + trace[:, index]
        shade = style.BLUE if rank == 0 else (style.BASE, style.GRID)[rank % 2]
        axes.fill_between(epochs, bottom, top, color=shade, lw=0)
        bottom = top
    axes.set_ylim(0, 1)
    axes.set_xlim(epochs[0], epochs[-1])
    axes.set_yticks([0, 0.5, 1])
    axes.tick_params(length=0)


def _label(index: int, trace: np.ndarray) -> str:
    choices = int(np.log2(trace.shape[1]))
    return "".join(str(1 - (index >> bit) % 2) for bit in range(choices))
