"""BindAndGrow: samplers on digits, the first layer of permuted digits, CIFAR-100.

    python benchmarks/bind_and_grow.py --part samplers --out runs/bind.jsonl

Each part adds its rows to the file and prints its table; what is there already is not
computed again. Schedules are for two CPU cores; `--paper` takes the published network
and five epochs for `cifar`, which wants a GPU.

Parts:
    samplers   hypervolume after 20 and 50 trials of every sampler, on a table of all
               architectures of digits, after the five that a search begins with;
               --seeds of them, 10 by default
    time       a search of 20 trials over 20 separate runs
    permuted   which layer of the paper's four-layer net to grow for permuted digits
    cifar      gain and size by δ, beside random growth, and the three retentions
    live       a search of 20 δ on split_mnist
"""

import itertools
import json
import pathlib
import tempfile
import time

import keras
import keras_tuner as kt
import numpy as np
from absl import app
from absl import flags

import keras_lifelong as kl
from keras_lifelong.metrics.similarity import nucleus
from keras_lifelong.search import GrowSequenceTuner
from keras_lifelong.search import ParetoOracle
from keras_lifelong.search import ParetoTuner
from keras_lifelong.search.grow_sequence import OBJECTIVES
from keras_lifelong.search.grow_sequence import SHARED_START

PART = flags.DEFINE_enum(
    "part",
    "samplers",
    ["samplers", "time", "permuted", "cifar", "live"],
    "what to measure",
)
OUT = flags.DEFINE_string("out", None, "file of results", required=True)
SEEDS = flags.DEFINE_integer("seeds", None, "number of seeds")
PAPER = flags.DEFINE_bool("paper", False, "the published network and epochs")

SAMPLERS = ("random", "ehvi", "tpe", "nsga2")
REFERENCE = {"gain": -20.0, "params": 40_000.0}


def run(part, rows, seeds, measure):
    """Adds what is missing of rows x seeds to the file, and returns the part's rows."""
    out = pathlib.Path(OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.touch()

    def done():
        found = [json.loads(line) for line in out.read_text().splitlines()]
        return [r for r in found if r["part"] == part]

    for seed in range(seeds):
        for row in rows:
            if any((r["row"], r["seed"]) == (row, seed) for r in done()):
                continue
            found = {"part": part, "row": row, "seed": seed, **measure(row, seed)}
            with out.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(found, flush=True)
    return done()


def table(results, keys):
    for row in dict.fromkeys(r["row"] for r in results):
        same = [r for r in results if r["row"] == row]
        cells = []
        for key in keys:
            values = np.array([r[key] for r in same], float)
            cells.append(f"{key} {values.mean():.4f} +- {values.std():.4f}")
        print(f"{row:22s} {'  '.join(cells)}  ({len(same)} seeds)")


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
            first = [{f"delta/{n}": d for n in known.names} for d in SHARED_START]
            oracle = ParetoOracle(
                OBJECTIVES, 50, space, row, initial_points=first, seed=seed
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
            model = build_digits()
            model.options.grow_coefficient = delta
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

    def choose_units(self, name, conflict):
        _, why = super().choose_units(name, conflict)
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


def cifar():
    deltas = [f"delta {d}" for d in (0.0, 0.3, 0.55, 0.7, 0.8, 0.95)]
    others = ["random 0.55", "random 0.8", "freeze 0.55", "same 0.55"]
    others += ["freeze 0.8", "same 0.8"]

    def measure(row, seed):
        kind, delta = row.split()
        small = {} if PAPER.value else {"filters": [16, 32, 64], "units": [128, 128]}
        stream = kl.streams.get(
            "split_cifar100",
            num_tasks=10,
            standardize=True,
            train_per_task=None if PAPER.value else 1000,
        )
        model = kl.BindAndGrow(
            kl.backbones.get("l2bg_cifar100", (32, 32, 3), **small),
            grow_coefficient=float(delta),
            retention=kind if kind in ("freeze", "same") else "slow",
            random_growth=kind == "random",
            seed=seed,
        )
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), metrics=["accuracy"])
        epochs = 5 if PAPER.value else 10
        result = model.fit_stream(stream, epochs=epochs, batch_size=64, verbose=0)
        single = list(model.single_task_scores().values())
        return {
            "acc": result.acc,
            "single": float(np.mean(single)),
            "gain": kl.metrics.multi_task_gain(result.matrix[-1], single),
            "params": result.params_total,
            "forgetting": result.forgetting,
        }

    results = run("cifar", [*deltas, *others], SEEDS.value or 1, measure)
    table(results, ["acc", "single", "gain", "params", "forgetting"])


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


def main(_):
    parts = {
        "live": live,
        "samplers": samplers,
        "time": time_of_search,
        "permuted": permuted,
        "cifar": cifar,
    }
    parts[PART.value]()


if __name__ == "__main__":
    app.run(main)
