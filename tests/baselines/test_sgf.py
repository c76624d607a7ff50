"""SGF: what a layer gives, which candidate is kept, and what is never moved."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from small import said_in_turn

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(6, "relu", name="lower"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(4, "relu", name="upper"),
        ]
    )


def new(**kwargs):
    model = kl.SGF(backbone(), gate_units=3, **kwargs)
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, **kwargs):
    task = kl.Task(name, train=(X, (X[:, i] > 0).astype("int32")))
    model.fit(task, **{"epochs": 1, "batch_size": 60, "verbose": 0, **kwargs})


def choose(model, monkeypatch, best):
    """Makes the candidate of so many new modules the best."""
    asked = []

    def score(task, split, main_only=False):
        asked.append(split)
        return {"accuracy": float(len(asked) - 1 == best)}

    monkeypatch.setattr(model, "score", score)
    return asked


@pytest.fixture(scope="module")
def learned(eager_module):
    """A model of three tasks, and what it said of each when that was learned."""
    model = new()
    return model, said_in_turn(model, fit, X)


def test_nothing_is_forgotten_to_the_last_bit(learned):
    model, said = learned
    for name, found in said.items():
        np.testing.assert_array_equal(model.predict(X, task=name), found)


def test_the_candidate_that_validates_best_is_kept(learned):
    model, _ = learned
    assert model.pool.paths == ["lower", "upper"]
    assert model.modules("a") == [[0], [0]]
    known = [1, 1]
    for name in "bc":
        said = [e for e in model.growth if e["task"] == name]
        best = int(np.argmax(said[0]["why"]["candidates"]))  # of equals the fewest
        assert len(said[0]["why"]["candidates"]) == 3  # none, the upper one, both
        known = [n + (best >= 2 - place) for place, n in enumerate(known)]
        assert model.modules(name) == [list(range(n)) for n in known]
        assert [e["layer"] for e in said[1:]] == ["lower", "upper"][2 - best :]


@pytest.mark.parametrize("best", [0, 1, 2])
def test_a_layer_is_a_mixture_by_the_gate_of_the_task(best, monkeypatch):
    """By NumPy, from what is kept; modules of the first task have not moved."""
    model = new()
    fit(model, "a", 0)
    before = dict(model.memory.shared)
    asked = choose(model, monkeypatch, best)
    fit(model, "b", 1, validation_freq=2)
    assert asked == ["validation"] * 3
    assert model.modules("b") == [[0, 1] if best >= n else [0] for n in (2, 1)]
    for key, value in before.items():
        np.testing.assert_array_equal(model.memory[key], value)
    memory, h = model.memory, X
    parts = [memory["part", "b", i] for i in range(4 + 4 * best)]
    gamma, beta, mean, variance, *gates = parts
    for place, ids in enumerate(model.modules("b")):
        weights = np.ones((len(X), 1))
        if len(ids) == 2:
            hidden, bias, kernel, shift = gates[:4]
            gates = gates[4:]
            logits = np.maximum(h @ hidden + bias, 0) @ kernel + shift
            weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        outputs = [
            np.maximum(
                h @ memory["module", place, m, 0] + memory["module", place, m, 1], 0
            )
            for m in ids
        ]
        h = sum(w[:, None] * out for w, out in zip(weights.T, outputs, strict=True))
        if place == 0:
            h = (h - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    head = [memory["head", "own", "b", part] for part in ("kernel", "bias")]
    logits = h @ head[0] + head[1]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict(X, task="b"), expected, atol=1e-4)


def test_candidates_that_lost_leave_nothing(monkeypatch):
    model = new()
    fit(model, "a", 0)
    before = set(model.memory)
    choose(model, monkeypatch, 0)
    fit(model, "b", 1)
    mine = {key for key in set(model.memory) - before}
    assert {key[0] for key in mine} == {"head", "part"}
    parts = [key for key in mine if key[0] == "part"]
    assert len(parts) == 4  # normalisation: of one module there is no gate
    assert model.network_params() == 42 + 28 + 2 * 12  # γ and β of each task


def test_a_task_that_comes_back_moves_what_is_its_alone(learned, tmp_path):
    model, said = learned
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    fit(again, "a", 3)
    assert (again.predict(X, task="a") != said["a"]).any()
    for name in "bc":
        np.testing.assert_array_equal(again.predict(X, task=name), said[name])
    again.remove_task("a")
    for name in "bc":
        np.testing.assert_array_equal(again.predict(X, task=name), said[name])
    fit(again, "d", 2)
    np.testing.assert_array_equal(again.predict(X, task="b"), said["b"])


def test_places_are_averaged_for_a_gate_and_integers_give_a_constant():
    x = keras.Input((5,), dtype="int32")
    words = layers.Embedding(9, 3, name="words")(x)
    h = layers.Conv1D(4, 2, name="conv")(words)
    network = keras.Model(x, layers.GlobalAveragePooling1D()(h))
    model = kl.SGF(network)
    constant, averaged = (model.mixer(model.pool, place, 2) for place in (0, 1))
    rows = RNG.integers(0, 9, (4, 5))
    found = [
        ops.convert_to_numpy(constant.parts(None, ops.convert_to_tensor(r), None, None))
        for r in (rows, rows[::-1].copy())
    ]
    np.testing.assert_array_equal(*found)
    assert found[0].shape == (4, 2)
    np.testing.assert_allclose(found[0].sum(1), 1, atol=1e-6)
    h = RNG.normal(size=(4, 5, 3)).astype("float32")
    found = [
        ops.convert_to_numpy(averaged.parts(None, ops.convert_to_tensor(z), None, None))
        for z in (h, h[:, ::-1].copy())
    ]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_a_block_with_normalisation_in_it_is_refused_by_its_path():
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense, self.norm = layers.Dense(4), layers.BatchNormalization()

        def build(self, shape):
            self.dense.build(shape)
            self.norm.build((*shape[:-1], 4))

        def call(self, x, training=False):
            return self.norm(self.dense(x), training=training)

        def compute_output_shape(self, shape):
            return (*shape[:-1], 4)

    network = keras.Sequential([keras.Input((6,)), Block(name="block")])
    with keras.saving.custom_object_scope({"Block": Block}):
        with pytest.raises(
            ValueError, match="SGF cannot carry the layer 'block'.*func"
        ):
            kl.SGF(network)
