"""What asking a model costs: one row, a graph, another task than before, many tasks.

    python benchmarks/predict.py --json predict.json

Parts, all by default:

    one     `model.predict(x[:1], task=…)` of a Finetune MLP 784-100-100-10 over plain
            Keras' `predict_on_batch` of the same network
    graph   an earlier task of two, of a small ResNet and of two branches that share a
            layer, by method, over plain Keras' `predict` of what `task_model` gives:
            one row, and batches; and one row over its `predict_on_batch`
    switch  one row each of two tasks in turns over as many of one task, by method
    many    tiny tasks, 200 in one Finetune model: seconds to learn a task, to predict
            one row of a task that was not the last, and to save, at 10, 50, 100 and 200
            tasks, over a model that has the first 10

Every turn times both sides of a ratio one right after the other, so that a slow moment
of the machine touches both; printed is the median of the ratios (lowest to highest).
"""

import functools
import json
import pathlib
import tempfile
import time

import keras
import numpy as np
from absl import app
from absl import flags

import keras_lifelong as kl

PARTS = flags.DEFINE_list(
    "parts", ["one", "graph", "switch", "many"], "which to measure"
)
TURNS = flags.DEFINE_integer("turns", 15, "turns of each", lower_bound=1)
CALLS = flags.DEFINE_integer("calls", 40, "predictions timed at once", lower_bound=2)
METHODS = flags.DEFINE_list(
    "methods",
    ["Finetune", "DEN", "LASEM", "BindAndGrow", "PAR", "ARI"],
    "of the part switch",
)
GRAPH_METHODS = flags.DEFINE_list(
    "graph_methods",
    ["Finetune", "BindAndGrow", "DEN", "DEN/8", "LASEM", "PAR"],
    "of the part graph; DEN with its bucket",
)
COUNTS = flags.DEFINE_list("counts", ["10", "50", "100", "200"], "of the part many")
JSON = flags.DEFINE_string("json", None, "file for the ratios")

# At their defaults these learn for minutes; what a switch moves is the same.
OPTIONS = {
    "ARI": {
        "memory_budget": 4,
        "training_budget": 2,
        "storing_steps": 50,
        "estimator_epochs": 20,
    }
}


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compared(one, other):
    """Ratios of the seconds of two functions, in turns; the first turn is dropped."""
    return [seconds(one) / seconds(other) for _ in range(TURNS.value + 1)][1:]


def shown(ratios):
    """The median and the ends of a list of ratios, as numbers and as text."""
    low, middle, high = (float(f(ratios)) for f in (np.min, np.median, np.max))
    text = f"{middle:6.2f} ({low:.2f} to {high:.2f})"
    return {"median": middle, "low": low, "high": high}, text


def mlp(inputs, units):
    layers = [keras.layers.Dense(n, activation="relu") for n in units]
    return keras.Sequential([keras.Input((inputs,)), *layers])


def tiny(name, inputs=16, classes=3, rows=24, seed=0):
    """A task of a few random examples: what it costs is not its training."""
    rng = np.random.default_rng(seed)
    shape = inputs if isinstance(inputs, tuple) else (inputs,)
    x = rng.normal(size=(rows, *shape)).astype("float32")
    split = x, np.arange(rows) % classes
    return kl.Task(name, train=split, validation=split, test=split)


def compiled(name, backbone, run_eagerly=False, **options):
    model = getattr(kl, name)(backbone, **{**OPTIONS.get(name, {}), **options})
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=run_eagerly)
    return model


def resnet():
    """Three residual blocks of 8, 16 and 32 filters on images of 32 pixels."""

    def convolved(x, filters, size=3, strides=1):
        x = keras.layers.Conv2D(filters, size, strides, "same", use_bias=False)(x)
        return keras.layers.BatchNormalization()(x)

    images = keras.Input((32, 32, 3))
    x = keras.layers.ReLU()(convolved(images, 8))
    for filters, strides in ((8, 1), (16, 2), (32, 2)):
        y = keras.layers.ReLU()(convolved(x, filters, 3, strides))
        y = convolved(y, filters)
        x = convolved(x, filters, 1, strides) if strides > 1 else x
        x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))


def branches():
    """Two branches that share a layer."""
    x = keras.Input((64,))
    shared = keras.layers.Dense(64, activation="relu")
    a = shared(keras.layers.Dense(64, activation="relu")(x))
    b = shared(keras.layers.Dense(64, activation="tanh")(x))
    y = keras.layers.Concatenate()([a + b, a * b])
    return keras.Model(x, keras.layers.Dense(64, activation="relu")(y))


def repeat(predict, names):
    """A function that asks for one row of each of these tasks, in turn."""
    asked = [names[i % len(names)] for i in range(CALLS.value)]

    def run():
        for name in asked:
            predict(name)

    return run


def one():
    model = compiled("Finetune", mlp(784, [100, 100]))
    task = tiny("task", 784, 10, 100)
    model.fit(task, verbose=0)
    row = task.test[0][:1]
    head = keras.layers.Dense(10, activation="softmax")
    plain = keras.Sequential([*mlp(784, [100, 100]).layers, head])
    plain.build((None, 784))
    weights = [keras.ops.convert_to_numpy(v) for v in model.network.variables]
    kernel, bias = (model.head.kernel, model.head.bias)
    plain.set_weights([*weights, kernel[:, :10], bias[:10]])
    np.testing.assert_allclose(
        model.predict(row, task="task"), plain.predict_on_batch(row), atol=1e-5
    )
    ours = repeat(lambda name: model.predict(row, task=name), ["task"])
    theirs = repeat(lambda name: plain.predict_on_batch(row), ["task"])
    found, text = shown(compared(ours, theirs))
    print(f"one row, over predict_on_batch      {text}", flush=True)
    return found


def graph():
    results = {}
    for network in (resnet, branches):
        for method in GRAPH_METHODS.value:
            # nothing of the training is measured, so it isn't compiled
            name, _, bucket = method.partition("/")
            options = {"bucket": int(bucket)} if bucket else {}
            model = compiled(name, network(), run_eagerly=True, **options)
            shape = model.backbone_input_shape
            for i, name in enumerate(("a", "b")):
                task = tiny(name, shape, seed=i)
                model.fit(task, epochs=1, batch_size=12, verbose=0)
            model.compile(keras.optimizers.SGD(0.01))
            plain = model.task_model("a")
            rows = np.random.default_rng(0).normal(size=(256, *shape))
            rows = rows.astype("float32")
            np.testing.assert_allclose(
                model.predict(rows, task="a"),
                plain.predict(rows, verbose=0),
                atol=1e-5,
            )
            for what, ratios in asked_graph(model, plain, rows).items():
                found, text = shown(ratios)
                results[f"{network.__name__} {method} {what}"] = found
                print(f"{network.__name__:9s}{method:12s}{what:22s}{text}", flush=True)
    return results


def asked_graph(model, plain, rows):
    """Ratios of the part graph, of one method."""

    def ours(n, size, times):
        for _ in range(times):
            model.predict(rows[:n], batch_size=size, task="a")

    def theirs(n, size, times):
        for _ in range(times):
            plain.predict(rows[:n], batch_size=size, verbose=0)

    def at_once(n, times):
        for _ in range(times):
            plain.predict_on_batch(rows[:n])

    calls = CALLS.value
    part = functools.partial
    few = max(1, calls // 10)  # Keras' `predict` of one row is slow
    return {
        "predict, one row": compared(part(ours, 1, 32, few), part(theirs, 1, 32, few)),
        "predict, batches": compared(
            part(ours, len(rows), 32, few), part(theirs, len(rows), 32, few)
        ),
        "on_batch, one row": compared(
            part(ours, 1, 32, calls), part(at_once, 1, calls)
        ),
        "on_batch, 128 rows": compared(
            part(ours, 128, 128, few), part(at_once, 128, few)
        ),
    }


def switch():
    results = {}
    for method in METHODS.value:
        model = compiled(method, mlp(16, [32, 32]))
        for i, name in enumerate(("a", "b")):
            model.fit(tiny(name, seed=i), epochs=1, verbose=0)
        row = np.zeros((1, 16), "float32")

        def predict(name, model=model, row=row):
            model.predict(row, task=name)

        ratios = compared(repeat(predict, ["a", "b"]), repeat(predict, ["a"]))
        results[method], text = shown(ratios)
        print(f"two tasks in turns over one, {method:11s}{text}", flush=True)
    return results


def many():
    """Pairs of the growing model and one that stays at the first count of tasks."""
    counts = sorted(map(int, COUNTS.value))
    model, small, results = compiled("Finetune", mlp(16, [32, 32])), None, {}
    row = np.zeros((1, 16), "float32")
    learned = []

    def learn(model, name, seed):
        model.fit(tiny(name, seed=seed), epochs=1, verbose=0)

    def ask(model):
        names = model.task_names[:10]
        return repeat(lambda name: model.predict(row, task=name), names)

    with tempfile.TemporaryDirectory() as directory:
        places = [pathlib.Path(directory, name) for name in ("big", "small")]
        for n in range(1, counts[-1] + 1):
            took = seconds(learn, model, f"task_{n}", n)
            if small is not None:
                again = seconds(learn, small, "another", n)
                small.remove_task("another")
                learned.append(took / again)
            if n not in counts:
                continue
            if small is None:
                model.save_to_preset(places[1])
                small = kl.LifelongModel.from_preset(places[1])
                for _ in range(3):  # compiles
                    learn(small, "another", 0)
                    small.remove_task("another")
            saved = compared(
                functools.partial(model.save_to_preset, places[0]),
                functools.partial(small.save_to_preset, places[1]),
            )
            measured = {
                "learn": learned[-TURNS.value :] or [1.0],
                "switch": compared(ask(model), ask(small)),
                "save": saved,
            }
            results[n] = {}
            for what, ratios in measured.items():
                results[n][what], text = shown(ratios)
                note = f"{n} tasks over {counts[0]}, {what}"
                print(f"{note:36s}{text}", flush=True)
    return results


def main(_):
    parts = {"one": one, "graph": graph, "switch": switch, "many": many}
    results = {part: parts[part]() for part in PARTS.value}
    if JSON.value:
        path = pathlib.Path(JSON.value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
