"""MDL: what its rules do to probabilities, and a search from images to cells."""

import itertools

import keras
import numpy as np
import pytest

import keras_lifelong as kl
from keras_lifelong.layers.augmentation import CropFlip
from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.methods.par.cell_search import CellSearch
from keras_lifelong.methods.par.cell_search import SearchSettings
from keras_lifelong.methods.par.cell_search import search_cell
from keras_lifelong.methods.par.mdl import MDL
from keras_lifelong.methods.par.mdl import RULES
from keras_lifelong.methods.par.mdl import genotype_of
from keras_lifelong.methods.par.search_network import EDGES

ACCURACY = np.linspace(0.4, 0.7, 6)
RNG = np.random.default_rng(0)
X = RNG.random((24, 6, 6, 3)).astype("float32")
Y = np.arange(24) % 2


def searched(rule, epochs=100, seeds=10):
    """Probabilities (seeds * 28, 6) after a search in which the last operation is best.

    The operations' accuracies are those of the reference's simulation.
    """
    found = []
    for seed in range(seeds):
        mdl = MDL(rule, seed=seed)
        for _ in range(epochs):
            choice = mdl.sample()
            mdl.update(choice, ACCURACY[choice])
        found.append(mdl.probabilities.reshape(-1, 6))
    return np.concatenate(found)


def test_rules_against_the_simulation_of_the_reference():
    """Softmax leaves all near 1/6 and finds the best in 39 %; the other separates."""
    p = searched("softmax")
    assert 0.155 < p.min() and p.max() < 0.18
    assert 0.3 < (p.argmax(-1) == 5).mean() < 0.5
    p = searched("difference")
    assert (p.argmax(-1) == 5).mean() > 0.6 and p[:, 5].mean() > 0.4
    assert p.max() > 0.7 and p.min() >= 0


@pytest.mark.parametrize("rule", RULES)
def test_probabilities_stay_probabilities(rule):
    mdl = MDL(rule, step=0.1, seed=3)
    for epoch in range(60):
        mdl.update(mdl.sample(), np.random.default_rng(epoch).random())
        np.testing.assert_allclose(mdl.probabilities.sum(-1), 1, rtol=1e-9)
        assert (mdl.probabilities >= 0).all()


def test_one_update_by_hand():
    """Tried as often and better: takes 0.01 of each worse one's probability."""
    first = np.zeros((2, len(EDGES)), int)
    mdl, soft = MDL("difference"), MDL("softmax")
    for m in (mdl, soft):
        m.update(first, 0.5)  # "none", once
        m.update(first + 1, 0.6)  # "max_pool_3x3", once, better
    p = mdl.probabilities[0, 0]
    # first update: "none" beats five that were tried less often: it is not rarer, so
    # nothing moves. Second: max_pool is as often tried as none, and better.
    np.testing.assert_allclose(p, [1 / 6 - 0.01, 1 / 6 + 0.01, *[1 / 6] * 4])
    # softmax asks for *fewer* tries: nothing won, nothing lost
    np.testing.assert_allclose(soft.probabilities[0, 0], [1 / 6] * 6)
    for m in (mdl, soft):
        m.update(first, 0.4)  # "none" now twice, and worse
    np.testing.assert_allclose(
        mdl.probabilities[0, 0], [1 / 6 - 0.02, 1 / 6 + 0.02, *[1 / 6] * 4]
    )
    p = np.exp(1 / 6 + np.array([-0.01, 0.01, 0, 0, 0, 0]))
    np.testing.assert_allclose(soft.probabilities[0, 0], p / p.sum())


def test_sampling_follows_the_probabilities_and_the_seed():
    mdl = MDL(seed=5)
    mdl.probabilities[:] = [0, 0, 0.5, 0, 0.5, 0]
    drawn = []
    for epoch in range(50):
        mdl.epoch = epoch
        drawn.append(mdl.sample())
    drawn = np.array(drawn)
    assert set(drawn.ravel()) == {2, 4} and 0.4 < (drawn == 2).mean() < 0.6
    again = MDL(seed=5)
    again.probabilities = mdl.probabilities
    np.testing.assert_array_equal(again.sample(), drawn[0])


def test_the_cells_found():
    """The two best edges of a node, best operation each, "none" never."""
    p = np.full((2, 14, 6), 0.1)
    p[:, :, 0] = 0.9  # none
    p[0, 0, 3] = 0.2  # node 0, input 0
    p[0, 4, 4] = 0.3  # node 1, input 2
    p[0, 2, 5] = 0.2  # node 1, input 0
    genotype = genotype_of(p)
    normal = genotype["normal"]
    assert normal[0] == ("skip_connect", 0) and normal[1][1] == 1
    assert normal[2:4] == [("dil_conv_3x3", 0), ("sep_conv_3x3", 2)]
    assert all(op != "none" for edges in genotype.values() for op, _ in edges)
    assert len(genotype["reduce"]) == 8
    # ties go to the earlier: here all of the reduction cell's
    assert [j for _, j in genotype["reduce"]] == [0, 1] * 4
    assert {op for op, _ in genotype["reduce"]} == {OPERATIONS[1]}


def test_sampled_cells_have_two_edges_into_each_node():
    """As often as the product distribution has them, given two edges a node."""
    mdl = MDL(sampled="cells", seed=1)
    rng = np.random.default_rng(2)
    mdl.probabilities = p = rng.dirichlet(np.ones(6), (2, 14))
    drawn = np.array([mdl.sample(k) for k in range(4000)])
    for node in range(4):
        edges = [e for e, (i, _) in enumerate(EDGES) if i == node]
        assert ((drawn[:, :, edges] != 0).sum(-1) == 2).all()
    # of node 1: edges 2, 3 and 4
    weights = {}
    for architecture in itertools.product(range(6), repeat=3):
        if sum(op != 0 for op in architecture) == 2:
            ops = enumerate(architecture, start=2)
            weights[architecture] = np.prod([p[1, e, op] for e, op in ops])
    total = sum(weights.values())
    for architecture, weight in weights.items():
        share = (drawn[:, 1, 2:5] == architecture).all(-1).mean()
        assert abs(share - weight / total) < 0.03
    counts = [(drawn[:, 1, 2:5] == a).all(-1).mean() for a in weights]
    assert np.corrcoef(counts, list(weights.values()))[0, 1] > 0.97
    assert (MDL(seed=1).sample() == 0).sum() != 12  # published: each edge on its own


def test_what_was_never_tried_is_not_better():
    """Nor worse, where accuracies are differences and may be below 0."""
    mdl = MDL()
    choice = np.full((2, 14), 2)
    mdl.update(choice, -0.1)
    np.testing.assert_array_equal(mdl.probabilities, np.full((2, 14, 6), 1 / 6))
    mdl.update(choice + 1, -0.2)  # operation 2 was as rare and is better
    np.testing.assert_allclose(
        mdl.probabilities[0, 0, 2:4], [1 / 6 + 0.01, 1 / 6 - 0.01]
    )
    np.testing.assert_allclose(mdl.probabilities[0, 0, [0, 1, 4, 5]], 1 / 6)


def cell_search(**settings):
    """A `CellSearch` whose weights have been drawn."""
    body = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten()])
    model = kl.Finetune(body)
    settings = SearchSettings(filters=2, cells=2, **settings)
    search = CellSearch(model, (6, 6, 3), 2, settings)
    search.network.draw(1)
    search.network.choice.assign(MDL(sampled="cells", seed=4).sample())
    return search


def test_validation_by_statistics_of_the_batch(monkeypatch):
    """It depends on no running statistics, moves none, and sees no filling of zeros."""
    search = cell_search(batch_statistics=True)
    filled = np.concatenate([X, X[:8]])  # the 32 rows that evaluation has

    def values():
        variables = search.network.variables
        return [keras.ops.convert_to_numpy(v).copy() for v in variables]

    before = values()
    expected = np.array(search.batch_logits(filled))
    for value, same in zip(values(), before, strict=True):
        np.testing.assert_array_equal(value, same)
    trained = np.array(search.network(filled, training=True))
    np.testing.assert_allclose(trained, expected, atol=1e-5)
    assert any((a != b).any() for a, b in zip(values(), before, strict=True))
    np.testing.assert_allclose(search.batch_logits(filled), expected, atol=1e-5)
    assert not np.allclose(search.logits(filled), expected, atol=1e-2)

    def forward(function, x, variables):
        assert function == search.batch_logits and len(variables) == len(before)
        np.testing.assert_array_equal(x, filled)
        return np.array(function(x))

    monkeypatch.setattr(search.model.trainer, "forward", forward)
    assert search.accuracy(X, Y) == (expected[:24].argmax(-1) == Y).mean()


def search(**kwargs):
    settings = {"filters": 2, "cells": 2, "epochs": 3, "batch_size": 12, "verbose": 0}
    return search_cell(X, Y, **{**settings, **kwargs})


@pytest.mark.usefixtures("eager")
def test_searches_repeat_and_depend_on_the_seed():
    first, again, other = search(seed=1), search(seed=1), search(seed=2)
    assert first.genotype == again.genotype and first.accuracy == again.accuracy
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert first.probabilities.tolist() != other.probabilities.tolist()
    assert first.probabilities.shape == (2, 14, 6) and len(first.accuracy) == 3
    backbone = kl.backbones.get("cells", (6, 6, 3), genotype=first.genotype, filters=2)
    assert backbone.output_shape == (None, 8)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("rule", RULES)
def test_searching_with_augmented_images(rule):
    found = search(rule=rule, augment=CropFlip(padding=1, seed=0), epochs=2)
    assert all(0 <= accuracy <= 1 for accuracy in found.accuracy)


@pytest.fixture
def unoptimised():
    """To make such a graph faster takes TensorFlow as long as to trace it."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.mark.usefixtures("unoptimised")
def test_architectures_are_sampled_without_compiling_again():
    """One cell is enough to see it."""
    found = search(epochs=8, cells=1, batch_size=8)
    assert 1 <= found.compilations <= 4
    assert len(found.accuracy) == 8


@pytest.mark.usefixtures("unoptimised")
def test_searching_as_cells_are_found_compiles_no_more():
    found = search(
        epochs=4,
        cells=1,
        batch_size=8,
        validations=3,
        warmup=0.5,
        sample_every=1,
        sampled="cells",
        batch_statistics=True,
    )
    assert 1 <= found.compilations <= 4
    assert len(found.accuracy) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "sum"}, "`rule` must be one of .*'sum'"),
        ({"step": 0}, "`step`.*0"),
        ({"step": 1.5}, "`step`.*1.5"),
        ({"sampled": "nodes"}, "`sampled` must be one of .*'nodes'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        search(**arguments)


def test_bad_images():
    with pytest.raises(ValueError, match=r"`x` must be images.*\(24, 108\)"):
        search_cell(X.reshape(24, -1), Y)
    with pytest.raises(ValueError):
        search_cell(X, Y[:5], epochs=1)


def test_its_optimizer_steps_are_those_of_one_network():
    """Weights of operations that were not sampled do not move, but by decay."""
    from keras_lifelong.methods.par.search_network import SearchNetwork

    network = SearchNetwork(2, filters=2, cells=2)
    network.build((None, 6, 6, 3))
    network.choice.assign(np.full((2, 14), OPERATIONS.index("max_pool_3x3"), "int32"))
    model = keras.Sequential([keras.Input((6, 6, 3)), network])
    before = [np.array(v) for v in network.trainable_variables]
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    model.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    convolutions = network.cells[0].edges[0].operations[4].trainable_variables
    ids = {id(v) for v in convolutions}
    moved = {}
    for variable, value in zip(network.trainable_variables, before, strict=True):
        moved.setdefault(id(variable) in ids, []).append(
            (np.array(variable) != value).any()
        )
    assert not any(moved[True]) and any(moved[False])
