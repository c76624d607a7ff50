"""The figures of pages: each registers itself, a method's in the method's folder."""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
import pkgutil
from collections.abc import Callable
from typing import Any
from typing import Literal

from keras_lifelong.metrics import Comparison
from keras_lifelong.metrics import Result
from keras_lifelong.report import style

METHODS = "keras_lifelong.methods"
FILE = "figures"  # of a method's package
SHARED = "keras_lifelong.report."  # where the figures of all methods are

_REGISTERED: dict[str, Registered] = {}


@dataclasses.dataclass(frozen=True)
class Registered:
    """A figure that the page can show.

    Attributes:
        name: of its file, without ".png".
        draw: function of a `Result` that gives a `matplotlib.figure.Figure`.
        title: its heading.
        caption: how to read it: text, or a function of the `Result` that gives it.
        when: function of a `Result`: whether there is something to draw; or None.
        of: what it draws: a "result", or a "comparison" of several.
    """

    name: str
    draw: Callable[[Any], Any]
    title: str
    caption: str | Callable[[Any], str]
    when: Callable[[Any], Any] | None
    of: str = "result"

    def is_for(self, result: Any) -> bool:
        """Whether the page of this result or comparison shows it."""
        is_comparison = isinstance(result, Comparison)
        if is_comparison != (self.of == "comparison"):
            return False
        return self.when is None or bool(self.when(result))

    def explain(self, result: Any) -> str:
        """The caption, for this result."""
        return self.caption if isinstance(self.caption, str) else self.caption(result)


def figure(
    title: str,
    caption: str | Callable[[Any], str],
    when: Callable[[Any], Any] | None = None,
    name: str | None = None,
    of: Literal["result", "comparison"] = "result",
) -> Callable[[Callable], Callable]:
    """Decorator: makes a function that draws a `Result` a figure of the page.

    The function gets a `metrics.Result` and returns a `matplotlib.figure.Figure`. It
    is drawn in the style of all figures, wherever it is called. What serves one method
    alone stands in `methods/<package>/figures.py`, where it is found by itself.

    Args:
        title: its heading, plain text.
        caption: how to read it, plain text; or a function of the result that gives it.
        when: function of the result whose value is true where there is something to
            draw. None: always.
        name: of its file, a Python identifier. None: the function's name.
        of: what it draws: a `Result`, or a `Comparison` of several, on whose page it
            is shown then.

    Raises:
        ValueError: if the name is no identifier, or another figure has it.

    ```python
    @figure("Experts", "One bar for each task.", when=lambda result: result.growth)
    def experts(result):
        drawn = style.new_figure(8.4, 3.6)
        drawn.add_subplot().bar(result.task_names, result.params_by_task)
        return drawn
    ```
    """

    def register(draw: Callable) -> Callable:
        known = draw.__name__ if name is None else name
        if not str(known).isidentifier():
            raise ValueError(f"`name` must be a Python identifier. Received: {known!r}")
        other = _REGISTERED.get(known)
        if other is not None and _place(other.draw) != _place(draw):
            raise ValueError(
                f"There is a figure {known!r} already, of {_place(other.draw)}. "
                f"Received: {_place(draw)}"
            )
        draw = style.styled(draw)
        _REGISTERED[known] = Registered(known, draw, title, caption, when, of)
        return draw

    return register


def _place(draw: Callable) -> str:
    return f"{draw.__module__}.{draw.__qualname__}"


def discover() -> None:
    """Imports the file `figures` of every method that has one."""
    methods = importlib.import_module(METHODS)
    for package in pkgutil.iter_modules(methods.__path__):
        finder: Any = package.module_finder  # of files, which knows their folder
        folder = pathlib.Path(finder.path, package.name)
        # Looked up by name: a method without figures is not imported for them.
        if any(file.name == FILE for file in pkgutil.iter_modules([str(folder)])):
            importlib.import_module(f"{METHODS}.{package.name}.{FILE}")


def get(name: str) -> Registered:
    """The figure of that name; a KeyError if there is none."""
    return _REGISTERED[name]


def figures_for(result: Result | Comparison) -> list[Registered]:
    """The figures that the page of a result or comparison shows, shared ones first.

    Within a file they keep their order; files come by name, whichever was imported
    first, so that pages are the same.
    """
    if isinstance(result, Result):  # a comparison's are of no method
        discover()
    known = sorted(
        _REGISTERED.values(),
        key=lambda f: (
            not f.draw.__module__.startswith(SHARED),
            f.draw.__module__,
        ),
    )
    return [figure for figure in known if figure.is_for(result)]
