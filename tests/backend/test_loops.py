"""Compiled loops: each is traced once, and TensorFlow finds nothing to warn of."""

import logging

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong import backend


def test_many_loops_that_run_once_are_no_retracing():
    if backend.NAME != "tensorflow":
        pytest.skip("it is TensorFlow that warns")
    said, traced = [], []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    def note():
        traced.append(1)

    logger, listener = logging.getLogger("tensorflow"), Listener()
    logger.addHandler(listener)
    try:
        for number in range(12):
            variable = keras.Variable(np.float32(number))

            def step(gradients_of, i, carry, variable=variable):
                (_, square), (gradient,) = gradients_of(
                    lambda: (variable * variable, ops.square(variable)), [variable]
                )
                variable.assign(gradient)
                return carry + square

            run = backend.compile_loop(
                step, [variable], False, lambda: traced.append(1)
            )
            found = run(ops.convert_to_tensor(2), ops.zeros(()))
            assert float(found) == number**2 + (2 * number) ** 2  # then 2 · number
            assert float(variable.value) == 4 * number
    finally:
        logger.removeHandler(listener)
    assert len(traced) == 12 and not said
