"""How long presets of many layers take to be loaded or refused: linear, and how much.

    PYTHONPATH=tests/presets python benchmarks/preset_layers.py [docs/trust.json]

Presets of a stranger, which store next to nothing, and presets of a user, who has
trained what they configure. Seconds of a processor, the least of three; those that
Keras takes to make as many layers, without a file, stand beside them.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time

import keras
import numpy as np
import trust_page
from broken import Broken
from broken import entry
from keras import layers

import keras_lifelong as kl

COUNTS = (250, 500, 900, 1000)


def of_a_stranger(place, count):
    """A preset of so many layers more, none of which stores anything."""
    broken = Broken(place)
    broken.layers[2:2] = [
        entry("keras.layers", "ReLU", {"name": f"r{i}"}) for i in range(count)
    ]
    return broken.save()


def of_a_user(place, count):
    """A preset of so many layers of eight units, learned in no time."""
    hidden = [layers.Dense(8, name=f"d{i}") for i in range(count)]
    model = kl.Finetune(keras.Sequential([keras.Input((8,)), *hidden]))
    model.compile("adam")
    x = np.zeros((8, 8), "float32")
    task = kl.Task("t", train=(x, np.arange(8) % 2))
    model.fit(task, learn=lambda loaded: (x for x in ()), verbose=0)
    model.save_to_preset(place)
    return place


def by_keras(count):
    """Seconds that Keras takes for the layers alone: made, and made of its own file."""
    start = time.process_time()
    hidden = [layers.Dense(8, name=f"d{i}") for i in range(count)]
    network = keras.Sequential([keras.Input((8,)), *hidden])
    middle = time.process_time()
    keras.Sequential.from_config(network.get_config())
    return round(middle - start, 2), round(time.process_time() - middle, 2)


def tried(path):
    seconds = []
    for _ in range(3):
        start = time.process_time()
        try:
            kl.LifelongModel.from_preset(path)
            what = "loaded"
        except ValueError as error:
            what = "refused: " + str(error).partition("config.json: ")[2][:60]
        seconds.append(time.process_time() - start)
    return what, round(min(seconds), 2)


def main(path: str | None = None) -> None:
    kl.LifelongModel.from_preset("finetune_digits")  # what Keras takes once
    rows = []
    for count in COUNTS[:2]:  # the time of the second grows with the square
        for what, seconds in zip(("made", "from_config"), by_keras(count), strict=True):
            rows.append(["Keras alone", count, what, seconds])
            print(rows[-1], flush=True)
    for make in (of_a_stranger, of_a_user):
        for count in COUNTS:
            place = pathlib.Path(tempfile.mkdtemp()) / "preset"
            try:
                what, seconds = tried(make(place, count))
            except (RecursionError, ValueError) as error:
                what, seconds = f"cannot be made: {type(error).__name__}", None
            rows.append([make.__name__.replace("_", " "), count, what, seconds])
            print(rows[-1], flush=True)
            if path is not None:
                trust_page.record(path, "layers", rows)


if __name__ == "__main__":
    main(*sys.argv[1:2])
