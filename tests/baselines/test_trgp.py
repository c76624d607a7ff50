"""TRGP: which tasks are trusted, what scaling changes, and what it leaves alone."""

import keras
import numpy as np
import pytest
import small
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.training.projection import chosen_directions

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6)).astype("float32")


def new(optimizer=None, **kwargs):
    backbone = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "relu"),
            layers.BatchNormalization(),
            layers.Dense(4, "relu", use_bias=False),
        ]
    )
    model = kl.TRGP(backbone, **kwargs)
    model.compile(optimizer or keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, x=X, **kwargs):
    kwargs = {"epochs": 2, "batch_size": 12, "verbose": 0, **kwargs}
    y = (X[:, i] > 0).astype("int32") if len(x) == 24 else np.arange(len(x)) % 2
    model.fit(kl.Task(name, train=(x, y), validation_split=0), **kwargs)


def test_old_and_new_directions_are_ranked_together():
    basis = np.eye(4, dtype="float32")[:, :2]
    moments = np.diag([0.5, 8.0, 1.0, 4.0])
    whole, mine = chosen_directions(basis, moments, 0.8)  # 8 and 4 of 13.5
    assert mine.tolist() == [1, 2]
    np.testing.assert_array_equal(whole[:, :2], basis)
    np.testing.assert_allclose(np.abs(whole[:, 2]), [0, 0, 0, 1], atol=1e-6)
    whole, mine = chosen_directions(whole, moments, 0.5)
    assert whole.shape == (4, 3) and mine.tolist() == [1]
    whole, mine = chosen_directions(basis, moments, 1.0)
    assert whole.shape == (4, 4) and mine.tolist() == [0, 1, 2, 3]


def test_a_task_is_trusted_where_the_gradient_lies_in_its_space():
    """Of two tasks whose inputs are of other pixels, the one whose pixels come back."""
    hidden = layers.Dense(5, "tanh", use_bias=False)
    backbone = keras.Sequential([keras.Input((6,)), hidden])
    model = kl.TRGP(backbone, threshold=0.999, trust=0.5, related=1)
    model.compile(keras.optimizers.Adam(0.02))
    low, high = X.copy(), X.copy()
    low[:, 3:], high[:, :3] = 0, 0
    fit(model, "low", 0, low)
    fit(model, "high", 4, high)
    seen, learn = {}, model.learn

    def spy(task):
        seen["trusted"] = model.trusted(task, model.bases())
        seen["gradient"] = model.gradients_of(task)
        yield from learn(task)

    model.learn = spy
    fit(model, "again", 5, high)
    (columns,) = seen["trusted"][0]
    np.testing.assert_array_equal(columns, model.memory["space", "high", 0])
    assert columns.tolist() == [3, 4, 5]
    assert not seen["gradient"][0][:3].any()
    with pytest.raises(KeyError):
        model.memory["scaled", "low", 0, "change"]
    strict = model.with_options(trust=0.9999)

    def looks(task):
        seen["strict"] = strict.trusted(task, strict.bases())
        yield from ()

    strict.learn = looks
    fit(strict, "none", 1, X)
    assert seen["strict"] == [[]]


def test_the_weights_of_a_task_are_scaled_and_stay():
    """W + M E is what it is used by, and later tasks change none of its outputs."""
    model = new(threshold=1.0, samples=2, trust=0.0)
    few = X[:2]
    fit(model, "a", 0, few)
    fit(model, "b", 1, few)
    change = model.memory["scaled", "b", 0, "change"]
    rows = model.memory["scaled", "b", 0, "rows"]
    assert rows.tolist() == model.memory["space", "a", 0].tolist()
    assert np.abs(change).max() > 1e-3  # Q is no longer I
    whole = model.memory["gpm", 0][:, rows] @ change
    with model.read("b"):
        kernel = ops.convert_to_numpy(model.network.layers[0].kernel)
    plain = ops.convert_to_numpy(model.network.layers[0].kernel).copy()
    np.testing.assert_allclose(kernel, plain + whole[:6], atol=1e-6)
    before = {name: model.predict(few, task=name) for name in "ab"}
    fit(model, "c", 2, X, epochs=3)
    for name, found in before.items():
        now = model.predict(few, task=name)
        np.testing.assert_allclose(now, found, atol=1e-4)
    assert (ops.convert_to_numpy(model.network.layers[0].kernel) != plain).any()
    kept = [v for k, v in model.memory.items() if k[-1] == "change"]
    own = 3 * (2 * 5 + 4 * 2 + 2)  # normalisation and heads
    assert model.count_params() == 7 * 5 + 5 * 4 + own + sum(v.size for v in kept)


def test_what_a_callback_reads_is_what_is_trained(tmp_path):
    """Scales are in what is scored, saved and read in the middle of a phase."""
    model, found = new(trust=0.0), []
    fit(model, "a", 0)

    class Reads(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            now = {name: self.model.predict(X, task=name) for name in "ab"}
            self.model.save_to_preset(tmp_path / "preset")
            again = kl.LifelongModel.from_preset(tmp_path / "preset")
            for name, said in now.items():
                np.testing.assert_array_equal(again.predict(X, task=name), said)
            found.append(now["b"])

    fit(model, "b", 1, epochs=2, callbacks=[Reads()])
    np.testing.assert_array_equal(found[-1], model.predict(X, task="b"))
    change = [v for k, v in model.memory.items() if k[-1] == "change"]
    assert max(np.abs(v).max() for v in change) > 1e-3


def test_scales_are_in_what_validation_and_the_best_epoch_are_scored_by():
    model, scores = new(keras.optimizers.Adam(0.3), trust=0.0), []
    fit(model, "a", 0)
    data = X, (X[:, 1] > 0).astype("int32")

    class Reads(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            said = self.model.predict(X, task="b").argmax(-1)
            scores.append(np.mean(said == data[1]))
            assert logs["val_accuracy"] == pytest.approx(scores[-1])

    task = kl.Task("b", train=data, validation=data, test=data)
    result = model.fit_stream([task], epochs=4, verbose=0, callbacks=[Reads()])
    assert result.peak_by_task == [pytest.approx(max(scores))]
    assert max(scores) > scores[-1]


@pytest.mark.parametrize("method", [kl.GPM, kl.TRGP])
def test_an_optimizer_that_moves_other_weights_is_refused(method):
    model = method(small.backbone())
    free = keras.optimizers.ScheduleFreeAdamW(0.05)
    model.compile(keras.optimizers.LossScaleOptimizer(free))
    with pytest.raises(ValueError, match="projects.*ScheduleFreeAdamW.*AdamW"):
        small.learn(model, 0)
    assert model.task_names == []


def test_a_task_that_comes_back_begins_without_scales():
    model = new(trust=0.0)
    for i, name in enumerate("aba"):
        fit(model, name, i)
    assert ("scaled", "a", 0, "change") in model.memory  # it trusts b by now
    model.remove_task("b")
    found = model.predict(X, task="a")
    fit(model, "c", 2)
    assert np.isfinite(found).all() and model.task_names == ["a", "c"]


def test_directions_that_are_not_there_are_refused():
    model = new(trust=0.0)
    for i, name in enumerate("ab"):
        fit(model, name, i)
    key = ("scaled", "b", 0, "rows")
    model.memory[key] = model.memory[key] + 100
    with pytest.raises(ValueError, match="task 'b' scales directions"):
        model.predict(X, task="b")
