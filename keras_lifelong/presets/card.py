"""The model card: README.md of a preset, with the front matter that hubs read."""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_lifelong import heads
from keras_lifelong import streams
from keras_lifelong.messages import as_markdown
from keras_lifelong.metrics import Result
from keras_lifelong.metrics.table import number
from keras_lifelong.streams.columns import are_several
from keras_lifelong.streams.columns import checked_shape

TAGS = ("keras-lifelong", "lifelong-learning", "continual-learning")
LOADED = """\
```python
import keras_lifelong as kl

model = kl.LifelongModel.from_preset({uri!r})
model.task_names
model.predict(x, task={task!r})
```

With `tasks=[name, …]` no more is loaded than these tasks need.
"""
GOES_ON = """\
```python
model.fit(x, y, task="a new one", epochs=10)
model.save_to_preset("child")  # which names this preset as its parent
single = model.task_model({task!r})  # a plain keras.Model of one task
```
"""


def write(
    uri: str,
    metadata: Mapping[str, Any],
    tasks: Sequence[dict],
    result: Result | None,
    figures: Iterable[str],
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> str:
    """The text of a card. Whatever is a name or a text in it stays text.

    Args:
        uri: by which the preset is loaded.
        metadata: its "method", "summary" of that, "input_shape", "parameters" and
            "lineage": the presets that it goes back to, the oldest first.
        tasks: of each, "name" and "spec".
        result: of the stream that was learned last; None if no stream was.
        figures: paths within the preset.
        license, datasets: by the names that hubs have for them. What the publisher does
            not say, the card does not: nobody's licence is known from their weights.
    """
    import yaml

    name, method = uri.rpartition("/")[2], metadata["method"]
    shape = checked_shape(metadata["input_shape"])
    taken = as_markdown(str(shape)) if are_several(shape) else shape
    front = yaml.safe_dump(
        front_matter(name, method, tasks, shape, result, license, datasets),
        sort_keys=False,
        allow_unicode=True,
    )
    example = tasks[-1]["name"] if tasks else "task"
    parts = [
        f"---\n{front}---",
        f"# {as_markdown(name)}",
        f"A network that learned {_count(len(tasks), 'task')} one after the other by "
        f"**{as_markdown(method)}** ({as_markdown(metadata['summary'])}), made with "
        f"keras-lifelong. It holds {metadata['parameters']:,} parameters, takes "
        f"inputs of shape {taken} and goes on learning after it is loaded.",
        _results(tasks, result),
        *(f"![{_headline(path)}]({urllib.parse.quote(path)})" for path in figures),
        "## To use it\n\n" + LOADED.format(uri=uri, task=example),
        "## To go on learning\n\n" + GOES_ON.format(task=example),
        _descent(metadata["lineage"]),
        "This directory is data alone: nothing in it is run when it is loaded, and "
        "`metadata.json` holds the size and sha256 of every file. This card was "
        "generated; what was learned on, and for what it may be used, is for the "
        "publisher to add.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(
    name, method, tasks, input_shape, result, license=None, datasets=()
) -> dict[str, Any]:
    """What hubs read: library, tags, and the results as a model index."""
    kinds = {task["spec"]["kind"] for task in tasks}
    is_image = len(input_shape) == 3 and not are_several(input_shape)
    data = "image" if is_image else "tabular"
    goals = {heads.get(kind).goal for kind in kinds}
    goal = "regression" if goals == {"regression"} else "classification"
    tag = f"{data}-{goal}"
    if is_image and kinds and all(heads.get(kind).by_step for kind in kinds):
        tag = "image-to-text"  # words are read
    front: dict[str, Any] = {
        "library_name": "keras-lifelong",
        **({} if license is None else {"license": license}),
        **({"datasets": list(datasets)} if datasets else {}),
        "tags": [*TAGS, method.lower()],
        "pipeline_tag": tag,
    }
    if result is not None:
        front["metrics"] = list(result.matrices)
        front["model-index"] = [
            {
                "name": name,
                "results": _index(front["pipeline_tag"], result, datasets),
            }
        ]
    return front


def _index(goal: str, result: Result, datasets: Sequence[str]) -> list[dict]:
    data = datasets[0] if datasets else _public(result.stream)

    def entry(config, task, metrics):
        dataset = {"type": data, "name": task, "config": config}
        dataset["split"] = "test"
        kept = [m for m in metrics if math.isfinite(m["value"])]
        return {"task": {"type": goal}, "dataset": dataset, "metrics": kept}

    found = []
    for j, task in enumerate(result.task_names):
        metrics = [
            {"type": metric, "value": float(matrix[-1, j]), "name": metric}
            for metric, matrix in result.matrices.items()
        ]
        found.append(entry(task, f"{data}, {task}", metrics))
    whole = [
        {"type": result.metric, "value": result.acc, "name": f"mean {result.metric}"},
        {"type": "backward_transfer", "value": result.bwt, "name": "backward transfer"},
        {"type": "forgetting", "value": result.forgetting, "name": "forgetting"},
    ]
    found.append(entry("all tasks", f"{data}, all tasks", whole))
    return [e for e in found if e["metrics"]]


def _public(stream: str) -> str:
    """The name of a stream that the package brings; a user's own data has none."""
    return stream if stream in streams.names() and stream != "npz" else "unnamed"


def _results(tasks, result) -> str:
    lines = ["## Tasks", ""]
    if result is None:
        lines += ["| task | kind | classes |", "|---|---|---|"]
        for task in tasks:
            spec = task["spec"]
            lines.append(
                f"| {as_markdown(task['name'])} | {spec['kind']} | {_classes(spec)} |"
            )
        return "\n".join([*lines, "", "No results were measured on a stream."])
    of = {name: j for j, name in enumerate(result.task_names)}
    metric = as_markdown(result.metric)
    lines += [
        f"| task | kind | classes | {metric} when learned | {metric} in the end |",
        "|---|---|---|---|---|",
    ]
    for task in tasks:
        spec, j = task["spec"], of.get(task["name"])
        own = last = float("nan")
        if j is not None:
            own, last = result.matrix[j, j], result.matrix[-1, j]
        lines.append(
            f"| {as_markdown(task['name'])} | {spec['kind']} | {_classes(spec)} "
            f"| {number(own)} | {number(last)} |"
        )
    lines += [
        "",
        f"Mean {metric} {number(result.acc)}, backward transfer "
        f"{number(result.bwt, sign=True)}, forgetting {number(result.forgetting)}, on "
        f"the test data of {as_markdown(_public(result.stream))}; "
        f"{result.capacity:.2f} times the parameters of the base network. All numbers "
        "are in `metrics.json`.",
    ]
    return "\n".join(lines)


def _descent(lineage) -> str:
    if not lineage:
        return ""
    lines = [
        f"{i + 1}. {as_markdown(p['preset'])}, {_count(len(p['tasks']), 'task')} "
        f"({as_markdown(p['id'][:12])})"
        for i, p in enumerate(lineage)
    ]
    return "## Goes back to\n\n" + "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _headline(path: str) -> str:
    name = path.rpartition("/")[2].removesuffix(".png")
    return as_markdown(name.replace("_", " ").capitalize())


def _classes(spec) -> str:
    """How many classes, and the names of the first."""
    names = spec.get("class_names") or ()
    shown = ", ".join(as_markdown(name[:40]) for name in names[:10])
    more = ", …" if len(names) > 10 else ""
    return f"{spec['num_classes']}{': ' if names else ''}{shown}{more}"
