"""The same tasks here, in a PyTorch loop written by hand, and in Avalanche, in turns.

    python3 -m venv avalanche
    avalanche/bin/pip install torch==2.13.0 torchvision avalanche-lib==0.6.0
    export TFDS_DATA_DIR=...
    python benchmarks/peers.py --python avalanche/bin/python --out FILE

All have the same data, order, network (MLP 784-256-256 with a head for each task),
initial weights, optimizer (SGD, .05, momentum .9, begun anew for each task), batches of
128 and one epoch, and test every task seen after each; two threads, and no logger. Each
is a process that learns the stream again and again when it is told to, one after the
other, so that a slow moment of the machine touches all. Printed are medians over turns
of the ratio of our seconds of training to theirs, and the accuracies at the end. What a
process does before (imports, and here compiling, which two tasks bring about that are
dropped again) is not in the seconds: it is `compile` in the file.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import results_file
from absl import app
from absl import flags

import keras_lifelong as kl

STREAMS = ["split_mnist", "permuted_mnist"]
STREAM = flags.DEFINE_enum("stream", "split_mnist", STREAMS, "which tasks")
PYTHON = flags.DEFINE_string("python", sys.executable, "the one that has the peers")
PEERS = flags.DEFINE_list("peers", ["torch", "avalanche"], "peers_NAME.py beside this")
TURNS = flags.DEFINE_integer("turns", 5, "streams learned by each", lower_bound=1)
ONLY = flags.DEFINE_list("rows", None, "names of rows; all by default")
IMAGES = flags.DEFINE_integer("images", None, "training images a task; all by default")
OUT = flags.DEFINE_string("out", None, "file of results", required=True)

RATE, MOMENTUM, BATCH, UNITS = 0.05, 0.9, 128, (256, 256)
# name: (our method, its options); peers have the same in files of theirs.
ROWS = {
    "Naive": ("Finetune", {}),
    "EWC": ("EWC", {"strength": 100.0, "fisher_samples": 1000}),
    "LwF": ("LwF", {"strength": 1.0, "temperature": 2.0}),
    "SI": ("SI", {"strength": 1.0}),
    "Replay": ("ExperienceReplay", {"budget": 500, "replay_batch": 128}),
    "PNN": ("ProgressiveNetwork", {}),
    "MAS": ("MAS", {"strength": 0.1}),
    "AGEM": ("AGEM", {"budget": 1000, "replay_batch": 256}),
    "GEM": ("GEM", {"budget": 1000, "margin": 0.5}),
}
REPLAY = ("Replay", "AGEM", "GEM")


def glorot(rng, inputs, outputs):
    limit = np.sqrt(6 / (inputs + outputs))
    return rng.uniform(-limit, limit, (inputs, outputs)).astype("float32")


def written(path):
    """Puts data in order, and initial weights, into a file that all read."""
    rng = np.random.default_rng(0)
    stream = kl.streams.get(STREAM.value, train_per_task=IMAGES.value)
    arrays = {}
    count = 0
    for t, task in enumerate(stream):
        for name, (x, y) in (("train", task.train), ("test", task.test)):
            x, y = np.asarray(x, "float32").reshape(len(x), -1), np.asarray(y, "int64")
            order = rng.permutation(len(x))
            arrays[f"{name}_x_{t}"], arrays[f"{name}_y_{t}"] = x[order], y[order]
        classes = int(arrays[f"train_y_{t}"].max()) + 1
        arrays[f"head_kernel_{t}"] = glorot(rng, UNITS[-1], classes)
        arrays[f"head_bias_{t}"] = np.zeros(classes, "float32")
        count += 1
    for i, (n, m) in enumerate(zip((784, *UNITS[:-1]), UNITS, strict=True)):
        arrays[f"kernel_{i}"] = glorot(rng, n, m)
        arrays[f"bias_{i}"] = np.zeros(m, "float32")
    np.savez(path, layers=len(UNITS), tasks=count, **arrays)
    return dict(np.load(path))


class Begin(keras.callbacks.Callback):
    """Gives the head of a task its initial weights."""

    def __init__(self, kernel, bias):
        super().__init__()
        self.kernel, self.bias = kernel, bias

    def on_train_begin(self, logs=None):
        for variable, given in zip(
            (self.model.head.kernel, self.model.head.bias),
            (self.kernel, self.bias),
            strict=True,
        ):
            value = keras.ops.convert_to_numpy(variable).copy()
            value[..., : given.shape[-1]] = given
            variable.assign(value)


class Ours:
    """Our method of a row: `turn()` does as the peers' processes do."""

    def __init__(self, data, row):
        self.data, self.row = data, row

    def task(self, name, t):
        split = [
            (self.data[f"{part}_x_{t}"], self.data[f"{part}_y_{t}"])
            for part in ("train", "test")
        ]
        return kl.Task(name, train=split[0], test=split[1], validation_split=0)

    def compiled(self):
        """A model that knows no task and has compiled, and the seconds of that."""
        layers = [keras.layers.Dense(n, activation="relu") for n in UNITS]
        backbone = keras.Sequential([keras.Input((784,)), *layers])
        names = [f"{w}_{i}" for i in range(len(UNITS)) for w in ("kernel", "bias")]
        given = [self.data[name] for name in names]
        backbone.set_weights(given)
        method, options = ROWS[self.row]
        model = getattr(kl, method)(backbone, pretrained=True, **options)
        model.compile(keras.optimizers.SGD(RATE, MOMENTUM))
        start = time.perf_counter()
        # the second meets what the first left, some all that came before
        many = self.row in ("PNN", *REPLAY)
        count = int(self.data["tasks"]) if many else 2
        for t in range(count):
            self.fit(model, self.task(f"before_{t}", 0), [])
            model.predict(self.data["test_x_0"], task=f"before_{t}", batch_size=1024)
        seconds = time.perf_counter() - start
        for t in reversed(range(count)):
            model.drop_task(f"before_{t}")
        if self.row != "PNN":  # whose columns begin with the backbone's weights
            model.network.set_weights(given)
        return model, seconds

    @staticmethod
    def fit(model, task, callbacks):
        """Seconds of an epoch in the order of the data."""
        start = time.perf_counter()
        model.fit(
            task,
            epochs=1,
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
        return time.perf_counter() - start

    def accuracy(self, model, t):
        x, y = self.data[f"test_x_{t}"], self.data[f"test_y_{t}"]
        outputs = model.predict(x, task=f"task_{t}", batch_size=1024)
        return float(np.mean(np.argmax(outputs, 1) == y))

    def turn(self):
        model, compiling = self.compiled()
        train = test = 0.0
        matrix = []
        for t in range(int(self.data["tasks"])):
            head = [self.data[f"head_{w}_{t}"] for w in ("kernel", "bias")]
            train += self.fit(model, self.task(f"task_{t}", t), [Begin(*head)])
            start = time.perf_counter()
            matrix.append([self.accuracy(model, s) for s in range(t + 1)])
            test += time.perf_counter() - start
        return {"train": train, "test": test, "matrix": matrix, "compile": compiling}


class Peer:
    """A process that learns the stream whenever it is told to."""

    def __init__(self, peer, path, row):
        script = pathlib.Path(__file__).with_name(f"peers_{peer}.py")
        self._process = subprocess.Popen(
            [PYTHON.value, str(script), path, row],
            env={**os.environ, "OMP_NUM_THREADS": "2"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.known = self._said()["known"]

    def _said(self):
        for line in self._process.stdout:
            if line.startswith("{"):  # a library may print, too
                return json.loads(line)
        raise RuntimeError(f"A peer ended with {self._process.wait()}.")

    def turn(self):
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        return self._said()

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def measure(path, row):
    """All turns of a row, of everyone who has it."""
    data = dict(np.load(path))
    peers = {name: Peer(name, path, row) for name in PEERS.value}
    for name in [name for name, peer in peers.items() if not peer.known]:
        peers.pop(name).close()
    ours = Ours(data, row)
    ours.turn()  # each has done something before it is timed
    for peer in peers.values():
        peer.turn()
    turns = []
    for _ in range(TURNS.value):
        done = {"ours": ours.turn()}
        turns.append(done | {name: peer.turn() for name, peer in peers.items()})
    for peer in peers.values():
        peer.close()
    return figures(turns)


def figures(turns):
    """Medians over turns: seconds, ratios of ours to each, and final accuracies."""
    found = {"compile": float(np.median([t["ours"]["compile"] for t in turns]))}
    for name in turns[0]:
        found[f"{name} train"] = float(np.median([t[name]["train"] for t in turns]))
        found[f"{name} test"] = float(np.median([t[name]["test"] for t in turns]))
        found[f"{name} ACC"] = float(np.mean(turns[-1][name]["matrix"][-1]))
        if name != "ours":
            for part in ("train", "test"):
                ratios = [t["ours"][part] / t[name][part] for t in turns]
                found[f"{part} over {name}"] = float(np.median(ratios))
                found[f"{part} over {name}, ends"] = [min(ratios), max(ratios)]
    return found


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/data.npz"
        written(path)
        names = {"stream": STREAM.value, "images": IMAGES.value}
        rows = results_file.run(
            OUT.value,
            names,
            ROWS,
            [0],
            lambda row, seed: measure(path, row),
            only=ONLY.value,
        )
    parts = [f"{p} over {n}" for n in PEERS.value for p in ("train", "test")]
    accuracies = [f"{name} ACC" for name in ("ours", *PEERS.value)]
    results_file.table(rows, [*parts, *accuracies])


if __name__ == "__main__":
    app.run(main)
