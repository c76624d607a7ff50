"""The searched network: its size, and that an index chooses exactly one operation."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.methods.par.search_network import EDGES
from keras_lifelong.methods.par.search_network import MixedEdge
from keras_lifelong.methods.par.search_network import SearchCell
from keras_lifelong.methods.par.search_network import SearchNetwork
from keras_lifelong.methods.par.search_network import TableNorm

X = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype("float32")


def test_size_as_released():
    network = SearchNetwork(10)
    network.build((None, 32, 32, 3))
    sizes = [int(np.prod(v.shape)) for v in network.trainable_variables]
    assert sum(sizes) == 949_066


def test_a_table_norm_is_batch_normalisation():
    plain = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, center=False, scale=False
    )
    norm = TableNorm()
    norm.given = np.zeros(3, "float32"), np.ones(3, "float32")
    x = 3 * X + 1
    np.testing.assert_allclose(
        ops.convert_to_numpy(norm(x, training=True)),
        ops.convert_to_numpy(plain(x, training=True)),
        atol=1e-5,
    )
    given, moved = norm.given, ops.convert_to_numpy(norm.found[0])
    np.testing.assert_allclose(moved, x.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(given[0], 0)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_index_is_one_operation(name, strides):
    edge = MixedEdge(3, strides)
    edge.build((None, 6, 6, 3))
    table = np.zeros((6, 2, 2, 3), "float32")
    table[:, :, 1] = 1
    table[:, :, 0] = 0.1
    index = OPERATIONS.index(name)
    y, found = edge(X, index=index, table=table, training=False)
    alone, _ = edge._apply(index, X, ops.convert_to_tensor(table), False)
    np.testing.assert_allclose(
        ops.convert_to_numpy(y), ops.convert_to_numpy(alone), atol=1e-5
    )
    assert tuple(found.shape) == (2, 2, 3)
    assert tuple(y.shape) == (4, 6 // strides, 6 // strides, 3)
    if name == "none":
        assert not ops.convert_to_numpy(y).any()
    if name == "skip_connect" and strides == 1:
        np.testing.assert_array_equal(ops.convert_to_numpy(y), X)


def test_only_statistics_of_chosen_operations_move():
    cell = SearchCell(3)
    cell.build((None, 6, 6, 3), (None, 6, 6, 3))
    choice = np.arange(len(EDGES)) % len(OPERATIONS)
    before = ops.convert_to_numpy(cell.table).copy()
    cell(X, X, choice, training=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(cell.table), before)
    cell(X, X, choice, training=True)
    moved = (ops.convert_to_numpy(cell.table) != before).any((2, 3, 4))
    used = np.arange(len(OPERATIONS)) == choice[:, None]
    assert not moved[~used].any()
    has_norm = [n not in ("none", "skip_connect") for n in OPERATIONS]
    assert moved[used & has_norm].all()


def test_drawing_again_is_the_same_network():
    network = SearchNetwork(3, filters=2, cells=2, seed=1)
    network.build((None, 6, 6, 3))
    first = [ops.convert_to_numpy(v).copy() for v in network.variables]
    network(X, training=True)
    network.choice.assign(np.ones((2, 14), "int32"))
    network.draw(2)
    assert any(
        (ops.convert_to_numpy(v) != w).any()
        for v, w in zip(network.variables, first, strict=True)
    )
    network.draw(1)
    for variable, value in zip(network.variables, first, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def test_the_choice_changes_the_output():
    network = SearchNetwork(3, filters=2, cells=2)
    network.build((None, 6, 6, 3))
    outputs = []
    for index in (2, 3, 4):
        network.choice.assign(np.full((2, 14), index, "int32"))
        outputs.append(ops.convert_to_numpy(network(X)))
    assert outputs[0].shape == (4, 3)
    assert not np.allclose(outputs[0], outputs[1])
    assert not np.allclose(outputs[1], outputs[2])
