"""What is scored beside examples and labels: layers' own losses, batches of no weight.

Values are worked out by NumPy.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from keras import regularizers
from small import X
from small import labels

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("step_by_step")

Y = labels(1)


@keras.saving.register_keras_serializable(package="tests")
class MeanSquare(layers.Layer):
    """Adds to the loss the mean square of what it is given."""

    def call(self, x):
        self.add_loss(ops.mean(ops.square(x)))
        return x


def test_scores_have_what_layers_add_to_the_loss(tmp_path):
    """As under Keras `val_loss` and `evaluate` do: the weights' and the outputs'."""
    first = layers.Dense(3, "relu", kernel_regularizer=regularizers.L2(0.5))
    second = layers.Dense(2, "relu", activity_regularizer=regularizers.L1(0.25))
    network = keras.Sequential([keras.Input((6,)), first, MeanSquare(), second])
    model = kl.Finetune(network)
    model.compile(keras.optimizers.SGD(0.1))
    val = X[:10], Y[:10]
    history = model.fit(X, Y, task="a", validation_data=val, verbose=0).history
    kernel, bias, upper, shift = model.network.get_weights()
    hidden = np.maximum(X[:10] @ kernel + bias, 0)
    outputs = np.maximum(hidden @ upper + shift, 0)
    chances = model.predict(X[:10], task="a")
    right = -np.log(chances[np.arange(10), Y[:10]]).mean()
    right += 0.5 * np.square(kernel).sum()
    right += np.square(hidden).mean() + 0.25 * np.abs(outputs).sum() / 10
    assert model.evaluate(*val, task="a")["loss"] == pytest.approx(right, rel=1e-5)
    assert history["val_loss"][-1] == pytest.approx(right, rel=1e-5)


def test_a_task_is_charged_for_the_layers_that_it_uses():
    """LASEM: the shared kernel if it is shared, the task's own if not."""
    layer = layers.Dense(3, "relu", kernel_regularizer=regularizers.L2(0.5))
    network = keras.Sequential([keras.Input((6,)), layer])
    found, kernels = [], []
    for choice in (1, 0):
        model = kl.LASEM(network, configuration=[choice])
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(X, Y, task="a", verbose=0)
        kernel = model.task_model("a").layers[0].get_weights()[0]
        chances = model.predict(X, task="a")
        plain = -np.log(chances[np.arange(len(X)), Y]).mean()
        found.append(model.evaluate(X, Y, task="a")["loss"] - plain)
        kernels.append(0.5 * np.square(kernel).sum())
    np.testing.assert_allclose(found, kernels, rtol=1e-4)


@pytest.mark.parametrize("method", ["Finetune", "LASEM"])
def test_a_batch_of_no_weight_teaches_nothing(method):
    """The first batch of 16 has the weight 0: as if it were not there."""
    weight = np.repeat([0.0, 1.0], [16, 32])
    found = []
    for rows, weights in ((slice(None), weight), (slice(16, None), None)):
        network = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu")])
        options = {} if method == "Finetune" else {"configuration": "all"}
        model = getattr(kl, method)(network, **options)
        model.compile(keras.optimizers.SGD(0.1))
        given = {"shuffle": False, "batch_size": 16, "validation_split": 0.0}
        given |= {"sample_weight": weights, "verbose": 0}
        history = model.fit(X[rows], Y[rows], task="a", **given).history
        found.append((model.predict(X, task="a"), history["loss"][0]))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    assert found[0][1] == pytest.approx(found[1][1] * 32 / 48, rel=1e-5)


def test_a_search_survives_a_batch_of_no_weight():
    network = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu")])
    model = kl.LASEM(network)
    model.compile("adam")
    weight = np.repeat([0.0, 1.0], [16, 32])
    given = {"shuffle": False, "batch_size": 16, "sample_weight": weight}
    model.fit(X, Y, task="a", validation_split=0.0, verbose=0, **given)
    assert np.isfinite(model.predict(X, task="a")).all()


class Rows(keras.metrics.Metric):
    """Counts rows; as many of a user's own, it knows no `sample_weight`."""

    def __init__(self, name="rows"):
        super().__init__(name=name)
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true, y_pred):
        self.count.assign_add(float(y_pred.shape[0]))

    def result(self):
        return self.count + 0.0

    def get_config(self):
        return {"name": self.name}


def test_a_metric_of_a_users_own_counts_the_rows_that_are_there():
    """Of 48 in batches of 20 the last has 8."""
    network = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu")])
    model = kl.Finetune(network)
    model.compile("sgd", metrics=[Rows()])
    given = {"batch_size": 20, "validation_split": 0.0, "verbose": 0}
    assert model.fit(X, Y, task="a", **given).history["rows"] == [48.0]


def test_metrics_of_tasks_of_other_sizes():
    """One F1Score has an array of two numbers for a task, of three for another."""
    network = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu")])
    model = kl.Finetune(network)
    model.compile("sgd", metrics=[keras.metrics.F1Score(average="macro", name="f1")])
    three = Y + labels(3)
    model.fit(X, Y, task="two", verbose=0)
    model.fit(X, three, task="three", verbose=0)
    for name, y, count in (("two", Y, 2), ("three", three, 3)):
        guess = model.predict(X, task=name).argmax(1)
        each = []
        for c in range(count):
            both = ((guess == c) & (y == c)).sum()
            each.append(2 * both / max((guess == c).sum() + (y == c).sum(), 1))
        found = model.evaluate(X, y, task=name)["f1"]
        assert found == pytest.approx(np.mean(each), abs=1e-5)
