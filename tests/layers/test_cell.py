"""Cells and their networks: the published sizes, structure, saving."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong.layers.cell import DARTS_V1
from keras_lifelong.layers.cell import DARTS_V2
from keras_lifelong.layers.cell import Cell
from keras_lifelong.layers.cell import CellNetwork
from keras_lifelong.layers.cell import check_genotype

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def everywhere(name):
    edges = [(name, i % 2) for i in range(8)]  # all from the two inputs
    return {"normal": edges, "reduce": edges}


@pytest.mark.parametrize(
    ("genotype", "count"),
    [
        (DARTS_V1, 221_376),
        (DARTS_V2, 230_976),
        (everywhere("max_pool_3x3"), 125_376),
        (everywhere("skip_connect"), 192_960),
        (everywhere("dil_conv_3x3"), 278_976),
        (everywhere("sep_conv_3x3"), 432_576),
    ],
    ids=["darts_v1", "darts_v2", "max_pool", "skip", "dil", "sep"],
)
def test_sizes_as_released(genotype, count):
    network = CellNetwork(genotype)
    network.build((None, 32, 32, 3))
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == count


def test_cells_one_and_two_of_four_reduce():
    network = CellNetwork(DARTS_V1, filters=4)
    assert [c.reduction for c in network.cells] == [False, True, True, False]
    assert [c.reduction_before for c in network.cells] == [False, False, True, True]
    assert tuple(network(X).shape) == network.compute_output_shape(X.shape) == (2, 16)


def test_a_node_is_the_sum_of_its_two_edges():
    edges = [("skip_connect", 0), ("none", 1)] + [("skip_connect", 2), ("none", 0)] * 3
    cell = Cell(edges, 4)
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 4)).astype("float32")
    out = ops.convert_to_numpy(cell(x, 2 * x))
    first = ops.convert_to_numpy(cell.adapt[0](x))
    np.testing.assert_allclose(out, np.concatenate([first] * 4, axis=-1), atol=1e-6)


def test_it_learns():
    keras.utils.set_random_seed(0)  # before weights are drawn
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            CellNetwork(DARTS_V2, filters=4),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    y = (X[:, 0, 0, 0] > 0).astype("int32")
    x, y = np.repeat(X, 8, axis=0), np.repeat(y, 8)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy"
    )
    history = model.fit(x, y, epochs=8, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


def test_saving_changes_no_prediction(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), CellNetwork(DARTS_V1, filters=4)])
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(model(X)), ops.convert_to_numpy(again(X))
    )
    assert again.layers[0].genotype == check_genotype(DARTS_V1)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ({"normal": []}, "'normal' and 'reduce'"),
        ({**DARTS_V1, "reduce": DARTS_V1["reduce"][:7]}, "8 edges.*'reduce'"),
        ({**DARTS_V1, "normal": [("conv", 0)] * 8}, "'conv'"),
        ({**DARTS_V1, "normal": [("none", 2)] * 8}, "earlier nodes"),
    ],
)
def test_bad_genotypes(genotype, message):
    with pytest.raises(ValueError, match=message):
        CellNetwork(genotype)
