"""What networks of any form are measured on: few images, and what is kept of a task.

`tasks` gives tasks of ten classes of CIFAR-100, `run` learns them and watches the
earlier ones.
"""

import pathlib

import keras
import numpy as np
from absl import flags

import keras_lifelong as kl

OUT = flags.DEFINE_string("out", None, "file of results", required=True)
TASKS = flags.DEFINE_integer("tasks", 5, "tasks", lower_bound=1)
TRAIN = flags.DEFINE_integer("train", 40, "training images of a class", lower_bound=1)
TEST = flags.DEFINE_integer("test", 40, "at most so many test images of a class")
EPOCHS = flags.DEFINE_integer("epochs", 20, "epochs of a phase", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 25, "images of a step", lower_bound=1)
ROWS = flags.DEFINE_list("rows", None, "the rows to compute; all by default")
NPZ = flags.DEFINE_string("npz", None, "split_cifar100 as a file, for want of TFDS")
FAST = flags.DEFINE_bool("fast", False, "whether it runs, not what comes out")


def few(split, count):
    """The first so many examples of each class, in the order of the split."""
    x, y = (np.asarray(part) for part in split)
    rows = [np.flatnonzero(y == label)[:count] for label in np.unique(y)]
    rows = np.sort(np.concatenate(rows))
    return x[rows], y[rows]


def tasks():
    """The first tasks of `split_cifar100`, of a few images of each class.

    Validation has the stream's own images, half as many as training.
    """
    train, test = TRAIN.value, TEST.value
    count = TASKS.value
    if FAST.value:
        train, test, count = 4, 2, min(count, 3)
    source = {"name": "npz", "path": NPZ.value} if NPZ.value else {}
    stream = kl.streams.get(**(source or {"name": "split_cifar100"}), num_tasks=count)
    return [
        kl.Task(
            task.name,
            train=few(task.train, train),
            validation=few(task.validation, -(-train // 2)),
            test=few(task.test, test),
        )
        for task in stream
    ]


def on_validation(tasks):
    """The same tasks, tested on what is held out of training: to choose settings."""
    return [
        kl.Task(t.name, train=t.train, validation=t.validation, test=t.validation)
        for t in tasks
    ]


def epochs():
    return 1 if FAST.value else EPOCHS.value


def run(model, tasks, watch=True):
    """Learns tasks in turn.

    Args:
        model: compiled.
        tasks: list of `Task`.
        watch: whether earlier tasks' outputs and exported networks are compared with
            what they were when each was learned.

    Returns:
        The `Result`, and a dict of its measures and of what was watched.
    """
    outputs, plain = {}, {}

    def outputs_of(name):
        task = next(t for t in tasks if t.name == name)
        return model.predict(task.test[0], task=name)

    def each():
        for task in tasks:
            yield task
            if watch:  # it is learned by now
                outputs[task.name] = outputs_of(task.name)
                plain[task.name] = model.task_model(task.name).get_weights()

    result = model.fit_stream(
        each(), epochs=epochs(), batch_size=BATCH.value, verbose=0
    )
    found = {
        "acc": result.acc,
        "learned": float(np.mean(np.diag(result.matrix))),
        "forgetting": result.forgetting,
        "capacity": result.capacity,
        "params": result.params_total,
        "seconds": float(np.sum(result.train_seconds_by_task)),
        "backend": keras.backend.backend(),
        "tasks": len(tasks),
        "images": [len(tasks[0].train[0]), len(tasks[0].test[0])],
        "epochs": epochs(),
        "batch": BATCH.value,
        "matrix": [[float(v) for v in r[: i + 1]] for i, r in enumerate(result.matrix)],
    }
    if watch:
        found.update(_watched(model, tasks, outputs, plain, outputs_of))
    return result, found


def _watched(model, tasks, outputs, plain, outputs_of):
    """The largest change of an earlier task's outputs, and of an exported network."""
    moved, apart, as_before = [0.0], [0.0], True
    for task in tasks:
        now = outputs_of(task.name)
        moved.append(float(np.abs(now - outputs[task.name]).max()))
        exported = model.task_model(task.name)
        alone = exported.predict(task.test[0], verbose=0)
        apart.append(float(np.abs(alone - now).max()))
        weights = exported.get_weights()
        as_before &= len(weights) == len(plain[task.name]) and all(
            np.array_equal(a, b) for a, b in zip(weights, plain[task.name], strict=True)
        )
    return {
        "moved": max(moved),
        "exported_apart": max(apart),
        "exported_as_learned": as_before,
    }


def beside(suffix):
    """A path beside the file of results."""
    return pathlib.Path(OUT.value).with_suffix(suffix)
