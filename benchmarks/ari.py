"""ARI: Split and Permuted MNIST beside its baselines, exploring, memory, retention.

    TFDS_DATA_DIR=... python benchmarks/ari.py --part mnist --out runs/ari.jsonl

Each part adds its rows to the file and prints its table; what is there already is not
computed again.

Parts:
    mnist       ARI with what the choice of a set is worth, Finetune and EWC, at equal
                epochs: --stream split_mnist (3 seeds) or permuted_mnist (--seeds 1)
    retention   whether a slot still holds after ten further tasks
    exploring   ten candidates at once, one after another, and by `Model.fit`
    memory      fifty permutations: memory of the process and numbers held, by task
"""

import resource
import time
import types

import keras
import numpy as np
import results_file
from absl import app
from absl import flags
from results_file import table

import keras_lifelong as kl

PART = flags.DEFINE_enum(
    "part", "mnist", ["mnist", "retention", "exploring", "memory"], "what to measure"
)
OUT = flags.DEFINE_string("out", None, "file of results", required=True)
STREAM = flags.DEFINE_enum(
    "stream", "split_mnist", ["split_mnist", "permuted_mnist"], "of the part mnist"
)
SEEDS = flags.DEFINE_integer("seeds", 3, "number of seeds")
FIRST = flags.DEFINE_integer("first", 0, "first seed")
EPOCHS = flags.DEFINE_integer("epochs", 5, "epochs a task")
TASKS = flags.DEFINE_integer("tasks", 50, "tasks of the part memory")
ROWS = flags.DEFINE_list("rows", None, "only these rows")


def run(part, rows, measure):
    seeds = range(FIRST.value, FIRST.value + SEEDS.value)
    names = {"part": part}
    return results_file.run(OUT.value, names, rows, seeds, measure, ROWS.value)


def backbone():
    return kl.backbones.get("mlp_100_100", (28, 28, 1))


class Measured(kl.ARI):
    """ARI, and what storing costs: test accuracies before any fine-tuning.

    Of the set that is chosen for a task right after it was learned, as it was trained
    and as it is generated; and of those chosen for all tasks, after each.
    """

    def learn(self, task):
        yield from super().learn(task)
        noted, name = self.noted, task.name
        noted.tests[name] = task.test
        held = [self.tested(n, self.choose(n)) for n in noted.tests]
        noted.found["held"].append(held)
        slot = self.choices(name)[0]
        noted.found["trained"].append(self.tested(name, noted.sets[slot]))
        noted.found["stored"].append(held[-1])

    def store(self, task, kept):
        self.noted.sets = [c.parameters for c in kept]
        return super().store(task, kept)

    def tested(self, name, parameters):
        x, y = self.noted.tests[name]
        units = self.task_spec(name).units
        logits = self.form.answers(parameters, x)[:, :units]
        return float((logits.argmax(-1) == y).mean())


OPTIONS = {  # of zoo_configs/ari
    "split_mnist": {"keep": "one", "storing_steps": 5000},
    "permuted_mnist": {"keep": "one", "storing_steps": 10_000, "adaptation": 1},
}


def ari(seed, stream=None, **kwargs):
    kwargs = {**OPTIONS[stream or STREAM.value], **kwargs}
    model = Measured(backbone(), outputs=10, seed=seed, **kwargs)
    found = {"trained": [], "stored": [], "held": []}
    model.noted = types.SimpleNamespace(tests={}, sets=None, found=found)
    model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
    return model


METHODS = {
    "ari": ari,
    "finetune": lambda s: kl.Finetune(backbone(), seed=s),
    "ewc": lambda s: kl.EWC(backbone(), strength=30.0, seed=s),
}
SHARED = [f"{name}, shared head" for name in list(METHODS)[1:]]  # as the paper's


def mnist():
    def measure(row, seed):
        model = METHODS[row.partition(",")[0]](seed)
        if row != "ari":
            model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
        head = "shared" if row in SHARED else "per_task"
        stream = kl.streams.get(STREAM.value, train_per_task=1000, seed=seed, head=head)
        result = model.fit_stream(stream, epochs=EPOCHS.value, batch_size=10, verbose=0)
        found = {
            "acc": result.acc,
            "forgetting": result.forgetting,
            "params": result.params_total,
            "seconds": float(np.sum(result.train_seconds_by_task)),
        }
        if row == "ari":
            for r in model.compare_selections(list(stream)):
                found[f"{r['selection']} {r['epochs']}"] = r["accuracy"]
            logged = [e for e in result.growth if e["kind"] == "explore"]
            trained = [e["why"]["curve"][-1] for e in logged]
            found["trained"] = float(np.mean(trained))
            last = [e["why"] for e in result.growth if e["kind"] == "keep"]
            noted = model.noted.found
            before, after = noted["trained"], noted["stored"]
            found["test_trained"] = float(np.mean(before))
            found["test_stored"] = float(np.mean(after))
            found["test_kept"] = float(np.mean(np.divide(after, before)))
            found["first_after_all"] = noted["held"][-1][0]
            found["by_task"] = noted
            found["stored_drop"] = float(np.mean([w["drop"] for w in last]))
            found["rank"] = [
                e["why"]["value"]
                for e in result.growth
                if e["kind"] == "rank correlation"
            ]
            found["transfer"] = transfer(logged, result.task_names[0])
            found["sizes"] = model.sizes()
        return found

    results = run(f"mnist {STREAM.value}", [*METHODS, *SHARED], measure)
    keys = ["acc", "forgetting", "params", "trained", "stored_drop"]
    keys += ["test_trained", "test_stored", "test_kept", "first_after_all"]
    for selection in ("estimator", "random", "exemplar_loss", "drawn"):
        keys += [f"{selection} {epochs}" for epochs in (0, 1, 10)]
    table(results, keys)


def transfer(logged, first):
    """Measurements, ten steps apart, to a training accuracy of 0.9, known and drawn."""
    steps = {"known": [], "drawn": []}
    for e in logged:
        if e["task"] == first:
            continue
        curve = np.array(e["why"]["curve"])
        reached = int(np.argmax(curve >= 0.9)) if curve.max() >= 0.9 else len(curve)
        steps["drawn" if e["why"]["learned"] is None else "known"].append(reached)
    return {kind: float(np.mean(v)) if v else None for kind, v in steps.items()}


def retention():
    """Accuracy of the first task's best set, as stored, after each further task."""

    def measure(row, seed):
        del row
        stream = kl.streams.get(
            "permuted_mnist", num_tasks=11, train_per_task=1000, seed=seed
        )
        model, scores = ari(seed, "permuted_mnist", adaptation=0), []
        for task in stream:
            model.fit(task, epochs=EPOCHS.value, batch_size=10, verbose=0)
            scores.append(model.evaluate(stream[0])["accuracy"])
            print(scores, flush=True)
        return {"by_task": scores, "first": scores[0], "last": scores[-1]}

    table(run("retention", ["permuted_mnist"], measure), ["first", "last"])


def exploring():
    """Ten candidates, batch 10: at once, one after another, and by `Model.fit`."""

    def measure(row, seed):
        del row
        (task,) = kl.streams.get(
            "split_mnist", num_tasks=1, train_per_task=1000, seed=seed
        )
        model = ari(seed, initial=10, training_budget=10, storing_steps=50)
        x, y = task.train
        epochs, spent = EPOCHS.value, {}

        def explore(loaded):
            model.knowledge_base.make(model.outputs_per_set)
            signature = model.signer.of_task(loaded)
            model.estimator.describe(model.memory, "task_0", signature)
            candidates = model.candidates("task_0")
            for at_once in (True, False):
                model._change_options(at_once=at_once)
                for _ in range(2):  # the first compiles
                    start = time.perf_counter()
                    yield from model.explore(loaded, candidates)
                    spent[at_once] = time.perf_counter() - start

        model.fit(task, epochs=epochs, batch_size=10, verbose=0, learn=explore)
        plain = keras.Sequential(
            [*backbone().layers, keras.layers.Dense(2, use_bias=False)]
        )
        plain.build((None, 28, 28, 1))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        plain.compile(keras.optimizers.Adam(1e-3), loss)
        plain.fit(x, y, epochs=1, batch_size=10, verbose=0)  # compiles
        start = time.perf_counter()
        for _ in range(10):
            plain.fit(x, y, epochs=epochs, batch_size=10, verbose=0)
        by_fit = time.perf_counter() - start
        return {
            "fit_over_fused": by_fit / spent[False],
            "fit_over_at_once": by_fit / spent[True],
            "fused_over_at_once": spent[False] / spent[True],
        }

    keys = ["fit_over_fused", "fit_over_at_once", "fused_over_at_once"]
    table(run("exploring", ["split_mnist"], measure), keys)


def memory():
    def measure(row, seed):
        del row
        stream = kl.streams.get(
            "permuted_mnist", num_tasks=TASKS.value, train_per_task=200, seed=seed
        )
        quick = {"storing_steps": 100, "estimator_epochs": 40, "rehearse": False}
        model = kl.ARI(backbone(), outputs=10, seed=seed, **quick)
        model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
        seen, held = [], []
        for task in stream:
            model.fit(task, epochs=1, batch_size=10, verbose=0)
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[1])
            seen.append(pages * resource.getpagesize() / 2**20)
            held.append(sum(v.size for v in model.memory.values()))
        middle = len(seen) // 2
        return {
            "mib": seen,
            "numbers": held,
            "growth_mib": seen[-1] - seen[middle],
            "numbers_by_task": (held[-1] - held[middle]) / (len(held) - 1 - middle),
        }

    results = run("memory", ["permuted_mnist"], measure)
    table(results, ["growth_mib", "numbers_by_task"])


def main(_):
    parts = {
        "mnist": mnist,
        "retention": retention,
        "exploring": exploring,
        "memory": memory,
    }
    parts[PART.value]()


if __name__ == "__main__":
    app.run(main)
