"""Operations of searched cells against plain NumPy with explicit padding."""

import numpy as np
import pytest
from keras import ops

from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.layers.operations import operation

X = np.random.default_rng(0).normal(size=(2, 7, 7, 4)).astype("float32")
EVEN = X[:, :6, :6]


def array(value):
    return ops.convert_to_numpy(value)


def padded(x, by, value=0.0):
    widths = ((0, 0), (by, by), (by, by), (0, 0))
    return np.pad(x, widths, constant_values=value)


def windows(x, strides, dilation, size):
    """(batch, height, width, 3, 3, channels): what a padded 3x3 kernel sees."""
    out = np.zeros((len(x), size, size, 3, 3, x.shape[-1]))
    for i in range(size):
        for j in range(size):
            rows = strides * i + dilation * np.arange(3)
            columns = strides * j + dilation * np.arange(3)
            out[:, i, j] = x[:, rows][:, :, columns]
    return out


def norm(x):
    return x / np.sqrt(1 + 1e-5)


def depthwise(x, layer, strides, dilation):
    size = -(-x.shape[1] // strides)
    seen = windows(padded(np.maximum(x, 0), dilation), strides, dilation, size)
    kernel = array(layer.depthwise.kernel)[..., 0]
    out = np.einsum("bhwijc,ijc->bhwc", seen, kernel)
    return norm(out @ array(layer.pointwise.kernel)[0, 0])


@pytest.mark.parametrize("x", [X, EVEN], ids=["odd", "even"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_against_explicit_padding(name, strides, x):
    layer = operation(name, 4, strides)
    out = array(layer(x))
    size = -(-x.shape[1] // strides)
    assert out.shape == (2, size, size, 4)
    assert layer.compute_output_shape(x.shape) == out.shape
    if name == "none":
        expected = np.zeros_like(out)
    elif name == "max_pool_3x3":
        seen = windows(padded(x, 1, -np.inf), strides, 1, size)
        expected = seen.max(axis=(3, 4))
    elif name == "avg_pool_3x3":
        seen = windows(padded(x, 1, np.nan), strides, 1, size)
        expected = np.nanmean(seen, axis=(3, 4))
    elif name == "skip_connect" and strides == 1:
        expected = x
    elif name == "skip_connect":
        x = np.maximum(x, 0)
        shifted = np.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
        parts = [
            part[:, ::2, ::2] @ array(convolution.kernel)[0, 0]
            for part, convolution in ((x, layer.first), (shifted, layer.second))
        ]
        expected = np.concatenate(parts, axis=-1)
    elif name == "sep_conv_3x3":
        expected = depthwise(depthwise(x, layer.first, strides, 1), layer.second, 1, 1)
    else:
        expected = depthwise(x, layer, strides, 2)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "strides", "count"),
    [
        ("none", 1, 0),
        ("max_pool_3x3", 2, 0),
        ("skip_connect", 1, 0),
        ("skip_connect", 2, 4224),
        ("sep_conv_3x3", 1, 9600),
        ("sep_conv_3x3", 2, 9600),
        ("dil_conv_3x3", 2, 4800),
    ],
)
def test_sizes_at_the_papers_width(name, strides, count):
    layer = operation(name, 64, strides)
    layer.build((None, 8, 8, 64))
    assert sum(int(np.prod(v.shape)) for v in layer.trainable_variables) == count


@pytest.mark.parametrize("name", OPERATIONS)
def test_searched_operations_have_no_scale_and_norms_after_pooling(name):
    layer = operation(name, 4, searching=True)
    layer.build((None, 6, 6, 4))
    assert not [v for v in layer.trainable_variables if len(v.shape) == 1]
    if "pool" in name:
        x = 3 + 2 * EVEN
        out = array(layer(x, training=True))
        np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-4)


@pytest.mark.parametrize("name", OPERATIONS)
def test_config_round_trip(name):
    layer = operation(name, 4, 2, searching=True)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_an_unknown_operation_is_named():
    with pytest.raises(ValueError, match="'skip_connect'.*Received: 'conv'"):
        operation("conv", 4)
