"""Attention over features of other tasks, by NumPy."""

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.layers.feature_attention import FeatureAttention
from keras_lifelong.layers.feature_attention import plain_attention

RNG = np.random.default_rng(0)
WIDTH, INNER = 3, 2


def attention(room=2):
    network = keras.Sequential([keras.Input((4,)), layers.Dense(WIDTH)])
    return FeatureAttention(network, [5, WIDTH], room, INNER)


def begin(found, count):
    gates = [[np.full(n, 0.1 * (k + 1)) for n in (5, WIDTH)] for k in range(count)]
    for v, value in zip(found.variables, found.initial(gates, RNG), strict=True):
        v.assign(value)


def test_what_is_heard_is_as_in_the_formula():
    found = attention()
    begin(found, 2)
    h = RNG.normal(size=(2, 7, WIDTH)).astype("float32")
    assert not ops.convert_to_numpy(ops.stop_gradient(found.heard(list(h)))).any()
    found.trained[3].assign(RNG.normal(size=(INNER, WIDTH)))
    q, K, V, U = (ops.convert_to_numpy(v).astype("float64") for v in found.trained)
    scores = np.exp(np.stack([x @ K @ q / np.sqrt(INNER) for x in h]))
    expected = ((scores / scores.sum(0))[:, :, None] * h).sum(0)
    heard = ops.convert_to_numpy(ops.stop_gradient(found.heard(list(h))))
    np.testing.assert_allclose(heard, expected @ V @ U, atol=1e-6)


def test_room_that_is_empty_is_not_heard():
    found = attention(room=3)
    begin(found, 1)
    found.trained[3].assign(RNG.normal(size=(INNER, WIDTH)))
    h = list(RNG.normal(size=(3, 7, WIDTH)).astype("float32"))
    *_, V, U = (ops.convert_to_numpy(v) for v in found.trained)
    heard = ops.convert_to_numpy(ops.stop_gradient(found.heard(h)))
    np.testing.assert_allclose(heard, h[0] @ V @ U, atol=1e-6)  # the one there is
    gates, trained = found.arrays()
    assert [[rows.tolist() for rows in of_layers] for of_layers in gates] == [
        [np.full(n, 0.1, "float32").tolist() for n in (5, WIDTH)]
    ]
    assert [x.shape for x in trained] == [(2,), (3, 2), (3, 2), (2, 3)]


def test_a_plain_model_hears_the_same():
    for count in (1, 2):
        found = attention()
        begin(found, count)
        found.trained[3].assign(RNG.normal(size=(INNER, WIDTH)))
        h = RNG.normal(size=(3, 7, WIDTH)).astype("float32")
        inputs = [keras.Input((WIDTH,)) for _ in range(1 + count)]
        outputs = [layers.Identity()(x) for x in inputs]
        network = keras.Model(inputs, outputs)
        plain = plain_attention(network, found.arrays()[1])
        said = ops.convert_to_numpy(plain(list(h[: 1 + count])))
        heard = ops.stop_gradient(found.heard(list(h[1:])))
        expected = h[0] + ops.convert_to_numpy(heard)
        np.testing.assert_allclose(said, expected, atol=1e-6)
