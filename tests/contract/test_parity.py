"""`Finetune` on one task is `keras.Model.fit`: the same weights, the same history.

Both begin from the same weights and take the batches in the same order. The rows of
docs/parity.md are these cases.
"""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from keras import losses
from keras import ops
from keras import optimizers
from keras import regularizers
from small import X
from small import labels

import keras_lifelong as kl
from keras_lifelong.seeds import derive_seed

pytestmark = pytest.mark.usefixtures("step_by_step")

Y = labels(1)
EPOCHS, BATCH = 2, 20  # the last batch is of 8
TABLE = Path(__file__).parents[2] / "docs" / "parity.md"


@keras.saving.register_keras_serializable(package="tests")
class Doubled(layers.Layer):
    """Adds to the loss what Keras' own layers do not: twice the mean square."""

    def call(self, x):
        self.add_loss(2 * ops.mean(ops.square(x)))
        return x


def squared_of_indices(y, predictions):
    """A function of a user's own: the squared error of the chance of class 1."""
    return ops.square(ops.cast(y, "float32") - predictions[:, 1])


def excluding():
    optimizer = optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def sgd():
    return optimizers.SGD(0.1)


def adam(**kwargs):
    return lambda: optimizers.Adam(0.01, **kwargs)


NAMES = "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion Nadam RMSprop SGD"
NAMES += " Muon ScheduleFreeAdamW"
DECAY = optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
DENSE = {
    "kernel_regularizer": {"kernel_regularizer": regularizers.L2(0.1)},
    "bias_regularizer": {"bias_regularizer": regularizers.L1(0.01)},
    "activity_regularizer": {"activity_regularizer": regularizers.L2(0.01)},
    "kernel_constraint": {"kernel_constraint": keras.constraints.MaxNorm(0.3)},
    "trainable=False": {"trainable": False},
}
BETWEEN = {
    "BatchNormalization": layers.BatchNormalization,
    "ActivityRegularization": lambda: layers.ActivityRegularization(0.01),
    "add_loss": Doubled,
}
OPTIMIZERS = {
    **{
        name: lambda name=name: getattr(optimizers, name)(0.01)
        for name in NAMES.split()
    },
    "LearningRateSchedule": lambda: optimizers.SGD(DECAY),
    "clipnorm": adam(clipnorm=0.1),
    "clipvalue": adam(clipvalue=0.01),
    "global_clipnorm": adam(global_clipnorm=0.1),
    "weight_decay": adam(weight_decay=0.1),
    "exclude_from_weight_decay": excluding,
    "use_ema": adam(use_ema=True, ema_momentum=0.9),
    "ema_overwrite_frequency": adam(
        use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2
    ),
    "gradient_accumulation_steps": adam(gradient_accumulation_steps=2),
    "loss_scale_factor": adam(loss_scale_factor=128.0),
    "LossScaleOptimizer": lambda: optimizers.LossScaleOptimizer(
        sgd(), initial_scale=1024.0, dynamic_growth_steps=2
    ),
}
# Each with whether plain Keras is given one-hot rows for it.
LOSSES = {
    "SparseCategoricalCrossentropy": (losses.SparseCategoricalCrossentropy, False),
    "CategoricalCrossentropy": (
        lambda: losses.CategoricalCrossentropy(label_smoothing=0.1),
        True,
    ),
    "CategoricalFocalCrossentropy": (losses.CategoricalFocalCrossentropy, True),
    "CategoricalHinge": (losses.CategoricalHinge, True),
    "BinaryCrossentropy": (losses.BinaryCrossentropy, True),
    "BinaryFocalCrossentropy": (losses.BinaryFocalCrossentropy, True),
    "CosineSimilarity": (losses.CosineSimilarity, True),
    "Hinge": (losses.Hinge, True),
    "Huber": (losses.Huber, True),
    "KLDivergence": (losses.KLDivergence, True),
    "LogCosh": (losses.LogCosh, True),
    "MeanAbsoluteError": (losses.MeanAbsoluteError, True),
    "MeanSquaredError": (lambda: "mean_squared_error", True),
    "MeanSquaredLogarithmicError": (losses.MeanSquaredLogarithmicError, True),
    "Poisson": (losses.Poisson, True),
    "SquaredHinge": (losses.SquaredHinge, True),
    "a function": (lambda: squared_of_indices, False),
}
CASES = {
    **{name: {"dense": arguments} for name, arguments in DENSE.items()},
    **{name: {"between": layer} for name, layer in BETWEEN.items()},
    **{name: {"optimizer": optimizer} for name, optimizer in OPTIMIZERS.items()},
    **{name: {"loss": loss} for name, loss in LOSSES.items()},
}


def network(dense, between):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu", **dense),
            *([between()] if between else []),
            layers.Dense(5, activation="relu"),
        ]
    )


def batches(model, y):
    """As the model's trainer takes them."""
    for epoch in range(EPOCHS):
        seed = derive_seed(derive_seed(model.seed, 0, 0), epoch)
        order = np.random.default_rng(seed).permutation(len(X))
        for start in range(0, len(X), BATCH):
            rows = order[start : start + BATCH]
            yield X[rows], y[rows]


def both(
    dense=(), between=None, optimizer=sgd, loss=None, metrics=lambda: ["accuracy"]
):
    """The weights and history of our model, and of Keras' own."""
    backbone = network(dict(dense), between)
    model = kl.Finetune(backbone, pretrained=True)
    make_loss, one_hot = loss or (lambda: None, False)
    model.compile(optimizer(), make_loss(), metrics=metrics())
    model.add_task("a", kl.TaskSpec(2, "categorical", (6,)))
    head = layers.Dense(2, "softmax", dtype="float32")
    plain = keras.Sequential([keras.Input((6,)), *backbone.layers, head])
    key = model.head_key("a")
    head.set_weights([model.memory[*key, part] for part in ("kernel", "bias")])
    plain_loss = make_loss() or "sparse_categorical_crossentropy"
    plain.compile(optimizer(), plain_loss, metrics=metrics(), run_eagerly=True)
    plain.optimizer.build(plain.trainable_variables)
    task = kl.Task("a", train=(X, Y), validation_split=0)
    found = model.fit(task, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    y = np.eye(2, dtype="float32")[Y] if one_hot else Y
    steps = -(-len(X) // BATCH)
    given = {"epochs": EPOCHS, "steps_per_epoch": steps, "shuffle": False}
    expected = plain.fit(batches(model, y), verbose=0, **given)
    ours = [*model.network.get_weights()]
    ours += [model.memory[*key, part] for part in ("kernel", "bias")]
    return (ours, found.history), (plain.get_weights(), expected.history)


def assert_same_history(found, expected, rtol=1e-5):
    """Loss and metrics by epoch, as `keras.callbacks.History` has them."""
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_it_ends_as_a_keras_model(case):
    (weights, history), (right, right_history) = both(**CASES[case])
    assert_same_history(history, right_history)
    for found, expected in zip(weights, right, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("between", [None, layers.BatchNormalization])
def test_mixed_precision(policy, between):
    """Within what half precision tells apart; the head computes in float32."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        ours, theirs = both(between=between)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert_same_history({"loss": ours[1]["loss"]}, {"loss": theirs[1]["loss"]}, 1e-2)
    for found, expected in zip(ours[0], theirs[0], strict=True):
        assert found.dtype == expected.dtype == "float32"
        np.testing.assert_allclose(found, expected, atol=1e-2)


def test_metrics_follow_training():
    """As Keras has them: by what each batch said before its step."""

    def metrics():
        top = keras.metrics.SparseTopKCategoricalAccuracy(1, name="top")
        return ["accuracy", top, "sparse_categorical_crossentropy"]

    (_, found), (_, expected) = both(metrics=metrics)
    assert_same_history(found, expected)
    assert set(found) == {"loss", "accuracy", "top", "sparse_categorical_crossentropy"}


def test_the_table_is_of_these_cases():
    text = TABLE.read_text("utf-8").partition("## Precision")[0]
    rows = re.findall(r"^\| `([^`]+)` \| as Keras", text, re.M)
    assert sorted(rows) == sorted(CASES)
