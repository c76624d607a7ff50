"""RMSprop as TensorFlow 1 had it; averages of what hooks leave."""

import json

import keras
import numpy as np
import pytest

from keras_lifelong.training import optimizers
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


@pytest.mark.parametrize("every", [None, 2])
def test_averages_are_of_what_a_hook_leaves(every):
    """Of two steps: of the first all is kept, of the second half."""
    variable = keras.Variable(np.zeros(1, "float32"))
    ema = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": every}
    optimizer = keras.optimizers.SGD(1.0, **ema)
    optimizer.build([variable])
    optimizers.begin_averages(optimizer, [variable])
    # 0 + 1 becomes 0.5; then 0.5 + 1 becomes 1, or its average with 0.5 becomes 0.8
    for left, average in [(0.5, 0.5), (0.8, 0.8) if every else (1.0, 0.75)]:
        step = keras.ops.convert_to_tensor([-1.0], "float32")
        optimizer.apply([step], [variable])
        new = keras.ops.convert_to_tensor([left], "float32")
        optimizers.correct_averages(optimizer, [variable], [new])
        variable.assign(new)
        found = optimizer._model_variables_moving_average[0]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), [average])
