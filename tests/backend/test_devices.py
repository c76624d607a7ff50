"""Two devices compute what one does; what is not carried is refused by name."""

import backends
import keras
import numpy as np
import pytest

import keras_lifelong as kl
from keras_lifelong import backend

METHODS = ("BindAndGrow", "DEN", "Joint")
BY_ROWS_METHODS = ("BindAndGrow", "DEN", "Joint", "LASEM", "PackNet", "HAT", "CAT")
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


# The same on TensorFlow, where a network computes rows apart.
BY_ROWS = """
import sys
import types
import keras
import numpy as np
import small
import tensorflow as tf
from keras_lifelong import backend
from keras_lifelong.cli.command import UsageError
from keras_lifelong.cli.devices import share_out

import keras_lifelong as kl

backend.divide_processor(2)
METHODS = sys.argv[1:]
by_rows, parts = backend.by_rows, []


def noted(function, x):
    def noting(part):
        parts.append(keras.tree.flatten(part)[0].shape[0])
        return function(part)

    return by_rows(noting, x)


backend.by_rows = noted
found = {}
for shared_out in (False, True):
    if shared_out:
        share_out(2, types.SimpleNamespace(resolved={"training": {"batch_size": 16}}))
    for rows, lengths in ((6, [3, 3]), (5, [2, 3]), (1, [1])):
        seen, devices = [], set()

        def doubled(x):
            seen.append(x["image"].shape[0])
            y = x["image"] * 2
            devices.add(y.device)
            return y

        image = np.arange(rows * 3.0).reshape(rows, 3)
        run = tf.function(lambda x: backend.by_rows(doubled, {"image": x}))
        np.testing.assert_array_equal(run(image), 2 * image)
        assert seen == (lengths if shared_out else [rows]), seen
        assert len(devices) == len(seen), devices
    for method in METHODS:
        keras.utils.set_random_seed(0)
        parts.clear()
        model = small.learned(method)
        said = [model.predict(small.X, task=name) for name in model.task_names]
        if shared_out:
            assert set(parts) == {8}, (method, parts)  # of batches of 16
            np.testing.assert_allclose(said, found[method], atol=1e-5, err_msg=method)
        found[method] = said

"""

# What else two devices of TensorFlow learn, or refuse; after the lines above.
REFUSED = """

def masked():  # of time steps some
    keras.utils.set_random_seed(0)
    hidden = [keras.Input((3, 2)), keras.layers.Masking(), keras.layers.LSTM(3)]
    model = kl.Finetune(keras.Sequential(hidden))
    model.compile("adam", jit_compile=False)
    x = np.maximum(small.X, 0).reshape(-1, 3, 2)
    x[::2, 1:] = 0
    model.fit(x, small.labels(1), task="a", batch_size=16, verbose=0)
    return model.predict(x)


parallel = keras.distribution.distribution()
parts.clear()
of_two = masked()
assert set(parts) == {8}, parts
keras.distribution.set_distribution(None)
np.testing.assert_allclose(of_two, masked(), atol=1e-5)
model = small.new("Finetune")
for devices, length in ((None, 16), (parallel, 8)):  # the second task by two devices
    keras.distribution.set_distribution(devices)
    parts.clear()
    small.learn(model, int(devices is not None))
    assert set(parts) == {length}, parts


def refused(message, work):
    before = keras.distribution.distribution()
    try:
        work()
    except ValueError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
    finally:
        keras.distribution.set_distribution(before)


def of_a_batch():
    hidden = [keras.Input((4,)), keras.layers.BatchNormalization(name="of_a_batch")]
    model = kl.Finetune(keras.Sequential(hidden))
    model.compile("sgd")
    model.fit(np.ones((6, 4)), np.eye(3)[[0, 1, 2] * 2], task="a", verbose=0)


@keras.saving.register_keras_serializable("tests")
def centred(x):
    return x - keras.ops.mean(x, axis=0)


def of_hidden(*layers):
    def work():
        model = kl.Finetune(keras.Sequential([keras.Input((4,)), *layers]))
        model.compile("sgd")
        before = model.network.get_weights()
        try:
            model.fit(np.ones((6, 4)), np.eye(3)[[0, 1, 2] * 2], task="a", verbose=0)
        finally:
            after = model.network.get_weights()
            assert all(map(np.array_equal, before, after)) and not model.task_names

    return work


def by_xla():
    model = kl.Finetune(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    model.compile("sgd", jit_compile=True)
    model.fit(np.ones((6, 4)), np.eye(3)[[0, 1, 2] * 2], task="a", verbose=0)


def weights_shared_out():
    mesh = keras.distribution.DeviceMesh((2,), ["model"], ["cpu:0", "cpu:1"])
    layout = keras.distribution.LayoutMap(mesh)
    parallel = keras.distribution.ModelParallel(layout_map=layout)
    keras.distribution.set_distribution(parallel)
    small.new("Finetune")


def weights_shared_out_later():
    model = small.new("Finetune")
    try:
        weights_shared_out()
    except ValueError:
        small.learn(model, 0)


def by_one_that_is_not_there():
    devices = keras.distribution.DataParallel(devices=["cpu:0", "cpu:7", "gpu:0"])
    keras.distribution.set_distribution(devices)
    small.new("Finetune")


def devices_of(count, batch_size=16):
    def work():
        resolved = {"training": {"batch_size": batch_size}}
        try:
            share_out(count, types.SimpleNamespace(resolved=resolved))
        except UsageError as error:
            raise ValueError(str(error)) from error

    return work


K = keras.layers
refused("earlier calls: own.", of_hidden(K.Dense(3, centred, name="own")))
refused("calls: softmax.", of_hidden(K.Dense(3), K.Softmax(axis=0, name="softmax")))
refused("operation along the batch", of_hidden(K.Dense(3), K.Softmax(axis=-2)))
dense = K.Dense(3)
refused("calls: spectral.", of_hidden(K.SpectralNormalization(dense, name="spectral")))
refused("must be DataParallel", weights_shared_out_later)
refused("of cpu:0, cpu:1. Received: cpu:7, gpu:0", by_one_that_is_not_there)
refused("--devices must divide training.batch_size, 16. Received: 0", devices_of(0))
refused("training.batch_size, 16. Received: 3", devices_of(3))
refused("before TensorFlow has made its devices. Received: 4", devices_of(4))
refused("earlier calls: of_a_batch.", of_a_batch)
refused("Leave `jit_compile` out", by_xla)
refused("must be DataParallel", weights_shared_out)
"""


def test_two_devices_of_tensorflow_learn_what_one_does(tmp_path):
    backends.need("tensorflow")
    work = BY_ROWS.replace("sys.argv[1:]", repr(BY_ROWS_METHODS))
    backends.finish("tensorflow", work, cwd=tmp_path)


def test_what_two_devices_of_tensorflow_would_not_learn_is_refused(tmp_path):
    backends.need("tensorflow")
    work = BY_ROWS.replace("sys.argv[1:]", "()") + REFUSED
    backends.finish("tensorflow", work, cwd=tmp_path)


def test_a_strategy_of_tensorflow_is_refused():
    if backend.NAME != "tensorflow":
        pytest.skip("strategies are TensorFlow's")
    import tensorflow as tf

    hidden = [keras.Input((3,)), keras.layers.Dense(2)]
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        with pytest.raises(ValueError, match="DataParallel.*OneDeviceStrategy"):
            kl.Finetune(keras.Sequential(hidden))
    assert np.isfinite(kl.Finetune(keras.Sequential(hidden)).network.weights[0]).all()
