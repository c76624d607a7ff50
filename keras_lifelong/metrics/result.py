"""`Result`: what a run on a stream gave, and `results.json`, which holds it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.files import write_atomic
from keras_lifelong.metrics import matrix as measures
from keras_lifelong.metrics import plain_json
from keras_lifelong.metrics import transfer
from keras_lifelong.metrics.directions import higher_is_better
from keras_lifelong.metrics.fields import check as check_fields
from keras_lifelong.metrics.growth import GrowthEntry
from keras_lifelong.metrics.table import result_table

SCHEMA = 1
_BY_TASK = ("single_by_task", "learning_curves", "flops_by_task")
_IF_ANY = ("directions", "class_names", *_BY_TASK)  # keys that a file may lack
_UNKNOWN: Any = None  # a sequence that is given afterwards: of zeros


@dataclasses.dataclass(eq=False, kw_only=True)
class Result:
    """What a method did on a stream of T tasks.

    The fields are the keys of `results.json`; everything that follows from them
    (`acc`, `bwt`, `capacity`, ...) is a property. NaN in memory is null in the
    file.

    Args:
        method: name of the method, such as `"DEN"`.
        stream: name of the stream.
        seed: seed of the run.
        backend: Keras backend it ran on.
        metric: name of the main metric, a key of `matrices`.
        task_names: the T names in the order learned.
        matrices: metric name -> accuracy matrix `(T, T)`, NaN where not measured;
            the main metric is among them. A task that another metric has measured,
            and this one never, is of a kind that it is not for.
        peak_by_task: test metric of each task at the epoch of its best
            validation metric, `(T,)` with None or NaN where unknown; or None.
        params_base: parameters of the base network with one head.
        params_by_task: parameters of the whole model after each task, `(T,)`.
        train_seconds_by_task: seconds spent on learning each task, `(T,)`.
        wall_seconds: seconds of the whole run.
        compile_count: how many training functions were compiled.
        peak_rss_mib: largest resident memory of the process, in MiB.
        growth: log of structural changes, `GrowthEntry`s: dicts with the keys
            `task`, `layer`, `kind`, `count` and `why`.
        config: the whole resolved configuration.
        versions: package -> version.
        directions: metric name -> whether more is better, of those whose name does
            not tell it; in the file only if there are some.
        class_names: task name -> what its classes are called, of those that have
            names; in the file only if there are some.
        single_by_task: main test metric of each task's own network, learned by
            `Independent` on the same stream, `(T,)`, None or NaN where unknown; the
            gain and the forward transfer are over these. In the file only if given,
            as the following are.
        learning_curves: main metric on validation data by epoch while each task was
            learned, T sequences, empty where there was none.
        flops_by_task: floating point operations of using each task for one example,
            `(T,)`, None where they are not known.

    Raises:
        ValueError: if lengths or shapes disagree with the number of tasks, or
            `matrices` lacks `metric`.

    ```python
    result = Result(
        method="DEN", stream="digits", seed=0, backend="tensorflow",
        metric="accuracy", task_names=["task_0", "task_1"],
        matrices={"accuracy": [[0.99, float("nan")], [0.98, 0.97]]},
        params_base=1000, params_by_task=[1000, 1100],
    )
    print(result)
    result.save("results.json")
    assert Result.load("results.json") == result
    ```
    """

    method: str
    stream: str
    seed: int
    backend: str
    metric: str
    task_names: Sequence[str]
    matrices: Mapping[str, np.ndarray]
    peak_by_task: Sequence[float | None] | None = None
    params_base: int = 0
    params_by_task: Sequence[int] = _UNKNOWN
    train_seconds_by_task: Sequence[float] = _UNKNOWN
    wall_seconds: float = 0.0
    compile_count: int = 0
    peak_rss_mib: float = 0.0
    growth: Sequence[GrowthEntry] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directions: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    class_names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    single_by_task: Sequence[float | None] = ()
    learning_curves: Sequence[Sequence[float]] = ()
    flops_by_task: Sequence[int | None] = ()

    def __post_init__(self):
        self.task_names = [str(name) for name in self.task_names]
        tasks = len(self.task_names)
        self.matrices = {
            name: measures.check_matrix(matrix, f"matrices[{name!r}]")
            for name, matrix in self.matrices.items()
        }
        if self.metric not in self.matrices:
            raise ValueError(
                f"`matrices` must hold the main metric {self.metric!r}. "
                f"Received: {sorted(self.matrices)}"
            )
        for name, matrix in self.matrices.items():
            if len(matrix) != tasks:
                raise ValueError(
                    f"`matrices[{name!r}]` must have shape ({tasks}, {tasks}), as "
                    f"there are {tasks} task names. Received shape: {matrix.shape}"
                )
        self.params_by_task = self._per_task("params_by_task", int, 0)
        seconds = self._per_task("train_seconds_by_task", _nan_for_none, 0.0)
        self.train_seconds_by_task = seconds
        for field in ("wall_seconds", "peak_rss_mib"):
            setattr(self, field, _nan_for_none(getattr(self, field)))
        if self.peak_by_task is not None:
            self.peak_by_task = self._per_task("peak_by_task", _nan_for_none, None)
        self.growth = [dict(entry) for entry in self.growth]
        for entry in self.growth:
            missing = {"task", "layer", "kind", "count"} - set(entry)
            if missing:
                raise ValueError(
                    "An entry of `growth` needs the keys task, layer, kind, count "
                    f"(and why). Missing: {sorted(missing)}. Received: {entry}"
                )
        self.config, self.versions = dict(self.config), dict(self.versions)
        self.directions = {
            name: bool(up)
            for name, up in self.directions.items()
            if name in self.matrices and bool(up) != higher_is_better(name)
        }
        self.class_names = {
            task: [str(name) for name in names]
            for task, names in self.class_names.items()
            if task in self.task_names
        }
        kinds = (_nan_for_none, _curve, _count)
        for field, kind in zip(_BY_TASK, kinds, strict=True):
            if len(getattr(self, field)):
                setattr(self, field, self._per_task(field, kind, None))

    def _per_task(self, field: str, kind: type, default: Any) -> list:
        values = getattr(self, field)
        if values is None:
            return [default] * len(self.task_names)
        if len(values) != len(self.task_names):
            raise ValueError(
                f"`{field}` must hold one value for each of the "
                f"{len(self.task_names)} tasks. Received: {list(values)}"
            )
        return [kind(value) for value in values]

    @property
    def matrix(self) -> np.ndarray:
        """Accuracy matrix of the main metric, float64 `(T, T)`."""
        return self.matrices[self.metric]

    def higher_is_better(self, metric: str | None = None) -> bool:
        """Whether more of a metric is better; None: of the main one."""
        name = self.metric if metric is None else metric
        return self.directions.get(name, higher_is_better(name))

    def scored(self, metric: str | None = None) -> np.ndarray:
        """Which tasks a metric is for, a mask of bools `(T,)`; None: the main one.

        All, but those that only other metrics have ever measured: tasks of another
        kind. If it measured none at all, it is unknown and all are.
        """
        name = self.metric if metric is None else metric
        measured = {k: np.isfinite(m).any(axis=0) for k, m in self.matrices.items()}
        others = np.logical_or.reduce(list(measured.values()))
        mask = measured[name] | ~others
        return mask if measured[name].any() else np.ones_like(mask)

    def measures(self, metric: str | None = None) -> dict[str, float]:
        """`acc`, `bwt`, `forgetting`, `ap` and `af` of a metric; None: the main one.

        They are means over the tasks that the metric is for (`scored`), by its
        direction.
        """
        name = self.metric if metric is None else metric
        R, tasks = self.matrices[name], self.scored(name)
        found = {
            key: getattr(measures, key)(R, tasks) for key in ("acc", "bwt", "ap", "af")
        }
        up = self.higher_is_better(name)
        return found | {"forgetting": measures.forgetting(R, up, tasks)}

    @property
    def acc(self) -> float:
        """See `metrics.acc`."""
        return self.measures()["acc"]

    @property
    def bwt(self) -> float:
        """See `metrics.bwt`."""
        return self.measures()["bwt"]

    @property
    def forgetting(self) -> float:
        """See `metrics.forgetting`; positive is lost, for errors too."""
        return self.measures()["forgetting"]

    @property
    def ap(self) -> float:
        """See `metrics.ap`."""
        return self.measures()["ap"]

    @property
    def af(self) -> float:
        """See `metrics.af`."""
        return self.measures()["af"]

    @property
    def forgetting_ratio(self) -> float:
        """See `metrics.forgetting_ratio`; NaN without peaks."""
        peaks = self.peak_by_task
        return measures.forgetting_ratio(self.matrix, peaks, self.scored())

    @property
    def multi_task_gain(self) -> float:
        """Gain over `single_by_task` in percent; NaN where it is unknown."""
        if not len(self.single_by_task):
            return math.nan
        single = np.array(self.single_by_task, dtype="float64")[self.scored()]
        if not single.size or (single == 0).any():
            return math.nan
        ours = self.matrix[-1][self.scored()]
        return measures.multi_task_gain(
            ours, single, higher_is_better=self.higher_is_better()
        )

    @property
    def forward_transfer(self) -> float:
        """See `metrics.forward_transfer`; NaN without `single_by_task`."""
        if not len(self.single_by_task):
            return math.nan
        return transfer.forward_transfer(
            self.matrix, self.single_by_task, self.higher_is_better(), self.scored()
        )

    @property
    def learning_area(self) -> float:
        """See `metrics.learning_area`; NaN without `learning_curves`."""
        return transfer.learning_area(self.learning_curves)

    @property
    def flops(self) -> float:
        """Mean of `flops_by_task`; NaN if one is unknown."""
        known = [math.nan if n is None else float(n) for n in self.flops_by_task]
        return sum(known) / len(known) if known else math.nan

    @property
    def params_total(self) -> int:
        """Parameters of the whole model after the last task, all heads."""
        return self.params_by_task[-1]

    @property
    def capacity(self) -> float:
        """`params_total / params_base`; NaN if `params_base` is 0."""
        return self.params_total / self.params_base if self.params_base else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `results.json` as plain JSON types."""
        fields = {
            "schema": SCHEMA,
            "method": self.method,
            "stream": self.stream,
            "seed": self.seed,
            "backend": self.backend,
            "metric": self.metric,
            "task_names": self.task_names,
            "matrix": self.matrix,
            "matrices": {k: m for k, m in self.matrices.items() if k != self.metric},
            "acc": self.acc,
            "bwt": self.bwt,
            "forgetting": self.forgetting,
            "ap": self.ap,
            "af": self.af,
            "forgetting_ratio": self.forgetting_ratio,
            "peak_by_task": self.peak_by_task,
            "params_base": self.params_base,
            "params_total": self.params_total,
            "capacity": self.capacity,
            "params_by_task": self.params_by_task,
            "train_seconds_by_task": self.train_seconds_by_task,
            "wall_seconds": self.wall_seconds,
            "compile_count": self.compile_count,
            "peak_rss_mib": self.peak_rss_mib,
            "growth": self.growth,
            "config": self.config,
            "versions": self.versions,
        }
        fields |= {k: v for k in _IF_ANY if (v := getattr(self, k))}
        if self.single_by_task:
            fields["multi_task_gain"] = self.multi_task_gain
            fields["forward_transfer"] = self.forward_transfer
        if self.learning_curves:
            fields["learning_area"] = self.learning_area
        return {key: plain_json.plain(value, key) for key, value in fields.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Result:
        """Rebuilds a result from `to_dict()`; derived numbers are recomputed.

        Raises:
            ValueError: if the schema is another one, or a key is missing.
        """
        if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, Mapping) else content
            raise ValueError(f"`schema` must be {SCHEMA}. Received: {found!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        names = [n for n in known if n not in _IF_ANY or n in content]
        missing = [name for name in [*names, "matrix"] if name not in content]
        if missing:
            raise ValueError(
                f"A result needs all keys of results.json. Missing: {missing}"
            )
        check_fields(content)
        fields = {name: content[name] for name in names}
        fields["matrices"] = {content["metric"]: content["matrix"]} | dict(
            content["matrices"]
        )
        return cls(**fields)

    def to_json(self) -> str:
        """Returns the text of `results.json`: same result, same text."""
        return plain_json.pretty(self.to_dict()) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Rebuilds a result from `to_json()`.

        Raises:
            ValueError: if the text is no JSON (a truncated file) or no result.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"Not a whole JSON document: {error}") from error
        return cls.from_dict(content)

    def save(self, path: str | os.PathLike) -> None:
        """Writes `results.json` whole or not at all; replaces an older one."""
        write_atomic(path, self.to_json().encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Result:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is truncated or no result; names the file.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (LookupError, RecursionError, TypeError, ValueError) as error:
            why = str(error)[:500]
            raise ValueError(f"Cannot read a result from {path}: {why}") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return self.to_json() == other.to_json()  # NaN equals NaN there

    def __str__(self) -> str:
        return result_table(self)


def _nan_for_none(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _curve(values: Sequence[float | None]) -> list[float]:
    return [_nan_for_none(value) for value in values]


def _count(value: int | None) -> int | None:
    return None if value is None else int(value)
