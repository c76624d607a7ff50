"""PathNet: lanes, tournaments, what is frozen and what is drawn anew."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from small import said_in_turn

import keras_lifelong as kl
from keras_lifelong.baselines import pathnet
from keras_lifelong.routes.lanes import in_lanes

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "relu", name="lower"),
            layers.Dense(4, name="upper"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="act"),
        ]
    )


def new(**kwargs):
    given = {"modules": 4, "active": 2, "population": 3, "generations": 2, **kwargs}
    model = kl.PathNet(backbone(), **given)
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


def paths(model):
    return {e["task"]: e["why"]["modules"] for e in model.growth if e["kind"] == "path"}


def test_nothing_is_forgotten_to_the_last_bit(learned):
    model, said = learned
    for name, found in said.items():
        np.testing.assert_array_equal(model.predict(X, task=name), found)


def test_what_active_modules_give_is_summed(learned):
    """A task's features by hand, from the modules as they lie in memory."""
    model, said = learned
    net = model.joint_net
    for name, path in paths(model).items():
        x = X.astype("float64")
        for i, layer in enumerate(("lower", "upper")):
            total = 0
            for lane, m in enumerate(path[layer]):
                u = net.lanes_of[i][lane]
                assert model.routing[name][u] == str(m)
                kernel, bias = model.node(u, str(m))
                out = x @ kernel + bias
                if layer == "upper":
                    norm = net.by_task[lane]
                    gamma, beta, mean, variance = model.node(norm, name)
                    out = (out - mean) / np.sqrt(variance + 1e-3) * gamma + beta
                total = total + np.maximum(out, 0)
            x = total
        kernel, bias = (
            model.memory["head", "own", name, p] for p in ("kernel", "bias")
        )
        logits = x @ kernel + bias
        found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(said[name], found, rtol=1e-3, atol=1e-5)


def test_modules_are_counted_once(learned):
    model, _ = learned
    found = paths(model).values()
    lower = {m for path in found for m in path["lower"]}
    upper = {m for path in found for m in path["upper"]}
    norms = 3 * 2 * 8  # of each task, in two lanes: scale and shift of four units
    assert model.network_params() == len(lower) * 35 + len(upper) * 24 + norms
    grown = [e for e in model.growth if e["kind"] in ("initial", "grow")]
    assert sum(e["count"] for e in grown) == model.network_params() - norms
    for path in found:
        assert all(len(set(active)) == 2 for active in path.values())


def test_the_winner_takes_the_place_of_the_loser(monkeypatch):
    """Losses are given: the second path of each pair wins, and its mutant follows."""
    model, tried, mutants = new(generations=3), [], []
    original = pathnet.mutated

    def mutated(path, modules, rng):
        mutants.append((path, original(path, modules, rng)))
        return mutants[-1][1]

    enter = pathnet.Pool.enter
    monkeypatch.setattr(pathnet, "mutated", mutated)
    monkeypatch.setattr(
        pathnet.Pool, "enter", lambda pool, p: (tried.append(p), enter(pool, p))[1]
    )
    run = type(model.trainer)._run

    def losing(trainer, phase, index, *args):
        result = run(trainer, phase, index, *args)
        result.loss = 10.0 - index
        return result

    monkeypatch.setattr(type(model.trainer), "_run", losing)
    fit(model, "a", 0)
    assert len(tried) == 7 and [path for path, _ in mutants] == tried[1:6:2]
    assert tried[6] == tried[5]  # the least loss of all
    assert paths(model)["a"] == dict(zip(("lower", "upper"), tried[5], strict=True))


def test_frozen_modules_do_not_move_and_others_are_drawn_anew():
    model = new(modules=2)
    fit(model, "a", 0)  # every module is on its path
    before = dict(model.memory.shared)
    size = model.network_params()
    fit(model, "b", 1)
    for key, value in before.items():
        np.testing.assert_array_equal(model.memory[key], value)
    assert model.network_params() == size + 16  # the normalisation of two lanes
    pool = {}
    wide = new(modules=3)
    fit(wide, "a", 0)
    for name in "bc":
        pool[name] = pathnet.Pool(wide, name)
    for i in (0, 1):
        for m in range(3):
            one, other = (pool[name]._modules[i, m][0] for name in "bc")
            assert (one == other).all() == pool["b"].is_frozen(i, m)


def test_a_task_that_comes_back_moves_what_is_its_alone(learned, tmp_path):
    model, said = learned
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    fit(again, "a", 3)
    assert (again.predict(X, task="a") != said["a"]).any()
    for name in "bc":
        np.testing.assert_array_equal(again.predict(X, task=name), said[name])
    size = again.network_params()
    again.remove_task("a")
    assert again.network_params() < size
    for name in "bc":
        np.testing.assert_array_equal(again.predict(X, task=name), said[name])
    fit(again, "a", 0)  # a new one: what was only its own is drawn anew
    for name in "bc":
        np.testing.assert_array_equal(again.predict(X, task=name), said[name])


@pytest.mark.parametrize("active", [1, 3])
def test_the_mean_of_equal_lanes_is_the_network(active):
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, padding="same", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Add()([layers.ReLU()(y), layers.Conv2D(3, 1, name="side")(x)])
    y = layers.GlobalAveragePooling2D()(y)
    network = keras.Model(x, ops.tanh(y))
    lanes = in_lanes(network, active, "mean")
    data = RNG.normal(size=(4, 6, 6, 2)).astype("float32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(lanes.network(data)),
        ops.convert_to_numpy(network(data)),
        atol=1e-5,
    )
    assert lanes.network.count_params() == active * (network.count_params())


def test_mutation_by_hand():
    class Numbers:
        """Moves every module, by 1, but the second."""

        def __init__(self):
            self.chances = iter([0.0, 0.9, 0.0])

        def random(self):
            return next(self.chances)

        def integers(self, low, high):
            assert (low, high) == (-2, 3)
            return 1

    path = [[0, 1, 3]]
    assert pathnet.mutated(path, 5, Numbers()) == [[2, 1, 4]]  # 1 is taken
    assert path == [[0, 1, 3]]


def test_more_active_modules_than_there_are_is_refused():
    with pytest.raises(ValueError, match="`active` must be at most `modules`, 2"):
        kl.PathNet(backbone(), modules=2)
