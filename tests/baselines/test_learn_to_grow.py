"""LearnToGrow: choices, adapters, what is reused and what is never moved."""

import copy

import keras
import numpy as np
import pytest
import small
from keras import layers
from keras import ops
from small import said_in_turn

import keras_lifelong as kl
from keras_lifelong.routes.adapters import form_of
from keras_lifelong.routes.choices import Choices

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(6, "relu", name="lower"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(5, "relu", name="upper"),
        ]
    )


def new(**kwargs):
    model = kl.LearnToGrow(backbone(), **{"rank": 1, **kwargs})
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, **kwargs):
    task = kl.Task(name, train=(X, (X[:, i] > 0).astype("int32")))
    model.fit(task, **{"epochs": 1, "batch_size": 18, "verbose": 0, **kwargs})


def choose(monkeypatch, **how):
    """Makes the search find this: by the name of a part what to do, with a's node."""

    def best(self, there):
        found = {}
        for u in self.net.decided:
            kind = how[self.net.parts[u].name]
            found[u] = kind, (None if kind == "new" else "a")
        return found, {}

    monkeypatch.setattr(Choices, "best", best)


@pytest.fixture(scope="module")
def learned(eager_module):
    """A model of three tasks, and what it said of each when that was learned."""
    model = new()
    return model, said_in_turn(model, fit, X)


def test_nothing_is_forgotten_to_the_last_bit(learned):
    model, said = learned
    for name, found in said.items():
        np.testing.assert_array_equal(model.predict(X, task=name), found)
    kinds = [(e["task"], e["kind"]) for e in model.growth]
    assert kinds[:2] == [("a", "initial")] * 2
    assert [task for task, kind in kinds if kind == "search"] == ["b", "c"]


def test_what_is_reused_and_adapted_does_not_move(monkeypatch):
    model = new()
    fit(model, "a", 0)
    before = dict(model.memory.shared)
    size = model.network_params()
    choose(monkeypatch, lower="adapt", upper="reuse")
    fit(model, "b", 1)
    assert model.routing["b"] == ["a", "b", "a"]  # normalisation is each task's own
    for key, value in before.items():
        np.testing.assert_array_equal(model.memory[key], value)
    kernel, bias = model.node(0, "a")
    left, right = (model.memory["adapter", "b", 0, 0, k] for k in (0, 1))
    shift = model.memory["adapter", "b", 0, 1, 0]
    assert left.shape == (6, 1) and right.any() and shift.any()
    found = model.task_model("b").get_weights()
    np.testing.assert_allclose(found[0], kernel + left @ right, rtol=1e-6)
    np.testing.assert_allclose(found[1], bias + shift, rtol=1e-6)
    np.testing.assert_array_equal(found[6], model.node(2, "a")[0])
    assert model.network_params() == size + 12 + (6 + 6 + 6)  # norm, and the adapter
    entries = [e for e in model.growth if e["kind"] == "adapt"]
    assert [(e["layer"], e["count"], e["why"]) for e in entries] == [
        ("lower", 18, {"of": "a"})
    ]


def test_an_adapted_task_lasts(monkeypatch, tmp_path):
    """Its adapter goes through files, a removal, and on learning when it comes back."""
    model = new()
    fit(model, "a", 0)
    choose(monkeypatch, lower="adapt", upper="new")
    fit(model, "b", 1)
    said = {name: model.predict(X, task=name) for name in "ab"}
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    for name, found in said.items():
        np.testing.assert_array_equal(again.predict(X, task=name), found)
    adapter = again.memory["adapter", "b", 0, 0, 1]
    fit(again, "b", 3)
    assert (again.memory["adapter", "b", 0, 0, 1] != adapter).any()
    np.testing.assert_array_equal(again.predict(X, task="a"), said["a"])
    model.remove_task("a")
    assert model.routing["b"] == ["b", "b", "b"]
    np.testing.assert_array_equal(model.predict(X, task="b"), said["b"])
    fit(model, "b", 3)  # what is beneath the adapter is held all the same
    np.testing.assert_array_equal(model.node(0, "b")[0], again.node(0, "a")[0])


def test_a_sum_of_choices_by_hand():
    model = new()
    fit(model, "a", 0)
    net = model.joint_net
    choices = Choices(net, 2)
    choices.begin(0, "b")
    rng = np.random.default_rng(1)
    for variable in choices.variables:
        variable.assign(rng.normal(size=variable.shape))
    there = {u: ["a"] for u in net.decided}
    given = keras.tree.map_structure(ops.convert_to_tensor, choices.arguments(there))
    found = choices.weights(given)
    alpha = ops.convert_to_numpy(choices.alphas[0])[[0, 2, 4]]  # of a's, and new
    share = np.exp(alpha) / np.exp(alpha).sum()
    left, right = (ops.convert_to_numpy(v)[0] for v in choices.variables[:2])
    kernel, fresh = model.node(0, "a")[0], net.active_nodes()[0][0]
    np.testing.assert_allclose(
        ops.convert_to_numpy(found[id(net.variables(0)[0])]),
        share[0] * kernel + share[1] * (kernel + left @ right) + share[2] * fresh,
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_best_choice_is_of_the_largest_alpha():
    model = new()
    fit(model, "a", 0)
    choices = Choices(model.joint_net, 1)
    there = {u: ["a"] for u in model.joint_net.decided}
    assert set(choices.best(there)[0].values()) == {("reuse", "a")}
    choices.alphas[0].assign([0.0, 1.0, 0.0])
    choices.alphas[1].assign([0.0, 0.0, np.log(2.0)])
    found, why = choices.best(there)
    assert found == {0: ("adapt", "a"), 2: ("new", None)}
    assert why["upper"]["new"] == pytest.approx(0.5)


def test_alphas_follow_held_out_data_alone(monkeypatch):
    """Held-out labels that say the opposite of the training labels decide."""
    seen = []
    best = Choices.best

    def watched(self, there):
        seen.append([ops.convert_to_numpy(a) for a in self.alphas])
        return best(self, there)

    monkeypatch.setattr(Choices, "best", watched)
    y = (X[:, 0] > 0).astype("int32")
    for held in (y, 1 - y):
        model = new(search_rate=1.0)
        fit(model, "a", 0)
        task = kl.Task("b", train=(X, y), validation=(X, held))
        model.fit(task, epochs=1, batch_size=60, verbose=0)
    for one, other in zip(*seen, strict=True):  # one step of Adam: 0.02 each way
        opens = np.abs(one) > 1e-4
        np.testing.assert_allclose(np.abs(one[opens]), 0.02, rtol=1e-2)
        assert opens.sum() == 3 and (one != other).any()


def test_an_adapter_is_a_convolution_of_one_place():
    x = RNG.normal(size=(2, 5, 5, 3)).astype("float32")
    wide = layers.Conv2D(4, 3, padding="same")
    one = layers.Conv2D(4, 1, use_bias=False)
    expected = ops.convert_to_numpy(wide(x) + one(x))
    form = form_of(wide.kernel, (3, 3))
    assert form.kind == "middle" and form.sizes == [(3, 4)]
    change = form.change([one.kernel.numpy()[0, 0][None]], of=np)[0]
    wide.kernel.assign(ops.convert_to_numpy(wide.kernel) + change)
    np.testing.assert_allclose(ops.convert_to_numpy(wide(x)), expected, atol=1e-5)


def test_an_adapter_is_smaller_than_a_layer_or_no_choice():
    def forms(shape, rank):
        return form_of(keras.Variable(np.zeros(shape, "float32")), rank=rank)

    assert forms((100, 50), 4).sizes == [(100, 4), (4, 50)]
    assert forms((4, 4), 4).rank == 1  # of rank 2 it would be of 16 numbers
    net = new().joint_net
    assert net.adaptable == net.decided
    narrow = keras.Sequential(
        [keras.Input((6,)), layers.Dense(1, name="one"), layers.Dense(6)]
    )
    assert kl.LearnToGrow(narrow).joint_net.adaptable == []


@pytest.mark.traced
def test_a_search_repeats_bit_for_bit_without_xla():
    model = small.new("LearnToGrow")
    model.uses_jit = False  # as where there are convolutions
    small.learn(model, 0, epochs=1)
    config, arrays = model.get_state()
    found = set()
    for _ in range(10):
        model.set_state(copy.deepcopy(config), {k: v.copy() for k, v in arrays.items()})
        small.learn(model, 1, epochs=1)
        alphas = [keras.ops.convert_to_numpy(a) for a in model._choices.alphas]
        found.add(np.concatenate(alphas).tobytes())
    assert len(found) == 1
