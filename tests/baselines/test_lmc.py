"""LMC: γ and the mixture by NumPy, what is an outlier, and what new modules learn."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")
OTHER = (3 + 2 * X[:, ::-1]).copy()


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "relu", name="lower"),
            layers.Dense(4, "relu", name="upper"),
        ]
    )


def new(**kwargs):
    model = kl.LMC(backbone(), **{"projection_epochs": 1, **kwargs})
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, x=X, **kwargs):
    task = kl.Task(name, train=(x, (X[:, i] > 0).astype("int32")), validation_split=0)
    model.fit(task, **{"epochs": 2, "batch_size": 60, "verbose": 0, **kwargs})


def scores(model, name):
    (entry,) = (
        e for e in model.growth if e["task"] == name and e["kind"] == "deviation"
    )
    return entry["why"]["scores"]


def module(model, place, number):
    """kernel, bias, kernel and bias of s_m, (μ, σ)."""
    return [model.memory["module", place, number, i] for i in range(5)]


def by_hand(model, name, x, temperature=0.1):
    """Features, and of each layer γ (n, modules), by NumPy."""
    h, found = x, []
    for place, ids in enumerate(model.modules(name)):
        outputs, errors = [], []
        for number in ids:
            kernel, bias, back, shift, _ = module(model, place, number)
            outputs.append(np.maximum(h @ kernel + bias, 0))
            errors.append(((outputs[-1] @ back + shift - h) ** 2).mean(1))
        gamma = np.stack(errors, 1)
        w = gamma ** (-1 / temperature)
        w /= w.sum(1, keepdims=True)
        h = sum(w[:, [k]] * out for k, out in enumerate(outputs))
        found.append(gamma)
    return h, found


@pytest.fixture(scope="module")
def grown(eager_module):
    """Two tasks of inputs that have nothing in common: two modules in each layer."""
    model = new(threshold=1e-3)
    fit(model, "a", 0)
    said = model.predict(X, task="a"), dict(model.memory.shared)
    fit(model, "b", 1, OTHER)
    return model, *said


def test_a_layer_composes_its_modules_by_what_they_give_back(grown):
    model, _, _ = grown
    assert model.modules("a") == model.modules("b") == [[0, 1], [0, 1]]
    for name in "ab":
        features, _ = by_hand(model, name, OTHER)
        kernel, bias = (
            model.memory["head", "own", name, k] for k in ("kernel", "bias")
        )
        logits = features @ kernel + bias
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(model.predict(OTHER, task=name), expected, atol=1e-4)


def test_modules_are_fixed_with_the_moments_of_their_errors(grown):
    model, _, before = grown
    for key, value in before.items():
        np.testing.assert_array_equal(model.memory[key], value)  # none has moved
    first = new()
    fit(first, "a", 0)
    _, errors = by_hand(first, "a", X)
    for place, gamma in enumerate(errors):
        expected = gamma[:, 0].mean(), gamma[:, 0].std()
        np.testing.assert_allclose(module(first, place, 0)[-1], expected, rtol=1e-4)


def test_outliers_are_by_the_z_score_of_a_batch():
    model = new(threshold=1e9, batch=16)
    fit(model, "a", 0)
    fit(model, "b", 1, OTHER)
    assert model.modules("b") == [[0], [0]]
    _, errors = by_hand(model, "b", OTHER)
    for place, gamma in enumerate(errors):
        mu, sigma = module(model, place, 0)[-1]
        expected = abs(gamma[:, 0].mean() - mu) / (sigma / 4)
        assert scores(model, "b")[place] == pytest.approx([expected], rel=1e-3)


def test_a_layer_that_knows_its_input_gets_no_module():
    model = new(threshold=1.0)
    fit(model, "a", 0)
    before = dict(model.memory.shared)
    fit(model, "b", 1)  # the same inputs, other labels
    assert model.modules("b") == [[0], [0]]
    assert max(map(max, scores(model, "b"))) < 1e-3
    for key, value in before.items():
        np.testing.assert_array_equal(model.memory[key], value)


def test_a_new_module_begins_as_the_one_that_knows_most(monkeypatch):
    model = new()
    fit(model, "a", 0)
    spec = model.task_spec("a")
    with model.training_on("b", spec):
        model.add("b", 1, [False, True], 0)
        old, made = module(model, 1, 0), module(model, 1, 1)
        assert model.modules("b") == [[0], [0, 1]]
        for one, other in zip(old, made, strict=True):
            np.testing.assert_array_equal(one, other)
        assert [v.name for v in model.network.trainable_variables] == [
            "kernel",
            "bias",
        ] * 2


def test_while_it_is_learned_a_new_module_works_alone():
    """And only layers above it say what they make of it, in the projection phase."""
    model = new(strength=1.0)
    fit(model, "a", 0)
    with model.training_on("b", model.task_spec("a")):
        model.add("b", 0, [True, False], 0)
        y, weight = (X[:, 1] > 0).astype("int32"), ops.ones((60,))
        x = ops.convert_to_tensor(X)
        kernel, bias, back, shift, _ = module(model, 0, 1)
        h = np.maximum(X @ kernel + bias, 0)
        lower = ((h @ back + shift - X) ** 2).mean()
        kernel, bias, back, shift, _ = module(model, 1, 0)
        top = np.maximum(h @ kernel + bias, 0)
        upper = ((top @ back + shift - h) ** 2).mean()
        head = [ops.convert_to_numpy(v) for v in model.head.variables]
        logits = top @ head[0] + head[1]
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        task = -logits[np.arange(60), y].mean()
        found = [
            float(ops.convert_to_numpy(ops.stop_gradient(loss(x, y, weight, {}))))
            for loss in (model.local_loss, model.projection_loss)
        ]
    np.testing.assert_allclose(found, [task + lower, task + lower + upper], rtol=1e-4)


@pytest.mark.parametrize("compete", [True, False])
def test_new_modules_compete_for_what_earlier_tasks_see(compete):
    model = new(threshold=1e-3, compete=compete)
    fit(model, "a", 0)
    said = model.predict(OTHER, task="a")
    fit(model, "b", 1, OTHER)
    assert model.modules("a") == ([[0, 1]] * 2 if compete else [[0]] * 2)
    assert np.array_equal(model.predict(OTHER, task="a"), said) != compete


def test_a_removed_task_leaves_what_others_compose(grown, tmp_path):
    model, _, _ = grown
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    said = model.predict(X, task="a")
    again.remove_task("b")
    np.testing.assert_array_equal(again.predict(X, task="a"), said)
    again.remove_task("a")
    assert not [key for key in again.memory if key[0] in ("module", "part")]


def test_strided_convolutions_are_judged_by_the_places_they_give_back():
    network = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(3, 3, strides=2, name="valid"),
            layers.Conv2D(3, 2, strides=2, padding="same", name="same"),
            layers.Flatten(),
        ]
    )
    model = kl.LMC(network)
    images = RNG.normal(size=(4, 8, 8, 2)).astype("float32")
    body = model.network.current()
    with model.training_on("a", kl.TaskSpec(2, "categorical", (8, 8, 2))):
        found = ops.convert_to_numpy(model.errors(ops.convert_to_tensor(images)))
        h = ops.convert_to_numpy(body.module_variables()[0][0][0]).copy()
        assert h.shape == (3, 3, 2, 3)
        layer, back = model.pool.layer(0, 0), model.pool.decoder(0, 0)
        given = ops.convert_to_numpy(back(layer(images)))  # 7 places of 8
        expected = ((given - images[:, :7, :7]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        layers.DepthwiseConv2D(3, name="x"),
        layers.Conv2D(4, 1, data_format="channels_first", name="x"),
    ],
)
def test_what_cannot_be_given_back_is_refused_by_its_path(layer):
    network = keras.Sequential([keras.Input((8, 8, 2)), layer, layers.Flatten()])
    with pytest.raises(ValueError, match="LMC cannot carry the layer 'x'.*Freeze it"):
        kl.LMC(network)
