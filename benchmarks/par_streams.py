"""Streams that PAR is measured on: related and unrelated tasks, and a hundred."""

import numpy as np

import keras_lifelong as kl
from keras_lifelong.streams import tfds
from keras_lifelong.streams.cifar import SUPERCLASS


def mixed(seed):
    """Digits, animals, digits, vehicles, other animals, and the first digits again."""
    mnist = tfds.load_splits("mnist", 0.1, 0, None)
    cifar = tfds.load_splits("cifar100", 0.1, 0, None)
    rng = np.random.default_rng([seed, 7])
    of = np.array(SUPERCLASS)
    animals = rng.permutation(np.flatnonzero(np.isin(of, (0, 8, 11, 12, 16))))
    vehicles = rng.permutation(np.flatnonzero(np.isin(of, (18, 19))))
    digits = np.arange(10)
    plan = [
        ("digits", mnist, digits, 2000),
        ("animals", cifar, animals[:10], 2000),
        ("few digits", mnist, digits, 200),
        ("vehicles", cifar, vehicles, 400),
        ("other animals", cifar, animals[10:20], 400),
        ("digits again", mnist, digits, 100),
    ]
    tasks = []
    for name, splits, classes, size in plan:
        data = {}
        held_out = max(200, size // 5)  # as in CTrL, 20 a class or more
        amounts = {"train": size, "validation": held_out, "test": 1000}
        for part, count in amounts.items():
            x, y = splits[part]
            rows = [
                rng.permutation(np.flatnonzero(y == c))[: count // len(classes)]
                for c in classes
            ]
            labels = np.repeat(np.arange(len(classes)), [len(r) for r in rows])
            data[part] = (as_colour(x[np.concatenate(rows)]), labels)
        tasks.append(kl.Task(name, kl.TaskSpec(10, input_shape=(32, 32, 3)), **data))
    return kl.TaskStream(tasks, name="digits, animals and vehicles")


def hundred(seed):
    """Five-way tasks of digits' or CIFAR-100's classes, 150 images each."""
    mnist = tfds.load_splits("mnist", 0.1, 0, None)
    cifar = tfds.load_splits("cifar100", 0.1, 0, None)
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(100):
        splits, classes = (mnist, 10) if rng.random() < 0.5 else (cifar, 100)
        chosen, data = rng.permutation(classes)[:5], {}
        for part, each in (("train", 30), ("validation", 10), ("test", 40)):
            x, y = splits[part]
            rows = [rng.permutation(np.flatnonzero(y == c))[:each] for c in chosen]
            labels = np.repeat(np.arange(5), [len(r) for r in rows])
            data[part] = (as_colour(x[np.concatenate(rows)]), labels)
        name = f"{'mnist' if classes == 10 else 'cifar'}_{t}"
        spec = kl.TaskSpec(5, input_shape=(32, 32, 3))
        tasks.append(kl.Task(name, spec, **data))
    return kl.TaskStream(tasks, name="a hundred")


def as_colour(x):
    """Images as 32x32 in three colours, float32 in [0, 1]."""
    x = np.asarray(x, "float32")
    x = x / 255 if x.max() > 1 else x
    if x.shape[1] == 28:
        x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return np.repeat(x, 3, -1) if x.shape[-1] == 1 else x
