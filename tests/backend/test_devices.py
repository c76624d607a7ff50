"""Two devices of JAX compute what one does; what is not carried is refused by name."""

import backends
import keras
import numpy as np
import pytest

import keras_lifelong as kl
from keras_lifelong import backend

METHODS = ("BindAndGrow", "DEN", "Joint")
MADE = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}

# What a model of two tasks answers: learned by one device, then by two.
WORK = """
import sys
import jax
import keras
import numpy as np
import small
from keras_lifelong import backend

assert jax.device_count() == 2
found = {}
for shared_out in (False, True):
    if shared_out:
        keras.distribution.set_distribution(keras.distribution.DataParallel())
        parts = jax.jit(backend.over_devices)(np.zeros((6, 3), "float32"))
        assert [p.data.shape for p in parts.addressable_shards] == [(3, 3), (3, 3)]
        whole = jax.jit(backend.over_devices)(np.zeros((5, 3), "float32"))
        assert {p.data.shape for p in whole.addressable_shards} == {(5, 3)}
    for method in sys.argv[1:]:
        keras.utils.set_random_seed(0)
        model = small.learned(method)
        weights = model.network.variables[0].value
        assert len(weights.sharding.device_set) == 1 + shared_out
        said = [model.predict(small.X, task=name) for name in model.task_names]
        if shared_out:
            np.testing.assert_allclose(said, found[method], atol=1e-5)
        found[method] = said

model.save_to_preset("preset")
keras.distribution.set_distribution(None)
loaded = type(model).from_preset("preset")
for name, expected in zip(model.task_names, found[method], strict=True):
    np.testing.assert_allclose(loaded.predict(small.X, task=name), expected, atol=1e-5)
mesh = keras.distribution.DeviceMesh((2,), ["model"], jax.devices())
layout = keras.distribution.LayoutMap(mesh)
keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout))
try:
    small.new("Finetune")
except ValueError as error:
    assert "must be DataParallel" in str(error), error
else:
    raise AssertionError("weights that are shared out were taken")
"""


def test_two_devices_learn_what_one_does(tmp_path):
    backends.need("jax")
    work = WORK.replace("sys.argv[1:]", repr(METHODS))
    backends.finish("jax", work, cwd=tmp_path, **MADE)


def test_a_strategy_of_tensorflow_is_refused():
    if backend.NAME != "tensorflow":
        pytest.skip("strategies are TensorFlow's")
    import tensorflow as tf

    hidden = [keras.Input((3,)), keras.layers.Dense(2)]
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        with pytest.raises(ValueError, match="DataParallel.*OneDeviceStrategy"):
            kl.Finetune(keras.Sequential(hidden))
    assert np.isfinite(kl.Finetune(keras.Sequential(hidden)).network.weights[0]).all()
