"""How fast will a set of parameters adapt to a task? ARI's learned estimate of it.

Tasks and sets of parameters are described by *signatures*, vectors of one fixed width;
a small network predicts the adaptation rate from a pair of them. The signatures are in
the manner of TANS (Jeong et al., NeurIPS 2021).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.seeds import derive_seed

WIDTH = 2048  # of a signature, unless said otherwise
K = keras.layers


def adaptation_rate(curve, kind: str = "area", share: float = 0.99) -> float:
    """How fast accuracy rose, in [0, 1], from its values at equal intervals.

    Args:
        curve: accuracies, the first before any training.
        kind: "area": their mean, the adaptation rate integral (Eq. 4, over the number
            of its terms, so that it is never negative). "steps": 1 less the share of
            the intervals that it took to reach `share` of the best accuracy.
        share: see `kind`.

    Example:

    >>> adaptation_rate([0.5, 0.75, 1.0])
    0.75
    >>> adaptation_rate([0.5, 1.0, 1.0], "steps")
    0.5
    """
    curve = np.asarray(curve, "float64")
    if kind == "area":
        return float(curve.mean())
    first = int(np.argmax(curve >= share * curve.max()))
    return 1 - first / max(len(curve) - 1, 1)


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


class AdaptationEstimator(K.Layer):
    """q: predicts the adaptation rate of parameters to tasks from their signatures.

    Two linear encoders to 128 numbers, then a regressor with two hidden layers of 100:
    560,445 parameters for signatures of 2,048 numbers.

    Args:
        seed: of the initial weights.
        width: of the signatures.

    Call arguments:
        parameters: (batch, width) or (batch, n, width).
        tasks: of the same shape.

    Returns:
        (batch,) or (batch, n).
    """

    def __init__(self, seed=0, width=WIDTH, encoded=128, units=(100, 100), **kwargs):
        super().__init__(**kwargs)

        def dense(name, outputs, activation=None):
            init = keras.initializers.GlorotUniform(derive_seed(seed, name))
            return K.Dense(outputs, activation, kernel_initializer=init, name=name)

        self.parameter_encoder = dense("parameter_encoder", encoded)
        self.task_encoder = dense("task_encoder", encoded)
        self.hidden = [dense(f"hidden_{i}", n, "relu") for i, n in enumerate(units)]
        self.last = dense("rate", 1)
        for encoder in (self.parameter_encoder, self.task_encoder):
            encoder.build((None, width))
        inputs = 2 * encoded
        for layer in (*self.hidden, self.last):
            layer.build((None, inputs))
            inputs = layer.units
        self.built = True

    def call(self, parameters, tasks):
        return self.rate(self.parameter_encoder(parameters), self.task_encoder(tasks))

    def rate(self, parameters, tasks):
        """As `call`, of codes (…, 128) instead of signatures."""
        x = ops.concatenate([parameters, tasks], axis=-1)
        for layer in self.hidden:
            x = layer(x)
        return self.last(x)[..., 0]


def rank_correlation(predicted, true) -> float | None:
    """Spearman's, with mean ranks for ties; None where one of them is constant.

    >>> rank_correlation([1, 2, 3], [10, 30, 20])
    0.5
    """

    if len(set(predicted)) < 2 or len(set(true)) < 2:
        return None
    from scipy import stats

    return float(stats.spearmanr(predicted, true).statistic)
