"""Methods that learn two tasks in a moment, and what many tests ask of them."""

import hashlib
import json

import keras
import numpy as np
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model import registry

OPTIONS = {
    "PathNet": {"modules": 3, "active": 2, "population": 2, "generations": 1},
    "CAT": {"tolerance": 9.0},  # all tasks are similar
    "DEN": {"growth": 2, "bucket": 8, "split_threshold": 1e-3},
    "ARI": {
        "memory_budget": 2,
        "training_budget": 1,
        "initial": 1,
        "storing_steps": 12,
        "estimator_epochs": 4,
        "adaptation": 1,
        "hypernetwork": {"name": "chunked", "chunk": 20, "units": [8]},
    },
}

# Of the contract: enough for DEN to add and split units, and ARI to choose among sets.
_CONTRACT = {
    **OPTIONS,
    "DEN": {"growth": 3, "loss_threshold": 0.0, "split_threshold": 0.0},
    "ARI": {
        **OPTIONS["ARI"],
        "memory_budget": 3,
        "training_budget": 2,
        "initial": 2,
    },
    "PAR sharing": {"alpha": 1.0},  # one expert for all tasks: it is distilled
    "PAR apart": {"alpha": 0.0},  # an expert for each task
    "BindAndGrow frozen": {"retention": "freeze"},
}
CASES = [*registry.names(), "PAR sharing"]

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")


def labels(i):
    """Of task i: whether two inputs have the same sign."""
    return (X[:, i] * X[:, i - 1] > 0).astype("int32")


def task(i, name=None):
    return kl.Task(name or f"t{i}", train=(X, labels(i)))


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu", name="lower"),
            layers.Dense(5, activation="relu", name="upper"),
        ]
    )


def new(case):
    """A method that has learned nothing, by its name or another one of `CASES`."""
    method = registry.get(case.split()[0])
    model = method(backbone(), **_CONTRACT.get(case, {}))
    model.compile(keras.optimizers.Adam(0.01))
    return model


def learn(model, i, name=None, **kwargs):
    kwargs = {"epochs": 2, "batch_size": 16, "verbose": 0, **kwargs}
    return model.fit(task(i, name), **kwargs)


def learned(case, tasks=2):
    model = new(case)
    for i in range(tasks):
        learn(model, i)
    return model


def loaded(path, seen=()):
    """The model of a preset, with the data of earlier tasks, which `Joint` needs."""
    model = kl.LifelongModel.from_preset(path)
    model.seen.update(seen)
    return model


def predictions(model, x=X):
    return {name: model.predict(x, task=name) for name in model.task_names}


def said_in_turn(model, fit, x, names="abc"):
    """What a model said of each task when it was learned, one after the other.

    Args:
        model: it has learned nothing.
        fit: `fit(model, name, i)` learns task i.
        x: what is predicted.
        names: of the tasks.
    """
    said = {}
    for i, name in enumerate(names):
        fit(model, name, i)
        said[name] = model.predict(x, task=name)
    return said


def assert_same(found, expected):
    """Predictions by task, or arrays of a state by name: the same to the last bit."""
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=repr(name))


def assert_same_state(found, expected):
    assert found[0] == expected[0]
    assert_same(dict(sorted(found[1].items())), dict(sorted(expected[1].items())))


def digests(directory):
    """Of every file of a preset, by path; the time of saving apart."""
    found = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.name == "metadata.json":
            metadata = json.loads(content)
            del metadata["saved"]
            content = json.dumps(metadata, sort_keys=True).encode()
        name = path.relative_to(directory).as_posix()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def learned_from_given_weights():
    """Predictions of a network that began from the same weights on every backend."""
    model = kl.Finetune(backbone())
    model.compile(keras.optimizers.SGD(0.1))
    model.add_task("t1", kl.TaskSpec(2, "categorical", (6,)))
    draw = np.random.default_rng(1).normal
    model.network.set_weights(
        [draw(0, 0.5, w.shape).astype("float32") for w in model.network.get_weights()]
    )
    model.memory["head", "own", "t1", "kernel"] = draw(0, 0.5, (5, 2)).astype("float32")
    all_rows = kl.Task("t1", train=(X, labels(1)), validation_split=0)
    model.fit(all_rows, epochs=3, batch_size=16, verbose=0)
    return model.predict(X, task="t1")
