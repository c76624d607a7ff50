"""Every method learns words off time steps, or refuses a network of them by name."""

import keras
import numpy as np
import pytest
import small
from keras import layers
from small import assert_same

import keras_lifelong as kl
from keras_lifelong import heads
from keras_lifelong.model import registry

pytestmark = pytest.mark.usefixtures("step_by_step")

CARRY = [n for n in registry.names() if registry.get(n).carries_sequences]
REFUSE = [n for n in registry.names() if n not in CARRY]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 6, 3)).astype("float32")
Y = np.where(
    np.arange(3) < RNG.integers(1, 4, (20, 1)), RNG.integers(0, 2, (20, 3)), -1
)
OPTIONS = {
    "EWC": {"fisher_samples": 2},
    "OnlineEWC": {"fisher_samples": 2},
    "MAS": {"samples": 2},
    "BindAndGrow": {"grow_coefficient": 0.3},
    **dict.fromkeys(("AGEM", "ExperienceReplay", "DERPP"), {"replay_batch": 4}),
}
METRICS = ["word_accuracy", "character_error_rate"]


def network():
    return keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Conv1D(4, 3, padding="same", activation="relu", name="lower"),
            layers.Dense(5, activation="relu", name="upper"),
        ]
    )


def task(i):
    """Words of two characters, and of other lengths in each task."""
    y = Y[:, : 3 - i] if i else Y
    return kl.Task(f"t{i}", kl.TaskSpec(2, "sequence"), train=(X, y), test=(X, y))


def learn(model, i):
    model.fit(task(i), epochs=1, batch_size=20, verbose=0)


def learned(name):
    model = registry.get(name)(network(), **OPTIONS.get(name, {}))
    model.compile(keras.optimizers.Adam(0.01), metrics=METRICS)
    for i in range(2):
        learn(model, i)
    return model


def test_there_are_methods_of_both_kinds():
    assert {"Finetune", "BindAndGrow", "EWC", "Joint"} <= set(CARRY)
    assert {"LwF", "DEN", "ICaRL", "HAT"} <= set(REFUSE)


@pytest.mark.parametrize("name", CARRY)
def test_it_learns_words_and_goes_on_after_loading(name, tmp_path):
    model = learned(name)
    said = small.predictions(model, X)
    for i, found in enumerate(said.values()):
        assert found.shape == (20, 6, 3) and found.dtype == "float32"
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
        scores = model.evaluate(task(i))
        words = heads.get("sequence").labels(found)
        right = [
            [c for c in a if c >= 0] == [c for c in b if c >= 0]
            for a, b in zip(words, task(i).test[1], strict=True)
        ]
        assert scores["word_accuracy"] == pytest.approx(np.mean(right))
        assert 0 < scores["loss"] < np.inf
    assert not np.array_equal(*said.values())
    model.save_to_preset(tmp_path / "preset")
    again = small.loaded(tmp_path / "preset", model.seen)
    assert_same(small.predictions(again, X), said)
    for each in (model, again):
        learn(each, 2)
    assert_same(small.predictions(again, X), small.predictions(model, X))
    kept = again.predict(X, task="t1")
    again.remove_task("t0")
    assert_same({"t1": again.predict(X, task="t1")}, {"t1": kept})


@pytest.mark.parametrize("name", REFUSE)
def test_the_others_refuse_a_network_of_time_steps_by_name(name):
    with pytest.raises(ValueError, match=rf"{name} carries .*\(None, 6, 5\)"):
        registry.get(name)(network())


@pytest.mark.parametrize("name", registry.names())
def test_no_method_takes_words_to_a_network_without_time_steps(name):
    model = registry.get(name)(
        keras.Sequential([keras.Input((6,)), layers.Dense(5, name="only")]),
        **small.OPTIONS.get(name, {}),
    )
    model.compile("adam", metrics=METRICS)
    words = kl.Task("a", kl.TaskSpec(2, "sequence"), train=(X[:, 0], Y))
    said = "[Tt]ask 'a' (is a|of kind '|was learned as).*sequence"
    with pytest.raises(ValueError, match=said):
        model.fit(words, verbose=0)
    assert model.task_names == []


def test_words_of_another_alphabet_are_replayed():
    model = kl.ExperienceReplay(network(), replay_batch=4)
    model.compile(keras.optimizers.Adam(0.01), metrics=METRICS)
    learn(model, 0)
    before = model.memory["head", "own", "t0", "kernel"].copy()
    y = np.where(Y >= 0, (Y + np.arange(3)) % 4, -1)  # of four characters
    other = kl.Task("t1", kl.TaskSpec(4, "sequence"), train=(X, y))
    model.fit(other, epochs=1, batch_size=20, verbose=0)
    assert model.predict(X, task="t1").shape == (20, 6, 5)
    assert np.isfinite(model.evaluate(task(0))["loss"])
    after = model.memory["head", "own", "t0", "kernel"]
    assert after.shape == (5, 3) and not np.array_equal(before, after)
