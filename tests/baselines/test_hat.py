"""HAT: its formulas against NumPy, and units that are held."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6)).astype("float32")
S = 400.0


def new(optimizer=None, **kwargs):
    backbone = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu"),
            layers.Dense(4, "relu", use_bias=False),
        ]
    )
    model = kl.HAT(backbone, **kwargs)
    model.compile(optimizer or keras.optimizers.SGD(0.1))
    return model


def fit(model, name, i, **kwargs):
    kwargs = {"epochs": 2, "batch_size": 8, "verbose": 0, **kwargs}
    y = (X[:, i] > 0).astype("int32")
    model.fit(kl.Task(name, train=(X, y), validation_split=0), **kwargs)


@pytest.mark.parametrize("every", [None, 2])
def test_averages_of_weights_leave_what_is_held(every):
    ema = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": every}
    model = new(keras.optimizers.Adam(0.05, **ema))
    fit(model, "a", 0, epochs=1)
    before = model.predict(X, task="a")
    fit(model, "b", 1, epochs=1)
    np.testing.assert_allclose(model.predict(X, task="a"), before, atol=1e-6)


def sigmoid(z):
    return 0.5 * (1 + np.tanh(z / 2))


def test_s_goes_from_its_least_to_its_most_in_each_epoch():
    model = new(s_max=100.0)
    found = []
    for batch in range(6):  # two epochs of three
        model._attention.batch.assign(batch)
        found.append(float(model.scale({"steps": np.int32(3)})))
    np.testing.assert_allclose(found, 2 * [0.01, 50.005, 100.0], rtol=1e-5)
    assert float(model.scale({"steps": np.int32(1)})) == 100.0  # an epoch of one
    fit(model, "a", 0)
    assert int(model._attention.batch) == 6


def test_the_gradient_of_an_embedding_is_compensated():
    model = new(s_max=100.0)
    e = model._attention.embeddings[0]
    e.assign(np.linspace(-4, 4, 8))
    model._attention.batch.assign(0)  # s = 0.01
    values = ops.convert_to_numpy(e).astype("float64")
    gradients = [ops.ones(8), ops.ones(3)]
    found = model.compensate(gradients, [e, ops.ones(3)], {"steps": np.int32(3)})
    s = 0.01
    expected = 100.0 * (np.cosh(s * values) + 1) / (s * (np.cosh(values) + 1))
    np.testing.assert_allclose(ops.convert_to_numpy(found[0]), expected, rtol=1e-4)
    np.testing.assert_array_equal(ops.convert_to_numpy(found[1]), 1)  # θ's stays
    model._attention.batch.assign(2)  # s e is beyond 50
    found = model.compensate(gradients, [e, ops.ones(3)], {"steps": np.int32(3)})
    assert np.isfinite(ops.convert_to_numpy(found[0])).all()


def test_units_that_are_used_cost_nothing_more():
    model = new(s_max=10.0, strength=0.5)
    for i, e in enumerate(model._attention.embeddings):
        e.assign(RNG.normal(size=model._gates.units[i]))
    model._attention.batch.assign(2)
    used = [np.arange(8) / 8, np.zeros(4)]
    used = [u.astype("float32") for u in used]
    gates = [sigmoid(10 * ops.convert_to_numpy(e)) for e in model._attention.embeddings]
    new_units = sum((a * (1 - u)).sum() for a, u in zip(gates, used, strict=True))
    expected = 0.5 * new_units / sum((1 - u).sum() for u in used)
    used = [ops.convert_to_tensor(u) for u in used]
    found = model.sparsity([], {"steps": np.int32(3), "used": used})
    assert float(ops.stop_gradient(found)) == pytest.approx(expected, rel=1e-5)


def test_what_a_task_uses_is_held_in_the_next():
    """Gates of exactly 0 or 1: then nothing of the first task is forgotten at all."""
    model = new(keras.optimizers.Adam(0.05))
    fit(model, "a", 0)
    closed = [(np.arange(n) % 2).astype("float32") for n in model._gates.units]
    for i, gate in enumerate(closed):
        model.memory["own", "a", i] = (2 * gate - 1).astype("float32")  # σ(±400)
    before, weights = model.predict(X, task="a"), model.network.get_weights()
    fit(model, "b", 1, epochs=3)
    np.testing.assert_array_equal(model.predict(X, task="a"), before)
    kernel, bias, second = (
        w != v for w, v in zip(weights, model.network.get_weights(), strict=True)
    )
    open_units = closed[0] == 1
    assert not kernel[:, open_units].any() and not bias[open_units].any()
    assert kernel[:, ~open_units].any()
    held = np.minimum(closed[0][:, None], closed[1][None]) == 1
    assert not second[held].any() and second[~held].any()


def test_a_task_has_gates_and_a_plain_model_of_them(tmp_path):
    model = new(keras.optimizers.Adam(0.05))
    for i, name in enumerate("ab"):
        fit(model, name, i, epochs=4)
    for name in "ab":
        gates = model.attention(name)
        e = model.memory["own", name, 0]
        np.testing.assert_allclose(
            gates[0], sigmoid(S * e.astype("float64")), atol=1e-6
        )
        w, b, v = model.network.get_weights()
        hidden = np.maximum(X @ w + b, 0) * gates[0]
        z = np.maximum(hidden @ v, 0) * gates[1]
        z = z @ model.memory["head", "own", name, "kernel"]
        z = np.exp(z + model.memory["head", "own", name, "bias"])
        found = model.predict(X, task=name)
        np.testing.assert_allclose(found, z / z.sum(1, keepdims=True), atol=1e-5)
    plain = model.task_model("a")
    assert isinstance(plain, keras.Sequential)
    plain.save(tmp_path / "plain.keras")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    found = again.predict(X, verbose=0)
    np.testing.assert_allclose(found, model.predict(X, task="a"), atol=1e-5)
    own = 2 * (8 + 4 + 4 * 2 + 2)
    assert model.count_params() == 6 * 8 + 8 + 8 * 4 + own


def test_a_removed_task_gives_its_units_back():
    model = new()
    for i, name in enumerate("ab"):
        fit(model, name, i)
    model.memory["own", "b", 0] = np.full(8, 6.0, "float32")  # it uses all
    both = model.used()
    model.remove_task("b")
    for a, found, most in zip(model.attention("a"), model.used(), both, strict=True):
        np.testing.assert_array_equal(found, a)
        assert (found <= most).all()
    assert both[0].min() == 1 and model.used()[0].min() < 1


def test_a_data_set_of_unknown_length_is_refused_before():
    tf = pytest.importorskip("tensorflow")

    def examples():
        yield from zip(X, (X[:, 0] > 0).astype("int32"), strict=True)

    kinds = (tf.TensorSpec((6,)), tf.TensorSpec((), tf.int32))
    data = tf.data.Dataset.from_generator(examples, output_signature=kinds)
    spec = kl.TaskSpec(2, input_shape=(6,))
    model = new()
    with pytest.raises(ValueError, match="`steps_per_epoch` must say"):
        model.fit(
            kl.Task("a", spec, train=data.batch(8), validation_split=0), verbose=0
        )
    task = kl.Task("a", spec, train=data.batch(8), validation_split=0)
    model.fit(task, epochs=1, steps_per_epoch=3, verbose=0)
    assert model.task_names == ["a"]


@pytest.mark.parametrize(("own", "size", "steps"), [(7, None, 4), (None, 8, 3)])
def test_batches_of_a_dataset_are_counted(own, size, steps):
    """24 rows: batches of 7 of its own are 4, and of 8 they are 3."""
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, (X[:, 0] > 0).astype("int32")))
    data = data if own is None else data.batch(own)
    spec = kl.TaskSpec(2, input_shape=(6,))
    model, seen = new(keras.optimizers.Adam(0.05)), []

    def see(batch, logs):
        seen.append(batch)

    see = keras.callbacks.LambdaCallback(on_train_batch_end=see)
    task = kl.Task("a", spec, train=data, validation_split=0)
    model.fit(task, epochs=1, batch_size=size, verbose=0, callbacks=[see])
    assert model._steps == steps == seen[-1] + 1
