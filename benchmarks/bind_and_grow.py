"""BindAndGrow: samplers on digits, the first layer of permuted digits, CIFAR-100.

    python benchmarks/bind_and_grow.py --part samplers --out runs/bind.jsonl

Each part adds its rows to the file and prints its table; what is there already is not
computed again. Schedules are for two CPU cores; `--paper` takes the published network
and five epochs for `cifar`, which takes an hour there for a few of its rows, with
`--train` images a task and no more than these `--rows`:

    python benchmarks/bind_and_grow.py --part cifar --out runs/paper.jsonl --paper \
        --train 2500 --rows "freeze 0.55,freeze 0.55 random"

Parts:
    samplers   hypervolume after 20 and 50 trials of every sampler, on a table of all
               architectures of digits, after the five that a search begins with, and
               of the staged search;
               --seeds of them, 10 by default
    time       a search of 20 trials over 20 separate runs
    permuted   which layer of the paper's four-layer net to grow for permuted digits
    cifar      gain and size by retention and δ, beside random growth, and how steady
               the accuracy of earlier tasks is
    live       a search of 20 δ on split_mnist
    conflicts  what comparing a task with the earlier ones takes, at task 2, 6, 11 and
               21: milliseconds, and the parts that are computed anew
"""

import itertools
import pathlib
import tempfile
import time

import keras
import keras_tuner as kt
import numpy as np
import results_file
from absl import app
from absl import flags
from results_file import table

import keras_lifelong as kl
from keras_lifelong.methods.bind_and_grow.similarity import nucleus
from keras_lifelong.search import GrowSequenceTuner
from keras_lifelong.search import ParetoOracle
from keras_lifelong.search import ParetoTuner
from keras_lifelong.search.grow_sequence import OBJECTIVES
from keras_lifelong.search.grow_sequence import SHARED_START
from keras_lifelong.search.grow_sequence import SHARED_TRIALS
from keras_lifelong.search.grow_sequence import Recall

PART = flags.DEFINE_enum(
    "part",
    "samplers",
    ["samplers", "time", "permuted", "cifar", "live", "conflicts"],
    "what to measure",
)
OUT = flags.DEFINE_string("out", None, "file of results", required=True)
SEEDS = flags.DEFINE_integer("seeds", None, "number of seeds")
PAPER = flags.DEFINE_bool("paper", False, "the published network and epochs")
TRAIN = flags.DEFINE_integer("train", None, "images a task of `cifar`")
SAMPLES = flags.DEFINE_integer("samples", 500, "images that compare layers in `cifar`")
ROWS = flags.DEFINE_list("rows", None, "the rows of `cifar` to compute")

SAMPLERS = ("random", "ehvi", "tpe", "nsga2", "ehvi staged")
REFERENCE = {"gain": -20.0, "params": 40_000.0}


def run(part, rows, seeds, measure):
    return results_file.run(OUT.value, {"part": part}, rows, range(seeds), measure)


def build_digits():
    model = kl.BindAndGrow(kl.backbones.get("mlp", (8, 8, 1), units=[64, 32]))
    model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
    return model


# Samplers


class Table:
    """Every architecture of digits under a δ by task, learned once.

    A layer's probabilities depend on the architecture so far, so that the table is
    walked task by task.
    """

    def __init__(self, directory):
        tuner = GrowSequenceTuner(
            build_digits,
            kl.streams.get("digits"),
            epochs=20,
            space="per_task",
            directory=directory,
            project_name="table",
        )
        self.names = list(tuner.tasks)[1:]
        self.probabilities, self.outcomes = {}, {}
        for deltas in itertools.product((0.0, 0.01, 1.0), repeat=len(self.names)):
            values = {f"delta/{n}": d for n, d in zip(self.names, deltas, strict=True)}
            found, model = tuner.measure(values)
            prefix = ()
            for entry in model.growth:
                if entry["kind"] == "bind":
                    scores = entry["why"]["probability"]
                    self.probabilities[prefix] = scores
                    delta = entry["why"]["coefficient"]
                    prefix += (tuple(nucleus(scores, delta)),)
            self.outcomes[prefix] = found

    def __call__(self, values):
        prefix = ()
        for name in self.names:
            scores = self.probabilities[prefix]
            prefix += (tuple(nucleus(scores, values[f"delta/{name}"])),)
        return self.outcomes[prefix]


class Replay(ParetoTuner):
    table = None

    def measure(self, values):
        return self.table(values), None


def samplers():
    with tempfile.TemporaryDirectory() as directory:
        Replay.table = known = Table(directory)
        print(f"{len(known.outcomes)} architectures", flush=True)

        def measure(row, seed):
            space = kt.HyperParameters()
            for name in known.names:
                space.Float(f"delta/{name}", 0.0, 1.0, step=0.05, default=0.5)
            deltas = [f"delta/{n}" for n in known.names]
            first = [dict.fromkeys(deltas, d) for d in SHARED_START]
            sampler, _, staged = row.partition(" ")
            oracle = ParetoOracle(
                OBJECTIVES,
                50,
                space,
                sampler,
                initial_points=first,
                tied=deltas if staged else None,
                tied_trials=SHARED_TRIALS if staged else 0,
                seed=seed,
            )
            place = pathlib.Path(directory) / f"{row}{seed}"
            tuner = Replay(oracle, str(place), "p")
            tuner.write_table = lambda: None
            start = time.perf_counter()
            tuner.search(verbose=0)
            seconds = time.perf_counter() - start
            whole = oracle.hypervolume(REFERENCE)
            kept = oracle.trials
            oracle.trials = {k: t for k, t in kept.items() if int(k) < 20}
            early = oracle.hypervolume(REFERENCE)
            return {"at_20": early, "at_50": whole, "seconds": seconds}

        results = run("samplers", SAMPLERS, SEEDS.value or 10, measure)
        oracle = ParetoOracle(OBJECTIVES, 1, kt.HyperParameters(), sampler="random")
        points = [
            [s * o[n] for s, n in zip(oracle.signs, oracle.names, strict=True)]
            for o in known.outcomes.values()
        ]
        from keras_lifelong.search.pareto import hypervolume

        best = hypervolume(np.array(points), (-REFERENCE["gain"], REFERENCE["params"]))
    for r in results:
        r["at_20"], r["at_50"] = r["at_20"] / best, r["at_50"] / best
    table(results, ["at_20", "at_50", "seconds"])


# Time


def time_of_search():
    def measure(row, seed):
        del row
        stream = kl.streams.get("digits")
        with tempfile.TemporaryDirectory() as directory:
            start = time.perf_counter()
            tuner = GrowSequenceTuner(
                build_digits, stream, epochs=20, seed=seed, directory=directory
            )
            tuner.search(verbose=0)
            together = time.perf_counter() - start
            deltas = [row["delta"] for row in tuner.rows()]
        start = time.perf_counter()
        for delta in deltas:
            model = build_digits().with_options(grow_coefficient=delta)
            for task in stream:
                model.fit(task, epochs=20, verbose=0)
            for task in stream:
                model.evaluate(task, split="validation")
        apart = time.perf_counter() - start
        return {"ratio": together / apart, "trials": len(deltas)}

    table(run("time", ["digits"], SEEDS.value or 3, measure), ["ratio", "trials"])


# Permuted digits


class OneLayer(kl.BindAndGrow):
    """Grows the layer it is told to."""

    layer = 0

    def choose_parts(self, name, conflict):
        _, why = super().choose_parts(name, conflict)
        return [self.layer], why


def permuted():
    def measure(row, seed):
        layer, retention = int(row.split()[1]) - 1, row.split()[2]
        stream = kl.streams.get(
            "permuted_mnist",
            num_tasks=2,
            head="shared",
            standardize=True,
            train_per_task=None if PAPER.value else 10_000,
            seed=seed,
        )
        model = OneLayer(
            kl.backbones.get("l2bg_mnist", (28, 28, 1)), retention=retention, seed=seed
        )
        model.layer = layer
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), metrics=["accuracy"])
        for task in stream:
            model.fit(task, epochs=2, batch_size=64, verbose=0)
        old, new = (model.evaluate(task)["accuracy"] for task in stream)
        bind = next(e for e in model.growth if e["kind"] == "bind")
        rho = bind["why"]["conflicts"]["task_0"]["rho"]
        return {"old": old, "new": new, "rho": rho}

    rows = [f"layer {i} {r}" for r in ("freeze", "same") for i in (1, 2, 3)]
    table(run("permuted", rows, SEEDS.value or 2, measure), ["old", "new"])


# CIFAR-100


CIFAR = [
    *("slow/0.1 0.55", "freeze 0.55", "slow/0.1 0.55 random", "freeze 0.55 random"),
    *("slow/0.01 0.55", "freeze 0.0", "slow/0.1 0.0", "same 0.55", "freeze 0.8"),
    *("slow/0.1 0.8", "slow/0.01 0.8", "freeze 0.95", "slow/0.01 0.0"),
    *("slow/0.01 0.55 random", "freeze 0.3", "slow/0.1 0.3", "slow/0.01 0.3"),
    *("slow/0.1 0.95", "freeze 0.8 random", "same 0.8"),
]  # retention, with the slow rate's ratio; δ; and whether growth is random


class Alone(Recall):
    """Networks that learned a task alone, which all rows of a seed have in common."""

    def get(self, key):
        return super().get(key) if key[0] == "alone" else None

    def put(self, key, value):
        if key[0] == "alone":
            super().put(key, value)


def old_tasks(matrix):
    """How much a step changed what earlier tasks can do: mean and spread, in points."""
    matrix = np.asarray(matrix)
    steps = [(matrix[i, :i] - matrix[i - 1, :i]) for i in range(1, len(matrix))]
    means = [100 * float(step.mean()) for step in steps]
    lost = 100 * (np.diag(matrix) - matrix[-1])[:-1]
    return {
        "step": float(np.mean(means)),
        "step_spread": float(np.std(means)),
        "lost": float(lost.mean()),
        "lost_spread": float(lost.std()),
    }


def cifar():
    recalls = {}

    def measure(row, seed):
        how, delta, *random = row.split()
        retention, _, ratio = how.partition("/")
        small = {} if PAPER.value else {"filters": [16, 32, 64], "units": [128, 128]}
        stream = kl.streams.get(
            "split_cifar100",
            num_tasks=10,
            standardize=True,
            train_per_task=TRAIN.value or (None if PAPER.value else 1000),
        )
        model = kl.BindAndGrow(
            kl.backbones.get("l2bg_cifar100", (32, 32, 3), **small),
            grow_coefficient=float(delta),
            retention=retention,
            slow_ratio=float(ratio or 0.1),
            random_growth=bool(random),
            samples=SAMPLES.value,
            seed=seed,
        )
        model.recall = recalls.setdefault(seed, Alone(2**30))
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), metrics=["accuracy"])
        epochs = 5 if PAPER.value else 10
        result = model.fit_stream(stream, epochs=epochs, batch_size=64, verbose=0)
        single = list(model.single_task_scores().values())
        grown = [e["layer"] for e in model.growth if e["kind"] == "grow"]
        return {
            "acc": result.acc,
            "single": float(np.mean(single)),
            "gain": kl.metrics.multi_task_gain(result.matrix[-1], single),
            "gain_learned": kl.metrics.multi_task_gain(np.diag(result.matrix), single),
            "params": result.params_total,
            "forgetting": result.forgetting,
            **old_tasks(result.matrix),
            "seconds": result.wall_seconds,
            "grown": {layer: grown.count(layer) for layer in sorted({*grown})},
            "single_by_task": [float(v) for v in single],
            "matrix": [
                [float(v) for v in r[: i + 1]] for i, r in enumerate(result.matrix)
            ],
        }

    rows = CIFAR if ROWS.value is None else ROWS.value
    results = run("cifar", rows, SEEDS.value or 1, measure)
    table(results, ["acc", "single", "gain", "gain_learned", "params"])
    print()
    table(results, ["step", "step_spread", "lost", "lost_spread"])


def live():
    def build():
        backbone = kl.backbones.get("mlp", (28, 28, 1), units=[64, 32])
        model = kl.BindAndGrow(backbone)
        model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
        return model

    def measure(row, seed):
        del row
        stream = kl.streams.get("split_mnist", train_per_task=1000, seed=seed)
        with tempfile.TemporaryDirectory() as directory:
            tuner = GrowSequenceTuner(
                build, stream, epochs=3, max_trials=20, seed=seed, directory=directory
            )
            tuner.search(verbose=0)
            front = [r for r in tuner.rows() if r["on_front"]]
        keys = ("delta", "gain", "params")
        return {
            "trials": 20,
            "front": [[float(r[k]) for k in keys] for r in front],
            "best_gain": max(r["gain"] for r in front),
            "smallest": min(r["params"] for r in front),
        }

    results = run("live", ["split_mnist"], SEEDS.value or 1, measure)
    table(results, ["best_gain", "smallest"])


# Conflicts

WATCHED = (2, 6, 11, 21)


def conflicts():
    """By which layers are grown first, and δ: routes that share more cost less."""

    def measure(row, seed):
        score, delta = row.split()
        layers = [keras.layers.Dense(300, activation="relu") for _ in range(4)]
        model = kl.BindAndGrow(
            keras.Sequential([keras.Input((64,)), *layers]),
            grow_coefficient=float(delta),
            grow_score=score,
            seed=seed,
        )
        model.compile("adam", metrics=["accuracy"])
        draw = np.random.default_rng(seed)
        compared, found = model.representations, {}
        compare, said = compared.conflicts, compared.blocks.said
        parts = []

        def counted(*args):
            for entry in said(*args):
                parts.append(entry)
                yield entry

        def timed(task, alone, others):
            parts.clear()
            start = time.perf_counter()
            conflicts = compare(task, alone, others)
            found[len(others) + 1] = time.perf_counter() - start, len(parts)
            return conflicts

        compared.conflicts, compared.blocks.said = timed, counted
        for t in range(WATCHED[-1]):
            x = draw.normal(size=(1000, 64)).astype("float32")
            y = (x[:, t] > 0).astype("int32")
            task = kl.Task(
                f"t{t}", train=(x[:500], y[:500]), validation=(x[500:], y[500:])
            )
            model.fit(task, epochs=1, batch_size=250, verbose=0)
        return {
            **{f"ms at {t}": 1000 * found[t][0] for t in WATCHED},
            **{f"parts at {t}": found[t][1] for t in WATCHED},
        }

    rows = ["similarity 0.0", "similarity 0.55", "dissimilarity 0.3"]
    results = run("conflicts", rows, SEEDS.value or 1, measure)
    table(results, [f"ms at {t}" for t in WATCHED])
    print()
    table(results, [f"parts at {t}" for t in WATCHED])


def main(_):
    parts = {
        "conflicts": conflicts,
        "live": live,
        "samplers": samplers,
        "time": time_of_search,
        "permuted": permuted,
        "cifar": cifar,
    }
    parts[PART.value]()


if __name__ == "__main__":
    app.run(main)
