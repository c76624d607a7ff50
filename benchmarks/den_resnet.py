"""DEN on a ResNet: five tasks of split_cifar100 beside Finetune, EWC, Independent.

    TFDS_DATA_DIR=... python benchmarks/den_resnet.py --out runs/den_resnet.jsonl

Settings are chosen on validation images by one seed that is not used again (part
`choose`); the table (part `compare`) is of three other seeds, tested on test images.
Results are added to the file; what is there already is not computed again. `--fast`
says whether everything runs.

Selective retraining moves weights that earlier tasks use, as the paper has it; what
growing alone does to them is part `exact`: after the first task nothing but heads and
new units is let move (a learning rate of 0), and each task adds units.

Rows of the table: accuracy and forgetting after the last task; `moved`: the largest
change of an earlier task's outputs since it was learned (0: bit for bit the same);
`exported_as_learned`: whether `task_model` of each task has, at the end, exactly the
weights that it had when the task was learned; units that were added and split.
"""

import collections

import graph_runs
import keras
import numpy as np
import results_file
from absl import app
from absl import flags
from keras import layers

import keras_lifelong as kl

PART = flags.DEFINE_enum(
    "part", "all", ["all", "choose", "compare", "exact"], "what to run"
)
SEEDS = flags.DEFINE_integer("seeds", 3, "number of seeds of the table")
FILTERS = (8, 16, 32)
CANDIDATES = {
    "DEN": {
        "as published": {},
        "drift 0.05": {"drift": 0.05},
        "drift 0.05, all retrained": {"drift": 0.05, "selective": False},
        "drift 5": {"drift": 5.0},
        "drift 50": {"drift": 50.0},
    },
    "EWC": {"100": {}, "1000": {"strength": 1000.0}, "10000": {"strength": 10000.0}},
    "Finetune": {"": {}},
    "Independent": {"": {}},
}


def resnet():
    """Three stages of one residual block each: 19,000 weights, 16 x 16 and below."""

    def convolved(x, filters, name, size=3, strides=1):
        x = layers.Conv2D(
            filters, size, strides, padding="same", use_bias=False, name=name
        )(x)
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)

    images = keras.Input((32, 32, 3), name="images")
    x = layers.ReLU(name="stem_relu")(convolved(images, FILTERS[0], "stem", 3, 2))
    for stage, filters in enumerate(FILTERS, 1):
        name, strides = f"stage_{stage}", 1 if stage == 1 else 2
        y = convolved(x, filters, f"{name}_conv_1", 3, strides)
        y = layers.ReLU(name=f"{name}_relu_1")(y)
        y = convolved(y, filters, f"{name}_conv_2")
        if strides > 1:
            x = convolved(x, filters, f"{name}_shortcut", 1, strides)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    return keras.Model(images, layers.GlobalAveragePooling2D(name="pooling")(x))


def build(method, settings, seed):
    options = {"growth": 4, "bucket": 8} if method == "DEN" else {}
    model = getattr(kl, method)(resnet(), **{**options, **settings}, seed=seed)
    model.compile(keras.optimizers.Adam(3e-3), metrics=["accuracy"])
    return model


def choose(tasks):
    """Accuracy on validation images, of each method's candidates."""
    held_out = graph_runs.on_validation(tasks)

    def measure(row, seed):
        method, _, which = row.partition(" ")
        model = build(method, CANDIDATES[method][which], seed)
        return graph_runs.run(model, held_out, watch=False)[1]

    rows = [f"{m} {c}" for m, some in CANDIDATES.items() for c in some if len(some) > 1]
    results = results_file.run(
        graph_runs.OUT.value, {"part": "choose"}, rows, [100], measure
    )
    results_file.table(results, ["acc", "forgetting", "capacity", "seconds"])


def chosen(method):
    """The name of the candidate that was best on validation images."""
    names = list(CANDIDATES[method])
    found = results_file.read(graph_runs.OUT.value, part="choose")
    scores = {r["row"]: r["acc"] for r in found}
    if len(names) == 1:
        return names[0]
    return max(names, key=lambda name: scores[f"{method} {name}"])


def units(growth):
    """Units by what became of them: added, split."""
    found = collections.Counter()
    for entry in growth:
        found[entry["kind"]] += entry["count"]
    return {"added": found["add"], "split": found["split"]}


def compare(tasks):
    def measure(row, seed):
        name = chosen(row)
        model = build(row, CANDIDATES[row][name], seed)
        result, found = graph_runs.run(model, tasks)
        result.save(graph_runs.beside(f".{row}_{seed}.json"))
        return {"settings": name, **found, **units(result.growth)}

    seeds = range(1 if graph_runs.FAST.value else SEEDS.value)
    results = results_file.run(
        graph_runs.OUT.value,
        {"part": "compare"},
        list(CANDIDATES),
        seeds,
        measure,
        graph_runs.ROWS.value,
    )
    results_file.table(results, ["acc", "learned", "forgetting", "capacity"])
    print()
    keys = ["added", "split", "moved", "exported_apart", "exported_as_learned"]
    results_file.table(results, [*keys, "seconds"])


def exact(tasks):
    """What becomes of the first task where units are added and no old weight moves."""

    def measure(row, seed):
        bucket = int(row.split()[1])  # 8: storage grows with the tasks; 64: it has room
        model = build("DEN", {"expansion": "constant", "bucket": bucket}, seed)
        size, first = graph_runs.BATCH.value, tasks[0]
        many = graph_runs.epochs()
        model.fit(first, epochs=many, batch_size=size, verbose=0)
        x, name = first.test[0], first.name
        before, weights = model.predict(x, task=name), model.task_model(name)
        model.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"])
        for task in tasks[1:]:
            model.fit(task, epochs=1, batch_size=size, verbose=0)
        now = model.task_model(name)
        pairs = zip(weights.get_weights(), now.get_weights(), strict=True)
        return {
            "moved": float(np.abs(model.predict(x, task=name) - before).max()),
            "exported_as_learned": all(np.array_equal(a, b) for a, b in pairs),
            "units": [len(group.units_at()) for group in model.network.groups],
            **units(model.growth),
        }

    results = results_file.run(
        graph_runs.OUT.value, {"part": "exact"}, ["bucket 8", "bucket 64"], [0], measure
    )
    results_file.table(results, ["moved", "exported_as_learned", "added", "split"])


def main(_):
    tasks = graph_runs.tasks()
    if PART.value in ("all", "choose"):
        choose(tasks)
    if PART.value in ("all", "compare"):
        compare(tasks)
    if PART.value in ("all", "exact"):
        exact(tasks)


if __name__ == "__main__":
    app.run(main)
