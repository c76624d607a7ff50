"""MNTDP: nearest tasks, candidates, what is reused and what is never moved."""

import keras
import numpy as np
import pytest
from keras import layers
from small import said_in_turn

import keras_lifelong as kl
from keras_lifelong.baselines.mntdp import neighbours_score

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
    model = kl.MNTDP(backbone(), **kwargs)
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, **kwargs):
    task = kl.Task(name, train=(X, (X[:, i] > 0).astype("int32")))
    model.fit(task, **{"epochs": 1, "batch_size": 18, "verbose": 0, **kwargs})


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
    assert [p.name for p in model.units] == ["lower", "norm", "upper"]
    assert model.routing["a"] == ["a", "a", "a"]
    for name in "bc":
        (entry,) = (
            e for e in model.growth if e["task"] == name and e["kind"] == "bind"
        )
        why = entry["why"]
        assert len(why["candidates"]) == 3  # none, the upper one, both
        best = int(np.argmax(why["candidates"]))  # of equals the fewest
        of_nearest = model.routing[why["to"]]
        lower, norm, upper = model.routing[name]
        assert norm == name  # normalisation is each task's own
        assert lower == (name if best == 2 else of_nearest[0])
        assert upper == (name if best >= 1 else of_nearest[2])
        assert why["to"] == max(why["neighbours"], key=why["neighbours"].get)
        grown = [e["layer"] for e in model.growth if e["task"] == name][1:]
        assert grown == ["lower", "upper"][2 - best :]


@pytest.mark.parametrize("best", [0, 1, 2])
def test_modules_below_are_those_of_the_nearest(best, monkeypatch):
    """Whatever is best: what is reused has not moved, what is new is fresh."""
    model, asked = new(), []
    fit(model, "a", 0)
    before = dict(model.memory.shared)

    def score(task, split, main_only=False):
        asked.append((split, model.joint_net.active_nodes()))
        return {"accuracy": float(len(asked) - 1 == best)}

    monkeypatch.setattr(model, "score", score)
    fit(model, "b", 1, validation_freq=2)
    assert [split for split, _ in asked] == ["validation"] * 3
    owners = {0: ["a", "b", "a"], 1: ["a", "b", "b"], 2: ["b", "b", "b"]}[best]
    assert model.routing["b"] == owners
    for key, value in before.items():
        np.testing.assert_array_equal(model.memory[key], value)
    for found, tried in zip(model.joint_net.nodes_of("b"), asked[best][1], strict=True):
        for one, other in zip(found, tried, strict=True):
            np.testing.assert_array_equal(one, other)
    lower = model.memory["node", 0, "a", 0]
    assert [np.array_equal(nodes[0][0], lower) for _, nodes in asked] == [
        True,
        True,
        False,
    ]


def test_the_nearest_task_is_the_one_with_the_features():
    """Two tasks by hand: the features of one are the classes, of the other nothing."""
    model = new(neighbours=3)
    for i, name in enumerate("ab"):
        fit(model, name, i)
    net = model.joint_net
    for name in "ab":
        model.routing[name][:] = [name] * 3
        kernel = np.zeros((6, 6), "float32")
        if name == "b":
            kernel[2, 0], kernel[2, 1] = 5.0, -5.0
        norm = [np.ones(6), np.zeros(6), np.zeros(6), np.ones(6)]
        net.set_node(0, name, [kernel, np.zeros(6, "float32")])
        net.set_node(1, name, [v.astype("float32") for v in norm])
        net.set_node(2, name, [np.eye(6, 4, dtype="float32"), np.zeros(4, "float32")])
    y = (X[:, 2] > 0).astype("int32")
    loaded = model.load_task(
        kl.Task("c", train=(X[:40], y[:40]), validation=(X[40:], y[40:]))
    )
    with model.training_on("c", loaded.spec):
        nearest, scores = model.nearest(loaded)
    assert nearest == "b" and scores["b"] > 0.9 > scores["a"]


def test_neighbours_by_hand():
    known = np.array([[0.0], [1.0], [2.0], [10.0]])
    asked, expected = np.array([[0.5], [9.0]]), np.array([0, 1])
    labels = np.array([0, 0, 1, 1])
    assert neighbours_score(known, labels, asked, expected, 3) == 1.0
    assert neighbours_score(known, labels, known, labels, 1, skip=1) == 0.75
    numbers = np.array([0.0, 2.0, 4.0, 8.0])
    found = neighbours_score(known, numbers, asked, np.array([1.0, 7.0]), 2)
    assert found == -((1 - 1) ** 2 + (6 - 7) ** 2) / 2


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


def test_layers_can_be_one_module():
    model = new(parts={"both": ["lower", "upper"]})
    for i, name in enumerate("ab"):
        fit(model, name, i)
    (entry,) = (e for e in model.growth if e["kind"] == "bind")
    assert len(entry["why"]["candidates"]) == 2
