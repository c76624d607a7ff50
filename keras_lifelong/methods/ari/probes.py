"""Inputs on which the answers of a stored set of parameters are to stay."""

from __future__ import annotations

import dataclasses

import numpy as np
from keras import ops

from keras_lifelong.layers.augmentation import CropFlip
from keras_lifelong.layers.normalization import batch_normalizations
from keras_lifelong.methods.ari.made_probes import POOL
from keras_lifelong.methods.ari.made_probes import TABLE
from keras_lifelong.methods.ari.made_probes import Made
from keras_lifelong.methods.ari.made_probes import plain

PROBES = 1000
MOST = 2**24  # numbers in the probes of all sets, up to which they are held
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


def made_of(network, x, old: bool, seed: int) -> Made:
    """As `of`, of large inputs: what the inputs are to be made from.

    Arguments are as there. Of new training images no more are taken than are worth
    holding, from a seed of their own, so that sets which are stored together share
    them: see `pool_of`.
    """
    rng = np.random.default_rng(seed)
    base = np.resize(rng.permutation(len(x)), PROBES)
    if not old:
        return plain(x, base)
    if not batch_normalizations(network):
        part = rng.random(PROBES) * (rng.random(PROBES) < MIXED)
        offset = rng.integers(TABLE, size=PROBES)
        return dataclasses.replace(plain(x, base), part=part, offset=offset)
    if x.ndim != 4:
        return plain(x, base)
    margin = x.shape[1] // 8
    moves = rng.integers(-margin, margin + 1, size=(PROBES, 3))
    moves[:, 2] = rng.integers(2, size=PROBES)
    return dataclasses.replace(plain(x, base), moves=moves, margin=margin)


def pool_of(x, seed: int) -> np.ndarray:
    """The inputs, or so many of them as are worth holding, drawn from a seed."""
    x = np.asarray(x, "float32")
    most = max(POOL // x[0].size, PROBES // 5)
    if len(x) <= most:
        return x
    return x[np.random.default_rng(seed).permutation(len(x))[:most]]


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
