"""The network q by which ARI estimates adaptation rates, and what it is to estimate."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.methods.ari.signatures import WIDTH
from keras_lifelong.seeds import derive_seed

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


class AdaptationEstimator(keras.layers.Layer):
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
