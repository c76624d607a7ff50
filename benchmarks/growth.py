"""What growing costs: DEN on ten tasks of a shortened permuted MNIST.

    TFDS_DATA_DIR=... python benchmarks/growth.py

Prints the compilations of the run (aim: at most 12) and the training time of the last
task over that of the second, which has as much data (aim: at most 1.5). The second
task pays for compiling what the first did not need, so the third is printed too.
"""

import keras
from absl import app
from absl import flags

import keras_lifelong as kl

ROWS = flags.DEFINE_integer("train_per_task", 5000, "training examples of a task")
TASKS = flags.DEFINE_integer("tasks", 10, "number of tasks", lower_bound=3)
EPOCHS = flags.DEFINE_integer("epochs", 5, "epochs of each phase")


def main(_):
    stream = kl.streams.get(
        "permuted_mnist", num_tasks=TASKS.value, train_per_task=ROWS.value
    )
    try:
        stream[0].train  # noqa: B018 (reads MNIST)
    except FileNotFoundError as error:
        message = f"This benchmark needs MNIST and has no stand-in. {error}"
        raise SystemExit(message) from error
    backbone = kl.backbones.get("mlp", (28, 28, 1), units=[312, 128])
    model = kl.DEN(backbone, growth=10)
    model.compile(keras.optimizers.Adam(1e-3), metrics=["accuracy"])
    result = model.fit_stream(stream, epochs=EPOCHS.value, batch_size=256, verbose=0)
    print(result)
    times = result.train_seconds_by_task
    print("seconds by task:", " ".join(f"{t:.1f}" for t in times))
    print(f"compilations: {result.compile_count} (aim: at most 12)")
    print(f"last task / second: {times[-1] / times[1]:.2f} (aim: at most 1.5)")
    print(f"last task / third:  {times[-1] / times[2]:.2f}")


if __name__ == "__main__":
    app.run(main)
