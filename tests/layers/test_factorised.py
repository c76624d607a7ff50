"""Factorised layers: generated kernels, sizes, round trips."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong.layers.factorised import DeconvFactorizedConv2D
from keras_lifelong.layers.factorised import TuckerConv2D
from keras_lifelong.layers.factorised import TuckerDense

X = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32")


def array(value):
    return ops.convert_to_numpy(value)


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def plain(layer, **kwargs):
    """A plain convolution with the kernel and the bias of a factorised one."""
    out = keras.layers.Conv2D(layer.filters, layer.kernel_size, **kwargs)
    out.build((None, 9, 9, 3))
    out.set_weights([array(layer.kernel), array(layer.bias)])
    return out


@pytest.mark.parametrize("cls", [TuckerConv2D, DeconvFactorizedConv2D])
@pytest.mark.parametrize(
    "kwargs",
    [{"padding": "same", "activation": "relu"}, {"strides": 2}, {"dilation_rate": 2}],
)
def test_equals_a_convolution_with_the_generated_kernel(cls, kwargs):
    layer = cls(4, 3, seed=1, **kwargs)
    out = array(layer(X))
    np.testing.assert_allclose(out, array(plain(layer, **kwargs)(X)), atol=1e-6)


def test_tucker_kernel_is_the_sum_over_all_factors():
    layer = TuckerConv2D(4, (3, 2), seed=1)
    layer(X)
    parts = [array(v) for v in (layer.core, *layer.factors)]
    expected = np.einsum("pqrs,pa,qb,rc,sd->abcd", *parts)
    np.testing.assert_allclose(array(layer.kernel), expected, atol=1e-6)


def test_tucker_dense_kernel():
    layer = TuckerDense(4, seed=1)
    layer(X[:, 0, 0])
    core, first, second = (array(v) for v in (layer.core, *layer.factors))
    np.testing.assert_allclose(array(layer.kernel), first.T @ core @ second, atol=1e-6)


def test_orthogonality_penalty_is_the_norm_not_its_square():
    layer = TuckerConv2D(4, 3, seed=1)
    layer(X)
    for factor in layer.factors:
        factor.assign(np.eye(factor.shape[0], dtype="float32"))
    assert float(layer.penalty()) == pytest.approx(0, abs=1e-5)
    layer.factors[0].assign(2 * np.eye(3, dtype="float32"))
    assert float(layer.penalty()) == pytest.approx(np.sqrt(27), abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11])
def test_the_knowledge_base_unfolds_to_exactly_the_kernel(size):
    layer = DeconvFactorizedConv2D(6, size, seed=1)
    layer.build((None, 12, 12, 3))
    assert tuple(layer.kernel.shape) == (size, size, 3, 6)
    assert tuple(layer.knowledge_base.shape) == (1, -(-size // 2), -(-size // 2), 3)
    assert layer.deconv_bias.shape == (6,)


def test_transposed_convolution_by_hand():
    layer = DeconvFactorizedConv2D(
        2, 3, knowledge_channels=2, deconv_channels=3, seed=1
    )
    layer.build((None, 9, 9, 3))
    base, kernel = array(layer.knowledge_base)[0], array(layer.deconv_kernel)
    full = np.zeros((5, 5, 3))
    for i in range(2):
        for j in range(2):
            full[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += kernel @ base[i, j]
    unfolded = full[1:4, 1:4] + array(layer.deconv_bias)  # "same" cuts the border
    expected = np.tensordot(unfolded, array(layer.contraction), axes=[[2], [0]])
    np.testing.assert_allclose(array(layer.kernel), expected, atol=1e-6)


def test_sizes_of_the_published_first_layer():
    layer = DeconvFactorizedConv2D(32, 3, knowledge_channels=16, deconv_channels=24)
    layer.build((None, 32, 32, 3))
    assert count(layer.shared_variables) == 2 * 2 * 16
    expected = 3 * 3 * 24 * 16 + 24 + 24 * 3 * 32 + 32
    assert count(layer.mapping_variables) == expected


@pytest.mark.parametrize("cls", [TuckerConv2D, DeconvFactorizedConv2D])
def test_saving_changes_no_prediction(cls, tmp_path):
    model = keras.Sequential([keras.Input((9, 9, 3)), cls(4, 3, seed=2)])
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(array(model(X)), array(again(X)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeconvFactorizedConv2D(4, (3, 5)), "square.*Received: \\(3, 5\\)"),
        (lambda: DeconvFactorizedConv2D(4, 3, deconv_channels=0), "Received: 0"),
        (lambda: TuckerConv2D(6, 3, groups=3)(X), "ungrouped.*groups=3"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
