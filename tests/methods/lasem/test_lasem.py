"""LASEM: the EM step, what is kept of a task, and what forgetting is left."""

import types

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.methods.lasem.belief import named_configuration

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8, 8, 2)).astype("float32")


def array(value):
    return ops.convert_to_numpy(value)


def backbone(dropout=0.0):
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="a"),
            layers.MaxPooling2D(2),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="b"),
            layers.Flatten(),
            *([layers.Dropout(dropout)] if dropout else []),
            layers.Dense(8, activation="relu", name="fc"),
        ]
    )


def labels(i):
    left, right = X[:, :4, :, 0].sum((1, 2)), X[:, :, :4, 1].sum((1, 2))
    return ((left > right) if i % 2 else (left + right > 0)).astype("int32")


def new(optimizer=None, dropout=0.0, **kwargs):
    model = kl.LASEM(backbone(dropout), **kwargs)
    model.compile(optimizer or keras.optimizers.RMSprop(3e-3))
    return model


def fit(model, i, name=None, **kwargs):
    kwargs = {"epochs": 3, "batch_size": 10, "verbose": 0, **kwargs}
    return model.fit(X, labels(i), task=name or f"t{i}", **kwargs)


def begun(**kwargs):
    """A model in the middle of learning its first task, before any step."""
    model = new(**kwargs)
    model.add_task("t0", kl.TaskSpec(num_classes=2, input_shape=(8, 8, 2)))
    model.activate("t0")
    model.begin_search()
    return model


def alone(model, index, y):
    """Mean loss of one configuration evaluated by itself."""
    choices = model.configurations[index]
    logits = model.head(model.network(X[:10], choices=choices, training=True))
    return model.head_loss(y, logits, np.ones(10, "float32"))


@pytest.mark.parametrize("sharing", ["hps", "tf", "dfcnn"])
def test_the_posterior_is_bayes_rule_on_the_mean_likelihood(sharing):
    model = begun(sharing=sharing)
    y, weight = labels(0)[:10], np.ones(10, "float32")
    prior = np.array([0.1, 0.2, 0.3, 0.4], "float32")
    clean, _ = model.configuration_losses(X[:10], y)
    found = array(model.posterior_of(clean, weight, prior))
    likelihood = []
    for choices in model.configurations:
        logits = array(model.head(model.network(X[:10], choices=choices)))
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        likelihood.append(p[np.arange(10), y].mean())
    expected = prior * likelihood / np.sum(prior * likelihood)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_joint_likelihood_is_the_product():
    model = begun(likelihood="joint")
    losses = np.array([[0.5, 0.1], [0.2, 0.2], [3.0, 0.0], [9.0, 9.0]], "float32")
    weight = np.array([1.0, 0.0], "float32")  # the filling of a partial batch
    found = array(model.posterior_of(losses, weight, np.full(4, 0.25, "float32")))
    expected = np.exp(-losses[:, 0]) / np.exp(-losses[:, 0]).sum()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_pruned_takes_no_part_of_the_joint_posterior():
    """However unlikely the batch is under what is left."""
    model = begun(likelihood="joint")
    prior = np.array([0.6, 0.4, 0, 0], "float32")
    losses = np.zeros((4, 100), "float32")  # as those of what is left out
    losses[0], losses[1] = 2.0, 2.01  # e^-200 and e^-201 of the batch
    found = array(model.posterior_of(losses, np.ones(100, "float32"), prior))
    likely = 0.6 * np.e / (0.6 * np.e + 0.4)
    np.testing.assert_allclose(found, [likely, 1 - likely, 0, 0], atol=1e-4)
    assert found[2:].tolist() == [0, 0]


def test_a_joint_likelihood_learns_from_large_batches_too():
    model = new(keras.optimizers.SGD(0.1), likelihood="joint")
    history = fit(model, 0, epochs=12, batch_size=54).history["loss"]
    assert 0 < history[-1] < 0.9 * history[0]
    assert array(model.posterior).sum() == pytest.approx(1, abs=1e-5)


def test_equal_models_begin_equally_whatever_keras_calls_their_layers():
    for sharing in ("hps", "tf", "dfcnn"):
        first, second = (
            kl.LASEM(
                keras.Sequential(
                    [
                        keras.Input((8, 8, 2)),
                        layers.Conv2D(4, 3),
                        layers.Conv2D(4, 3),
                        layers.Flatten(),
                    ]
                ),
                sharing=sharing,
            )
            for _ in range(2)
        )
        names = [[x.name for x in m.network.searched] for m in (first, second)]
        assert names[0] != names[1]
        pairs = list(zip(first.shared_values(), second.shared_values(), strict=True))
        assert pairs and all(np.array_equal(a, b) for a, b in pairs)
        drawn = [v for v in first.shared_values() if v.ndim > 1]
        assert not np.array_equal(drawn[0].ravel()[:9], drawn[-1].ravel()[:9])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses its tape")
@pytest.mark.parametrize("sharing", ["hps", "tf", "dfcnn"])
def test_one_pass_gives_the_posterior_weighted_sum_of_separate_gradients(sharing):
    import tensorflow as tf

    model = begun(sharing=sharing)
    y, weight = labels(0)[:10], np.ones(10, "float32")
    variables = [*model.network.trainable_variables, *model.head.trainable_variables]
    values = [v.value for v in variables]
    with tf.GradientTape(persistent=True) as tape:
        cost = model.em_loss(X[:10], y, weight, {})
        separate = [alone(model, i, y) for i in range(4)]
    zero = tf.UnconnectedGradients.ZERO
    together = tape.gradient(cost, values, unconnected_gradients=zero)
    posterior = array(model.posterior)
    assert posterior.sum() == pytest.approx(1, abs=1e-5) and posterior.std() > 0
    each = [tape.gradient(c, values, unconnected_gradients=zero) for c in separate]
    for k, gradient in enumerate(together):
        expected = sum(p * array(g[k]) for p, g in zip(posterior, each, strict=True))
        np.testing.assert_allclose(array(gradient), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ("running_mean", [[0.7, 0.1, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1]]),
        ("count", [[2 / 5, 1 / 5, 1 / 5, 1 / 5], [2 / 6, 2 / 6, 1 / 6, 1 / 6]]),
    ],
)
def test_the_prior_follows_the_posteriors(prior, expected):
    model = begun(prior=prior)
    np.testing.assert_allclose(array(model.prior()), 0.25)
    for posterior, after in zip(
        ([0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]), expected, strict=True
    ):
        model.after_e_step(ops.convert_to_tensor(posterior, "float32"))
        np.testing.assert_allclose(array(model.prior()), after, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("all", [1, 1, 1, 1]),
        ("top2", [0, 0, 1, 1]),
        ("bottom2", [1, 1, 0, 0]),
        ("alternating", [0, 1, 0, 1]),  # section 3: {2, 4}, counted from 1
    ],
)
def test_named_configurations_are_those_of_the_paper(name, choices):
    assert named_configuration(name, 4).tolist() == choices


def test_ties_go_to_the_configuration_that_shares_more():
    model = begun()
    assert model.configuration("t0") == [1, 1]
    model.evidence.assign(np.array([1, 2, 2, 0], "float32"))
    assert model.configuration("t0") == [0, 1]


@pytest.mark.parametrize("sharing", ["hps", "tf", "dfcnn"])
def test_what_a_task_does_not_share_is_rolled_back_bit_for_bit(sharing):
    model = new(sharing=sharing, configuration=[0, 1], probability=0.5)
    fit(model, 0)
    before = model.shared_values()
    fit(model, 1)
    after = model.shared_values()
    unshared = len(model.network.searched[0].shared_variables)
    for i, (old, now) in enumerate(zip(before, after, strict=True)):
        assert np.array_equal(old, now) == (i < unshared)


def test_a_task_that_shares_nothing_is_never_forgotten():
    model = new(configuration=[0, 0])
    fit(model, 0)
    before = model.predict(X, task="t0")
    model.given = np.array([1, 1])
    fit(model, 1)
    np.testing.assert_array_equal(model.predict(X, task="t0"), before)


@pytest.mark.parametrize("sharing", ["hps", "tf", "dfcnn"])
@pytest.mark.parametrize("choices", [[1, 1], [0, 1], [0, 0]])
def test_old_tasks_keep_only_what_they_use(sharing, choices):
    model = new(sharing=sharing, configuration=choices)
    for i in range(2):
        fit(model, i, epochs=1)

    def count(variables):
        return sum(int(np.prod(v.shape)) for v in variables)

    pairs = list(zip(model.network.searched, choices, strict=True))
    by_task = sum(count(x.variables_of(shared)) for x, shared in pairs)
    by_task += count(model.network.always_own) + (8 + 1) * 2
    shared = sum(count(x.shared_variables) for x, _ in pairs)
    assert model.count_params() == shared + 2 * by_task
    kept = sum(a.size for key, a in model.memory.items() if "t0" in key)
    assert kept == by_task + len(model.configurations)


def test_a_task_that_comes_back_keeps_its_configuration():
    model = new()
    fit(model, 0)
    fit(model, 1)
    key = ("own", "t0", len(model.own_variables()) - 1)
    found, evidence = model.configuration("t0"), model.memory[key].copy()
    history = fit(model, 0, epochs=1)
    assert len(history.history["loss"]) == 1
    assert model.configuration("t0") == found
    np.testing.assert_array_equal(model.memory[key], evidence)
    np.testing.assert_array_equal(array(model.evidence), evidence)
    chosen = [e for e in model.growth if e["kind"] == "configuration"]
    assert [e["task"] for e in chosen] == ["t0", "t1"]


def test_a_certain_posterior_is_static_transfer():
    predictions = []
    for kwargs in (
        {},
        {"probability": 1.0, "m_step": "sampled", "m_steps": 2},
        {"probability": 1.0},
    ):
        model = new(
            keras.optimizers.SGD(0.05), dropout=0.0, configuration=[0, 1], **kwargs
        )
        fit(model, 0)
        fit(model, 1)
        predictions.append(model.predict(X, task="t1"))
    np.testing.assert_allclose(predictions[0], predictions[1], atol=1e-5)
    np.testing.assert_allclose(predictions[0], predictions[2], atol=1e-5)


def test_a_fixed_posterior_trains_all_configurations():
    model = begun(configuration="all", probability=0.4)
    model.em_loss(X[:10], labels(0)[:10], np.ones(10, "float32"), {})
    np.testing.assert_allclose(array(model.posterior), [0.4, 0.2, 0.2, 0.2])
    np.testing.assert_array_equal(array(model.evidence), [1, 0, 0, 0])
    y, weight = labels(0)[:10], np.ones(10, "float32")
    losses = [float(alone(model, i, y)) for i in range(4)]
    expected = np.dot([0.4, 0.2, 0.2, 0.2], losses)
    assert float(model.em_loss(X[:10], y, weight, {})) == pytest.approx(expected, 1e-4)


def test_pruning_leaves_out_only_what_is_below_the_threshold():
    exact, pruned = new(prune=0.0), new(prune=1e-6)
    for model in (exact, pruned):
        fit(model, 0)
    np.testing.assert_allclose(
        exact.predict(X, task="t0"), pruned.predict(X, task="t0"), atol=1e-5
    )
    model = begun(prune=0.5)
    model.evidence.assign(np.array([8, 5, 3, 0], "float32"))
    np.testing.assert_allclose(array(model.considered()) > 0, [1, 1, 0, 0])
    y = labels(0)[:10]
    every, _ = model.configuration_losses(X[:10], y)
    some, _ = model.configuration_losses(X[:10], y, model.considered())
    np.testing.assert_allclose(array(some)[:2], array(every)[:2], atol=1e-5)
    one = ops.convert_to_tensor(np.array([0, 0, 1, 0], "float32"))
    alone, _ = model.configuration_losses(X[:10], y, one)
    np.testing.assert_allclose(array(alone)[2], array(every)[2], atol=1e-5)
    assert not array(alone)[[0, 1, 3]].any()


def test_the_posterior_is_kept_between_e_steps():
    model = new(m_step="sampled", m_steps=3)
    fit(model, 0, epochs=1)  # 54 examples: 6 steps, E-steps at 0 and 3
    assert array(model.evidence).sum() == pytest.approx(2, abs=1e-5)


def test_brute_force_keeps_the_best_on_validation_data():
    model = new(search="brute_force")
    fit(model, 0)
    assert model.configuration("t0") == [1, 1]  # nothing to search on the first task
    history = fit(model, 1)
    assert len(history.history["loss"]) == 4 * 3
    scores = np.reshape(history.history["val_accuracy"], (4, 3)).max(axis=1)
    best = model.configurations[int(np.argmax(scores))]
    assert model.configuration("t1") == best.tolist()
    with pytest.raises(ValueError, match="needs validation data"):
        list(model.brute_force(types.SimpleNamespace(name="t1", validation=None)))


def test_groups_choose_together():
    model = new(groups=[2])
    fit(model, 0)
    assert len(model.configurations) == 2
    assert model.configuration("t0") in ([1, 1], [0, 0])


def test_a_schedule_goes_on_over_the_tasks():
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.01, 6, 1.0)
    model = new(keras.optimizers.SGD(schedule))
    rates = []

    class Rates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    for i in range(2):
        fit(model, i, callbacks=[Rates()])
    steps = np.arange(1, 7) * 6  # of 6 epochs
    np.testing.assert_allclose(rates, 0.01 / (1 + steps / 6), rtol=1e-5)


def test_the_log_says_why_and_saving_changes_nothing(tmp_path):
    model = new(sharing="tf", dropout=0.5)
    fit(model, 0)
    fit(model, 1)
    for name in model.task_names:
        why = {e["layer"]: e for e in model.growth if e["task"] == name}
        for layer, shared in zip("ab", model.configuration(name), strict=True):
            entry = [
                e for e in model.growth if (e["task"], e["layer"]) == (name, layer)
            ]
            assert entry[-1]["kind"] == ("share" if shared else "own")
            assert 0 <= entry[-1]["why"]["probability_of_sharing"] <= 1
        assert np.shape(why["configuration"]["why"]["trace"]) == (3, 4)
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    for name in model.task_names:
        np.testing.assert_array_equal(
            again.predict(X, task=name), model.predict(X, task=name)
        )
    for either in (model, again):
        fit(either, 0, name="t2")
    np.testing.assert_array_equal(
        again.predict(X, task="t2"), model.predict(X, task="t2")
    )


def test_searched_dense_layers_and_other_heads():
    mlp = kl.backbones.get("mlp", (5,), units=[7, 6])
    x = RNG.normal(size=(40, 5)).astype("float32")
    model = kl.LASEM(mlp)
    model.compile("adam", metrics=["mse"])
    spec = kl.TaskSpec(kind="regression", num_classes=1, input_shape=(5,))
    model.fit(kl.Task("r", train=(x, x[:, :1]), spec=spec), epochs=2, verbose=0)
    assert len(model.configuration("r")) == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"likelihood": "sum"}, "`likelihood` must be 'mean' or 'joint'.*'sum'"),
        ({"m_steps": 0}, "`m_steps` .* Received: 0"),
        ({"prune": 1.0}, "`prune` must be a number in \\[0, 1\\). Received: 1.0"),
        ({"probability": 0.5}, "needs a `configuration`"),
        ({"configuration": "top3"}, "'bottom2'.* Received: 'top3'"),
        ({"configuration": [1, 0, 1]}, "list of 2 choices.*\\[1, 0, 1\\]"),
        ({"configuration": "all", "search": "brute_force"}, "nothing to search"),
        ({"orthogonality": -1}, "Received: -1"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        kl.LASEM(backbone(), **kwargs)
