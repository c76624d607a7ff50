"""DEN on convolutions, batch normalisation, pooling and Flatten, compiled."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl


def test_convolutions_with_everything_learn_two_tasks():
    rng = np.random.default_rng(1)
    y = [np.arange(60) % 2, np.arange(60) // 2 % 2]
    x = rng.normal(0, 0.3, size=(60, 4, 4, 1)).astype("float32")
    x[y[0] == 1, :2, :2] += 1
    x[y[1] == 1, :, 3] += 1
    backbone = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(4, 3, padding="same"),
            layers.BatchNormalization(momentum=0.8),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
        ]
    )
    model = kl.DEN(backbone, growth=2, bucket=16, split_threshold=1e-3)
    model.compile(keras.optimizers.Adam(0.02))
    for i in (0, 1):
        model.fit(x, y[i], task=f"t{i}", epochs=20, batch_size=20, verbose=0)
    for i in (0, 1):
        assert model.evaluate(x, y[i], task=f"t{i}")["accuracy"] > 0.9
    assert {"add", "split", "select"} <= {entry["kind"] for entry in model.growth}
    with pytest.raises(ValueError, match="batch normalisation, which each task keeps"):
        model.finetune([kl.Task("t0", train=(x, y[0]))])
