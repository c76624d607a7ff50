"""CAT: which tasks are similar, what is held for whom, and what a task hears."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")


def new(optimizer=None, **kwargs):
    hidden = [layers.Dense(8, "relu", name="a"), layers.Dense(4, "relu", name="b")]
    model = kl.CAT(keras.Sequential([keras.Input((6,)), *hidden]), **kwargs)
    model.compile(optimizer or keras.optimizers.Adam(0.05))
    return model


def labels(i):
    return (X[:, i] > 0).astype("int32")


def fit(model, name, i, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 16, "verbose": 0, **kwargs}
    model.fit(kl.Task(name, train=(X, labels(i)), validation_split=0), **kwargs)


def scoring(model, monkeypatch, *scores):
    """Lets the reference, and then heads on earlier tasks, score what is given."""
    found = iter(scores)
    monkeypatch.setattr(
        type(model), "score", lambda *args, **kwargs: {"accuracy": next(found)}
    )


def clean(model, name, seed=0):
    """Gates of a task that are 0 or 1 to the last bit."""
    rng = np.random.default_rng(seed)
    for i, n in enumerate(model._gates.units):
        e = rng.permutation(np.arange(n) % 2) * 2 - 1
        model.memory["own", name, i] = e.astype("float32")  # σ(±400)


@pytest.mark.parametrize(
    ("tolerance", "similar"), [(0.0, ["c", "a"]), (0.1, ["c", "a", "b"])]
)
def test_a_task_is_similar_whose_head_is_better_than_the_reference(
    monkeypatch, tolerance, similar
):
    model = new(tolerance=tolerance, similar=2)
    for name in "abc":
        scoring(model, monkeypatch, 1.0, *([0.5] * 3))
        fit(model, name, 0)
        assert model.notes(name)["similar"] == [] and not model.attends(name)
    scoring(model, monkeypatch, 0.75, 0.8, 0.75, 0.9)  # equal is not better
    fit(model, "d", 1)
    assert model.notes("d")["similar"] == similar
    assert model.growth[-1]["why"]["heads"] == {"a": 0.8, "b": 0.75, "c": 0.9}
    assert model.memory["own", "d", 4].tolist() == [1, 1]  # attends to the best two
    for i in range(2):
        heard = [model.attention(name)[i] for name in ("c", "a")]
        np.testing.assert_array_equal(model.memory["own", "d", 2 + i], heard)


def test_the_same_task_is_similar_and_another_is_not():
    """A head alone learns the first, whose features are there; the other is easier."""
    x = np.random.default_rng(1).normal(size=(128, 6)).astype("float32")
    far = np.abs(x[:, 0]) > 0.67  # which of itself no sum of inputs tells
    model = new(keras.optimizers.Adam(0.1), transfer_epochs=10, strength=0.1)

    def learn(name, y, epochs=4):
        y = y.astype("int32")
        task = kl.Task(name, train=(x[:64], y[:64]), validation=(x[64:], y[64:]))
        model.fit(task, epochs=epochs, batch_size=32, verbose=0)

    learn("far", far, epochs=1)
    w, b, v, c = (np.zeros_like(x) for x in model.network.get_weights())
    w[0, :2] = 1, -1
    v[:2, :2], c[:2] = [[5, -5], [5, -5]], [-3.3, 3.3]  # how far beyond, and within
    model.network.set_weights([w, b, v, c])
    for i, e in enumerate((np.full(8, -1), np.full(4, -1))):
        e[:2] = 1  # only these are open
        model.memory["own", "far", i] = e.astype("float32")
    learn("another", x[:, 3] > 0)
    assert model.notes("another")["similar"] == []
    learn("again", far)
    assert "far" in model.notes("again")["similar"]
    why = model.growth[-1]["why"]
    assert why["heads"]["far"] > 0.9 > why["reference"]


def test_units_of_dissimilar_tasks_are_held_and_those_of_similar_ones_move(monkeypatch):
    found = {}
    for similar in (False, True):
        model = new()
        fit(model, "a", 0)
        clean(model, "a")
        before, weights = model.predict(X, task="a"), model.network.get_weights()
        scoring(model, monkeypatch, 0.5, 0.5 + 0.1 * similar)
        fit(model, "b", 1, epochs=2)
        same = np.array_equal(model.predict(X, task="a"), before)
        moved = [
            (w != v) for w, v in zip(weights, model.network.get_weights(), strict=True)
        ]
        used = [gate == 1 for gate in model.attention("a")]
        held = [moved[0][:, used[0]], moved[2][np.ix_(*used)]]
        found[similar] = (same, any(m.any() for m in held))
        assert moved[0][:, ~used[0]].any()
    assert found == {False: (True, False), True: (False, True)}


def test_what_a_task_hears_is_held_for_it(monkeypatch):
    model = new()
    fit(model, "a", 0)
    clean(model, "a")
    scoring(model, monkeypatch, 0.5, 1.0)
    fit(model, "b", 1, epochs=2)
    clean(model, "b", seed=1)
    before = [model.predict(X, task=name) for name in "ab"]
    scoring(model, monkeypatch, 0.5, 1.0, 0.0)
    fit(model, "c", 2, epochs=2)  # like a, which b attends to
    assert model.notes("c")["similar"] == ["a"]
    for name, expected in zip("ab", before, strict=True):
        np.testing.assert_array_equal(model.predict(X, task=name), expected)


def test_a_task_begins_to_hear_nothing_and_is_used_with_what_it_hears(
    monkeypatch, tmp_path
):
    model = new()
    fit(model, "a", 0)
    scoring(model, monkeypatch, 0.5, 1.0)
    fit(model, "b", 1, epochs=3)
    monkeypatch.undo()
    count = model.count_params()
    assert count == 6 * 8 + 8 + 8 * 4 + 4 + 2 * (8 + 4 + 4 * 2 + 2) + 16 + 3 * 16 * 4

    w, b, v, c = model.network.get_weights()

    def features(gates):
        return np.maximum((np.maximum(X @ w + b, 0) * gates[0]) @ v + c, 0) * gates[1]

    h, a = features(model.attention("b")), model.attention("a")
    heard = [model.memory["own", "b", i] for i in range(2, 9)]
    np.testing.assert_array_equal(heard[0][0], a[0])
    assert not heard[0][1:].any() and heard[2].tolist() == [1, 0, 0]
    *_, value, output = heard
    assert output.any()  # it has learned to hear
    z = h + features([heard[0][0], heard[1][0]]) @ value @ output  # one: its share is 1
    z = z @ model.memory["head", "own", "b", "kernel"]
    z = np.exp(z + model.memory["head", "own", "b", "bias"])
    found = model.predict(X, task="b")
    np.testing.assert_allclose(found, z / z.sum(1, keepdims=True), atol=1e-5)

    plain = model.task_model("b")
    plain.save(tmp_path / "plain.keras")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(again.predict(X, verbose=0), found, atol=1e-5)
    assert isinstance(model.task_model("a"), keras.Sequential)

    model.save_to_preset(tmp_path / "preset")
    loaded = kl.LifelongModel.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(loaded.predict(X, task="b"), found)
    loaded.remove_task("a")
    np.testing.assert_array_equal(loaded.predict(X, task="b"), found)
    assert loaded.notes("b")["similar"] == []


def test_what_is_heard_is_nothing_before_it_is_learned(monkeypatch):
    model, seen = new(), []
    fit(model, "a", 0)
    scoring(model, monkeypatch, 0.5, 1.0)

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if self.model.attends("b"):
                with_heard = self.model.features(X)
                alone = self.model.through(self.model.network, X)
                seen.append(tuple(map(ops.convert_to_numpy, (with_heard, alone))))

    fit(model, "b", 1, batch_size=32, callbacks=[Look()])
    np.testing.assert_array_equal(*seen[-1])


def test_others_are_read_as_they_were_while_the_reference_is_trained():
    model, seen = new(), []
    fit(model, "a", 0)
    before = model.predict(X, task="a")

    class Read(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.predict(X, task="a"))

    fit(model, "b", 1, batch_size=32, callbacks=[Read()])
    assert len(seen) == 3  # the reference, a head on a, the task itself
    for found in seen[:2]:
        np.testing.assert_array_equal(found, before)
