"""Presets: a trained model as a directory of plain data, to publish and go on from."""

from __future__ import annotations

import datetime
import errno
import inspect
import json
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Sequence
from typing import Self

import keras
import numpy as np

from keras_lifelong import report
from keras_lifelong.layers import cell  # noqa: F401 - backbones may hold these
from keras_lifelong.layers import residual  # noqa: F401
from keras_lifelong.metrics import Result
from keras_lifelong.model import registry
from keras_lifelong.model.results import versions
from keras_lifelong.model.task_memory import key_text
from keras_lifelong.presets import budget
from keras_lifelong.presets import card
from keras_lifelong.presets import configs
from keras_lifelong.presets import layout
from keras_lifelong.presets import local_paths
from keras_lifelong.presets import origin
from keras_lifelong.presets import reading
from keras_lifelong.presets import weights
from keras_lifelong.report.style import to_png
from keras_lifelong.streams.columns import shape_config

FIGURES = ("accuracy_over_tasks", "accuracy_matrix", "growth")


class PresetMixin(keras.Model):
    """`save_to_preset` and `from_preset` of a `LifelongModel`."""

    # Options of the constructor that sizes of arrays follow from.
    sizes_from: tuple[str, ...] = ()

    @property
    def results(self) -> list[Result]:
        """What `fit_stream` measured, each time; saved in presets."""
        return self._session.results

    @property
    def origin(self) -> dict | None:
        """The preset this model was loaded from or saved to last: id, name, tasks."""
        return self._session.origin

    def save_to_preset(self, directory: str | os.PathLike) -> None:
        """Writes the model to a directory: see `keras_lifelong.presets.layout`.

        The directory appears whole or not at all; an existing preset is replaced. What
        a single task uses has a file of its own, so that others can be loaded without.
        A model that was loaded from a preset and has changed since names it as its
        parent.

        Args:
            directory: path; its parent is created if absent.

        Raises:
            ValueError: if `directory` is a file, or a directory with other content; or
                the network has so many layers for its size that it would not be loaded.
            OSError: if the disk has no room for it, or it may not be written; the
                earlier preset is then as it was.

        Example:

        ```python
        model.save_to_preset("den_digits")
        model = kl.LifelongModel.from_preset("den_digits")
        ```
        """
        directory = pathlib.Path(os.path.realpath(directory))
        layout.recover(directory)
        layout.check_place(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        state, arrays = self.get_state()
        _check_space(directory.parent, arrays)
        with layout.replacing(directory) as place:
            written = self._write_preset(place, directory.name, state, arrays)
        self._session.origin = written

    def _write_preset(self, place, name, state, arrays) -> dict:
        """Writes every file of a preset; returns what it is, for its children."""
        import yaml

        config = {
            "class_name": type(self).__name__,
            "registered_name": keras.saving.get_registered_name(type(self)),
            "config": self.get_config(),
            "compile_config": self.get_compile_config() if self.compiled else None,
            "structure": state["structure"],
        }
        _check_loads(config["config"]["backbone"], arrays)
        tasks = self._write_arrays(place, state, arrays)
        layout.write_json(place / layout.CONFIG, config)
        layout.write_json(place / layout.TASKS, tasks)
        results = [result.to_dict() for result in self.results]
        metrics = {
            "results": [
                {**result, "config": local_paths.left_out(result["config"])}
                for result in results
            ],
            "growth": state["growth"],
        }
        layout.write_json(place / layout.METRICS, metrics)
        last = self.results[-1] if self.results else None
        experiment = local_paths.left_out(self._experiment(last))
        text = yaml.safe_dump(experiment, sort_keys=False, allow_unicode=True)
        (place / layout.EXPERIMENT).write_text(text, encoding="utf-8")
        figures = [] if last is None else _draw(last, place / layout.FIGURE_FOLDER)
        identity = layout.identity(state, arrays)
        lineage = self._lineage(identity)
        said = {"id": identity, "preset": name, "tasks": self.task_names}
        metadata = {
            "schema": layout.SCHEMA,
            **said,
            "method": type(self).__name__,
            "summary": _summary(type(self)),
            "input_shape": shape_config(self.backbone_input_shape),
            "parameters": self.count_params(),
            "numbers": int(sum(array.size for array in arrays.values())),
            "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "lineage": lineage,
        }
        text = card.write(name, metadata, tasks, last, figures)
        (place / layout.CARD).write_text(text, encoding="utf-8")
        metadata["files"] = layout.files(place)
        layout.write_json(place / layout.METADATA, metadata)
        return {**said, "lineage": lineage}

    def _write_arrays(self, place, state, arrays) -> list[dict]:
        """Writes the files of weights; returns the content of tasks.json."""
        used = {
            name: sorted(
                {f"memory/{key_text(key)}" for key in self.task_keys(name)}
                & arrays.keys()
            )
            for name in self.task_names
        }
        users = Counter(key for keys in used.values() for key in keys)
        tasks: list[dict] = []
        files: set[str] = set()
        for name, keys in used.items():
            own = {key: arrays[key] for key in keys if users[key] == 1}
            file = None
            if own:
                file = layout.task_file(name, files)
                (place / file).parent.mkdir(exist_ok=True)
                weights.write(place / file, own)
                files.add(file.casefold())
            tasks.append(
                {
                    "name": name,
                    "spec": state["tasks"][name],
                    "notes": state["notes"].get(name, {}),
                    "arrays": keys,
                    "file": file,
                }
            )
        shared = {key: array for key, array in arrays.items() if users[key] != 1}
        weights.write(place / layout.WEIGHTS, shared)
        return tasks

    def _experiment(self, result) -> dict:
        if result is not None and "method" in result.config:
            return json.loads(json.dumps(result.config))  # of a run from a file
        method = {"name": type(self).__name__, **self.options.as_dict()}
        found = {"method": method, "seed": self.seed, "tasks": self.task_names}
        if result is not None:
            found["stream"] = result.config.get("stream")
        return json.loads(json.dumps(found))

    def _lineage(self, identity) -> list[dict]:
        known = self._session.origin
        if known is None:
            return []
        if known["id"] == identity:  # saved again
            return known["lineage"]
        parent = {key: known[key] for key in ("id", "preset", "tasks")}
        return [*known["lineage"], parent][-origin.KEPT :]

    @classmethod
    def from_preset(
        cls,
        uri: str | os.PathLike,
        tasks: Sequence[str] | None = None,
        load_weights: bool = True,
    ) -> Self:
        """Loads what `save_to_preset` wrote; runs no code from it.

        Every file is checked against the size and digest that the preset lists before
        it is used, and what it asks for before memory is taken.

        Args:
            uri: a directory, "hf://user/name", "kaggle://owner/model/framework/name",
                or the name of a preset that the package ships: see
                `keras_lifelong.zoo`.
            tasks: names of the tasks to load; the others are left out as by
                `remove_task`, and nothing that they alone use is read. None: all.
            load_weights: False gives an untrained model of the same configuration.

        Returns:
            A model of the class that was saved, which predicts as it did and goes on
            learning. It must be `cls` or a subclass of it.

        Raises:
            ValueError: if it is no preset, one that is not as it was written or asks
                for what it may not, or of another class; naming the file and reason.
            OSError: if a hub does not give it.

        Example:

        ```python
        model = kl.LifelongModel.from_preset("den_digits", tasks=["task_1"])
        model.fit(x, y, task="more", epochs=10)
        ```
        """

        def load(preset):
            return _loaded(cls, preset, tasks, load_weights)

        return reading.read(uri, load)


def _loaded(cls, preset, tasks, load_weights):
    """The model of a preset; see `from_preset`."""
    config = preset.json(layout.CONFIG, dict)
    listed = preset.json(layout.TASKS, list)
    metrics = preset.json(layout.METRICS, dict)
    with preset.reading(layout.CONFIG):
        found = _class(cls, config["class_name"])
        configs.check_objects(config)
    with preset.reading(layout.METADATA):
        origin.check(preset.metadata)
    with preset.reading(layout.TASKS):
        names = [entry["name"] for entry in listed]
        entries = _wanted(listed, names, tasks)
    arrays = _read_arrays(preset, listed, entries) if load_weights else None
    with preset.reading(layout.CONFIG):
        model = _untrained(found, preset, config, arrays)
    if arrays is not None:
        kept = [entry["name"] for entry in entries]
        _restore(model, preset, config["structure"], listed, kept, arrays, metrics)
    return model


def _untrained(found, preset, config, arrays):
    """A model of a class as a preset configures it, if that is no bigger than told."""
    dimensions = [d for array in (arrays or {}).values() for d in array.shape]
    arguments = config["config"]

    def stored():
        if arrays is None:
            return preset.stored_bytes // 4
        return sum(array.size for array in arrays.values())

    budget.check_network(arguments["backbone"], stored)
    configs.check_sizes(arguments, found.sizes_from, max(dimensions, default=0))
    model = found.from_config(arguments)
    if config["compile_config"] is not None:
        model.compile_from_config(config["compile_config"])
    return model


def _restore(model, preset, structure, listed, kept, arrays, metrics):
    """Gives an untrained model what a preset's learned, but for tasks not kept."""
    names = [entry["name"] for entry in listed]
    with preset.reading(layout.TASKS):
        state = {
            "tasks": {entry["name"]: entry["spec"] for entry in listed},
            "notes": {entry["name"]: entry["notes"] for entry in listed},
            "growth": metrics["growth"],
            "structure": structure,
        }
        model.check_state(state, {key: array.shape for key, array in arrays.items()})
    with preset.reading(layout.WEIGHTS):
        model.set_state(state, arrays)
        model.check_loaded(kept)
        model.drop_tasks([name for name in reversed(names) if name not in kept])
    with preset.reading(layout.METRICS):
        model._session.results = [Result.from_dict(r) for r in metrics["results"]]
    with preset.reading(layout.METADATA):
        model._session.origin = {
            "id": preset.metadata["id"],
            "preset": preset.name,
            "tasks": names,
            "lineage": preset.metadata["lineage"],
        }


def _class(cls, name):
    """The class of that name, `cls` or a subclass of it."""
    if name in registry.names():
        registry.get(name)  # imported when first used
    found = next((c for c in _subclasses(cls) if c.__name__ == name), None)
    if found is None:
        raise ValueError(f"it holds a {name}, which is no {cls.__name__} known here")
    return found


def _wanted(listed, names, tasks) -> list[dict]:
    if len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
        raise ValueError(f"names of tasks must be unique texts. Received: {names}")
    if tasks is None:
        return listed
    if isinstance(tasks, str):
        raise ValueError(f"`tasks` must be a list of names. Received: {tasks!r}")
    unknown = [name for name in tasks if name not in names]
    if unknown or not tasks:
        raise ValueError(f"`tasks` must name some of {names}. Received: {list(tasks)}")
    return [entry for entry in listed if entry["name"] in tasks]


def _read_arrays(preset, listed, entries) -> dict[str, np.ndarray]:
    """The arrays that the tasks of `entries` need, and those that belong to no task."""
    with preset.reading(layout.TASKS):
        needed = {key for entry in entries for key in entry["arrays"]}
        left = {key for entry in listed for key in entry["arrays"]} - needed
        own = {entry["file"] for entry in entries} - {None}
    arrays: dict[str, np.ndarray] = {}
    for file in sorted(own):
        arrays |= preset.arrays(file)
    shared = preset.arrays(layout.WEIGHTS, lambda key: key not in left)
    if arrays.keys() & shared.keys():
        with preset.reading(layout.WEIGHTS):
            raise ValueError("it holds arrays that a task's file holds as well")
    arrays |= shared
    missing = sorted(needed - arrays.keys())
    if missing:
        with preset.reading(layout.TASKS):
            raise ValueError(f"it lists the array {missing[0]!r}, which no file holds")
    return arrays


def _check_loads(backbone, arrays):
    """Raises a ValueError if a network's preset would be refused when it is read."""
    try:
        budget.check_calls(backbone, lambda: sum(a.size for a in arrays.values()))
    except ValueError as error:
        raise ValueError(
            f"The preset would not be loaded again: {error}. `model.save` writes a "
            ".keras file of any network."
        ) from error


def _check_space(directory, arrays):
    """Raises an OSError if the disk is too full, before anything is written."""
    needed = 2**21 + sum(array.nbytes + 2**14 for array in arrays.values())
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"No space left for a preset of up to {needed} bytes; {free} are free",
            str(directory),
        )


def _draw(result: Result, folder) -> list[str]:
    """Draws the figures of a card; returns their paths within the preset."""
    folder.mkdir()
    drawn = []
    for name in FIGURES:
        picture = to_png(getattr(report, name)(result))
        (folder / f"{name}.png").write_bytes(picture)
        drawn.append(f"{folder.name}/{name}.png")
    return drawn


def _summary(cls) -> str:
    """What a method is: the first line of its module, without its name."""
    text = inspect.getdoc(inspect.getmodule(cls)) or cls.__doc__ or ""
    line = text.strip().partition("\n")[0].removeprefix(f"{cls.__name__}: ")
    return line.rstrip(".")


def _subclasses(cls):
    """`cls` and all classes derived from it that have been imported."""
    found = [cls]
    for child in cls.__subclasses__():
        found += _subclasses(child)
    return found
