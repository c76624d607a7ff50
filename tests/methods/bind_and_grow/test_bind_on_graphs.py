"""BindAndGrow on graphs: branches, nested models, shared and frozen layers."""

import keras
import networks
import numpy as np
import pytest
import small
from keras import layers

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager_module")

GRAPHS = ["resnet_light", "two_branch_shared", "embedding_lstm", "vit_small", "nested"]


def task(x, i):
    return kl.Task(f"t{i}", train=(x, networks.labels(seed=i)), validation_split=0)


def new(network, **options):
    model = kl.BindAndGrow(network, **options)
    model.compile(keras.optimizers.SGD(0.1))
    return model


def fit(model, x, *numbers, epochs=1):
    for i in numbers:
        model.fit(task(x, i), epochs=epochs, batch_size=24, verbose=0)


def names(model):
    return [part.name for part in model.units]


@pytest.mark.parametrize("name", GRAPHS)
def test_tasks_are_learned_kept_saved_exported_and_removed(name, tmp_path):
    network = networks.NETWORKS[name]()
    x = networks.examples(network)
    model = new(network, retention="freeze", grow_coefficient=0.4)
    fit(model, x, 0, 1)
    out = small.predictions(model, x)
    fit(model, x, 2)
    for earlier, was in out.items():
        np.testing.assert_array_equal(model.predict(x, task=earlier), was)
    out = small.predictions(model, x)
    for one, was in out.items():
        plain = model.task_model(one)
        found = keras.ops.convert_to_numpy(plain(x))
        np.testing.assert_allclose(found, was, atol=1e-5)
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    small.assert_same(small.predictions(again, x), out)
    assert again.routing == model.routing and again.count_params() == (
        model.count_params()
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    small.assert_same(small.predictions(loaded, x), out)
    for m in (again, model):
        assert m.remove_task("t1").parameters > 0
        small.assert_same(small.predictions(m, x), {k: out[k] for k in ("t0", "t2")})
    if name == "two_branch_shared":
        fit(model, x, 3)
        fit(again, x, 3)
        small.assert_same(small.predictions(again, x), small.predictions(model, x))


def test_numbers_do_not_depend_on_what_layers_are_called():
    found = []
    for _ in range(2):  # Keras goes on counting
        network = networks.nested()
        x = networks.examples(network)
        model = new(network, grow_coefficient=0.5)
        fit(model, x, 0, 1)
        found.append((small.predictions(model, x), list(model.routing.values())))
    small.assert_same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


# Parts


def test_layers_are_parts_wherever_they_stand_and_each_once():
    shared = new(networks.two_branch_shared())
    assert names(shared).count("shared") == 1 and len(shared.units) == 4
    network = networks.nested()
    model = new(network)
    found = names(model)
    inner = [name for name in found if name.startswith("inner/")]
    assert len(inner) == 2 and "conv2d" in inner[1]  # a norm and a convolution
    assert len(found) == 4
    frozen = [layer for layer in network.get_layer("inner").layers if layer.weights][0]
    assert not frozen.trainable and f"inner/{frozen.name}" not in found
    assert model.joint_net.frozen  # its kernel and bias
    by_task = [part.name for part in model.units if part.by_task]
    assert by_task == [inner[0]]


def blocks():
    x = keras.Input((6,))
    y = layers.Dense(4, name="a")(x)
    y = layers.BatchNormalization(name="norm_a")(y)
    y = layers.ReLU(name="relu_a")(y)
    z = layers.Dense(4, name="b_1")(y)
    z = layers.Dense(4, name="b_2", activation="relu")(z)
    y = layers.Add(name="sum")([y, z])
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="c"), layers.Dense(4, name="d")],
        name="inner",
    )
    return keras.Model(x, inner(y))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (None, ["a", "norm_a", "b_1", "b_2", "inner/c", "inner/d"]),
        ([["b_1", "b_2"]], ["a", "norm_a", "b_1+b_2", "inner/c", "inner/d"]),
        ({"block": ["b_*"], "top": ["inner"]}, ["a", "norm_a", "block", "top"]),
        ([["norm_a", "inner/d", "a"]], ["norm_a+inner/d+a", "norm_a", "b_1", "b_2"]),
    ],
)
def test_layers_are_grown_together_as_the_user_groups_them(parts, expected):
    model = new(blocks(), parts=parts)
    assert names(model)[:4] == expected[:4]
    sizes = [model.joint_net.params(u) for u in range(len(model.units))]
    assert sum(sizes) == (7 + 5 + 5 + 5 + 5) * 4 + 8
    if parts == {"block": ["b_*"], "top": ["inner"]}:
        assert sizes == [28, 8, 40, 40]
        fit(model, X6, 0, 1)
        bind = next(e for e in model.growth if e["kind"] == "bind")
        assert bind["why"]["units"] == ["a", "block", "top"]
        assert len(bind["why"]["probability"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": [["b_3"]]}, "`parts` must name layers of `backbone`.*'b_3'.*'b_"),
        ({"parts": [["a"], ["a", "b_1"]]}, "`parts` must name each layer once.*'a'"),
        ({"parts": {"x": ["sum"]}}, "`parts` must name layers that can be.*'sum'"),
        ({"parts": {"x": []}}, "`parts` must name layers that can be grown.*'x'"),
        ({"parts": {"b_1": ["b_2"]}}, "`parts` must not call a group.*'b_1'"),
        ({"parts": [["a"]], "groups": 2}, "`parts` joins layers and `groups` divides"),
        ({"parts": ["a"]}, "`parts` must be .* a list, each a string"),
        ({"normalization": "own"}, "`normalization`.*'own'"),
    ],
)
def test_bad_parts(options, message):
    with pytest.raises(ValueError, match=message):
        new(blocks(), **options)


X6 = np.random.default_rng(0).normal(size=(24, 6)).astype("float32")


# Normalisation of each task


@pytest.mark.parametrize("retention", ["freeze", "slow"])
def test_each_task_has_its_own_normalisation(retention):
    model = new(blocks(), retention=retention, grow_coefficient=0.0)
    fit(model, X6, 0)
    net, before = model.joint_net, model.joint_net.node(1, "t0")
    size = model.count_params()
    fit(model, X6 * 3 + 5, 1, epochs=3)
    assert net.routing["t1"] == ["t0", "t1", "t0", "t0", "t0", "t0"]
    for was, value in zip(before, net.node(1, "t0"), strict=True):
        np.testing.assert_array_equal(was, value)  # scale, shift, mean, variance
    assert np.abs(net.node(1, "t1")[2] - before[2]).max() > 0.01
    assert model.count_params() == size + 2 * 4 + 5 * 2  # scale, shift, and a head
    grown = [(e["layer"], e["count"]) for e in model.growth if e["kind"] == "grow"]
    assert grown == [("norm_a", 8)]


@keras.saving.register_keras_serializable("bind_on_graphs")
class Block(layers.Layer):
    """A layer of a user's own that normalises inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4)
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build((None, 4))

    def call(self, x, training=False):
        return keras.ops.relu(self.norm(self.dense(x), training=training))


def test_normalisation_inside_a_layer_is_each_tasks_own_too():
    network = keras.Sequential([keras.Input((6,)), Block(name="block")])
    model = new(network, retention="freeze", grow_coefficient=0.0)
    assert names(model) == ["block", "block/own"]
    assert [model.joint_net.params(u) for u in range(2)] == [28, 8]
    fit(model, X6, 0)
    out = model.predict(X6, task="t0")
    fit(model, X6 * 3 + 5, 1)
    np.testing.assert_array_equal(model.predict(X6, task="t0"), out)
    assert model.routing["t1"] == ["t0", "t1"]


# Where weights come from


def test_frozen_layers_are_shared_and_pretrained_weights_are_where_tasks_begin():
    network = networks.nested()
    given = [w.copy() for w in network.get_weights()]
    x = networks.examples(network)
    model = new(network, pretrained=True, grow_coefficient=0.5, retention="slow")
    frozen = [keras.ops.convert_to_numpy(v) for v in model.joint_net.frozen]
    np.testing.assert_array_equal(frozen[0], given[0])
    begun = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.append(self.model.network.get_weights())

    model.fit(task(x, 0), epochs=1, verbose=0, callbacks=[Watch()])
    for was, value in zip(given, begun[0], strict=True):
        np.testing.assert_array_equal(was, value)
    again = kl.BindAndGrow.from_config(model.get_config())
    again.set_state(*model.get_state())
    again.compile(keras.optimizers.SGD(0.1))
    for m in (model, again):
        fit(m, x, 1)
        found = [keras.ops.convert_to_numpy(v) for v in m.joint_net.frozen]
        for was, value in zip(frozen, found, strict=True):
            np.testing.assert_array_equal(was, value)
    small.assert_same(small.predictions(again, x), small.predictions(model, x))


def test_a_grown_layer_may_begin_with_pretrained_weights():
    network = blocks()
    given = network.get_layer("a").get_weights()
    options = {"grow_init": "pretrained", "grow_coefficient": 1.0}
    model = new(network, pretrained=True, **options)
    fit(model, X6, 0)
    nodes = model.grown_nodes("t1", "t0", None)
    np.testing.assert_array_equal(nodes[0][0], given[0])
    fit(model, X6, 1)
    drawn = new(network, **options)
    with pytest.raises(ValueError, match="'pretrained' where `pretrained` is True"):
        fit(drawn, X6, 0)
    assert drawn.task_names == []
