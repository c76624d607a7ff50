"""Inputs on which the answers of a stored set of parameters are to stay."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_lifelong.layers.augmentation import CropFlip
from keras_lifelong.layers.normalization import batch_normalizations

PROBES = 1000
MIXED = 0.7  # the part that is mixed of several examples


def of(network, x, old: bool, seed: int) -> np.ndarray:
    """Inputs (1000, …) on which the answers of a set are to stay.

    Of a set that has just learned the newest task, that task's training images. Of an
    older one there are a few examples of the task that it was last trained on, of which
    many are made. There are no labels to be wrong: an older set is what is generated
    now, and says itself what it answers. Mixed values would change what batch
    normalisation sees, so a network that has it is asked about the examples as they
    are, or images shifted and mirrored.

    Args:
        network: of the set.
        x: training images or examples (n, …).
        old: whether they are the examples of an older set.
        seed: from which what is random here is drawn.
    """
    if not old:
        return repeated(x, seed)
    make = shifted if batch_normalizations(network) else mixed
    return make(x, seed)


def repeated(x, seed: int) -> np.ndarray:
    """The inputs, in random order, as often as it takes."""
    order = np.random.default_rng(seed).permutation(len(x))
    return np.asarray(x)[np.resize(order, PROBES)]


def shifted(x: np.ndarray, seed: int) -> np.ndarray:
    """The inputs; of images, each shifted by up to an eighth, and half mirrored."""
    x = repeated(x, seed)
    if x.ndim != 4:
        return x
    augment = CropFlip(padding=x.shape[1] // 8, seed=seed)
    return ops.convert_to_numpy(augment(x, training=True))


def mixed(x: np.ndarray, seed: int) -> np.ndarray:
    """Each value is of one input or, by a part that differs by probe, of any."""
    rng = np.random.default_rng(seed)
    flat, rows = x.reshape(len(x), -1), rng.integers(len(x), size=PROBES)
    others = rng.integers(len(x), size=(PROBES, flat.shape[1]))
    part = rng.random((PROBES, 1)) * (rng.random((PROBES, 1)) < MIXED)
    places = np.where(rng.random(others.shape) < part, others, rows[:, None])
    return np.take_along_axis(flat, places, axis=0).reshape(PROBES, *x.shape[1:])
