"""PAR: grouping, related and unrelated tasks, ablations, thresholds, search, scale.

    TFDS_DATA_DIR=... python benchmarks/par.py --part related --out runs/par.jsonl

Each part adds its rows to the file and prints its table; what is there already is not
computed again, and an interrupted row goes on from its last phase. By default the
schedules are for two CPU cores, and the same for all rows of a part. `--paper` takes
the published one for `ablation` and `thresholds` (width 64, 100 epochs, all of
CIFAR-100), which wants a GPU: `KERAS_BACKEND=jax`.

Parts:
    grouping    agreement of groups with the known ones of CIFAR-100's superclasses
    related     MNIST and CIFAR-100 in turns, PAR beside its baselines
    ablation    Table 5
    thresholds  Figures 3 and 4: alpha and beta
    search      found cells against random ones of as many parameters
    scale       a hundred five-way tasks: time by task
"""

import pathlib
import time

import keras
import numpy as np
import par_cells
import par_streams
import results_file
from absl import app
from absl import flags
from results_file import table

import keras_lifelong as kl
from keras_lifelong.layers import extractors
from keras_lifelong.metrics import task_distance

PART = flags.DEFINE_enum(
    "part",
    "related",
    ["grouping", "related", "ablation", "thresholds", "search", "scale"],
    "what to measure",
)
OUT = flags.DEFINE_string("out", None, "file of results", required=True)
SEEDS = flags.DEFINE_integer("seeds", 3, "number of seeds")
FIRST = flags.DEFINE_integer("first", 0, "first seed")
ROWS = flags.DEFINE_list("rows", None, "only these rows")
EPOCHS = flags.DEFINE_integer("epochs", None, "epochs a task")
WIDTH = flags.DEFINE_integer("width", 8, "C of the cells")
IMAGES = flags.DEFINE_integer("images", 500, "training images a task, of Table 5")
TASKS = flags.DEFINE_integer("tasks", 10, "tasks of Table 5")
PAPER = flags.DEFINE_bool("paper", False, "the published schedule")

# animals, plants, vehicles, household (and what is kept there), outdoor scenes
KNOWN = (0, 0, 1, 3, 1, 3, 3, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 1, 2, 2)
EXTRACTORS = {
    "random_convolutions": {"name": "random_convolutions"},
    "random_convolutions, 32": {"name": "random_convolutions", "components": 32},
    "random_convolutions, raw": {"name": "random_convolutions", "components": None},
    "pca": {"name": "pca"},
    "pixels": None,
    "first expert": "first_expert",
}
METHODS = {
    "par": lambda b, s: kl.PAR(b, seed=s, schedule=None, weight_decay=0.0),
    "independent": lambda b, s: kl.Independent(b, seed=s),
    "finetune": lambda b, s: kl.Finetune(b, seed=s),
    "lwf": lambda b, s: kl.LwF(b, seed=s),
    "ewc": lambda b, s: kl.EWC(b, strength=30.0, seed=s),
}
# Ten random classes look alike to random features: distances are 0 to 0.15 there, and
# these thresholds divide them as the paper's divide those of ImageNet features.
ALPHA, BETA = 0.02, 0.1
ABLATION = {
    "fixed": {"alpha": 0.0, "search": False},
    "par": {"alpha": ALPHA, "beta": BETA},
    "regularisation": {"alpha": 1.0, "search": False},
    "fine+coarse": {"alpha": 0.0, "beta": BETA},
    "fixed+regularisation": {"alpha": ALPHA, "search": False},
    "fine": {"alpha": 0.0, "beta": 0.0},
    "fine+regularisation": {"alpha": ALPHA, "beta": 0.0},
}
# alpha 0 is "fine+coarse", beta 0 is "fine+regularisation", and the middle is "par"
THRESHOLDS = {
    "fine+coarse": ABLATION["fine+coarse"],
    "par": ABLATION["par"],
    "alpha 0.08": {"alpha": 0.08, "beta": BETA},
    "alpha 1": {"alpha": 1.0, "beta": BETA},
    "fine+regularisation": ABLATION["fine+regularisation"],
    "beta 1": {"alpha": ALPHA, "beta": 1.0},
}

# Rows


def run(part, rows, measure):
    seeds = range(FIRST.value, FIRST.value + SEEDS.value)
    names = {"part": part}
    return results_file.run(OUT.value, names, rows, seeds, measure, ROWS.value)


def learn(model, stream, name, epochs, batch_size):
    """Learns a stream; what the tables show of it."""
    directory = pathlib.Path(OUT.value).with_suffix("") / name
    result = model.fit_stream(
        stream,
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
        checkpoint_dir=directory,
    )
    found = {
        "ap": result.acc,
        "af": result.af,
        "params": result.params_total,
        "seconds": float(np.sum(result.train_seconds_by_task)),
        "last_row": result.matrix[-1].tolist(),
        "compilations": result.compile_count,
    }
    if isinstance(model, kl.PAR):
        found["groups"] = [e["tasks"] for e in model.experts]
        chosen = [e for e in model.growth if e["kind"] != "search"]
        found["kinds"] = [
            e["kind"] + (f" {e['why'].get('cell')}" if "cell" in e["why"] else "")
            for e in chosen
        ]
        found["distances"] = [e["why"]["distance"] for e in chosen]
    return found


# Grouping


def grouping():
    from sklearn.metrics import adjusted_rand_score

    stream = kl.streams.get("cifar100_superclass")
    held_out = [task.validation for task in stream]
    train = [task.train[0][:1000] for task in stream]
    orders = [np.random.default_rng(s).permutation(20) for s in range(5)]

    def measured(row, seed):
        """Features of every task, by which extractor, and of its training images."""
        settings = EXTRACTORS[row]
        if settings is None:
            return [x.reshape(len(x), -1) for x, _ in held_out], None
        if settings == "first_expert":
            backbone = kl.backbones.get("cnn", (32, 32, 3), filters=[32, 64])
            model = kl.Finetune(backbone, seed=seed)
            model.compile(keras.optimizers.Adam(1e-3))
            model.fit(stream[0], epochs=20, batch_size=64, verbose=0)
            forward = model.trainer.forward
            return [forward(model.features, x) for x, _ in held_out], None
        settings = dict(settings)
        if settings["name"] == "random_convolutions":
            settings["seed"] = seed
        extractor = extractors.get(settings)
        return [extractor(x) for x, _ in held_out], extractor

    def measure(row, seed):
        if row == "random groups":
            rng = np.random.default_rng(seed)
            scores = [
                adjusted_rand_score(KNOWN, rng.integers(0, 4, 20)) for _ in range(1000)
            ]
            return {"rand_index": float(np.mean(scores)), "groups": 4}
        features, extractor = measured(row, seed)
        pairs = [(f, y) for f, (_, y) in zip(features, held_out, strict=True)]
        found, by_order = {}, []
        for order in [np.arange(20), *orders]:
            if extractor is not None:
                extractor.set_state({})
            distances = divergences(pairs, order, extractor, train)
            known = [KNOWN[i] for i in order]
            by_order.append((distances, known))
        for alpha in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
            scores, counts = [], []
            for distances, known in by_order:
                groups = group(distances, alpha)
                scores.append(adjusted_rand_score(known, groups))
                counts.append(len(set(groups)))
            found[f"alpha {alpha}"] = {
                "in order": scores[0],
                "over orders": float(np.mean(scores)),
                "groups": float(np.mean(counts)),
            }
        best = max(found.values(), key=lambda v: v["over orders"])
        half = found["alpha 0.5"]
        return {
            "rand_index": half["over orders"],
            "groups": half["groups"],
            "best": best["over orders"],
            "by_alpha": found,
        }

    results = run("grouping", [*EXTRACTORS, "random groups"], measure)
    table(results, ["rand_index", "groups"])
    table([r for r in results if "best" in r], ["best"])


def divergences(pairs, order, extractor, train):
    """Of each task from those before, at its time: a list of lists."""
    found = []
    for n, i in enumerate(order):
        project = np.asarray
        if extractor is not None:
            extractor.adapt(train[i])
            project = extractor.project
        features, labels = project(pairs[i][0]), pairs[i][1]
        kept = [project(task_distance.prototypes(*pairs[j])) for j in order[:n]]
        found.append([task_distance.divergence(features, labels, k) for k in kept])
    return found


def group(divergences, alpha):
    """Numbers of the groups that tasks come into, one after the other."""
    groups, of = [], []
    for i, row in enumerate(divergences):
        distances = [
            task_distance.to_unit(float(np.mean([row[j] for j in members])))
            for members in groups
        ]
        if distances and min(distances) <= alpha:
            of.append(int(np.argmin(distances)))
            groups[of[-1]].append(i)
        else:
            of.append(len(groups))
            groups.append([i])
    return of


# Related and unrelated tasks


def related():
    def measure(row, seed):
        backbone = kl.backbones.get("cnn", (32, 32, 3), filters=[16, 32], units=[64])
        model = METHODS[row](backbone, seed)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
        stream = par_streams.mixed(seed)
        return learn(model, stream, f"related_{row}_{seed}", EPOCHS.value or 30, 10)

    results = run("related", METHODS, measure)
    table(results, ["ap", "af", "params", "seconds"])


# Table 5, Figures 3 and 4


def cifar100(rows):
    def measure(row, seed):
        epochs = 100 if PAPER.value else EPOCHS.value or 12
        width = 64 if PAPER.value else WIDTH.value
        backbone = kl.backbones.get("cells", (32, 32, 3), filters=width)
        augmentation = {"padding": 4, "flip": True, "brightness": 63 / 255}
        model = kl.PAR(
            backbone,
            seed=seed,
            augmentation=augmentation,
            patience=20 if PAPER.value else None,
            **rows[row],
        )
        rate = 0.01 if PAPER.value else 0.05
        model.compile(keras.optimizers.SGD(rate, momentum=0.9))
        stream = kl.streams.get(
            "split_cifar100",
            num_tasks=TASKS.value,
            train_per_task=None if PAPER.value else IMAGES.value,
        )
        batch_size = 64 if PAPER.value else 32
        return learn(model, stream, f"cifar100_{row}_{seed}", epochs, batch_size)

    found = run("cifar100", rows, measure)
    results = [r for r in found if r["row"] in rows]
    for r in results:
        r["experts"] = len(r["groups"])
    table(results, ["ap", "af", "params", "experts", "seconds"])


# Search


def search():
    """Found cells against random ones of nearly as many parameters."""
    rows, measure = par_cells.comparison(WIDTH.value, EPOCHS.value, PAPER.value)
    results = run("search", rows, measure)
    for r in results:
        r["row"] = "random" if r["row"].startswith("random") else r["row"]
    table(results, ["accuracy", "params", "largest_probability", "search_compilations"])


# Scale


def scale():
    """A hundred five-way tasks: of digits' or CIFAR-100's classes, 150 images each."""

    def measure(row, seed):
        del row
        backbone = kl.backbones.get("cnn", (32, 32, 3), filters=[8, 16], units=[32])
        model = kl.PAR(backbone, seed=seed, schedule=None, weight_decay=0.0)
        model.compile(keras.optimizers.Adam(1e-3))
        seconds, counted = [], 0
        for task in par_streams.hundred(seed):
            start = time.perf_counter()
            model.fit(task, epochs=EPOCHS.value or 10, batch_size=16, verbose=0)
            seconds.append(time.perf_counter() - start)
        counted = sum(v.size for v in model.memory.values())
        sizes = model.sizes()
        groups = [e["tasks"] for e in model.experts]
        pure = [len({t.split("_")[0] for t in g}) == 1 for g in groups]
        return {
            "first_ten": float(np.median(seconds[5:15])),
            "last_ten": float(np.median(seconds[-10:])),
            "ratio": float(np.median(seconds[-10:]) / np.median(seconds[5:15])),
            "experts": len(groups),
            "of_one_kind": float(np.mean(pure)),
            "params": model.count_params(),
            "numbers_in_memory": counted,
            "sizes": sizes,
            "compilations": model.trainer.compile_count,
            "groups": groups,
            "seconds_by_task": seconds,
        }

    results = run("scale", ["par"], measure)
    table(results, ["ratio", "experts", "of_one_kind", "params", "numbers_in_memory"])


def main(_):
    parts = {
        "grouping": grouping,
        "related": related,
        "ablation": lambda: cifar100(ABLATION),
        "thresholds": lambda: cifar100(THRESHOLDS),
        "search": search,
        "scale": scale,
    }
    parts[PART.value]()


if __name__ == "__main__":
    app.run(main)
