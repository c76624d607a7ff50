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
    assert [step.path for step in graph.steps][:4] == ["conv", "norm", "add", "sum"]
    deep = graph.steps_of("inner/deep")
    assert len(deep) == 2 and deep[0].layer is deep[1].layer
    conv = graph.steps[0]
    assert [s.path for s in graph.readers(conv.outputs[0])] == ["norm", "add", "sum"]
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


def test_training_is_passed_on_where_the_model_did_not_fix_it():
    graph = Graph(residual())
    seen = []

    def call(step, *args, **kwargs):
        seen.append((step.path, kwargs.get("training")))
        return step(*args, training=True) if not kwargs else step(*args, **kwargs)

    graph.run(np.ones((1, 4, 4, 2), "float32"), call)
    dropouts = [given for path, given in seen if "dropout" in path]
    assert dropouts == [False, None]  # of the first call of `inner`, of the second


def test_models_of_a_class_of_their_own_are_refused():
    class Mine(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="Received: Mine"):
        Graph(Mine())
    with pytest.raises(ValueError, match="one output"):
        x = keras.Input((2,))
        Graph(keras.Model(x, [x, layers.ReLU()(x)], name="two"))
