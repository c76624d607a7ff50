"""PAR with experts that are any graph, heads of any kind, and given weights."""

import graph_networks as graphs
import keras
import numpy as np
import pytest
from graph_networks import task
from keras import layers

import keras_lifelong as kl
from keras_lifelong.metrics.target_groups import groups_of
from keras_lifelong.training import distillation

pytestmark = pytest.mark.usefixtures("eager")


def flat(x):
    return np.asarray(x).reshape(len(x), -1)


def new(backbone, **kwargs):
    model = kl.PAR(backbone, **{"extractor": flat, **kwargs})
    model.compile(keras.optimizers.SGD(0.05))
    return model


def fit(model, *tasks, **kwargs):
    for one in tasks:
        model.fit(one, **{"epochs": 1, "batch_size": 20, "verbose": 0, **kwargs})
    return model


# Any graph


@pytest.mark.parametrize("name", graphs.NETWORKS)
def test_a_graph_is_an_expert(name, tmp_path):
    """The first task stays to the bit; nothing depends on the names of layers."""
    x = graphs.inputs(name)
    model = fit(new(graphs.NETWORKS[name](), alpha=0.0), task("a", x, 0))
    first = model.predict(x, task="a")
    fit(model, task("b", x, 1))
    assert [e["tasks"] for e in model.experts] == [["a"], ["b"]]
    np.testing.assert_array_equal(model.predict(x, task="a"), first)
    renamed = fit(new(graphs.NETWORKS[name]("z_"), alpha=0.0), task("a", x, 0))
    np.testing.assert_array_equal(renamed.predict(x, task="a"), first)
    plain = model.task_model("a")
    np.testing.assert_allclose(np.array(plain(x)), first, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    second = model.predict(x, task="b")
    np.testing.assert_array_equal(again.predict(x, task="b"), second)
    model.remove_task("a")
    np.testing.assert_array_equal(model.predict(x, task="b"), second)


def test_a_shared_graph_is_distilled():
    """On the new task's inputs the old head goes on saying what it said."""
    x = graphs.inputs("branches")
    moved = {}
    for strength in (0.0, 50.0):
        options = {"schedule": None, "weight_decay": 0.0, "clip_norm": 0.0}
        options |= {"alpha": 1.0, "distillation": strength}
        model = new(graphs.branches(), **options)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
        fit(model, task("a", x, 0), epochs=2)
        first = model.predict(x, task="a")
        b = kl.Task("b", train=(x, graphs.labels(x, 1)), validation_split=0)
        fit(model, b, epochs=8)
        assert model.growth[-1]["kind"] == "reuse"
        moved[strength] = np.abs(model.predict(x, task="a") - first).mean()
    assert 0 < moved[50.0] < 0.5 * moved[0.0]


def with_cells():
    """A graph of which cells are a layer, beside the mean of the image."""
    given = keras.Input((6, 6, 3))
    cells = kl.backbones.get("cells", (6, 6, 3), filters=2, cells=2).layers[-1]
    mean = layers.GlobalAveragePooling2D()(given)
    features = layers.Concatenate()(
        [type(cells).from_config(cells.get_config())(given), mean]
    )
    return keras.Model(given, layers.Dense(3, name="top")(features))


def test_cells_within_a_graph_are_searched_and_the_rest_begins_as_given():
    backbone = with_cells()
    model = new(backbone, search_epochs=1, pretrained=True)
    model.compile(keras.optimizers.SGD(0.0))
    x = np.random.default_rng(0).random((20, 6, 6, 3)).astype("float32")
    fit(model, task("a", x, 0))
    assert [e["kind"] for e in model.growth] == ["search", "allocate"]
    assert model.experts[0]["genotype"] is not None
    top = backbone.get_layer("top").get_weights()
    for found, given in zip(model.expert_values(0)[-2:], top, strict=True):
        np.testing.assert_array_equal(found, given)
    plain = model.task_model("a")
    assert not [x for x in plain._flatten_layers() if hasattr(x, "plain")]
    expected = model.predict(x, task="a")
    np.testing.assert_allclose(np.array(plain(x)), expected, atol=1e-5)


# Weights that are given


def test_every_new_expert_begins_from_given_weights_also_once_loaded(tmp_path):
    x, backbone = graphs.inputs("branches"), graphs.branches()
    model = new(backbone, alpha=0.0, extractor="pca", pretrained=True)
    model.compile(keras.optimizers.SGD(0.0))
    fit(model, task("a", x, 0))
    model.save(tmp_path / "model.keras")
    again = fit(keras.saving.load_model(tmp_path / "model.keras"), task("b", x, 1))
    for k in range(2):
        for found, given in zip(
            again.expert_values(k), backbone.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(found, given)
    fresh = fit(new(backbone, alpha=0.0), task("a", x, 0))
    assert not np.array_equal(fresh.expert_values(0)[0], backbone.get_weights()[0])


# Heads without classes


def test_divergences_of_heads_by_hand():
    """Of a yes or no by its two probabilities, of numbers by their square."""
    rng = np.random.default_rng(0)
    before, after = (rng.normal(size=(4, 3)).astype("float32") for _ in "ab")
    heads = [
        (rng.normal(size=(3, 2)).astype("float32"), np.ones(2, "float32")),
        (rng.normal(size=(3, 1)).astype("float32"), np.zeros(1, "float32")),
        (rng.normal(size=(3, 3)).astype("float32"), np.ones(3, "float32")),
    ]
    weight, t = np.array([1, 1, 0.5, 0], "float32"), 2.0
    logits = [[f @ k + b for f in (before, after)] for k, b in heads]
    p, q = (1 / (1 + np.exp(-z / t)) for z in logits[0])
    yes_no = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    number = (logits[1][0] - logits[1][1]) ** 2
    p, q = (np.exp(z / t) / np.exp(z / t).sum(1, keepdims=True) for z in logits[2])
    classes = (p * np.log(p / q)).sum(1)
    each = yes_no.mean(1) + number.mean(1) + classes
    expected = (each * weight).sum() / weight.sum()
    kinds = ("multilabel", "regression", "categorical")
    stack = distillation.stack_heads(heads, [distillation.comparison(k) for k in kinds])
    found = distillation.distillation(stack, before, after, weight, t)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert set(distillation.stack_heads(heads[2:])) == {"kernel", "bias", "present"}


def test_groups_of_tasks_without_classes():
    y = np.array([[3.0], [1.0], [2.0], [4.0], [8.0], [7.0], [6.0], [5.0]])
    rows, groups = groups_of(y, kl.TaskSpec(1, "regression"))
    assert rows.tolist() == list(range(8))
    assert groups.tolist() == [1, 0, 0, 1, 3, 3, 2, 2]
    assert groups_of(y[:1], kl.TaskSpec(1, "regression"))[1].tolist() == [0]
    both = np.concatenate([y, -2 * y], axis=1)  # of which one says all
    found = groups_of(both, kl.TaskSpec(2, "regression"))[1]
    assert found.tolist() in (groups.tolist(), (3 - groups).tolist())
    rows, groups = groups_of(np.array([[0, 0], [0, 1]]), kl.TaskSpec(2, "multilabel"))
    assert rows.tolist() == [0, 1] and groups.tolist() == [1, 0]  # label 0 is nobody's


def test_numbers_and_several_labels_are_learned_shared_and_kept_apart():
    x = graphs.inputs("branches")
    wanted = (x[:, :2] @ np.array([[1.0, 0.5], [0.3, -1.0]])).astype("float32")
    model = new(graphs.branches(), extractor="pca", schedule=None)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    numbers = kl.Task("numbers", train=(x, wanted), validation_split=0)
    labels = kl.Task("labels", train=(x, (wanted > 0).astype("float32")))
    far = kl.Task("far", train=(x + 9, wanted), validation_split=0)
    fit(model, numbers, epochs=20)
    fit(model, labels, far, epochs=5)
    assert [e["tasks"] for e in model.experts] == [["numbers", "labels"], ["far"]]
    assert [e["kind"] for e in model.growth] == ["allocate", "reuse", "allocate"]
    error = np.mean((wanted - model.predict(x, task="numbers")) ** 2)
    assert error < 0.5 * np.mean((wanted - wanted.mean(0)) ** 2)


# Refused before training


def test_what_cannot_be_compared_or_chosen_is_refused():
    x, y = graphs.inputs("branches"), np.zeros((graphs.ROWS, 1), "float32")
    one = kl.Task(
        "one",
        kl.TaskSpec(1, "regression"),
        train=(x[:1], y[:1]),
        validation=(x[:1], y[:1]),
    )
    with pytest.raises(ValueError, match="'one' must have two examples.*Received: one"):
        fit(new(graphs.branches()), one)
    settings = {"epochs": 2, "validation_freq": 3}
    grid = new(graphs.branches(), weight_decay=[0.0, 0.1])
    with pytest.raises(ValueError, match="`validation_freq` must name.*2 epochs.*: 3"):
        fit(grid, task("a", x, 0), **settings)
    chain = keras.Sequential([keras.Input((6,)), layers.Dense(3), layers.Dense(2)])
    lasem = kl.LASEM(chain, search="brute_force")
    lasem.compile("sgd")
    with pytest.raises(ValueError, match="brute_force.*`validation_freq` must name"):
        fit(lasem, task("a", x, 0), **settings)
    for model in (grid, lasem):
        assert not model.task_names


def test_five_examples_are_learned_and_shared():
    x, y = graphs.inputs("branches"), np.arange(10) % 2
    model = fit(
        new(graphs.branches(), extractor="pca"),
        kl.Task("a", train=(x[:5], y[:5])),
        kl.Task("b", train=(x[5:10], y[5:])),
    )
    assert model.growth[-1]["kind"] == "reuse"
