"""DARTSTransfer: the mixture, what α is trained by, and what becomes of the choice."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 6)).astype("float32")


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "relu", name="lower"),
            layers.Dense(4, "relu", name="upper"),
        ]
    )


def new(**kwargs):
    model = kl.DARTSTransfer(backbone(), **kwargs)
    model.compile(keras.optimizers.SGD(0.1))
    return model


def labels(i):
    return (X[:, i] > 0).astype("int32")


def fit(model, name, i, **kwargs):
    task = kl.Task(name, train=(X, labels(i)), validation_split=0)
    model.fit(task, **{"epochs": 1, "batch_size": 20, "verbose": 0, **kwargs})


def array(tensor):
    return ops.convert_to_numpy(tensor).copy()


def choose(model, monkeypatch, choices):
    """Makes the search end with these choices, whatever α is."""
    follow = model.follow

    def forced(before, weights, arguments, learning_rate):
        weights = follow(before, weights, arguments, learning_rate)
        chosen = np.array([[c, 1 - c] for c in choices], "float32")
        model.evidence.assign(chosen)
        model.posterior.assign(chosen)
        return weights

    monkeypatch.setattr(model, "follow", forced)


def test_a_layer_is_a_mixture_by_the_softmax_of_alpha():
    model = new()
    network = model.network
    parts = np.array([0.25, 0.75], "float32")
    h = X
    for layer, p in zip(network.searched, parts, strict=True):
        both = []
        for half in (layer.transfer, layer.own):
            kernel, bias = (
                RNG.normal(size=half.kernel.shape),
                RNG.normal(size=half.units),
            )
            half.set_weights([kernel, bias])
            kernel, bias = (array(v) for v in half.variables)
            both.append(np.maximum(h @ kernel + bias, 0))
        h = p * both[0] + (1 - p) * both[1]
    found = array(network.mixed(ops.convert_to_tensor(X), parts))
    np.testing.assert_allclose(found, h, atol=1e-4)


def test_the_halves_are_all_examples_once():
    model = new(held_out=0.3)
    task = model.load_task(
        kl.Task(
            "a", train=(X, labels(0)), sample_weight=np.arange(20), validation_split=0
        )
    )
    (x, y), weight, held_out = model.halves(task)
    count = int(held_out["count"])
    assert count == 6 and len(x) == 14
    for part, kept in (("x", x), ("y", y), ("weight", weight)):
        assert held_out[part].shape[0] == 16  # filled up, so that few are compiled
        both = np.concatenate([held_out[part][:count], kept])
        whole = {"x": X, "y": labels(0), "weight": np.arange(20)}[part]
        np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(whole, axis=0))
    assert set(held_out["weight"][:count]).isdisjoint(weight)


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
def test_alpha_follows_held_out_data_and_the_weights_do_not(weight):
    model, asked = new(held_out_batch=3), []

    def gradients_of(objective, variables):
        asked.append((float(array(objective()[0])), variables))
        return objective(), ["of alpha"]

    fit(model, "a", 0)
    row = X[3:4]
    arguments = {
        "x": np.repeat(row, 16, 0),
        "y": np.repeat(labels(0)[3:4], 16),
        "weight": np.full(16, weight, "float32"),
        "count": np.int32(16),
    }
    with model.training_on("a", model.task_spec("a")):
        found = model.by_held_out(["given", 1, 2], None, arguments, gradients_of)
        shared = array(ops.softmax(model.alpha))[:, 0]
        logits = array(model.head(model.network.mixed(row, shared)))[0]
    assert found == ["of alpha", 1, 2]
    ((loss, variables),) = asked
    assert [v is model.alpha for v in variables] == [True]
    expected = np.log(np.exp(logits).sum()) - logits[labels(0)[3]]
    assert loss == pytest.approx(weight * expected, abs=1e-5)


@pytest.mark.parametrize("held_out", [0.0, 0.5])
def test_what_has_the_larger_alpha_is_chosen(held_out):
    model = new(held_out=held_out)
    for i, name in enumerate("ab"):
        fit(model, name, i, epochs=2)
        (entry,) = (
            e
            for e in model.growth
            if e["task"] == name and e["layer"] == "configuration"
        )
        sharing = entry["why"]["sharing"]
        assert all(0 < p < 1 and p != 0.5 for p in sharing)
        assert model.configuration(name) == [int(p > 0.5) for p in sharing]
        assert len(entry["why"]["sharing_trace"]) == 2
        np.testing.assert_allclose(entry["why"]["sharing_trace"][-1], sharing)


@pytest.mark.parametrize("choices", [[1, 0], [0, 1]])
def test_what_is_not_shared_is_left_as_it_was(choices, monkeypatch):
    model = new(retrain=False)
    before = model.shared_values()
    choose(model, monkeypatch, choices)
    fit(model, "a", 0)
    assert model.configuration("a") == choices
    pairs = list(zip(before, model.shared_values(), strict=True))
    for shared, layer in zip(choices, (pairs[:2], pairs[2:]), strict=True):
        assert all(np.array_equal(*pair) != shared for pair in layer)


def test_the_chosen_configuration_is_trained_from_the_start(monkeypatch):
    """As LASEM trains it if it is told the configuration."""
    model = new(search_epochs=1)
    choose(model, monkeypatch, [0, 1])
    fit(model, "a", 0, epochs=3)
    told = kl.LASEM(backbone(), configuration=[0, 1])
    told.compile(keras.optimizers.SGD(0.1))
    fit(told, "a", 0, epochs=3)
    np.testing.assert_allclose(
        model.predict(X, task="a"), told.predict(X, task="a"), atol=1e-5
    )


def test_a_task_that_comes_back_keeps_its_configuration(monkeypatch):
    model = new(held_out=0.1)
    choose(model, monkeypatch, [0, 0])
    for i, name in enumerate("ab"):
        fit(model, name, i)
    said = {name: model.predict(X, task=name) for name in "ab"}
    rows = [*np.flatnonzero(labels(2))[:2], *np.flatnonzero(1 - labels(2))[:2]]
    task = kl.Task("a", train=(X[rows], labels(2)[rows]), validation_split=0)
    model.fit(task, epochs=1, verbose=0)  # of four examples nothing need be held out
    assert model.configuration("a") == [0, 0]
    assert (model.predict(X, task="a") != said["a"]).any()
    np.testing.assert_array_equal(model.predict(X, task="b"), said["b"])


def test_too_few_examples_are_refused_before_training():
    model = new(held_out=0.1)
    task = kl.Task("a", train=(X[:4], labels(0)[:4]), validation_split=0)
    with pytest.raises(
        ValueError, match="`held_out` must leave.*0.1 and task 'a' of 4"
    ):
        model.fit(task, verbose=0)
    assert model.task_names == []


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="makes its data")
def test_of_a_data_set_nothing_is_held_out():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, labels(0))).batch(10)
    spec = kl.TaskSpec(2, "categorical", (6,))
    task = kl.Task("a", train=data, spec=spec, validation_split=0)
    with pytest.raises(ValueError, match="'a' is a tf.data.Dataset.*`held_out=0`"):
        new().fit(task, verbose=0)
    model = new(held_out=0.0)
    model.fit(task, verbose=0)
    assert model.task_names == ["a"]


def test_a_refusal_names_the_method_that_was_asked_for():
    bounded = layers.Dense(5, kernel_constraint="non_neg", name="bounded")
    chain = keras.Sequential([keras.Input((6,)), bounded])
    with pytest.raises(ValueError, match="^DARTSTransfer cannot carry.*'bounded'"):
        kl.DARTSTransfer(chain, sharing="tf")
