"""A network as steps: what it gives, in which order, and which it opens."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_lifelong.graph import Graph

RNG = np.random.default_rng(0)


def residual():
    """A convolution read three times, an operator, and a nested model used twice."""
    x = keras.Input((4, 4, 2))
    y = layers.Conv2D(3, 1, name="conv")(x)
    z = layers.BatchNormalization(name="norm")(y)
    z = layers.Add(name="sum")([z + y, y])
    inner = keras.Sequential(
        [keras.Input((4, 4, 3)), layers.Conv2D(3, 1, name="deep"), layers.Dropout(0.5)],
        name="inner",
    )
    z = inner(inner(z, training=False))
    return keras.Model(x, layers.GlobalAveragePooling2D(name="pool")(z))


def masked():
    words = keras.Input((5,), dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(words)
    return keras.Model(words, layers.LSTM(3)(embedded))


def named():
    inputs = {"b": keras.Input((3,), name="b"), "a": keras.Input((2,), name="a")}
    dense = layers.Dense(3)(inputs["a"])
    return keras.Model(inputs, layers.Concatenate()([dense, inputs["b"]]))


def test_steps_and_who_reads_them():
    graph = Graph(residual())
    conv, norm, add, total = graph.steps[:4]
    assert [conv.path, norm.path, total.path] == ["conv", "norm", "sum"]
    assert add.path.startswith("add")  # an operator has the name that Keras finds
    deep = graph.steps_of("inner/deep")
    assert len(deep) == 2 and deep[0].layer is deep[1].layer
    assert list(graph.readers(conv.outputs[0])) == [norm, add, total]
    assert graph.source(conv.outputs[0]) is conv
    assert graph.source(conv.inputs[0]) is None
    assert not graph.is_chain
    assert Graph(keras.Sequential([keras.Input((2,)), layers.ReLU()])).is_chain


@pytest.mark.parametrize(
    "network, x",
    [
        (residual, RNG.normal(size=(2, 4, 4, 2)).astype("float32")),
        (masked, np.array([[1, 2, 0, 0, 0], [1, 2, 3, 4, 5]], "int32")),
        (named, {k: RNG.normal(size=(4, n)) for k, n in (("a", 2), ("b", 3))}),
    ],
)
def test_it_gives_what_the_model_gives(network, x):
    model = network()
    graph = Graph(model)
    assert (np.array(graph.run(x)) == np.array(model(x))).all()
    again = keras.Model(
        given := graph.symbolic_inputs(), graph.run(given), name="again"
    )
    assert np.allclose(again(x), model(x), atol=1e-6)


def test_training_is_what_the_network_is_called_with():
    """Keras overrides what a call within a model says of it."""
    model, again = residual(), residual()
    again.set_weights(model.get_weights())
    x = RNG.normal(size=(4, 4, 4, 2)).astype("float32")
    seen = []

    def call(step, *args, **kwargs):
        seen.append((step.path, kwargs))
        return step(*args, training=True)

    Graph(model).run(x, call)
    again(x, training=True)
    assert [kwargs for path, kwargs in seen if "dropout" in path] == [{}, {}]
    for found, expected in zip(model.weights, again.weights, strict=True):
        if "moving" in found.name:
            assert np.allclose(found, expected, atol=1e-6)
    before = model.get_weights()
    Graph(model).run(x)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    inner = keras.Model(y := keras.Input((2,)), layers.Dropout(0.9)(y))
    outer = keras.Model(y, inner(y, training=False))
    ones = np.ones((8, 2), "float32")
    assert (np.array(outer(ones, training=True)) != ones).any()


def test_models_of_a_class_of_their_own_are_refused():
    class Mine(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="Received: Mine"):
        Graph(Mine())
    with pytest.raises(ValueError, match="one output"):
        x = keras.Input((2,))
        Graph(keras.Model(x, [x, layers.ReLU()(x)], name="two"))
