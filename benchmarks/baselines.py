"""All methods on ten permutations of MNIST, 784-100-100-10 without biases.

    TFDS_DATA_DIR=... python benchmarks/baselines.py --out FILE [--fast] [--rows GPM]
    python benchmarks/baselines.py --out FILE --figure docs/baselines.png

The network and the tasks are those of WSN's Table 1 (Kang et al., ICML 2022), a head
for each task; ACC there: one net a task 97.37, WSN 96.41 (c = .3) and 96.14 (c = .1),
PackNet 96.37, TRGP 96.34, SupSup 96.31, GPM 94.96, EWC 92.01, Finetune 78.22. Every row
has the same epochs, batches and optimizer (PackNet's are halved: it trains twice; of
our methods that train a task in several phases each phase has them all). What is stored
is the size of the model's preset: arrays, masks and kept examples.
Results are added to FILE as lines of JSON, and what is there already is not computed
again. `docs/baselines.md` is written from such a file (--table).
"""

import pathlib
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
import results_file
from absl import app
from absl import flags

import keras_lifelong as kl

SEEDS = flags.DEFINE_integer("seeds", 1, "number of seeds")
ROWS = flags.DEFINE_list("rows", None, "names of rows; all by default")
EPOCHS = flags.DEFINE_integer("epochs", 5, "epochs of a task")
BATCH = flags.DEFINE_integer("batch_size", 64, "batch size")
IMAGES = flags.DEFINE_integer("images", None, "training images a task; all by default")
RATE = flags.DEFINE_float("learning_rate", 1e-3, "of the optimizer")
OPTIMIZER = flags.DEFINE_enum("optimizer", "adam", ["adam", "sgd"], "of all phases")
FAST = flags.DEFINE_bool("fast", False, "1,000 images a task, 5 epochs, batch 32")
TABLE = flags.DEFINE_bool("table", False, "print the rows as Markdown, and do no more")
FIGURE = flags.DEFINE_string("figure", None, "draw the rows there, and do no more")
OUT = flags.DEFINE_string("out", None, "file of results", required=True)

# what ten tasks leave of what is free, so that each takes a tenth of the weights
EQUAL = [1 - 1 / left for left in range(10, 0, -1)]
# name: (method, its options, the published ACC)
METHODS = {
    "Independent": ("Independent", {}, 97.37),
    "Finetune": ("Finetune", {}, 78.22),
    "EWC": ("EWC", {"strength": 1000.0}, 92.01),
    "EWC 100": ("EWC", {"strength": 100.0}, 92.01),
    "EWC 10": ("EWC", {"strength": 10.0}, 92.01),
    "OnlineEWC": ("OnlineEWC", {"strength": 1000.0}, None),
    "SI": ("SI", {"strength": 1.0, "damping": 0.01}, None),
    "MAS": ("MAS", {"strength": 0.1}, None),
    "ExperienceReplay": (
        "ExperienceReplay",
        {"budget": 1000, "replay_batch": 64},
        None,
    ),
    "DERPP": ("DERPP", {"budget": 1000, "replay_batch": 64}, None),
    "AGEM": ("AGEM", {"budget": 1000, "replay_batch": 256}, None),
    "GEM": ("GEM", {"budget": 1000}, None),
    "ICaRL": ("ICaRL", {"budget": 1000, "replay_batch": 64}, None),
    "GPM": ("GPM", {"threshold": 0.95, "increase": 0.0}, 94.96),
    "GPM .95 .99": ("GPM", {"threshold": [0.95, 0.99], "increase": 0.0}, 94.96),
    "TRGP": ("TRGP", {"threshold": 0.95, "increase": 0.0}, 96.34),
    "HAT": ("HAT", {}, None),
    "HAT c=10": ("HAT", {"strength": 10.0}, None),
    "CAT": ("CAT", {}, None),
    "PackNet": ("PackNet", {"prune": 0.75}, 96.37),
    "PackNet equal": ("PackNet", {"prune": EQUAL}, 96.37),
    "CPG": ("CPG", {"prune": 0.75}, None),
    "WSN c=.1": ("WSN", {"capacity": 0.1}, 96.14),
    "WSN c=.3": ("WSN", {"capacity": 0.3}, 96.41),
    "SupSup": ("SupSup", {"capacity": 0.5}, 96.31),
    "ProgressiveNetwork": ("ProgressiveNetwork", {}, None),
    "APD": ("APD", {}, None),
    "MNTDP": ("MNTDP", {}, None),
    "LearnToGrow": ("LearnToGrow", {}, None),
    "PathNet": ("PathNet", {}, None),
    "SGF": ("SGF", {}, None),
    "LMC": ("LMC", {}, None),
    "DARTSTransfer": ("DARTSTransfer", {}, None),
    "DEN": ("DEN", {"loss_threshold": 0.05}, None),
    "BindAndGrow": ("BindAndGrow", {}, None),
    "PAR": ("PAR", {}, None),
    "LASEM hps": ("LASEM", {"sharing": "hps"}, None),
    "ARI": ("ARI", {"outputs": 10, "keep": "one", "adaptation": 1}, None),
}
OURS = ("DEN", "BindAndGrow", "PAR", "LASEM", "ARI")


def schedule():
    """Epochs, batch size and images of a task."""
    if FAST.value:
        return {"epochs": 5, "batch_size": 32, "images": 1000}
    return {
        "epochs": EPOCHS.value,
        "batch_size": BATCH.value,
        "images": IMAGES.value,
    }


def run(row, seed):
    """One row: ten tasks, learned in order and all tested at the end."""
    plan = schedule()
    stream = kl.streams.get("permuted_mnist", seed=seed, train_per_task=plan["images"])
    name, options, _ = METHODS[row]
    backbone = kl.backbones.get("mlp_100_100", (28, 28, 1))
    model = getattr(kl, name)(backbone, seed=seed, **options)
    optimizer = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    model.compile(optimizer[OPTIMIZER.value](RATE.value), metrics=["accuracy"])
    epochs = plan["epochs"] if name != "PackNet" else -(-plan["epochs"] // 2)
    result = model.fit_stream(
        stream, epochs=epochs, batch_size=plan["batch_size"], verbose=0
    )
    return {
        "acc": result.acc,
        "bwt": result.bwt,
        "parameters": model.count_params(),
        "bytes": stored(model),
        "learned": float(np.mean(result.matrix.diagonal())),
        "fit_seconds": result.wall_seconds,
        "compile_count": result.compile_count,
    }


def stored(model):
    """Bytes of the arrays in the model's preset."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_to_preset(directory)
        files = pathlib.Path(directory).rglob("*")
        return sum(f.stat().st_size for f in files if f.suffix in (".h5", ".npz"))


def table(rows):
    """Rows as Markdown, the published number beside each."""
    lines = [
        "| row | ACC | published | as learned | BWT | parameters | MiB | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (*_, published) in METHODS.items():
        mine = [r for r in rows if r["row"] == name]
        if not mine:
            shown = "" if published is None else f"{published:.2f}"
            lines.append(f"| {name} | not measured | {shown} | | | | | |")
            continue
        acc, learned, bwt = (
            100 * np.mean([r[key] for r in mine]) for key in ("acc", "learned", "bwt")
        )
        shown = "none found" if published is None else f"{published:.2f}"
        size = mine[0]["bytes"] / 2**20
        lines.append(
            f"| {name} | {acc:.2f} | {shown} | {learned:.2f} | {bwt:+.2f} | "
            f"{mine[0]['parameters']:,} | {size:.2f} | {len(mine)} |"
        )
    return "\n".join(lines)


def figure(rows, path):
    """Accuracy against what is stored, a point a row: ours are filled."""
    points = []
    for name in METHODS:
        mine = [r for r in rows if r["row"] == name]
        if mine:
            size, acc = (np.mean([r[key] for r in mine]) for key in ("bytes", "acc"))
            points.append((size / 2**20, 100 * acc, name))
    points.sort(key=lambda point: point[1])
    chart, axes = plt.subplots(figsize=(9, 6))
    placed = []
    for x, y, name in points:
        is_ours = METHODS[name][0] in OURS
        colour = "C3" if is_ours else "C0"
        face = colour if is_ours else "none"
        axes.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=5)
        near = [at for where, at in placed if abs(np.log(x / where)) < 0.5]
        at = max([y, *(other + 1.1 for other in near)])  # above those beside it
        placed.append((x, at))
        axes.annotate(
            name,
            (x, y),
            xytext=(1.06 * x, at),
            fontsize=7,
            va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.3},
        )
    axes.set_ylim(top=1.5 + max(at for _, at in placed))
    axes.set_xscale("log")
    axes.set_xlabel("stored: arrays of the preset, MiB")
    axes.set_ylabel("mean accuracy after ten tasks, %")
    axes.grid(alpha=0.3)
    chart.tight_layout()
    chart.savefig(path, dpi=110)


def main(_):
    plan = schedule()
    names = {**plan, "learning_rate": RATE.value}
    if OPTIMIZER.value != "adam":
        names["optimizer"] = OPTIMIZER.value
    if TABLE.value or FIGURE.value:
        found = results_file.read(OUT.value, **names)
        if FIGURE.value:
            figure(found, FIGURE.value)
        else:
            print(table(found))
        return
    rows = ROWS.value or METHODS
    done = results_file.run(OUT.value, names, METHODS, range(SEEDS.value), run, rows)
    print(table(done))


if __name__ == "__main__":
    app.run(main)
