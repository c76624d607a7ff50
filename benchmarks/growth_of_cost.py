"""What growing costs: time and size by the number of tiny tasks, for each method.

    python benchmarks/growth_of_cost.py [METHOD ...] [--tasks 10,50,200] [--trained] \
        [--record docs/trust.json]

At each number of tasks: seconds of a processor for the last task, a checkpoint of the
whole model, saving, loading, loading one task, removing one and predicting one, and
bytes of checkpoint and preset. A task is of 16 examples of 8 numbers, a network of 8
units. Unless `--trained`, what a method does between its phases is left out, so that
1,000 tasks take minutes: what is kept by task is then head and own variables alone.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import shutil
import tempfile
import time

import keras
import numpy as np
import trust_page
from keras import layers

import keras_lifelong as kl
from keras_lifelong.model import registry

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 8)).astype("float32")
QUICK = {
    "ARI": {
        "memory_budget": 2,
        "training_budget": 1,
        "initial": 1,
        "storing_steps": 12,
        "estimator_epochs": 4,
        "adaptation": 0,
        "hypernetwork": {"name": "chunked", "chunk": 20, "units": [8]},
    },
    "DEN": {"growth": 2, "bucket": 8},
}


def new(method):
    hidden = [layers.Dense(8, activation="relu"), layers.Dense(8, activation="relu")]
    backbone = keras.Sequential([keras.Input((8,)), *hidden])
    model = registry.get(method)(backbone, **QUICK.get(method, {}))
    model.compile(keras.optimizers.Adam(0.01))
    return model


def learn(model, index, trained):
    task = kl.Task(f"t{index}", train=(X, RNG.permutation(np.arange(16) % 2)))
    if trained:
        return model.fit(task, verbose=0, batch_size=16)
    return model.fit(task, learn=lambda loaded: (x for x in ()), verbose=0)


def seconds(call):
    """What a call gave, and seconds of a processor."""
    start = time.process_time()
    found = call()
    return found, round(time.process_time() - start, 3)


def measure(model, folder) -> dict[str, float]:
    """Costs of everything but learning, of a model as it is; it loses no task."""
    (_, arrays), took = seconds(model.get_state)
    buffer = io.BytesIO()
    _, written = seconds(lambda: np.savez(buffer, **arrays))
    found = {"checkpoint s": took + written, "checkpoint KiB": buffer.tell() // 1024}
    place = folder / "preset"
    _, found["save s"] = seconds(lambda: model.save_to_preset(place))
    files = [p for p in place.rglob("*") if p.is_file()]
    found["preset KiB"] = sum(p.stat().st_size for p in files) // 1024
    load = kl.LifelongModel.from_preset
    loaded, found["load s"] = seconds(lambda: load(place))
    name = model.task_names[-1]
    _, found["load one s"] = seconds(lambda: load(place, tasks=[name]))
    model.predict(X, task=name, verbose=0)
    _, found["predict s"] = seconds(lambda: model.predict(X, task=name, verbose=0))
    _, found["remove s"] = seconds(lambda: loaded.remove_task(name))
    shutil.rmtree(place)
    return {key: round(value, 3) for key, value in found.items()}


def grown(method, counts, trained, note):
    """Learns as many tasks as the largest of `counts`, and measures at each."""
    model, folder, rows = new(method), pathlib.Path(tempfile.mkdtemp()), []
    for index in range(max(counts)):
        _, took = seconds(lambda index=index: learn(model, index, trained))
        if index + 1 in counts:
            costs = {"task s": took, **measure(model, folder)}
            rows.append({"method": method, "tasks": index + 1, **costs})
            print(rows[-1], flush=True)
            note(rows)


def main() -> None:
    said = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    said.add_argument("methods", nargs="*")
    said.add_argument("--tasks", default="10,50,200")
    said.add_argument("--trained", action="store_true")
    said.add_argument("--record")
    asked = said.parse_args()
    counts = [int(number) for number in asked.tasks.split(",")]
    kl.LifelongModel.from_preset("finetune_digits")  # what Keras takes once
    for method in asked.methods or registry.names():

        def note(rows, method=method):
            if asked.record:
                kind = "trained" if asked.trained else "kept"
                trust_page.record(asked.record, f"growth {method} {kind}", rows)

        grown(method, counts, asked.trained, note)


if __name__ == "__main__":
    main()
