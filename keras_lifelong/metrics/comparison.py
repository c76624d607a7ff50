"""Runs side by side: grouped by what they are, over seeds, and in pairs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong.dotted import flatten
from keras_lifelong.metrics import comparison_table
from keras_lifelong.metrics.intervals import Interval
from keras_lifelong.metrics.intervals import interval
from keras_lifelong.metrics.measures import MEASURES
from keras_lifelong.metrics.measures import Measure
from keras_lifelong.metrics.result import Result


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        name: what it is called in tables.
        results: its runs, by seed.
        metric: what they are measured by.
    """

    name: str
    results: tuple[Result, ...]
    metric: str

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return tuple(result.seed for result in self.results)

    def values(self, measure: str) -> np.ndarray:
        """A measure of every run, `(n,)`, NaN where it is unknown."""
        found = MEASURES[measure].of
        return np.array([found(r, self.metric) for r in self.results], dtype="float64")

    def interval(self, measure: str) -> Interval:
        """The mean of a measure over seeds, with its interval."""
        return interval(self.values(measure))

    def by_tasks_seen(self) -> np.ndarray:
        """Mean score of the tasks so far, `(n, T)`: a row a run, a column a task."""
        rows = []
        for result in self.results:
            R, scored = result.matrices[self.metric], result.scored(self.metric)
            seen = [R[i, : i + 1][scored[: i + 1]] for i in range(len(R))]
            rows.append([row.mean() if row.size else math.nan for row in seen])
        return np.array(rows)


class Comparison:
    """What `compare` gives; `print` shows its table.

    Attributes:
        groups: the `Group`s, in the order given.
        metric: what all are measured by.
        measures: names of the measures that some group has, of `MEASURES`.
        reference: the group that the others are compared with.
    """

    def __init__(self, groups: Sequence[Group], metric: str, reference: Group):
        self.groups = list(groups)
        self.metric = metric
        self.reference = reference
        self.measures = [
            name
            for name in MEASURES
            if name != "af"  # which is bwt times (T - 1) / T
            and any(np.isfinite(group.values(name)).any() for group in self.groups)
        ]

    @property
    def columns(self) -> list[tuple[str, Measure]]:
        """The measures by name."""
        return [(name, MEASURES[name]) for name in self.measures]

    def __getitem__(self, name: str) -> Group:
        for group in self.groups:
            if group.name == name:
                return group
        known = ", ".join(repr(group.name) for group in self.groups)
        raise ValueError(f"No group is called {name!r}. There are: {known}")

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the metric is better."""
        return self.groups[0].results[0].higher_is_better(self.metric)

    def difference(
        self, group: Group, measure: str, other: Group | None = None
    ) -> Interval | None:
        """Mean of the differences of pairs: runs of one seed on one stream.

        Args:
            group: whose values count positive.
            measure: a name of `measures`.
            other: whose count negative; None: `reference`.

        Returns:
            An `Interval` by Student's t over the pairs; None if there is no pair.
        """
        other = self.reference if other is None else other
        pairs = paired(group, other)
        if not pairs:
            return None
        of = MEASURES[measure].of
        found = [of(a, self.metric) - of(b, self.metric) for a, b in pairs]
        return interval(found)

    def __str__(self) -> str:
        return comparison_table.text(self)

    def to_markdown(self) -> str:
        """The tables as Markdown."""
        return comparison_table.markdown(self)

    def to_csv(self) -> str:
        """One table: a row a group; means, half widths, differences."""
        return comparison_table.csv_text(self)


def paired(group: Group, other: Group) -> list[tuple[Result, Result]]:
    """Runs of two groups that have the seed and the stream in common."""
    if group is other:
        return []
    theirs = {(result.seed, stream_of(result)): result for result in other.results}
    mine = {(result.seed, stream_of(result)): result for result in group.results}
    return [(mine[key], theirs[key]) for key in mine if key in theirs]


def stream_of(result: Result) -> str:
    """What a run learned: name, settings and tasks of its stream, without the seed."""
    settings = dict(result.config.get("stream") or {})
    settings.pop("seed", None)
    return json.dumps([result.stream, result.task_names, settings], sort_keys=True)


def compare(
    results: Iterable[Result] | Mapping[str, Iterable[Result]],
    metric: str | None = None,
    reference: str | None = None,
) -> Comparison:
    """Runs side by side: means over seeds, and differences of pairs.

    Runs that differ in their seed alone are a group. Means and differences have 95 %
    confidence intervals by Student's t over seeds; pairs are runs of the same seed on
    the same stream, whose differences are known better than the means.

    Args:
        results: `Result`s, or a dict of a name to those of a group, for runs whose
            configuration does not say how they differ.
        metric: what to compare by, which all must have measured. None: the main metric
            of the first, or else the first that all have.
        reference: name of the group that others are compared with. None: the first.

    Raises:
        ValueError: if there is no result or what is none, none of the metrics is of
            all, or two runs of a group have the same seed or different numbers of
            tasks.

    ```python
    comparison = kl.compare([Result.load(path) for path in paths])
    print(comparison)
    kl.report.write_comparison(comparison, "comparison")
    ```
    """
    if isinstance(results, Mapping):
        named = {str(name): _checked(runs) for name, runs in results.items()}
        if len(named) < len(results):
            names = ", ".join(map(repr, results))
            raise ValueError(f"Names of groups must differ as text. Received: {names}")
    else:
        named = _grouped(_checked(results))
    if not named or not all(named.values()):
        raise ValueError("`results` must be one or more results. Received: none")
    runs = [result for group in named.values() for result in group]
    metric = _metric(runs, metric)
    groups = []
    for name, group in named.items():
        seeds = [result.seed for result in group]
        twice = {seed for seed in seeds if seeds.count(seed) > 1}
        if twice:
            raise ValueError(
                f"Two runs of {name!r} have the seed {min(twice)}, and would count "
                "twice. Leave one out, or name the groups: compare({name: runs, …})"
            )
        counts = {len(result.task_names) for result in group}
        if len(counts) > 1:
            raise ValueError(
                f"The runs of {name!r} must have learned as many tasks each. Received: "
                f"different numbers of tasks, {sorted(counts)}"
            )
        ordered = tuple(sorted(group, key=lambda result: result.seed))
        groups.append(Group(name, ordered, metric))
    comparison = Comparison(groups, metric, groups[0])
    if reference is not None:
        comparison.reference = comparison[reference]
    return comparison


def _checked(results: Any) -> list[Result]:
    """Results in a list, each of which is one."""
    several = isinstance(results, Iterable) and not isinstance(results, str)
    runs = list(results) if several else [results]
    wrong = [run for run in runs if not isinstance(run, Result)]
    if not several or wrong:
        found = type((wrong or runs)[0]).__name__
        raise ValueError(
            "`results` must be a list of `Result`s, or a dict of a name to such a list "
            f"(a file is read by `Result.load`). Received: a {found}"
        )
    return runs


def _metric(runs: list[Result], metric: str | None) -> str:
    candidates = list(runs[0].matrices)
    candidates.sort(key=lambda name: name != runs[0].metric)  # the main one first
    if metric is not None:
        candidates = [metric]
    for name in candidates:
        if all(name in result.matrices for result in runs):
            return name
    found = {", ".join(result.matrices) for result in runs}
    raise ValueError(
        "`metric` must be one that all runs have measured. Received: "
        f"{metric!r}; there are runs with {'; with '.join(sorted(found))}"
    )


# === Groups ===


def _grouped(results: list[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(json.dumps(_identity(result), sort_keys=True), []).append(
            result
        )
    identities = [json.loads(key) for key in groups]
    return dict(zip(_names(identities), groups.values(), strict=True))


def _identity(result: Result) -> dict[str, Any]:
    """What makes a run what it is but for its seed, by dotted path."""
    config = {k: v for k, v in result.to_dict()["config"].items() if k != "seed"}
    flat = flatten(config)
    flat.pop("stream.seed", None)
    own = {"method": result.method, "stream": result.stream, "backend": result.backend}
    return {**flat, "tasks": len(result.task_names), **own}


def _names(identities: list[dict[str, Any]]) -> list[str]:
    """Names that tell groups apart by as little as it takes."""
    streams = {identity["stream"] for identity in identities}
    names = []
    for identity in identities:
        alike = [o for o in identities if o["method"] == identity["method"]]
        same = [o for o in alike if o["stream"] == identity["stream"]]
        keys = list(dict.fromkeys(key for other in same for key in other))
        differing = [k for k in keys if len({str(o.get(k)) for o in same}) > 1]
        ends = [key.rpartition(".")[2] for key in differing]
        shown = [
            f"{end if ends.count(end) == 1 else key}={identity.get(key)}"
            for end, key in list(zip(ends, differing, strict=True))[:4]
        ]
        name = identity["method"]
        name += f" on {identity['stream']}" if len(streams) > 1 else ""
        names.append(name + (f" ({', '.join(shown)})" if shown else ""))
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:  # they differ in what is not shown
            names[i] = f"{name} #{seen[name]}"
    return names
