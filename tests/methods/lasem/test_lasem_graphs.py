"""LASEM on graphs: branches, merges, shared layers, batch normalisation by task."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.methods.lasem.belief import configuration_bits
from keras_lifelong.methods.lasem.transfer_network import TransferNetwork

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6, 6, 2)).astype("float32")
Y = (X[:, :3, :, 0].sum((1, 2)) > 0).astype("int32"), (X[..., 1].sum((1, 2)) > 0) * 1


def array(value):
    return ops.convert_to_numpy(value)


def residual():
    """Two searched convolutions in a block, and one beside it."""
    x = keras.Input((6, 6, 2))
    a = layers.Conv2D(3, 3, padding="same", use_bias=False, name="stem")(x)
    a = layers.ReLU()(layers.BatchNormalization(name="norm", momentum=0.5)(a))
    b = layers.Conv2D(3, 3, padding="same", name="inside")(a)
    b = layers.BatchNormalization(momentum=0.5)(b)
    a = layers.Add()([a, b])
    a = layers.GlobalAveragePooling2D()(layers.ReLU()(a))
    return keras.Model(x, layers.Dense(4, activation="relu", name="fc")(a))


def two_branches():
    """A layer used twice, on different wires, and branches that meet in two ways."""
    x = keras.Input((6, 6, 2))
    twice = layers.Conv2D(2, 3, padding="same", name="twice")
    a = layers.Conv2D(2, 1, name="left")(x)
    b = layers.DepthwiseConv2D(3, padding="same", name="right")(x)
    met = layers.Concatenate()([twice(a), twice(b)])
    met = met * layers.Concatenate()([b, a]) + 0.5
    met = layers.LayerNormalization()(met)
    met = layers.SeparableConv2D(3, 3, name="apart")(met)
    return keras.Model(x, layers.Flatten()(met))


def nested():
    """A block as a model, and dropout between the searched layers."""
    y = keras.Input((6, 6, 3))
    z = layers.Conv2D(3, 3, padding="same", groups=3, name="conv")(y)
    block = keras.Model(y, y + layers.GroupNormalization(3)(z), name="block")
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3, padding="same", name="conv"),
            layers.SpatialDropout2D(0.5),
            block,
            layers.Conv2D(2, 3, name="top", strides=2),
            layers.Flatten(),
        ]
    )


def over_time():
    x = keras.Input((36, 2))
    a = layers.Conv1D(3, 3, padding="causal", name="first")(x)
    b = layers.MaxPooling1D(2)(layers.Conv1D(3, 5, padding="same", name="second")(a))
    c = layers.AveragePooling1D(2)(a)
    return keras.Model(x, layers.GRU(4)(layers.Average()([b, c])))


def volume():
    x = keras.Input((6, 6, 2, 1))
    a = layers.Conv3D(2, 3, padding="same", name="first")(x)
    a = layers.Conv3D(2, 2, name="second")(layers.ELU()(a))
    return keras.Model(x, layers.GlobalMaxPooling3D()(a))


def stirred(network):
    """Every variable takes part: biases and what begins alike as well."""
    for i, variable in enumerate(network.trainable_variables):
        noise = np.random.default_rng(i).normal(size=variable.shape)
        variable.assign(array(variable) + 0.2 * noise)
    return network


@pytest.mark.parametrize(
    ("backbone", "groups"),
    [
        (residual, None),
        (residual, [["inside"], ["stem"]]),
        (two_branches, None),
        (two_branches, [[1, 3], [4, 2]]),
        (nested, None),
        (nested, [["conv", 3], ["block/conv"]]),
    ],
)
def test_the_tree_is_every_configuration_alone(backbone, groups):
    network = stirred(TransferNetwork(backbone(), groups=groups, seed=3))
    bits = configuration_bits(network.choices)
    seen = {}
    together = array(
        network.tail(network.tree(X, seen=seen), seen=seen, count=len(bits))
    )
    parts = np.split(together, len(bits))
    for choices, part in zip(bits, parts, strict=True):
        np.testing.assert_allclose(
            part, array(network.call(X, choices, seen={})), atol=1e-5
        )
    assert len({part.tobytes() for part in parts}) == len(bits)


@pytest.mark.parametrize("backbone", [over_time, volume])
def test_time_and_volumes(backbone):
    model = backbone()
    x = X.reshape(-1, *model.input_shape[1:])[:3]
    network = stirred(TransferNetwork(model, seed=3))
    assert network.paths == ["first", "second"]
    together = array(network.tail(network.tree(x)))
    for i, choices in enumerate(configuration_bits(2)):
        alone = array(network(x, choices=choices))
        np.testing.assert_allclose(together[3 * i : 3 * i + 3], alone, atol=1e-5)


def begun(backbone, **kwargs):
    model = kl.LASEM(backbone, **kwargs)
    model.compile(keras.optimizers.SGD(0.1))
    model.add_task("t0", kl.TaskSpec(num_classes=2, input_shape=(6, 6, 2)))
    model.activate("t0")
    model.begin_search()
    stirred(model.network)
    return model


def test_losses_and_batch_statistics_are_those_of_each_configuration_alone():
    model = begun(residual())
    network, start = model.network, model.get_active()
    norms = [v for norm in network.norms.values() for v in norm.non_trainable_variables]
    losses, _, moved = model.evaluated(X, Y[0])
    found = {}
    for i, choices in enumerate(model.configurations):
        logits = model.head(network(X, choices=choices, training=True))
        alone = model.head_loss(Y[0], logits, np.ones(40, "float32"))
        assert array(losses)[i].mean() == pytest.approx(float(alone), abs=1e-5)
        found[i] = [array(v) for v in norms]
        model.set_active(start)
    prior = ops.convert_to_tensor(np.array([0.5, 0, 0.5, 0], "float32"))
    *_, some = model.evaluated(X, Y[0], prior)  # of two, the others stay
    for i, choices in enumerate(model.configurations):
        model.statistics.keep(moved, ops.convert_to_tensor(choices, "int32"))
        for variable, expected in zip(norms, found[i], strict=True):
            np.testing.assert_allclose(array(variable), expected, atol=1e-5)
        model.set_active(start)
        model.statistics.keep(some, ops.convert_to_tensor(choices, "int32"))
        for variable, expected in zip(norms[2:], found[i][2:], strict=True):
            stays = np.allclose(array(variable), expected, atol=1e-5)
            assert stays == (i in (0, 2))
        model.set_active(start)


def fitted(model, name, i, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 18, "verbose": 0, **kwargs}
    return model.fit(X, Y[i], task=name, **kwargs)


@pytest.mark.parametrize("m_step", ["exact", "sampled"])
@pytest.mark.parametrize("posterior", ["exact", "factorised"])
def test_a_residual_network_learns_two_tasks_and_forgets_none(
    m_step, posterior, tmp_path
):
    model = kl.LASEM(residual(), m_step=m_step, posterior=posterior, prune=0.5)
    model.compile(keras.optimizers.Adam(0.01))
    model.given = np.array([0, 0])
    fitted(model, "t0", 0)
    model.given = None
    first = model.predict(X, task="t0")
    fitted(model, "t1", 1)
    np.testing.assert_array_equal(model.predict(X, task="t0"), first)
    for name in model.task_names:
        plain = array(model.task_model(name)(X))
        np.testing.assert_allclose(plain, model.predict(X, task=name), atol=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    second = model.predict(X, task="t1")
    np.testing.assert_array_equal(again.predict(X, task="t1"), second)
    model.remove_task("t0")
    np.testing.assert_array_equal(model.predict(X, task="t1"), second)


def planted(paths):
    """Losses (configurations, 1): choices matter, the first and last jointly."""
    c = np.asarray(paths, "float32")
    apart = 0.3 * (1 - c[:, 0]) + 0.3 * c[:, 1] + 0.2 * (1 - c[:, 2]) + 0.2 * c[:, 3]
    return (0.5 + apart - 0.15 * c[:, 0] * c[:, 3])[:, None]


def chain(depth):
    dense = [layers.Dense(3, "tanh") for _ in range(depth)]
    return keras.Sequential([keras.Input((6, 6, 2)), layers.Flatten(), *dense])


def test_a_factorised_posterior_finds_what_the_exact_one_does():
    """Of 4 choices, 150 updates each: the same choice, marginals within 0.1."""
    weight = np.ones(1, "float32")
    exact = begun(chain(4), posterior="exact", prune=0.0)
    losses = ops.convert_to_tensor(planted(exact.configurations))
    for _ in range(150):
        exact.after_e_step(exact.posterior_of(losses, weight, exact.considered()))
    model = begun(chain(4), posterior="factorised", prune=0.0)

    def losses_on(x, y, paths, noisy):
        values = ops.convert_to_tensor(planted([array(path) for path in paths]))
        return values, values, {}

    model.losses_on = losses_on
    for _ in range(300):  # each about two choices
        model.block_loss(X, Y[0], weight, {})
    expected = array(exact.prior()) @ exact.configurations
    found = array(model.prior())
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(expected) > 0.4
    np.testing.assert_allclose(found[:, 0], expected, atol=0.1)
    assert array(model.choices()).tolist() == array(exact.choices()).tolist()


def test_a_block_of_all_choices_is_the_exact_posterior():
    exact, model = (
        begun(chain(2), posterior=kind, prune=0.0) for kind in ("exact", "factorised")
    )
    model.set_active([*exact.get_active()[:-3], *model.get_active()[-3:]])
    for one in (exact, model):
        one.head.kernel.assign(np.linspace(-1, 1, 6).reshape(3, 2))
    weight = np.ones(40, "float32")
    costs = [
        float(exact.em_loss(X, Y[0], weight, {})),
        float(model.block_loss(X, Y[0], weight, {})),
    ]
    assert costs[0] == pytest.approx(costs[1], abs=1e-5)
    expected = array(exact.posterior) @ exact.configurations
    np.testing.assert_allclose(array(model.posterior)[:, 0], expected, atol=1e-5)


def test_without_evidence_no_choice_moves():
    model = begun(chain(5), posterior="factorised", prune=0.0)
    model.losses_on = lambda x, y, paths, noisy: (
        *(ops.ones((len(paths), 1)) for _ in range(2)),
        {},
    )
    for _ in range(8):
        model.block_loss(X, Y[0], np.ones(1, "float32"), {})
    np.testing.assert_allclose(array(model.prior()), 0.5, atol=1e-5)


def test_thirteen_choices_learn_by_a_factorised_posterior():
    model = kl.LASEM(chain(13))
    model.compile("sgd")
    assert model.evidence.shape == (13, 2)
    fitted(model, "t0", 0, epochs=1)
    chosen = model.growth[-1]["why"]
    assert len(chosen["sharing"]) == 13 and np.shape(chosen["sharing_trace"]) == (1, 13)
    assert all(0 <= p <= 1 for p in chosen["sharing"])
    assert model.configuration("t0") == chosen["configuration"]
    assert chosen["configuration"] == [int(p >= 0.5) for p in chosen["sharing"]]


@pytest.mark.parametrize("sharing", ["hps", "tf"])
def test_given_weights_are_what_shared_and_own_layers_begin_from(sharing, tmp_path):
    backbone = two_branches() if sharing == "hps" else residual()
    rng = np.random.default_rng(1)
    backbone.set_weights([rng.uniform(0.2, 1, w.shape) for w in backbone.get_weights()])
    model = kl.LASEM(backbone, sharing=sharing, pretrained=True)
    model.compile("sgd")
    expected = array(backbone(X))
    for choices in configuration_bits(model.network.choices)[[0, 2, -1]]:
        found = array(model.network(X, choices=choices))
        np.testing.assert_allclose(found, expected, atol=1e-4)
    if sharing == "hps":
        fitted(model, "t0", 0, epochs=1)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        for one in (model, again):
            one.add_task("new", kl.TaskSpec(2, input_shape=(6, 6, 2)))
            own = one.network.searched[0].own_variables
            i = next(i for i, v in enumerate(one.own_variables()) if v is own[0])
            given = backbone.get_layer(one.network.paths[0]).get_weights()[0]
            np.testing.assert_array_equal(one.memory["own", "new", i], given)


def test_frozen_layers_are_one_for_all_tasks_and_stay():
    backbone = residual()
    for name in ("stem", "norm"):
        backbone.get_layer(name).trainable = False
    model = kl.LASEM(backbone, pretrained=True)
    model.compile("sgd")
    assert model.network.paths == ["inside"]
    fitted(model, "t0", 0, epochs=1)
    own = {id(v) for v in model.own_variables()}
    for name in ("stem", "norm"):
        mine, given = model.network.graph.layers[name], backbone.get_layer(name)
        assert not own & {id(v) for v in mine.variables}
        for value, expected in zip(
            mine.get_weights(), given.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(value, expected)


def test_names_change_nothing():
    found = []
    for _ in range(2):  # Keras counts unnamed layers up
        model = kl.LASEM(residual(), searched=["stem", "inside"])
        model.compile("sgd")
        fitted(model, "t0", 0, epochs=1)
        found.append(model.predict(X, task="t0"))
    np.testing.assert_array_equal(*found)


def with_layer(layer):
    x = keras.Input((6, 6, 2))
    a = layers.Conv2D(2, 3, padding="same", name="a")(x)
    return keras.Model(x, layers.Flatten()(layer(a)))


@keras.saving.register_keras_serializable("test_lasem_graphs")
class Own(layers.Layer):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("backbone", "kwargs", "message"),
    [
        (
            lambda: with_layer(Own(name="mine")),
            {},
            "'mine' \\(Own\\).*functional model",
        ),
        (
            lambda: with_layer(layers.BatchNormalization(name="n", renorm=True)),
            {},
            "'n' .*renorm",
        ),
        (
            lambda: with_layer(lambda x: layers.Concatenate(0)([x, x])),
            {},
            "joins the rows",
        ),
        (
            lambda: with_layer(lambda x: keras.ops.reshape(x, (-1, 4))),
            {},
            "keras.ops",
        ),
        (over_time, {"sharing": "dfcnn"}, "searched"),
        (over_time, {"sharing": "tf", "searched": ["first"]}, "'first' \\(Conv1D\\)"),
        (two_branches, {"sharing": "tf", "searched": ["right"]}, "'right'.*'hps'"),
        (residual, {"groups": [["stem"], ["stem"]]}, "each of the searched layers"),
        (residual, {"groups": [[1, 3]]}, "place from 1 to 2"),
        (lambda: chain(13), {"posterior": "exact"}, "2\\^13 configurations"),
        (lambda: chain(13), {"search": "brute_force"}, "exact posterior"),
    ],
)
def test_what_is_not_carried_is_refused_by_path_and_reason(backbone, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kl.LASEM(backbone(), **kwargs)
