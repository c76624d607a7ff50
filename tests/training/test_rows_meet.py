"""Rows of a batch that meet in `keras.ops`: no batch is filled up then."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from small import X
from small import labels

import keras_lifelong as kl
from keras_lifelong.graph import Graph
from keras_lifelong.training.layer_losses import flattened
from keras_lifelong.training.layer_losses import mixes_rows
from keras_lifelong.training.layer_losses import rows_meet

pytestmark = pytest.mark.usefixtures("eager")


def test_the_last_batch_is_of_its_own_rows():
    """A step on rows less their mean: of batches of 20 and 4, by NumPy."""
    x = keras.Input((6,))
    model = kl.Finetune(keras.Model(x, x - ops.mean(x, axis=0, keepdims=True)))
    model.compile(keras.optimizers.SGD(0.5))
    model.add_task("a", kl.TaskSpec(2, "categorical", (6,)))
    kernel, bias = (
        model.memory[*model.head_key("a"), part].copy() for part in ("kernel", "bias")
    )
    inputs, y = X[:24], labels(1)[:24]
    for rows in (slice(0, 20), slice(20, 24)):
        features = inputs[rows] - inputs[rows].mean(axis=0)
        logits = features @ kernel + bias
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        error = (chances - np.eye(2)[y[rows]]) / len(features)
        kernel -= 0.5 * features.T @ error
        bias -= 0.5 * error.sum(axis=0)
    given = {"batch_size": 20, "shuffle": False, "validation_split": 0.0}
    model.fit(inputs, y, task="a", verbose=0, **given)
    found = model.memory[*model.head_key("a"), "kernel"]
    np.testing.assert_allclose(found, kernel, atol=1e-5)


def test_what_keeps_to_rows_is_filled_up():
    x = keras.Input((4, 3))
    y = ops.concatenate([ops.relu(x) * 2.0, x], axis=-1)
    found = [
        rows_meet(step) for step in Graph(keras.Model(x, ops.mean(y, axis=1))).steps
    ]
    assert found == [False] * 4


@keras.saving.register_keras_serializable("tests")
def centred(x):
    return x - ops.mean(x, axis=0)


@pytest.mark.parametrize(
    "layer, meet",
    [
        (layers.Softmax(axis=0), True),
        (layers.Softmax(axis=-3), True),  # of (batch, time, width)
        (layers.UnitNormalization(axis=[0, 2]), True),
        (layers.LayerNormalization(axis=[1, 2]), False),
        (layers.Dense(2, centred), True),
        (layers.Activation(centred), True),
        (layers.TimeDistributed(layers.Dense(2, centred)), True),
        (layers.LSTM(2, recurrent_activation=centred, return_sequences=True), True),
        (layers.Dense(2, layers.LeakyReLU()), False),
        (layers.MixUp(), True),
        (layers.Masking(), False),  # whose mask is told by `keras.ops`
    ],
)
def test_layers_by_which_rows_meet(layer, meet):
    network = keras.Sequential([keras.Input((4, 3)), layer, layers.LSTM(2)])
    steps = Graph(network).steps
    found = [*map(mixes_rows, flattened(network)), *map(rows_meet, steps)]
    assert any(found) == meet


def test_a_mask_of_whole_examples_is_refused():
    network = keras.Sequential([keras.Input((6,)), layers.Masking(), layers.Dense(3)])
    with pytest.raises(ValueError, match="not mask whole examples.*a mask"):
        kl.Finetune(network)
