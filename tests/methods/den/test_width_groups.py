"""Groups of one width and the layouts of wires, worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_lifelong.graph import Graph
from keras_lifelong.layers.growable import table
from keras_lifelong.methods.den.separable import separated
from keras_lifelong.methods.den.width_groups import Block
from keras_lifelong.methods.den.width_groups import Layout
from keras_lifelong.methods.den.width_groups import Role
from keras_lifelong.methods.den.width_groups import WidthGroups


def widths(x, y):
    """The groups of a graph from `x` to `y`, and the layout of its output."""
    graph = Graph(keras.Model(x, y))
    steps = separated(graph.steps)
    found = WidthGroups(steps, [graph.inputs], lambda s: Role(*table.role(s)))
    return found, found.layouts[graph.output].blocks


def conv(name, filters=4, size=3, **kwargs):
    return layers.Conv2D(filters, size, padding="same", name=name, **kwargs)


def test_a_residual_block_is_one_group_and_what_is_inside_another():
    x = keras.Input((6, 6, 2))
    stem = layers.BatchNormalization()(conv("stem")(x))
    y = conv("inner", 7)(stem)
    y = layers.BatchNormalization()(conv("outer")(layers.ReLU()(y)))
    y = layers.Add()([stem, y])
    z = conv("next", 5, strides=2)(layers.ReLU()(y))
    z = layers.Maximum()([z, conv("projection", 5, 1, strides=2)(y)])
    found, out = widths(x, layers.GlobalAveragePooling2D()(z))
    assert found.groups == [["stem", "outer"], ["inner"], ["next", "projection"]]
    assert out == (Block(2),) and found.ungrown == {}


def test_what_is_added_to_the_input_keeps_its_width():
    x = keras.Input((6, 6, 2))
    y = conv("inner", 7)(x)
    y = layers.Add(name="sum")([x, conv("outer", 2)(y)])
    found, out = widths(x, layers.Flatten()(y))
    assert found.groups == [["inner"]]
    assert found.ungrown == {"outer": "the network's input has its width"}
    assert out == (Block(None, 2),) * 36


def test_joined_wires_have_a_block_for_each():
    x = keras.Input((2, 1, 3))
    a, b = conv("a", 4)(x), conv("b", 5)(x)
    y = layers.Concatenate()([a, x, b])
    found, out = widths(x, layers.Flatten()(y))
    assert found.groups == [["a"], ["b"]]
    assert out == (Block(0), Block(None, 3), Block(1)) * 2
    on_places = layers.Concatenate(axis=1)([a, conv("c", 4)(x)])
    found, out = widths(x, layers.Flatten()(on_places))
    assert found.groups == [["a", "c"]] and out == (Block(0),) * 4


def test_squeeze_and_excitation_is_tied_to_what_it_scales():
    x = keras.Input((6, 6, 2))
    y = conv("conv", 8)(x)
    s = layers.Dense(3, name="squeeze")(layers.GlobalAveragePooling2D()(y))
    s = layers.Dense(8, activation="sigmoid", name="excite")(s)
    y = layers.Multiply()([y, layers.Reshape((1, 1, 8))(s)])
    found, out = widths(x, layers.GlobalMaxPooling2D()(y))
    assert found.groups == [["conv", "excite"], ["squeeze"]]
    y = layers.Multiply()([y, conv("gate", 1)(y)])  # one map, spread over all
    found, _ = widths(x, layers.GlobalMaxPooling2D()(y))
    assert found.groups == [["conv", "excite"], ["squeeze"]]
    assert "spreads its one unit" in found.ungrown["gate"]


def test_a_depthwise_convolution_has_the_units_of_its_input():
    x = keras.Input((6, 6, 2))
    stem = conv("stem")(x)
    y = layers.ReLU(6.0)(conv("expand", 8, 1)(stem))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = stem + conv("project", 4, 1)(y)
    y = layers.SeparableConv2D(3, 3, name="separable")(y)
    found, out = widths(x, layers.GlobalAveragePooling2D()(y))
    assert found.groups == [["stem", "project"], ["expand"], ["separable"]]
    assert out == (Block(2),)


def test_a_shared_layer_is_one_and_ties_what_it_is_given():
    x = keras.Input((6,))
    shared = layers.Dense(4, name="shared")
    a, b = layers.Dense(5, name="a")(x), layers.Dense(5, name="b")(x)
    found, out = widths(x, layers.Concatenate()([shared(a), shared(b)]))
    assert [sorted(paths) for paths in found.groups] == [["a", "b"], ["shared"]]
    assert out == (Block(1), Block(1))


def test_units_that_lie_in_other_blocks_keep_their_number():
    x = keras.Input((6,))
    a, b = layers.Dense(2, name="a")(x), layers.Dense(3, name="b")(x)
    both = layers.Concatenate()([a, b])
    c = layers.Dense(5, name="c")(x)
    y = layers.Dense(4, name="top")(layers.Add(name="sum")([both, c]))
    found, _ = widths(x, y)
    assert found.groups == [["top"]]
    assert sorted(found.ungrown) == ["a", "b", "c"]
    assert "'sum' takes units together" in found.ungrown["c"]


def test_what_mixes_units_keeps_the_number_of_its_inputs():
    x = keras.Input((8, 3))
    y = layers.Conv1D(4, 3, name="conv")(x)
    y = layers.Dense(6, name="dense")(layers.LSTM(5, name="lstm")(y))
    found, out = widths(x, y)
    assert found.groups == [["dense"]] and out == (Block(0),)
    assert found.ungrown == {"conv": "'lstm' takes its units and does not grow"}


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (lambda: layers.Dense(4, name="odd", trainable=False), "it is not trainable"),
        (lambda: layers.Reshape((2, 2), name="odd"), "takes the channels of a place"),
        (lambda: layers.Softmax(name="odd"), "softmax mixes the units"),
        (lambda: layers.UnitNormalization(name="odd"), "growing networks are made of"),
    ],
)
def test_what_cannot_take_units_that_come_and_go_is_named(odd, reason):
    x = keras.Input((6,))
    with pytest.raises(ValueError, match=f"odd: .*{reason}"):
        widths(x, odd()(layers.Dense(4)(x)))
    widths(x, layers.Dense(4)(layers.Flatten()(layers.Reshape((3, 2))(x))))


def test_rows_of_a_layout():
    layout = Layout((Block(0), Block(None, 2), Block(1), Block(0)))
    assert layout.width([3, 4]) == 3 + 2 + 4 + 3
    assert layout.rows([3, 4], {0: [0, 2], 1: [3]}).tolist() == [0, 2, 3, 4, 8, 9, 11]
    assert layout.rows_of(0, [3, 4], [2]).tolist() == [2, 11]
    units = layout.units_of([2, 3, 8, 10], [3, 4])
    assert {g: u.tolist() for g, u in units.items()} == {0: [1, 2], 1: [3]}
    old, new = layout.moved([3, 4], [4, 2])
    assert old.tolist() == [0, 1, 2, 3, 4, 5, 6, 9, 10, 11]
    assert new.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert np.array_equal(layout.moved([1, 1], [1, 1])[0], np.arange(5))
    assert not layout.is_uniform and layout.groups == [0, 1]
    assert Layout((Block(0), Block(0))).is_uniform
