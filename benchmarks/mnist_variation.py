"""DEN's Figures 3 and 4c on MNIST-Variation: mean AUROC and capacity by method.

    TFDS_DATA_DIR=... python benchmarks/mnist_variation.py --seeds 5 --out FILE

Paper (Yoon et al., 2018, Figure 4c): L2 0.7440, dynamic expansion 0.7684 at capacity
1.56, constant 0.7611 at 1.55; no split step there. The images of a seed are made once
and given to every method. Results are added to FILE as lines of JSON, and what is
there already is not computed again.
"""

import keras
import numpy as np
import results_file
from absl import app
from absl import flags

import keras_lifelong as kl

SEEDS = flags.DEFINE_integer("seeds", 3, "number of seeds")
FIRST = flags.DEFINE_integer("first", 0, "first seed")
ROWS = flags.DEFINE_list(
    "rows", None, "names of rows, EWC@10 to give a strength; all by default"
)
EPOCHS = flags.DEFINE_integer("epochs", 20, "epochs of each phase")
BATCH = flags.DEFINE_integer("batch_size", 256, "batch size")
CONSTANT = flags.DEFINE_integer("constant", 15, "k of constant expansion")
TEST = flags.DEFINE_integer("test_per_class", 5000, "test images per class")
OUT = flags.DEFINE_string("out", None, "file of results", required=True)

METHODS = {
    "Finetune": lambda b, s: kl.Finetune(b, seed=s),
    "L2": lambda b, s, strength=0.05: kl.L2(b, strength=strength, seed=s),
    "EWC": lambda b, s, strength=1000.0: kl.EWC(b, strength=strength, seed=s),
    "Independent": lambda b, s: kl.Independent(b, seed=s),
    "DEN": lambda b, s: kl.DEN(b, growth=10, l1=5e-5, seed=s),
    "dynamic": lambda b, s: kl.DEN(b, growth=16, l1=5e-5, split=False, seed=s),
    "constant": lambda b, s: kl.DEN(
        b, growth=CONSTANT.value, l1=5e-5, split=False, expansion="constant", seed=s
    ),
}


def run(row, seed, stream):
    backbone = kl.backbones.get("mlp", (28, 28, 1), units=[312, 128])
    name, *strength = row.split("@")
    model = METHODS[name](backbone, seed, *map(float, strength))
    model.compile(keras.optimizers.Adam(1e-3), metrics=["auroc"])
    result = model.fit_stream(
        stream, epochs=EPOCHS.value, batch_size=BATCH.value, verbose=0
    )
    return {
        "auroc": result.acc,
        "bwt": result.bwt,
        "capacity": result.capacity,
        "compile_count": result.compile_count,
    }


def main(_):
    names = {"epochs": EPOCHS.value}
    for seed in range(FIRST.value, FIRST.value + SEEDS.value):
        stream = kl.streams.get(
            "mnist_variation",
            seed=seed,
            standardize=True,
            images_per_class=[1000, 200, TEST.value],
        )

        def measure(row, seed, stream=stream):
            return run(row, seed, stream)

        rows = ROWS.value or METHODS
        done = results_file.run(OUT.value, names, rows, [seed], measure)
    for name in dict.fromkeys([*METHODS, *(r["row"] for r in done)]):
        rows = [r for r in done if r["row"] == name]
        if rows:
            auroc = np.array([r["auroc"] for r in rows])
            capacity = np.mean([r["capacity"] for r in rows])
            print(
                f"{name:12s} AUROC {auroc.mean():.4f} +- {auroc.std():.4f} "
                f"capacity {capacity:.3f} ({len(rows)} seeds)"
            )


if __name__ == "__main__":
    app.run(main)
