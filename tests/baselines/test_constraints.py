"""Constraints of weights hold in what a task uses, or are refused by name."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_lifelong.model import registry

pytestmark = pytest.mark.usefixtures("eager")

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")


def backbone(**kwargs):
    first = layers.Dense(5, "relu", name="first", **kwargs)
    return keras.Sequential([keras.Input((4,)), first, layers.Dense(3, "relu")])


@pytest.mark.parametrize("method", ["CPG", "HAT", "PackNet", "WSN"])
def test_a_kernel_of_positive_numbers_stays_so(method):
    model = registry.get(method)(backbone(kernel_constraint="non_neg"))
    model.compile(keras.optimizers.SGD(0.3))
    for i, name in enumerate("ab"):
        model.fit(X, (X[:, i] > 0).astype(int), task=name, batch_size=4, verbose=0)
    for name in "ab":
        kernels = [w for w in model.task_model(name).get_weights() if len(w) == 4]
        assert kernels[0].min() >= 0 < kernels[0].max()


@pytest.mark.parametrize(
    ("method", "term"),
    [
        *((name, {"kernel_constraint": "max_norm"}) for name in ("PackNet", "WSN")),
        *((name, {"kernel_constraint": "unit_norm"}) for name in ("CPG", "HAT")),
        *((name, {"kernel_constraint": "non_neg"}) for name in ("GPM", "TRGP")),
        ("GPM", {"bias_constraint": "non_neg"}),
        ("SupSup", {"kernel_constraint": "non_neg"}),
        ("SupSup", {"kernel_regularizer": "l2"}),
    ],
)
def test_what_would_not_hold_is_refused_by_name(method, term):
    with pytest.raises(ValueError, match=f"{method} cannot carry the weight 'first/"):
        registry.get(method)(backbone(**term))
