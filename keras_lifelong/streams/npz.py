"""A user's own arrays as a stream, and any stream as a file.

A file is of one of two forms, both read with `allow_pickle=False`:

1. A data set: `x_train, y_train, x_test, y_test` and, if there is validation data,
   `x_val, y_val`. Labels are integers (n,), any numbers. Inputs that are uint8 are
   images of 0 ... 255: they are scaled to [0, 1], and (n, height, width) gets a channel
   axis. (Keras' own `mnist.npz` is such a file.)
2. A stream written by `export_npz`: arrays `array_0, array_1, ...`, each stored once
   however many tasks use it, and `meta`, a JSON string

       {"format": "keras_lifelong.stream", "version": 1, "config": {...},
        "pixels": ["array_0", ...],
        "tasks": [{"name": "task_0", "spec": {...}, "train": ["array_0", "array_1"],
                   "validation": [x, y] or null, "test": [x, y] or null}, ...]}

   Float images whose values are whole 255ths are stored as uint8, a quarter of the
   size, and named in `pixels`; dividing them by 255 gives the same floats bit for bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.streams.arrays import SPLITS
from keras_lifelong.streams.arrays import array_stream
from keras_lifelong.streams.arrays import check_count
from keras_lifelong.streams.arrays import class_tasks
from keras_lifelong.streams.arrays import scaled
from keras_lifelong.streams.checking import check_split
from keras_lifelong.streams.datasets import examples
from keras_lifelong.streams.forms import as_array
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.streams.mnist import permute
from keras_lifelong.streams.sampling import hold_out
from keras_lifelong.streams.stream import TaskStream
from keras_lifelong.streams.stream import register
from keras_lifelong.streams.task import Task
from keras_lifelong.streams.task import TaskSpec

FORMAT, VERSION = "keras_lifelong.stream", 1


@register("npz", source="the user's file")
def npz(
    path: str,
    tasks: list[list[int]] | None = None,
    split: int | None = None,
    permutations: int | None = None,
    permute_first: bool = True,
    num_tasks: int | None = None,
    train_per_task: int | list[int] | None = None,
    seed: int = 0,
    standardize: bool = False,
    head: str | None = None,
) -> TaskStream:
    """Your own arrays from a file, or a stream written by `export_npz`.

    For a data set (see the top of this module) say with one of `tasks`, `split` and
    `permutations` how tasks are made of it; an exported stream has its tasks. Without
    validation data a tenth of the training data is held out. Labels and shapes are
    checked at once, inputs are read when a task is.

    Args:
        path: of the `.npz` file.
        tasks: the classes of each task, as `[[0, 1], [2, 3]]`; the k-th class of a
            task gets label k.
        split: number of tasks that the classes, in ascending order, are divided into.
        permutations: number of tasks that have all classes and each another order of
            the values of an input.
        permute_first: whether task 0 of `permutations` is permuted too.
        num_tasks: only the first so many tasks.
        train_per_task: only so many training examples of each, or a number for each.
        seed: of validation data, permutations and `train_per_task`.
        standardize: normalise by the training data's mean and standard deviation, of
            each channel or feature.
        head: "per_task" or "shared"; None: as exported, or "per_task".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and the reason, if it can't be read, lacks an array,
            or doesn't fit the arguments.

    Example:

    ```python
    np.savez("mine.npz", x_train=..., y_train=..., x_test=..., y_test=...)
    stream = streams.get("npz", path="mine.npz", split=5)
    ```
    """
    common: dict[str, Any] = {
        "train_per_task": train_per_task,
        "seed": seed,
        "standardize": standardize,
    }
    cuts = {"tasks": tasks, "split": split, "permutations": permutations}
    cuts = {key: value for key, value in cuts.items() if value is not None}
    keys = _keys(path)
    if "meta" in keys:
        if cuts:
            raise ValueError(
                f"{path} holds a stream with tasks of its own and takes neither "
                f"`tasks`, `split` nor `permutations`. Received: {cuts}"
            )
        return _exported(path, keys, num_tasks, head, common)
    if len(cuts) != 1:
        raise ValueError(
            f"{path} holds a data set: give one of `tasks`, `split` and `permutations` "
            f"to make tasks of it. Received: {cuts or 'none of them'}"
        )
    shape, labels = _check_data_set(path, keys)
    classes = np.unique(labels["train"]).tolist()
    if permutations is not None:
        groups = [classes] * check_count("permutations", permutations)
        common["transform"] = lambda i, x: permute(x, seed, i, permute_first)
    else:
        groups = _split(classes, split) if tasks is None else _check(tasks, classes)

    def load():
        data = {s: (_images(_read(path, f"x_{_SHORT[s]}")), labels[s]) for s in labels}
        if "validation" not in data:
            x, y = data["train"]
            kept, held = hold_out(y, 0.1, seed)
            data |= {"train": (x[kept], y[kept]), "validation": (x[held], y[held])}
        return data

    head = head or "per_task"
    return class_tasks(load, groups, shape, num_tasks=num_tasks, head=head, **common)


_SHORT = {"train": "train", "validation": "val", "test": "test"}


def _check_data_set(path, keys):
    """The shape of an example and the labels of every split, all checked."""
    needed = [f"{axis}_{split}" for split in ("train", "test") for axis in "xy"]
    missing = [key for key in needed if key not in keys]
    if missing:
        received = ", ".join(sorted(keys)) or "nothing"
        raise ValueError(
            f"{path} lacks {', '.join(missing)}; a data set holds {', '.join(needed)} "
            f"and may hold x_val, y_val. Received: {received}"
        )
    splits = [s for s in SPLITS if {f"x_{_SHORT[s]}", f"y_{_SHORT[s]}"} <= keys]
    labels, shapes = {}, {}
    for split in splits:
        x, y = f"x_{_SHORT[split]}", f"y_{_SHORT[split]}"
        shape, dtype = _header(path, x)
        if dtype == np.uint8 and len(shape) == 3:
            shape += (1,)  # as _images does
        values = _read(path, y)
        if values.dtype.kind not in "iu" or values.shape[:1] != (values.size,):
            raise ValueError(
                f"{path}: `{y}` must be integers of shape (n,). Received: shape "
                f"{values.shape} and dtype {values.dtype}"
            )
        if len(shape) < 2 or shape[:1] != values.shape[:1] or not shape[0]:
            raise ValueError(
                f"{path}: `{x}` must have shape (n, ...) with n > 0 as in `{y}`. "
                f"Received: {x} of shape {shape}, {y} of shape {values.shape}"
            )
        shapes[split], labels[split] = shape[1:], values.reshape(-1)
        unknown = np.setdiff1d(labels[split], labels["train"])
        if unknown.size or shapes[split] != shapes["train"]:
            raise ValueError(
                f"{path}: {split} data must have the shape and the classes of the "
                f"training data, {shapes['train']} here. Received: shape "
                f"{shapes[split]}, labels only there: {unknown[:5].tolist()}"
            )
    return shapes["train"], labels


def _split(classes, count):
    sizes = [n for n in range(1, len(classes) // 2 + 1) if len(classes) % n == 0]
    if count not in sizes:
        raise ValueError(
            f"`split` must be one of {sizes}, which divide the file's {len(classes)} "
            f"classes into equal tasks of two or more. Received: {count!r}"
        )
    return np.reshape(classes, (count, -1)).tolist()


def _check(tasks, classes):
    for group in tasks:
        if (
            len(group) < 2
            or len(set(group)) < len(group)
            or not set(group) <= {*classes}
        ):
            raise ValueError(
                "`tasks` must be lists of two or more different classes of the file, "
                f"which are {classes[:100]}. Received: {group!r}"
            )
    if not tasks:
        raise ValueError(f"`tasks` must be one list or more. Received: {tasks!r}")
    return tasks


def _images(x):
    return x[..., None] if x.dtype == np.uint8 and x.ndim == 3 else x


# === Exported streams ===


def export_npz(stream: TaskStream, path: str | Path) -> None:
    """Writes all tasks of a stream to a file, which the stream `npz` reads back.

    Names, specs and every array come back as they were, bit for bit, and reading needs
    NumPy only. Tasks are written one after another, so no more than one split is in
    memory; the file appears when it is complete.

    Args:
        stream: a `TaskStream` that ends.
        path: of the file to write, replaced if it is there.

    Raises:
        ValueError: if the data of a task are bad, see `check_split`.
        OSError: if the file can't be written, or the stream lacks files; what was there
            before stays.

    Example:

    ```python
    export_npz(streams.get("permuted_mnist"), "permuted.npz")
    stream = streams.get("npz", path="permuted.npz")
    ```
    """
    stream.check()
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
                writer = _Writer(z)
                meta = {
                    "format": FORMAT,
                    "version": VERSION,
                    "config": stream.config,
                    "tasks": [writer.task(task) for task in stream],
                    "pixels": writer.pixels,
                }
                writer.write("meta", np.array(json.dumps(meta)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


class _Writer:
    """Writes arrays to a zip file, equal ones once."""

    def __init__(self, archive):
        self.archive = archive
        self.names: dict[bytes, str] = {}
        self.pixels: list[str] = []

    def task(self, task: Task) -> dict[str, Any]:
        spec = task.spec
        entry = {"name": task.name, "spec": spec.to_config()}
        for split in SPLITS:
            data = getattr(task, split)
            if task.is_weighed(split):
                raise ValueError(
                    "Weights of examples are not stored: leave out `sample_weight` and "
                    f"`class_weight` of task {task.name!r}."
                )
            what = f"{split} of task {task.name!r}"
            if is_dataset(data):
                data = examples(data, spec.input_shape, what, (2,))
                columns = zip(*data.as_numpy_iterator(), strict=True)
                data = [np.stack(column) for column in columns]
            if data is not None:
                x, y = (as_array(array) for array in data)
                _, ids = check_split(x, data[1], spec, what)
                y = y if y.dtype.kind in "biuf" else ids  # which were names
                data = [self.array(x), self.array(y)]
            entry[split] = data
        return entry

    def array(self, array: np.ndarray) -> str:
        """Stores an array unless it is there already; returns its name."""
        array = np.ascontiguousarray(array)
        digest = hashlib.sha256(array.data)
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        key = digest.digest()
        if key not in self.names:
            name = self.names[key] = f"array_{len(self.names)}"
            stored = _as_pixels(array)
            if stored is not array:
                self.pixels.append(name)
            self.write(name, stored)
        return self.names[key]

    def write(self, name: str, array: np.ndarray) -> None:
        # A ZipInfo without a date: equal streams make equal files.
        info = zipfile.ZipInfo(f"{name}.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        with self.archive.open(info, "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)


def _as_pixels(x):
    """uint8 pixels that `scaled` turns into exactly `x`; or `x`, if there are none."""
    if x.dtype != np.float32 or not x.size or x.min() < 0 or x.max() > 1:
        return x
    pixels = np.rint(x * 255).astype("uint8")
    exact = np.array_equal(scaled(pixels).view("uint32"), x.view("uint32"))
    return pixels if exact else x


def _exported(path, keys, num_tasks, head, common):
    try:
        meta = json.loads(str(_read(path, "meta")))
        if meta["format"] != FORMAT or meta["version"] != VERSION:
            raise ValueError(f"format {meta['format']!r}, version {meta['version']!r}")
        entries, pixels = meta["tasks"], set(meta["pixels"])
        names = [entry["name"] for entry in entries]
        specs = [TaskSpec.from_config(entry["spec"]) for entry in entries]
        arrays = {name for e in entries for split in SPLITS for name in e[split] or ()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: `meta` must describe a stream as export_npz of version {VERSION} "
            f"does. Received: {error}"
        ) from error
    if not arrays <= keys:
        raise ValueError(f"{path} lacks {', '.join(sorted(arrays - keys))}.")
    if head is not None:
        specs = [dataclasses.replace(spec, head=head) for spec in specs]

    def array(name):
        return scaled(_read(path, name)) if name in pixels else _read(path, name)

    return array_stream(
        lambda index, split: tuple(array(name) for name in entries[index][split]),
        specs,
        num_tasks=check_count("num_tasks", num_tasks, len(names)),
        names=names,
        is_missing=lambda index, split: entries[index][split] is None,
        scale_pixels=False,
        **common,
    )


# === Reading what may be damaged ===


def _opened(path, use):
    """`use(file)` of an open npz file; whatever is wrong with the file: ValueError."""
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        with open(path, "rb") as data:  # closed here also if np.load fails
            file = np.load(data, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array (.npy)")
            with file:
                return use(file)
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} can't be read as an npz file. {reason}") from error


def _keys(path):
    return _opened(path, lambda file: set(file.files))


def _read(path, key):
    return _opened(path, lambda file: file[key])


def _header(path, key):
    """Shape and dtype of an array, without reading it."""

    def use(file):
        with file.zip.open(f"{key}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read(member)
            if dtype.hasobject:
                raise ValueError(f"`{key}` holds Python objects")
            return shape, dtype

    return _opened(path, use)
