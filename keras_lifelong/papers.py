"""Tables of papers as files: rows are configurations, each with its published numbers.

A file of `zoo_configs/papers/` holds

    table:      paper, title, and what its ± means
    base:       the configuration that rows have in common
    scaled:     whole numbers that `--fast` shortens, unless `fast` names them, those
                that a row leaves at their default too; by default training.epochs
    fast:       settings that are made besides where it shortens
    rows:       name -> label, config or set over the base, published numbers

A row that can't be run here says why, in `not_runnable`. A table is checked as strictly
as a configuration, before anything is learned.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from typing import Any

from keras_lifelong import checks
from keras_lifelong import config as config_lib
from keras_lifelong import dotted
from keras_lifelong.metrics.measures import MEASURES
from keras_lifelong.strict_yaml import parse

FOLDER = "papers"
# Of a table beside the measures of a run: on what machine hours were is the paper's.
OTHERS = {"hours": "hours of training", "relative_seconds": "time over another row's"}
_SECTIONS = ("table", "base", "scaled", "fast", "rows")
_Names = list[str]
_Any = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: as the paper has it.
        config: sections of a configuration, each in the place of the base's.
        set: settings over that, by dotted path.
        published: measure -> number, or [number, half of the ±], in the measure's own
            unit: accuracies of 0 to 1, gains in percent.
        relative_to: name of the row whose time `relative_seconds` is over.
        fast: settings that are made where `--fast` shortens it, over the table's.
        not_runnable: why it can't be run here; None: it can.
    """

    label: str
    config: _Any = dataclasses.field(default_factory=dict)
    set: _Any = dataclasses.field(default_factory=dict)
    published: _Any = dataclasses.field(default_factory=dict)
    relative_to: str | None = None
    fast: _Any = dataclasses.field(default_factory=dict)
    not_runnable: str | None = None

    def number(self, measure: str) -> tuple[float, float | None]:
        """The published number and the half of its ±."""
        value = self.published[measure]
        return tuple(value) if isinstance(value, list) else (value, None)


def _about(paper: str, title: str, plus_minus: str = "", note: str = "") -> None:
    """What `table` may say."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table or figure of a paper.

    Attributes:
        name: such as "papers/par/table5".
        paper, title, plus_minus, note: what it is, and what its ± means.
        base, scaled, fast: see the module.
        rows: the `Row`s by name.
    """

    name: str
    paper: str
    title: str
    plus_minus: str
    note: str
    base: _Any
    scaled: _Names
    fast: _Any
    rows: dict[str, Row]

    @property
    def measures(self) -> list[str]:
        """The measures that some row has a published number of, in their order."""
        published = {name for row in self.rows.values() for name in row.published}
        return [name for name in (*MEASURES, *OTHERS) if name in published]

    def config(self, name: str, seed: int = 0, fast: float = 1.0) -> config_lib.Config:
        """The configuration of a row.

        Args:
            name: of the row.
            seed: of the run.
            fast: share of the schedule, above 0 and at most 1.

        Raises:
            ValueError: if it is not a valid one, naming row and key.
        """
        row = self.rows[name]
        raw = copy.deepcopy({**self.base, **row.config})
        try:
            for key, value in row.set.items():
                dotted.put(raw, key, copy.deepcopy(value))
            if fast < 1:
                shortened = {**self.fast, **row.fast}
                for key, value in shortened.items():
                    dotted.put(raw, key, copy.deepcopy(value))
                resolved = config_lib.resolve(raw).resolved  # with the defaults
                for key in self.scaled:
                    found = dotted.get(resolved, key)
                    if checks.matches(found, int) and key not in shortened:
                        dotted.put(raw, key, max(1, round(found * fast)))
            return config_lib.resolve({**raw, "seed": seed})
        except ValueError as error:
            raise ValueError(f"row {name!r}: {error}") from error

    def schedule(self, name: str, fast: float) -> dict[str, list[Any]]:
        """Settings in which a shortened row differs: key -> [published, run]."""
        full, short = self.config(name), self.config(name, fast=fast)
        differences = full.differences(short)
        return {key: list(pair) for key, pair in differences.items()}


def load(path: str | Path, name: str | None = None) -> Table:
    """Reads and checks a table.

    Args:
        path: of the YAML file.
        name: of the table; None: its file's.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, the row and the key, for anything that is unknown
            or of the wrong type, and for a row whose configuration is not valid.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no table {str(path)!r}.")
    try:
        return resolve(parse(path.read_text(encoding="utf-8")), name or path.stem)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def resolve(raw: Any, name: str) -> Table:
    """Checks what a table's YAML holds; see `load`."""
    sections = checks.check("the table", raw, dict[str, Any])
    for key in sections:
        if key not in _SECTIONS:
            raise checks.unknown_key(key, sections[key], _SECTIONS)
    about = checks.check("table", sections.get("table"), dict[str, Any])
    about = checks.arguments("table", about, _about)
    base = checks.check("base", sections.get("base", {}), dict[str, Any])
    scaled = sections.get("scaled", ["training.epochs"])
    fast = checks.check("fast", sections.get("fast", {}), dict[str, Any])
    rows = checks.check("rows", sections.get("rows"), dict[str, dict])
    table = Table(
        name,
        **about,
        base=base,
        scaled=checks.check("scaled", scaled, list[str]),
        fast=fast,
        rows={key: _row(key, row) for key, row in rows.items()},
    )
    if not table.rows:
        raise ValueError("`rows` must hold one or more rows. Received: none")
    configs = []
    for key, row in table.rows.items():
        if row.relative_to is not None and row.relative_to not in table.rows:
            raise ValueError(
                f"`rows.{key}.relative_to` must name a row. "
                f"Received: {row.relative_to!r}"
            )
        if ("relative_seconds" in row.published) != (row.relative_to is not None):
            raise ValueError(
                f"`rows.{key}`: `relative_seconds` and `relative_to` go together. "
                f"Received: {row.published}, relative_to={row.relative_to!r}"
            )
        if row.not_runnable is None:
            configs.append(table.config(key))
            table.config(key, fast=0.01)
    _check_scaled(table.scaled, configs)
    return table


def _check_scaled(scaled: _Names, configs: list[config_lib.Config]) -> None:
    """Raises a ValueError if `scaled` names what is no whole number of any row."""
    settings = [dotted.flatten(config.resolved) for config in configs]
    for path in scaled if configs else ():
        found = [flat[path] for flat in settings if path in flat]
        if not any(checks.matches(value, int | None) for value in found):
            known = [item for flat in settings for item in flat.items()]
            whole = [key for key, value in known if checks.matches(value, int)]
            raise ValueError(
                "`scaled` must name whole numbers of the rows' configurations. "
                f"Received: {path!r}. Nearest: {checks.nearest(path, whole)}"
            )


def _row(key: str, given: Mapping[str, Any]) -> Row:
    if not key.replace("_", "").replace("-", "").isalnum():
        raise ValueError(
            "Names of rows, which are folders, are of letters, digits, _ and -. "
            f"Received: {key!r}"
        )
    path = f"rows.{key}"
    for name, value in given.items():
        if name not in checks.kinds(Row):
            known = [f"{path}.{other}" for other in checks.kinds(Row)]
            raise checks.unknown_key(f"{path}.{name}", value, known)
    if "label" not in given:
        raise ValueError(f"`{path}.label` is required. Received: {dict(given)}")
    row = Row(**checks.checked(Row, given, path))
    measures = (*MEASURES, *OTHERS)
    for measure in row.published:
        if measure not in measures:
            known = [f"{path}.published.{other}" for other in measures]
            value = row.published[measure]
            raise checks.unknown_key(f"{path}.published.{measure}", value, known)
        value = row.published[measure]
        numbers = value if isinstance(value, list) else [value]
        checks.check(f"rows.{key}.published.{measure}", numbers, list[float])
        if not 1 <= len(numbers) <= 2:
            raise ValueError(
                f"`rows.{key}.published.{measure}` must be a number, or two: it and "
                f"its ±. Received: {value!r}"
            )
    return row


Share = Annotated[float, checks.In(0, 1, open_low=True)]


def find(name: str) -> tuple[Path, str]:
    """The file of a table that ships, by name, or a file of one's own by its path.

    Args:
        name: "papers/par/table5", with or without ".yaml"; or a path.

    Raises:
        FileNotFoundError: if there is none, naming the nearest.
    """
    own = Path(name)
    if own.suffix in (".yaml", ".yml") and own.is_file():
        return own, own.stem
    known = names()
    short = name.removeprefix("zoo_configs/").removesuffix(".yaml")
    if short in known:
        return known[short], short
    nearest = f" Nearest: {checks.nearest(short, known)}." if known else ""
    raise FileNotFoundError(f"There is no table {name!r}.{nearest}")


def names() -> dict[str, Path]:
    """The tables that ship: name -> file."""
    folder = shipped(FOLDER)
    if folder is None:
        return {}
    files = sorted((folder / FOLDER).rglob("*.yaml"))
    return {str(f.relative_to(folder).with_suffix("")): f for f in files}


def shipped(holding: str = "") -> Path | None:
    """The folder `zoo_configs`, here or with the package; None if there is none.

    Args:
        holding: a folder that it is to have.
    """
    here = Path(__file__).parent  # a wheel holds them, a checkout has them beside
    places = (Path("zoo_configs"), here / "zoo_configs", here.parent / "zoo_configs")
    return next((f for f in places if (f / holding).is_dir()), None)
