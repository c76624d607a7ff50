"""Time of `import keras_lifelong` against that of `import keras`, in fresh processes.

    python benchmarks/import_time.py                 # about two minutes

They take turns. Our import alone reads nothing, not even Keras: names are looked up
when first used. So what is compared with `import keras` is our import with every public
name used. The aim is less than 0.1 s between them, in the median of the turns; the
minima say the same with less noise.
"""

import os
import subprocess
import sys

import numpy as np
from absl import app
from absl import flags

TURNS = flags.DEFINE_integer("turns", 7, "turns of each", lower_bound=1)
STATEMENTS = {
    "keras": "import keras",
    "keras_lifelong": "import keras_lifelong",
    "keras_lifelong, all used": "from keras_lifelong import *",
}
TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
# The first run compiles our files, as installing Keras has done with its own.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def seconds(statement):
    command = [sys.executable, "-c", TIMED.format(statement)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    return float(done.stdout.split()[-1])


def main(_):
    statements = STATEMENTS.values()
    for statement in statements:
        seconds(statement)  # files into the page cache
    turns = [[seconds(s) for s in statements] for _ in range(TURNS.value)]
    for name, times in zip(STATEMENTS, np.transpose(turns), strict=True):
        over = times - np.transpose(turns)[0]
        print(
            f"{name:25s} min {times.min():.2f} s, median {np.median(times):.2f} s; "
            f"over keras: min {times.min() - np.min(turns, 0)[0]:+.2f} s, "
            f"median {np.median(over):+.2f} s"
        )


if __name__ == "__main__":
    app.run(main)
