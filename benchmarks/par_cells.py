"""Cells that PAR's search finds against random ones of as many parameters."""

import dataclasses
import time

import keras
import numpy as np

import keras_lifelong as kl
from keras_lifelong.layers.cell import CellNetwork
from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.methods.par import cell_search
from keras_lifelong.methods.par.mdl import genotype_of

TRAININGS = 3  # of each cell that is compared: one alone is much by chance
# "published": the defaults of `search_cell`, with the rule of MDL's authors
SEARCHES = {
    "found": {
        "sampled": "cells",
        "sample_every": 1,
        "batch_statistics": True,
        "validations": 8,
        "warmup": 0.5,
        "memory": 0.97,
        "step": 0.005,
    },
    "published": {},
}


def comparison(width, epochs=None, paper=False):
    """The rows to compare, and the function of a row and a seed that measures one.

    All are trained at a rate that falls to 0: under a constant one accuracy differs by
    .1 from epoch to epoch, more than from cell to cell. By default images are of 16x16
    pixels, on which cells do as well, in a quarter of the time. How cells do under
    shared weights says nothing of how they do alone until these have had a thousand
    steps or so.

    Args:
        width: C of the cells.
        epochs: of a search; None: 80.
        paper: images of 32x32 pixels and the published number of epochs.
    """
    first = kl.streams.get("split_cifar100", num_tasks=1)[0]
    (x, y), side = first.train, 32
    pairs = zip(first.validation, first.test, strict=True)
    test = tuple(np.concatenate(pair) for pair in pairs)
    if not paper:
        x, test, side = halved(x), (halved(test[0]), test[1]), 16
    spec = kl.TaskSpec(10, input_shape=(side, side, 3))
    data = {"train": (x, y), "validation_split": 0}
    epochs, training = (100, 100) if paper else (epochs or 80, 8)
    body = keras.Sequential([keras.Input((side, side, 3)), keras.layers.Flatten()])
    searching = kl.Finetune(body)
    searching.compile(keras.optimizers.SGD(0.05, momentum=0.9))
    settings = cell_search.SearchSettings(filters=width)
    searched = cell_search.CellSearch(searching, (side, side, 3), 10, settings)

    def network(genotype, seed=None):
        cells = CellNetwork(genotype, filters=width, seed=seed)
        return keras.Sequential([keras.Input((side, side, 3)), cells])

    def size(genotype):
        weights = network(genotype).trainable_variables
        return sum(int(np.prod(v.shape)) for v in weights)

    def random_like(target, seed):
        rng, best = np.random.default_rng([seed, 3]), None
        for _ in range(200):
            p = rng.random((2, 14, len(OPERATIONS)))
            genotype = genotype_of(p)
            difference = abs(size(genotype) - target)
            if best is None or difference < best[0]:
                best = difference, genotype
            if difference <= 0.02 * target:
                break
        return best[1]

    found = {}

    def cells_of(row, seed):
        """As `search_cell` does, but all searches share what is compiled."""
        kind = row if row in SEARCHES else "found"
        if (kind, seed) not in found:
            start, searching.seed = time.perf_counter(), seed
            searched.settings = dataclasses.replace(settings, **SEARCHES[kind])

            def learn(task):
                result = yield from searched.search(*task.train, seed, 0.05, epochs)
                found[kind, seed] = result

            task = kl.Task("search", spec, **data)
            searching.fit(task, epochs=epochs, batch_size=64, verbose=0, learn=learn)
            found[kind, seed] += (time.perf_counter() - start,)
        genotype, _, probabilities, seconds = found[kind, seed]
        if row != kind:
            genotype = random_like(size(genotype), 100 * seed + int(row[-1]))
        return genotype, np.max(probabilities), seconds

    def measure(row, seed):
        genotype, largest, seconds = cells_of(row, seed)
        model, scores = kl.Finetune(network(genotype)), []
        steps = training * -(-len(x) // 64)
        rate = keras.optimizers.schedules.CosineDecay(0.05, steps)
        model.compile(keras.optimizers.SGD(rate, momentum=0.9))
        for k in range(TRAININGS):  # afresh, by the step that is compiled
            fresh = network(genotype, 100 * seed + k)
            model.network.set_weights(fresh.get_weights())
            task = kl.Task(f"ten classes {k}", spec, test=test, **data)
            model.fit(task, epochs=training, batch_size=64, verbose=0)
            scores.append(model.evaluate(task)["accuracy"])
        return {
            "accuracy": float(np.mean(scores)),
            "accuracies": scores,
            "params": size(genotype),
            "genotype": genotype,
            "largest_probability": float(largest),
            "search_compilations": searching.trainer.compile_count,
            "search_seconds": seconds,
        }

    rows = ["found", *[f"random {i}" for i in range(3)], "published"]
    return rows, measure


def halved(images):
    """Means of 2x2 pixels."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((2, 4)).astype("float32")
