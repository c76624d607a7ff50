"""ProgressiveNetwork: its formula by NumPy, what it keeps, what it counts."""

import keras
import numpy as np
import pytest
from keras import layers
from small import said_in_turn

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")


def backbone(**kwargs):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, "tanh", name="lower"),
            layers.Dropout(0.2),
            layers.Dense(3, "relu", name="upper", **kwargs),
        ]
    )


def new(network=backbone, **kwargs):
    model = kl.ProgressiveNetwork(network(), **kwargs)
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, x=X, **kwargs):
    y = (x.reshape(len(x), -1)[:, i] > 0).astype("int32")
    task = kl.Task(name, train=(x, y), validation_split=0)
    model.fit(task, **{"epochs": 2, "batch_size": 16, "verbose": 0, **kwargs})


@pytest.fixture(scope="module")
def learned(eager_module):
    """A model of three tasks, and what it said of each when that was learned."""
    model = new()
    return model, said_in_turn(model, fit, X)


def arrays(model, column):
    """Those of a column: W and b of both layers, then α, V, b and U of each adapter."""
    keys = [k for k in model.memory.shared if k[:2] == ("column", column)]
    return [model.memory[key].astype("float64") for key in sorted(keys)]


def relu(x):
    return np.maximum(x, 0)


def test_the_paper_s_formula_in_numpy(learned):
    model, said = learned

    def heard(adapter, earlier):
        scales, kernel, bias, widen = adapter
        beside = np.concatenate(
            [a * h for a, h in zip(scales, earlier, strict=True)], 1
        )
        return relu(beside @ kernel + bias) @ widen

    lower, upper = [], []
    for column, name in enumerate("abc"):
        w1, b1, w2, b2, *adapters = arrays(model, column)
        low = np.tanh(X @ w1 + b1)
        high = low @ w2 + b2
        features = relu(high)
        if column:
            adapters = [
                [adapters[k].reshape(-1), *adapters[k + 1 : k + 4]] for k in (0, 4)
            ]
            features = relu(high + heard(adapters[0], lower))
            top = features + heard(adapters[1], upper)
        else:
            assert not adapters
            top = features
        lower.append(low)
        upper.append(features)
        z = np.exp(
            top @ model.memory["head", "own", name, "kernel"]
            + model.memory["head", "own", name, "bias"]
        )
        np.testing.assert_allclose(said[name], z / z.sum(1, keepdims=True), atol=1e-5)


def test_nothing_is_forgotten_to_the_last_bit(learned):
    model, said = learned
    for name, found in said.items():
        np.testing.assert_array_equal(model.predict(X, task=name), found)


def test_what_it_counts(learned):
    model, _ = learned
    column = 6 * 4 + 4 + 4 * 3 + 3
    one = (1 + 4 * 4 + 4 + 4 * 3) + (1 + 3 * 3 + 3 + 3 * 3)  # α, V, b, U, twice
    two = (2 + 8 * 4 + 4 + 4 * 3) + (2 + 6 * 3 + 3 + 3 * 3)
    assert model.network_params() == 3 * column + one + two
    assert model.count_params() == model.network_params() + 3 * (3 * 2 + 2)
    apart = new(lateral="apart")
    for i, name in enumerate("abc"):
        fit(apart, name, i, epochs=1)
    one = (1 + 4 * 1 + 1 + 1 * 3) + (1 + 3 * 1 + 1 + 1 * 3)  # 4 / (2 · 2) units
    two = 2 * (1 + 4 * 1 + 1) + 2 * 3 + 2 * (1 + 3 * 1 + 1) + 2 * 3
    assert apart.network_params() == 3 * column + one + two


def test_a_column_that_others_hear_is_kept(learned, tmp_path):
    model, said = learned
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    fit(again, "b", 3)  # its column is heard: its head alone learns
    np.testing.assert_array_equal(again.predict(X, task="c"), said["c"])
    assert (again.predict(X, task="b") != said["b"]).any()
    removal = again.remove_task("a")
    assert removal.stays == {"column_0": ["b", "c"]}
    fit(again, "d", 4)
    assert again.notes("d")["columns"] == [0, 1, 2, 3]
    np.testing.assert_array_equal(again.predict(X, task="c"), said["c"])
    for name in "bcd":
        again.remove_task(name)
    assert not again.memory.shared
    part = kl.LifelongModel.from_preset(tmp_path / "preset", tasks=["b"])
    np.testing.assert_array_equal(part.predict(X, task="b"), said["b"])
    assert {key[1] for key in part.memory.shared} == {0, 1}


def test_statistics_and_frozen_layers():
    """An earlier column is used as it stands; a frozen layer is one for all."""

    def network():
        x = keras.Input((4, 4, 2))
        y = layers.Conv2D(3, 2, trainable=False, name="frozen")(x)
        y = layers.Conv2D(3, 2, name="conv")(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        return keras.Model(x, layers.Flatten()(layers.Conv2D(2, 1, groups=1)(y)))

    x = RNG.normal(size=(32, 4, 4, 2)).astype("float32")
    model = new(network)
    fit(model, "a", 0, x)
    fit(model, "b", 1, x)
    before = dict(model.memory.shared)
    assert len(model.shared_variables()) == 2
    body = model.network.of("2")
    kernels = {id(column.frozen[0]) for column in body.columns()}
    assert kernels == {id(model.shared_variables()[0])}
    fit(model, "c", 2, x)
    for key, value in before.items():
        np.testing.assert_array_equal(model.memory[key], value)


def test_pretrained_columns_begin_as_given(tmp_path):
    given = backbone()
    model = kl.ProgressiveNetwork(given, pretrained=True)
    model.compile(keras.optimizers.SGD(0.0))
    fit(model, "a", 0)
    model.save_to_preset(tmp_path / "preset")
    model = kl.LifelongModel.from_preset(tmp_path / "preset")
    fit(model, "b", 1)
    for column in (0, 1):
        found = arrays(model, column)[:4]
        for array, expected in zip(found, given.get_weights(), strict=True):
            np.testing.assert_array_equal(array, expected)


def test_words_that_are_none_stay_masked_where_columns_are_heard():
    words = keras.Input((5,))
    x = layers.Embedding(7, 4, mask_zero=True)(words)
    y = layers.MultiHeadAttention(1, 2)(x, x)  # takes the masks off what it is given
    y = layers.GlobalAveragePooling1D()(layers.Add()([x, y]))
    model = new(lambda: keras.Model(words, y))
    rng = np.random.default_rng(1)  # of each example one word at least
    asked = rng.integers(1, 7, (32, 5)) * (np.arange(5) < rng.integers(1, 6, (32, 1)))
    for i in range(2):
        y = np.arange(32) % 2
        task = kl.Task(f"t{i}", train=(asked, y), validation_split=0)
        model.fit(task, epochs=1, batch_size=16, verbose=0)
    plain = model.task_model("t1")(keras.ops.convert_to_tensor(asked))
    found = model.predict(asked, task="t1")
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(plain), atol=1e-6)


@pytest.mark.parametrize("network", ["channels", "frozen"])
def test_what_is_not_carried_is_refused_by_name(network):
    hidden = [layers.Dense(3, trainable=False)]
    if network == "channels":
        hidden = [
            layers.Conv2D(2, 1),
            layers.Conv2D(2, 1, data_format="channels_first", name="second"),
            layers.Flatten(),
        ]
    made = keras.Sequential([keras.Input((4, 4, 2)), *hidden, layers.Flatten()])
    match = {"channels": "'second'.*channels_last", "frozen": "trainable. Received"}
    with pytest.raises(ValueError, match=match[network]):
        kl.ProgressiveNetwork(made)


def test_a_lie_about_columns_is_refused(learned):
    model, _ = learned
    state, held = model.get_state()
    shapes = {key: array.shape for key, array in held.items()}
    model.check_state(state, shapes)
    for lie in (None, [], [0, 0], ["0"], [-1], [True]):
        state["notes"]["c"]["columns"] = lie
        with pytest.raises(ValueError, match="column"):
            model.check_state(state, shapes)
