"""LASEM against static transfer and brute force (Table 3), and what a step costs.

    TFDS_DATA_DIR=... python benchmarks/lasem.py --out runs/lasem.jsonl
    TFDS_DATA_DIR=... python benchmarks/lasem.py --cost

The first learns the ten tasks of `lasem_cifar100` by each row and adds the results to
the file; what is there already is not computed again, and an interrupted row goes on
from its last phase. By default the schedule is one for a CPU: 50 epochs a task at one
raised learning rate, the same for all rows. `--paper` takes the published one, 2,000
epochs at 1e-4 / (1 + epoch / 4000), which wants a GPU and `KERAS_BACKEND=jax`; then
`--npz FILE` has the stream, where TensorFlow Datasets is not.

Chance: the row "random", where each task draws which layers it shares, and "own".

The second measures milliseconds a step of batch 10 and prints ratios to the static
transfer of all layers, timed in turns.
"""

import pathlib
import time

import keras
import numpy as np
import results_file
from absl import app
from absl import flags

import keras_lifelong as kl
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.optimizers import RMSpropFromOne

OUT = flags.DEFINE_string("out", None, "file of results")
COST = flags.DEFINE_bool("cost", False, "measure the time of a step")
SEEDS = flags.DEFINE_integer("seeds", 3, "number of seeds")
FIRST = flags.DEFINE_integer("first", 0, "first seed")
SHARING = flags.DEFINE_list("sharing", ["hps", "tf", "dfcnn"], "mechanisms")
ROWS = flags.DEFINE_list(
    "rows", ["lasem", "all"], "lasem, exact, all, own, random, brute, sampled"
)
TASKS = flags.DEFINE_integer("tasks", 10, "tasks of the stream")
EPOCHS = flags.DEFINE_integer("epochs", 50, "epochs a task")
RATE = flags.DEFINE_float("learning_rate", 1e-3, "learning rate")
NPZ = flags.DEFINE_string("npz", None, "the stream as a file")
PAPER = flags.DEFINE_bool("paper", False, "the published schedule")
TURNS = flags.DEFINE_integer("turns", 5, "of the cost: turns of every row")
SETTINGS = {
    "lasem": {},
    "exact": {"prune": 0.0},
    "all": {"configuration": "all"},
    "own": {"configuration": [0, 0, 0, 0]},
    "random": {"configuration": "all"},  # until a task draws its own
    "brute": {"search": "brute_force"},
    "sampled": {"prune": 0.0, "m_step": "sampled", "m_steps": 4},
}


class ByChance(kl.LASEM):
    """LASEM without its choice: each task draws a configuration, all as likely."""

    def learn(self, task):
        rng = np.random.default_rng(derive_seed(self.seed, "by chance", task.name))
        self.given = rng.integers(0, 2, self.network.choices).tolist()
        return super().learn(task)


def build(sharing, row, seed):
    backbone = kl.backbones.get("lasem_cifar100", (32, 32, 3))
    method = ByChance if row == "random" else kl.LASEM
    model = method(backbone, sharing=sharing, seed=seed, **SETTINGS[row])
    rate = RATE.value
    if PAPER.value:
        schedule = keras.optimizers.schedules.InverseTimeDecay
        rate = schedule(1e-4, decay_steps=17, decay_rate=1 / 4000, staircase=True)
    model.compile(RMSpropFromOne(rate), metrics=["accuracy"])
    return model


def learn(sharing, row, seed, out):
    """One row of the table: results of the whole stream."""
    model = build(sharing, row, seed)
    epochs = 2000 if PAPER.value else EPOCHS.value
    directory = out.with_suffix("") / f"{sharing}_{row}_{seed}_{epochs}"
    stream = (
        {"name": "npz", "path": NPZ.value} if NPZ.value else {"name": "lasem_cifar100"}
    )
    result = model.fit_stream(
        kl.streams.get(**stream, num_tasks=TASKS.value),
        epochs=epochs,
        batch_size=10,
        verbose=0,
        checkpoint_dir=directory,
    )
    configurations = [model.configuration(name) for name in model.task_names]
    return {
        "epochs": epochs,
        "tasks": TASKS.value,
        "peak": float(np.mean(result.peak_by_task)),
        "acc": result.acc,
        "forgetting_ratio": result.forgetting_ratio,
        "capacity": result.capacity,
        "seconds": float(np.sum(result.train_seconds_by_task)),
        "configurations": ["".join(map(str, c)) for c in configurations],
    }


def learn_all(out):
    for seed in range(FIRST.value, FIRST.value + SEEDS.value):
        for sharing in SHARING.value:

            def measure(row, seed, sharing=sharing):
                return learn(sharing, row, seed, out)

            names = {"sharing": sharing}
            results_file.run(out, names, ROWS.value, [seed], measure)
    done = []
    for sharing in SHARING.value:
        for row in SETTINGS:
            same = results_file.read(out, sharing=sharing, row=row)
            done += [{**r, "row": f"{sharing} {row}"} for r in same]
    results_file.table(done, ["peak", "acc", "forgetting_ratio"])


class Steps(keras.callbacks.Callback):
    """Seconds a step, of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._start
        self.seconds.append(seconds / self.params["steps"])


def cost():
    """Time of a step of every row over the static one, in turns."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(170, 32, 32, 3)).astype("float32")
    y = rng.integers(0, 10, 170)
    held_out = (x[:20], y[:20])
    for sharing in SHARING.value:
        models = {row: build(sharing, row, 0) for row in ("all", *ROWS.value)}
        seconds = {row: [] for row in models}
        for turn in range(TURNS.value + 1):
            for row, model in models.items():
                steps = Steps()
                model.fit(
                    x,
                    y,
                    task=f"task_{turn}",
                    epochs=EPOCHS.value,
                    batch_size=10,
                    verbose=0,
                    validation_data=held_out,
                    callbacks=[steps],
                )
                if turn:  # the first compiles
                    seconds[row].append(np.mean(steps.seconds))
        for row, values in seconds.items():
            ratios = np.array(values) / np.array(seconds["all"])
            print(
                f"{sharing:6s} {row:8s} {np.median(ratios):.2f} times static transfer "
                f"of all layers ({ratios.min():.2f} to {ratios.max():.2f})",
                flush=True,
            )


def main(_):
    if COST.value:
        cost()
    elif OUT.value:
        learn_all(pathlib.Path(OUT.value))
    else:
        raise app.UsageError("Give --cost or --out FILE.")


if __name__ == "__main__":
    app.run(main)
