"""RMSprop as TensorFlow 1 had it."""

import json

import keras
import numpy as np

from keras_lifelong.training.optimizers import RMSpropFromOne


def test_three_steps_by_the_formula():
    w = keras.Variable(np.array([1.0, -2.0], "float32"))
    optimizer = RMSpropFromOne(0.1, rho=0.9)
    value, square = np.array([1.0, -2.0]), np.ones(2)
    for gradient in ([0.5, 3.0], [0.1, -1.0], [0.0, 2.0]):
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [w])
        square = 0.9 * square + 0.1 * np.square(gradient)
        value -= 0.1 * np.array(gradient) / np.sqrt(square + 1e-10)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(w), value, rtol=1e-5)


def test_config_round_trip():
    optimizer = RMSpropFromOne(0.02, rho=0.8)
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert isinstance(again, RMSpropFromOne)
    assert (float(again.learning_rate), again.rho) == (np.float32(0.02), 0.8)
