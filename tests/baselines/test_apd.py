"""APD: what a task's weights are, what is held, and what is counted."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from small import said_in_turn

import keras_lifelong as kl
from keras_lifelong.baselines import apd
from keras_lifelong.training import masks
from keras_lifelong.training import orthant

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")


def backbone(**kwargs):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "tanh", name="lower", **kwargs),
            layers.Dense(4, "relu", name="upper"),
        ]
    )


def new(**kwargs):
    pretrained = kwargs.pop("pretrained", False)
    model = kl.APD(backbone(), pretrained=pretrained, **kwargs)
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, **kwargs):
    task = kl.Task(name, train=(X, (X[:, i] > 0).astype("int32")), validation_split=0)
    model.fit(task, **{"epochs": 2, "batch_size": 16, "verbose": 0, **kwargs})


@pytest.fixture(scope="module")
def learned(eager_module):
    """A model of three tasks, and what it said of each when that was learned."""
    model = new(sparsity=0.02, strength=1e4)
    return model, said_in_turn(model, fit, X)


def composed(model, name, i):
    """σ ⊙ M + τ as they lie in memory, by hand."""
    sigma, gate = (model.memory[k] for k in (("weights", i), ("gate", name, i)))
    own = np.zeros(sigma.shape)
    own[model.mask(name, i)] = model.memory["sparse", name, i]
    return sigma / (1 + np.exp(-gate.astype("float64"))) + own


def test_a_task_s_weights_are_the_sum(learned):
    model, _ = learned
    for name in "abc":
        kernels = [w for w in model.task_model(name).get_weights() if w.ndim == 2]
        for i in range(2):
            np.testing.assert_allclose(kernels[i], composed(model, name, i), atol=1e-6)
        lower, upper = (
            layer.get_weights() for layer in model.task_model(name).layers[:2]
        )
        features = np.maximum(np.tanh(X @ lower[0] + lower[1]) @ upper[0] + upper[1], 0)
        head = [model.memory["head", "own", name, part] for part in ("kernel", "bias")]
        z = np.exp(features @ head[0] + head[1])
        expected = z / z.sum(1, keepdims=True)
        np.testing.assert_allclose(model.predict(X, task=name), expected, atol=1e-5)


def test_earlier_tasks_stay_to_within_what_the_penalties_allow(learned):
    """λ1 / (2 λ2) = 1e-6 by weight and later task."""
    model, said = learned
    for name, found in said.items():
        np.testing.assert_allclose(model.predict(X, task=name), found, atol=1e-4)


def test_only_what_is_not_zero_is_kept_and_counted(learned):
    model, _ = learned
    sizes = [6 * 5, 5 * 4]
    kept = {(n, i): model.memory["sparse", n, i].size for n in "abc" for i in range(2)}
    for (name, i), count in kept.items():
        assert count == model.mask(name, i).sum() < sizes[i]
        assert model.memory["sparse", name, i].all()
    gates, own = 3 * (5 + 4), 3 * (5 + 4 + 4 * 2 + 2)  # v; biases and heads
    assert model.count_params() == sum(sizes) + gates + sum(kept.values()) + own


def test_without_a_reason_nothing_shared_moves():
    """A hold larger than any gradient: σ and τ stay, masks, biases and heads learn."""
    model = new(sparsity=1e3)
    fit(model, "a", 0)
    sigma = [model.memory["weights", i] for i in range(2)]
    said = model.predict(X, task="a")
    fit(model, "b", 1)
    for i in range(2):
        np.testing.assert_array_equal(model.memory["weights", i], sigma[i])
        assert model.memory["sparse", "b", i].size == 0
        assert (model.memory["gate", "b", i] != apd.OPEN).any()
    np.testing.assert_array_equal(model.predict(X, task="a"), said)


def test_earlier_parts_follow_what_is_shared():
    """By hand: θ* - σ M, soft-thresholded where σ moved, kept where it did not."""
    model = new(sparsity=0.2, strength=0.5)  # within 0.2
    for i, name in enumerate("ab"):
        fit(model, name, i, epochs=1)
    own, drift = np.zeros((2, 6, 5), "float32")
    own[0, 0] = own[1, 1] = 1.0
    drift[:4, 0] = 1.0, -0.2, 4.0, -2.0
    model.memory["gate", "a", 0] = np.zeros(5, "float32")  # M = 1/2
    model.keep_sparse("a", 0, own)
    shared = model.all_weights()
    model._trained.drifts[0].assign(drift)
    model.settle_all("b", ["a"], shared)
    np.testing.assert_array_equal(model.memory["weights", 0], shared[0] + drift)
    expected = np.zeros((6, 5), "float32")
    expected[0, 0] = 1 - 0.5 - 0.2
    expected[2, 0] = -(2 - 0.2)
    expected[3, 0] = 1 - 0.2
    expected[1, 1] = 1  # where nothing moved
    np.testing.assert_allclose(model.own_parts("a", 0)[1], expected, atol=1e-6)


def test_the_slope_of_what_earlier_tasks_ask(learned):
    """Against a numerical derivative of λ1 |τ| + λ2 (θ* - σ M - τ)² at its best τ."""
    model = new(sparsity=0.3, strength=2.0)
    fit(model, "a", 0, epochs=1)
    masks_of = np.array([[0.5] * 5, [0.9] * 5, [0.0] * 5], "float32")
    sparse_of = RNG.normal(size=(3, 6, 5)).astype("float32")
    drift = RNG.normal(size=(6, 5)).astype("float32")

    def cost(d):
        total = 0
        for mask, own in zip(masks_of[:2], sparse_of[:2], strict=True):
            rest = own - d * mask
            best = np.sign(rest) * np.maximum(abs(rest) - 0.3 / 4, 0)
            total = total + 0.3 * abs(best) + 2.0 * (rest - best) ** 2
        return total

    step, at = 1e-5, drift.astype("float64")
    numeric = (cost(at + step) - cost(at - step)) / (2 * step)
    model._trained.drifts[0].assign(drift)
    model._trained.drifts[1].assign(np.zeros((5, 4)))
    nothing = [np.zeros((1, 4), "float32"), np.zeros((1, 5, 4), "float32")]
    arguments = {
        "masks": [masks_of, nothing[0]],
        "sparse": [sparse_of, nothing[1]],
        "l1": np.float32(0.3),
        "l2": np.float32(2.0),
    }
    arguments = keras.tree.map_structure(ops.convert_to_tensor, arguments)
    gradients = [ops.zeros(s) for s in ((6, 5), (5, 4)) * 2]
    found = model.with_penalties(gradients, [], arguments)[0]
    np.testing.assert_allclose(ops.convert_to_numpy(found), numeric, atol=1e-3)


def test_a_step_stops_at_zero():
    before = ops.array([1.0, 1.0, 0.0, 0.0, 0.0])
    after = ops.array([2.0, -1.0, 1.0, 1.0, 1.0])
    ways = orthant.way(ops.array([5.0, 5.0, -1.0, 1.0, 0.0]))
    found = ops.convert_to_numpy(orthant.stayed(before, after, ways))
    assert found.tolist() == [2, 0, 1, 0, 0]


def test_pretrained_weights_are_what_a_first_task_begins_with():
    given = backbone()
    model = kl.APD(given, pretrained=True)
    model.compile(keras.optimizers.SGD(0.0))
    fit(model, "a", 0, epochs=1)
    kernel = model.task_model("a").layers[0].get_weights()[0]
    np.testing.assert_allclose(kernel, given.get_weights()[0], atol=1e-6)


def test_what_is_not_carried_is_refused_by_name():
    with pytest.raises(ValueError, match="APD cannot carry.*kernel.*regularizer"):
        kl.APD(backbone(kernel_regularizer="l2"))


def test_the_shared_part_goes_with_the_last_task(learned, tmp_path):
    model, said = learned
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    now = {name: model.predict(X, task=name) for name in said}
    assert again.remove_task("a").stays == {"the shared part": ["b", "c"]}
    for name in "bc":
        np.testing.assert_array_equal(again.predict(X, task=name), now[name])
        again.remove_task(name)
    assert not again.memory.shared


def test_what_is_shared_stays_where_no_task_has_a_part_of_its_own():
    """τ of each task may be all zeros: they live on the shared part alone."""
    model = kl.APD(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    model.compile("sgd")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    for name in "ab":
        model.fit(x, np.arange(8) % 2, task=name, epochs=1, verbose=0)
        model.memory["mask", name, 0] = masks.pack(np.zeros((4, 3), bool))
        model.memory["sparse", name, 0] = np.zeros(0, "float32")
    said = model.predict(x, task="b")
    model.remove_task("a")
    np.testing.assert_array_equal(model.predict(x, task="b"), said)
