"""Signatures: vectors of one width that describe tasks and sets of parameters.

They are in the manner of TANS (Jeong et al., NeurIPS 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from keras_lifelong import heads
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.metrics.target_groups import groups_of
from keras_lifelong.seeds import derive_seed

WIDTH = 2048  # unless said otherwise


class Signer:
    """Describes tasks by their training data, and sets by what they answer to noise.

    Args:
        form: a `Form`, of the sets.
        extractor: `extractor(x) -> features (n, d)`, by which tasks are described.
        width: of a signature.
        seed: of the noise and of projections.
    """

    def __init__(self, form: Form, extractor: Callable, width: int, seed: int):
        self.form, self.extractor = form, extractor
        self.width, self.seed = width, seed
        self._noise: dict[int, np.ndarray] = {}  # by number of inputs

    def of_task(self, task) -> np.ndarray:
        """(width,): the signature of a `Task`, from its training data."""
        (x, y), spec = task.train, task.spec
        features = np.asarray(self.extractor(np.asarray(x, "float32")))
        rows, groups = groups_of(y, spec)
        classes = spec.num_classes
        if not heads.get(spec.kind).has_classes:
            features, classes = features[rows], int(groups.max()) + 1
        return task_signature(features, groups, classes, self.seed, self.width)

    def of_set(self, parameters: Parameters) -> np.ndarray:
        """(width,): the signature of a set: its outputs on fixed noise, or words."""
        outputs = self.form.head_of(parameters)[0].shape[1]
        count = self.width // outputs
        if count not in self._noise:
            shape = tuple(self.form.network.input_shape[1:])
            found = noise(count, shape, self.seed)
            if self.form.words is not None:  # as evenly as it goes
                of = 0.5 * (1 + np.vectorize(math.erf)(found / math.sqrt(2)))
                found = np.minimum(np.floor(of * self.form.words), self.form.words - 1)
                found = found.astype("float32")
            self._noise[count] = found
        return parameter_signature(
            self.form.answers(parameters, self._noise[count]), self.width
        )


def noise(count: int, shape, *seed_parts) -> np.ndarray:
    """Gaussian inputs (count, *shape), always the same for a seed of these parts."""
    rng = np.random.default_rng(derive_seed("noise", *seed_parts))
    return rng.standard_normal((count, *shape)).astype("float32")


def parameter_signature(logits, width: int = WIDTH) -> np.ndarray:
    """(width,): the outputs (n, outputs) on fixed noise, of length 1, padded.

    Args:
        logits: n x outputs of at most `width`.
        width: of the signature.
    """
    return _padded(np.asarray(logits, "float32").reshape(-1), width)


def task_signature(
    features, y, classes: int, seed: int = 0, width: int = WIDTH
) -> np.ndarray:
    """(width,): the mean features of each class, side by side, of length 1, padded.

    A class has width // classes numbers: features that have more are projected by a
    fixed random matrix, which nearly keeps distances (Johnson and Lindenstrauss). Means
    over all classes would not tell tasks of the same images with other labels apart.

    Args:
        features: (n, d).
        y: labels (n,), 0 ... classes - 1.
        classes: C.
        seed: of the projection.
        width: of the signature.
    """
    features, y = np.asarray(features, "float32"), np.asarray(y).reshape(-1)
    room = width // classes
    means = np.zeros((classes, features.shape[1]), "float32")
    for c in range(classes):
        if (y == c).any():
            means[c] = features[y == c].mean(0)
    means -= means.mean(0)  # what sets classes apart
    if features.shape[1] > room:
        rng = np.random.default_rng(derive_seed("projection", seed))
        matrix = rng.standard_normal((features.shape[1], room)) / np.sqrt(room)
        means = means @ matrix.astype("float32")
    return _padded(means.reshape(-1), width)


def _padded(vector, width) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    found = np.zeros(width, "float32")
    found[: len(vector)] = vector / length if length > 0 else vector
    return found
