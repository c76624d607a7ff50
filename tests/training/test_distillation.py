"""Distillation, coupled weight decay and schedules, against their definitions."""

import types

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong.training import distillation as d
from keras_lifelong.training import schedules
from keras_lifelong.training.hooks import clip_and_decay

RNG = np.random.default_rng(0)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def head(units, width=4):
    return (
        RNG.normal(size=(width, units)).astype("float32"),
        RNG.normal(size=units).astype("float32"),
    )


def test_divergence_is_that_of_softened_outputs():
    teacher, student = RNG.normal(size=(2, 5, 3))
    p, q = softmax(teacher / 2), softmax(student / 2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(d.divergence(teacher, student, 2.0)),
        (p * np.log(p / q)).sum(-1),
        rtol=1e-5,
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradient_against_finite_differences(temperature):
    """Of the whole loss by the features of the new body: float64, central."""
    heads = d.stack_heads([head(3), head(2), head(1)])
    heads = {k: v.astype("float64") for k, v in heads.items()}
    before, now = RNG.normal(size=(2, 6, 4))
    weight = np.array([1.0, 1, 1, 1, 1, 0])  # the last row is filling

    def loss(features):
        return float(
            ops.convert_to_numpy(
                d.distillation(heads, before, features, weight, temperature)
            )
        )

    found = np.zeros_like(now)
    for place in np.ndindex(now.shape):
        step = np.zeros_like(now)
        step[place] = 1e-5
        found[place] = (loss(now + step) - loss(now - step)) / 2e-5
    expected = np.zeros_like(now)  # (q - p) / T through each head, mean over 5 rows
    for kernel, bias in zip(heads["kernel"][:3], heads["bias"][:3], strict=True):
        p = softmax((before @ kernel + bias) / temperature)
        q = softmax((now @ kernel + bias) / temperature)
        expected += (q - p) @ kernel.T / temperature
    expected *= weight[:, None] / 5
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert np.abs(expected).max() > 0.01 and not found[5].any()


def test_gradients_as_the_backend_finds_them():
    """The step's own gradient is (q - p) / T too, and none reaches the teacher."""
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    values = [ops.convert_to_numpy(v) + 0.3 for v in network.variables]
    heads, x = d.stack_heads([head(3)]), RNG.normal(size=(5, 3)).astype("float32")

    def loss(kernel):
        network.variables[0].assign(kernel)
        old = d.features_under(network, values, x)
        found = d.distillation(heads, old, network(x), np.ones(5, "float32"), 2.0)
        return float(ops.convert_to_numpy(found))

    kernel = ops.convert_to_numpy(network.variables[0]).copy()
    before = x @ values[0] + values[1]
    now = x @ kernel + ops.convert_to_numpy(network.variables[1])
    k, b = heads["kernel"][0], heads["bias"][0]
    difference = softmax((now @ k + b) / 2) - softmax((before @ k + b) / 2)
    expected = x.T @ (difference @ k.T) / 2 / 5
    place = np.unravel_index(np.abs(expected).argmax(), expected.shape)
    step = np.zeros_like(kernel)
    step[place] = 1e-2
    slope = (loss(kernel + step) - loss(kernel - step)) / 2e-2
    assert slope == pytest.approx(expected[place], rel=0.02)
    assert loss(values[0]) < loss(kernel)


def test_features_under_other_weights_leave_the_network_as_it_is():
    network = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    )
    x = RNG.normal(size=(5, 3)).astype("float32")
    own = [ops.convert_to_numpy(v).copy() for v in network.variables]
    other = [v + 0.5 for v in own]
    under = ops.convert_to_numpy(d.features_under(network, other, x))
    for variable, value in zip(network.variables, own, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
        variable.assign(value + 0.5)
    np.testing.assert_allclose(
        under, ops.convert_to_numpy(network(x, training=False)), rtol=1e-6
    )


def test_stacked_heads_are_the_heads():
    """Padding to a power of two heads, and to the widest, is never an answer."""
    heads = [head(3), head(2), head(1)]
    stack = d.stack_heads(heads)
    assert stack["kernel"].shape == (4, 4, 3)
    assert stack["present"].tolist() == [1, 1, 1, 0]
    x = RNG.normal(size=(5, 4)).astype("float32")
    logits = ops.convert_to_numpy(d.stacked_logits(stack, x))
    p = softmax(logits)
    for i, (kernel, bias) in enumerate(heads[:2]):
        np.testing.assert_allclose(p[:, i, : bias.size], softmax(x @ kernel + bias))
        assert not p[:, i, bias.size :].any()
    kernel, bias = heads[2]  # one output: a yes or no
    yes = 1 / (1 + np.exp(-(x @ kernel + bias)))
    np.testing.assert_allclose(p[:, 2, 1:2], yes, rtol=1e-5)
    for i, (kernel, bias) in enumerate(heads):
        again = d.unstack_head(stack["kernel"][i], stack["bias"][i], bias)
        np.testing.assert_allclose(again[0], kernel, rtol=1e-6)
        np.testing.assert_allclose(again[1], bias, rtol=1e-6)


def test_equal_outputs_are_no_loss():
    heads, x = d.stack_heads([head(3), head(1)]), RNG.normal(size=(5, 4))
    x = x.astype("float32")
    loss = d.distillation(heads, x, x, np.ones(5, "float32"), 2.0)
    assert abs(float(ops.convert_to_numpy(loss))) < 1e-6


def test_heads_that_cannot_be_distilled_are_named():
    for kind, where, named in (
        ("multilabel", "per_task", "multilabel"),
        ("categorical", "shared", "shared"),
    ):
        spec = types.SimpleNamespace(kind=kind, head=where)
        with pytest.raises(ValueError, match=f"task 'a'.*{named}"):
            d.check_head("PAR", "a", spec)


def decayed(gradient, weight, decay, clip):
    arguments = {"weight_decay": np.float32(decay), "clip_norm": np.float32(clip)}
    found = clip_and_decay(
        [ops.convert_to_tensor(g) for g in gradient],
        [keras.Variable(w) for w in weight],
        arguments,
    )
    return [ops.convert_to_numpy(g) for g in found]


def test_clipping_is_global_and_comes_before_decay():
    gradient = [np.array([3.0, 0.0], "float32"), np.array([4.0], "float32")]
    weight = [np.array([1.0, 2.0], "float32"), np.array([-1.0], "float32")]
    for clip, scale in ((10.0, 1.0), (2.5, 0.5), (0.0, 1.0)):
        for g, w, f in zip(
            gradient, weight, decayed(gradient, weight, 0.1, clip), strict=True
        ):
            np.testing.assert_allclose(f, scale * g + 0.1 * w, rtol=1e-6)


def test_three_steps_of_no_gradient_as_torch_takes_them():
    """SGD(0.1, momentum 0.9, weight_decay 0.01) from 1: 0.994395... after three."""
    variable = keras.Variable(np.ones(1, "float32"))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    for _ in range(3):
        w = ops.convert_to_numpy(variable)
        gradient = decayed([np.zeros(1, "float32")], [w], 0.01, 10.0)
        optimizer.apply([ops.convert_to_tensor(g) for g in gradient], [variable])
    v, w = 0.0, 1.0
    for _ in range(3):
        v = 0.9 * v + 0.01 * w
        w = w - 0.1 * v
    assert float(ops.convert_to_numpy(variable)[0]) == pytest.approx(w, abs=1e-7)
    assert w == pytest.approx(0.9944, abs=5e-5)


def test_cosine_begins_and_nearly_ends_where_it_should():
    rates = [schedules.cosine(0.1, 1e-3)(e, 10, {}) for e in range(10)]
    assert rates[0] == pytest.approx(0.1) and rates == sorted(rates, reverse=True)
    assert rates[5] == pytest.approx((0.1 + 1e-3) / 2) and rates[-1] > 1e-3


def test_plateau_waits_falls_and_has_a_floor():
    rate = schedules.plateau(1.0, "val_accuracy", factor=0.1, patience=2, least=0.05)
    history = {"val_accuracy": [0.5, 0.6, 0.6, 0.59]}
    assert rate(3, 9, {"val_accuracy": history["val_accuracy"][:3]}) == 1.0
    assert rate(4, 9, history) == pytest.approx(0.1)
    assert rate(6, 9, {"val_accuracy": [0.6] * 7}) == 0.05
    assert rate(0, 9, {}) == 1.0
