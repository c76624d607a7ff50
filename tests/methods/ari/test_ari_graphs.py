"""ARI with sets of parameters of any graph, heads of any kind, and large inputs."""

import graph_networks as graphs
import keras
import numpy as np
import pytest
from graph_networks import task
from keras import layers

import keras_lifelong as kl
from keras_lifelong.methods.ari import probes
from keras_lifelong.methods.ari.knowledge_base import KnowledgeBase
from keras_lifelong.methods.ari.made_probes import Made
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import Parameters
from keras_lifelong.methods.ari.parameters import score
from keras_lifelong.methods.ari.storing import Storing
from keras_lifelong.methods.ari.tensors import tensors_of

pytestmark = pytest.mark.usefixtures("eager")
QUICK = {
    "memory_budget": 3,
    "training_budget": 2,
    "initial": 1,
    "exemplars": 8,
    "interval": 2,
    "storing_steps": 1,
    "storing_batch": 16,
    "estimator_epochs": 1,
    "adaptation": 1,
    "signature": 64,
    "rehearse": False,
    "hypernetwork": {"name": "chunked", "chunk": 20, "units": [8]},
}


def new(backbone, **kwargs):
    model = kl.ARI(backbone, **{**QUICK, **kwargs})
    model.compile(keras.optimizers.Adam(0.02))
    return model


def fit(model, *tasks, **kwargs):
    for one in tasks:
        model.fit(one, **{"epochs": 1, "batch_size": 40, "verbose": 0, **kwargs})
    return model


# Any graph


@pytest.mark.parametrize("name", graphs.NETWORKS)
def test_a_graph_is_the_form_of_sets(name, tmp_path):
    """Nothing depends on the names of layers; what is saved answers the same."""
    x = graphs.inputs(name)
    model = fit(new(graphs.NETWORKS[name]()), task("a", x, 0))
    first = model.predict(x, task="a")
    renamed = fit(new(graphs.NETWORKS[name]("z_")), task("a", x, 0))
    np.testing.assert_array_equal(renamed.predict(x, task="a"), first)
    fit(model, task("b", x, 1))
    assert {slot["task"] for slot in model.slots} == {"a", "b"}
    out = {t: model.predict(x, task=t) for t in "ab"}
    plain = model.task_model("a")
    np.testing.assert_allclose(np.array(plain(x)), out["a"], atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for t in "ab":
        np.testing.assert_array_equal(again.predict(x, task=t), out[t])
    model.remove_task("a")
    assert model.task_names == ["b"] and model.predict(x, task="b").shape == (40, 2)


def test_recurrent_sets_are_trained_one_after_another():
    model = new(graphs.recurrent())
    optimizer = model.optimizer_config()
    assert not model.exploration.goes_at_once(None, optimizer)
    with pytest.raises(ValueError, match="`at_once`.*recurrent.*'gru.*at_once=True"):
        model.exploration.goes_at_once(True, optimizer)
    assert model.exploration.goes_at_once(None, optimizer) is False
    assert new(graphs.branches()).exploration.goes_at_once(None, optimizer)


def test_words_are_probed_by_words():
    model = new(graphs.recurrent())
    assert model.form.words == 12 and new(graphs.branches()).form.words is None
    model.knowledge_base.make(2)
    model.signer.of_set(model.knowledge_base.drawn("x"))
    (noise,) = model.signer._noise.values()
    assert set(np.unique(noise)) == set(range(12))


def test_fan_in_of_all_tensors():
    given = keras.Input((6, 4))
    x = layers.Conv1D(1, 3, name="one")(given)  # no depthwise one, though it looks so
    x = layers.Conv1DTranspose(5, 4, strides=2)(x)
    x = layers.DepthwiseConv1D(3, depth_multiplier=2)(x)
    x = layers.SeparableConv1D(7, 3)(x)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    network = keras.Model(given, layers.GRU(4)(x))
    found = tensors_of(network)
    expected = [
        *(12, 0),  # three steps of four channels
        *(2, 0),  # four steps, of which two meet an input, of one channel
        *(3, 0),
        *(3, 10, 0),
        *([7, 0] * 3),  # query, key and value
        *(6, 0),  # two heads of three
        *(7, 4, 0),  # inputs and state
    ]
    assert [tensor.fan_in for tensor in found] == expected
    deep = [i for i, tensor in enumerate(found) if tensor.depthwise]
    assert deep == [4, 6]
    assert found[-1].usual == 0.1 and found[0].usual == np.sqrt(2 / 12)


def test_a_depthwise_kernel_is_drawn_by_its_own_fan_in():
    network = [keras.Input((4, 4, 50)), layers.DepthwiseConv2D(3), layers.Flatten()]
    form = Form(keras.Sequential(network), head_bias=False)
    small = {"name": "chunked", "chunk": 20, "units": [8]}
    base = KnowledgeBase(form, budget=2, hypernetwork=small, seed=0)
    base.make(outputs=2)
    kernel = base.drawn("x", initializer="he_normal").values[0]
    assert kernel.shape == (3, 3, 50, 1)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 9), rel=0.15)


# Weights that are given, and layers that stay


def test_given_weights_are_a_candidate_for_each_task_also_once_loaded(tmp_path):
    x, backbone = graphs.inputs("branches"), graphs.branches()
    backbone.get_layer("turn").trainable = False
    model = fit(new(backbone, pretrained=True), task("a", x, 0))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(x, task="a")
    np.testing.assert_array_equal(again.predict(x, task="a"), expected)
    shared, turn = (backbone.get_layer(n).get_weights() for n in ("shared", "turn"))
    for one in (model, again):
        found = one.knowledge_base.given(one.memory, "x")
        assert found.source == "given"
        for value, given in zip(found.values[:2], shared, strict=True):
            np.testing.assert_array_equal(value, given)
        for variable, given in zip(one.form.frozen, turn, strict=True):
            np.testing.assert_array_equal(np.array(variable), given)
    assert [e["layer"] for e in model.growth if e["kind"] == "explore"] == ["given"]
    assert new(backbone).knowledge_base.given(new(backbone).memory, "x") is None


# Heads without classes


def test_scores_by_hand():
    y = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    wrong = np.array([[0.0, 9.0], [2.0, 9.0], [2.0, 9.0]])
    assert score(y, y, "regression") == 1
    assert score(wrong, y, "regression") == pytest.approx((0.5 + 0) / 2)
    said = np.array([[1.0, -1.0], [-1.0, -1.0]])
    assert score(said, np.array([[1, 1], [0, 0]]), "multilabel") == 0.75
    assert score(said, np.array([0, 1]), "categorical") == 0.5


def test_numbers_and_several_labels_are_stored():
    """What is stored is their own measure of what was answered, by hand."""
    x = graphs.inputs("branches")
    wanted = (x[:, :2] @ np.array([[1.0, 0.5], [0.3, -1.0]])).astype("float32")
    model = new(graphs.branches(), outputs=3)
    fit(
        model,
        kl.Task("numbers", train=(x, wanted)),
        kl.Task("labels", train=(x, (wanted > 0).astype("float32"))),
        task("classes", x, 0),
    )
    for name, units in (("numbers", 2), ("labels", 2), ("classes", 2)):
        assert model.predict(x, task=name).shape == (len(x), units)
    curves = [e["why"]["curve"] for e in model.growth if e["kind"] == "explore"]
    assert all(0 <= value <= 1 for curve in curves for value in curve)
    kept = model.knowledge()
    names = [c.task for c in kept]
    assert sorted(names) == ["classes", "labels", "numbers"]
    inputs = [x[:16]] * 3
    specs = [model.task_spec(name) for name in names]
    how, base = Storing(1, 1e-3, 16, 1.0), model.knowledge_base
    phase = next(base.store(model.memory, kept, specs, inputs, [False] * 3, how))
    h = base.hypernetwork
    h.slot_embeddings.assign(h.slot_embeddings + 0.5)
    rows, expected = phase.data[0][:3], []
    for row in rows:
        slot = row[0]
        now = h.generate(slot)
        error = np.mean(
            (h.standard(now) - h.standard(kept[slot].parameters.values)) ** 2
        )
        changed = Parameters(now, [], [], "")
        all_before = model.form.answers(kept[slot].parameters, x[:16])[:, :2]
        places = row[1:] - 16 * slot
        before = all_before[places]
        after = model.form.answers(changed, x[:16])[places][:, :2]
        if names[slot] == "numbers":
            answers = ((before - after) ** 2 / all_before.var(0)).mean()
        else:
            p, q = 1 / (1 + np.exp(-before)), 1 / (1 + np.exp(-after))
            answers = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
            if names[slot] == "classes":
                p, q = (
                    np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (before, after)
                )
                answers = (p * np.log(p / q)).sum(1).mean()
        expected.append(error + answers)
    found = phase.loss(rows, None, np.ones(3, "float32"), phase.arguments)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-3)


def test_several_inputs_are_refused():
    one, other = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    backbone = keras.Model([one, other], layers.Concatenate()([one, other]))
    with pytest.raises(ValueError):
        new(backbone)
    with pytest.raises(ValueError, match="of one input.*'left', 'right'"):
        Form(backbone, head_bias=False)


# Large inputs


def test_no_array_of_slots_probes_and_inputs_is_held():
    """At 64 x 64 x 3 and twenty slots it would be 983 MB."""
    shape, slots = (64, 64, 3), 20
    network = [keras.Input(shape), layers.AveragePooling2D(16), layers.Flatten()]
    form = Form(keras.Sequential([*network, layers.Dense(4)]), head_bias=False)
    small = {"name": "chunked", "chunk": 20, "units": [8]}
    base = KnowledgeBase(form, budget=slots, hypernetwork=small, seed=0)
    base.make(outputs=2)
    x = np.random.default_rng(0).random((30, *shape)).astype("float32")
    of = [probes.made_of(form.network, x, old, seed) for seed, old in enumerate((0, 1))]
    sets = [base.drawn("set", i) for i in range(2)]
    how, specs = Storing(1, 1e-3, 16, 1.0), [kl.TaskSpec(2)] * 2
    phase = base.storer.phase(sets, specs, of, [False, True], how, seed=0)
    sizes = [np.size(a) for a in keras.tree.flatten(phase.arguments)]
    assert max(sizes) <= max(2**20, x.size) < slots * 1000 * x[0].size / 100
    loss = phase.loss(phase.data[0][:4], None, np.ones(4, "float32"), phase.arguments)
    assert np.isfinite(float(loss))


def test_made_probes_are_mixed_of_examples():
    """As those that are held: three in ten are whole, in others any value is any's."""
    network = keras.Sequential([keras.Input((40,)), layers.Dense(2)])
    x = np.arange(4 * 40).reshape(4, 40).astype("float32")
    found = probes.made_of(network, x, True, seed=1)
    assert isinstance(found, Made) and len(found) == probes.PROBES
    rows = found.inputs(np.arange(probes.PROBES))
    assert ((rows % 40) == np.arange(40)).all()  # each value stays in its place
    of = rows // 40
    whole = (of == of[:, :1]).all(1)
    assert 0.25 < whole.mean() < 0.45
    share = np.bincount(of[~whole].astype(int).ravel(), minlength=4) / of[~whole].size
    np.testing.assert_allclose(share, 0.25, atol=0.03)
    np.testing.assert_array_equal(found.inputs([7, 3]), rows[[7, 3]])
    new_ones = probes.made_of(network, x, False, seed=1).inputs(np.arange(8))
    assert (new_ones[:, None] == x[None]).all(-1).any(1).all()


def test_made_probes_of_normalised_networks_are_shifted_and_mirrored():
    network = graphs.residual()
    x = np.random.default_rng(0).random((2, 8, 8, 2)).astype("float32")
    found = probes.made_of(network, x, True, seed=1)
    padded = np.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    for i, image in enumerate(found.inputs(np.arange(40))):
        down, across, mirrored = found.moves[i]
        source = padded[found.base[i], 1 + down : 9 + down, 1 + across : 9 + across]
        given = padded[found.base[i]][1:9, 1:9]
        if mirrored:
            whole = np.pad(given, [[1, 1], [1, 1], [0, 0]])
            columns = 1 + np.arange(8)[::-1] + across
            source = whole[1 + down : 9 + down][:, columns]
        np.testing.assert_array_equal(image, source)
    assert len(np.unique(found.moves, axis=0)) == 18


def test_only_so_many_new_inputs_are_held():
    x = np.zeros((300, 64 * 64 * 12), "float32")
    assert len(probes.pool_of(x, seed=0)) == 200
    assert probes.pool_of(x[:100], seed=0).shape == (100, 64 * 64 * 12)
