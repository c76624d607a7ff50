"""Backbones whose features have time steps."""

import doctest

import keras
import numpy as np
import pytest

from keras_lifelong import backbones
from keras_lifelong.backbones import recurrent


def parameters(filters, units, steps_of=1):
    """By hand: convolutions without biases, their norms, and two LSTMs each way."""
    before, total = 1, 0
    for count in filters:
        total += 9 * before * count + 4 * count
        before = count
    given = before * steps_of
    for _ in range(2):
        total += 2 * 4 * units * (given + units + 1)
        given = 2 * units
    return total


def test_vgg11_bilstm_is_vggs_configuration_a_and_two_lstms():
    model = backbones.get("vgg11_bilstm", (32, 100, 1))
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    filters = [64, 128, 256, 256, 512, 512, 512, 512]
    assert [x.filters for x in convolutions] == filters
    assert {x.kernel_size for x in convolutions} == {(3, 3)}
    assert model.output_shape == (None, 25, 512)
    assert model.count_params() == parameters(filters, 256)
    assert [type(x) for x in model.layers[-2:]] == [keras.layers.Bidirectional] * 2
    assert model.layers[-1].name == "bidirectional_1"


def test_it_may_be_small_and_higher():
    model = backbones.get("vgg11_bilstm", (64, 40, 3), width=1 / 32, units=64)
    filters = [2, 4, 8, 8, 16, 16, 16, 16]
    assert model.output_shape == (None, 10, 4)
    assert model.layers[-3].output.shape == (None, 10, 32)  # two rows of 16 are left
    first = 9 * 2 * 2  # three channels where `parameters` has one
    assert model.count_params() == parameters(filters, 2, 2) + first


def test_a_time_step_is_a_column_of_the_image():
    model = backbones.get("vgg11_bilstm", (32, 64, 1), width=1 / 16)
    columns = keras.Model(model.inputs[0], model.layers[-3].output)
    x = np.zeros((1, 32, 64, 1), "float32")
    y = x.copy()
    y[:, 10:20, 60:] = 1  # at the right end
    before, after = (keras.ops.convert_to_numpy(columns(part)) for part in (x, y))
    moved = np.abs(after - before).max(-1)[0]
    assert before.shape[1] == 16
    assert moved[:3].max() == 0 and moved[-1] > 0


@pytest.mark.parametrize(
    ("shape", "given", "said"),
    [
        ((32,), {}, "takes images"),
        ((31, 40, 1), {}, "at least 32 high and 4 wide.*31"),
        ((32, 3, 1), {}, "at least 32 high and 4 wide"),
        ((32, 40, 1), {"width": 0}, "`width` must be above 0"),
        ((32, 40, 1), {"units": 0}, "`units` must be"),
    ],
)
def test_arguments_out_of_range_are_refused(shape, given, said):
    with pytest.raises(ValueError, match=said):
        backbones.get("vgg11_bilstm", shape, **given)


def test_examples_in_docstrings():
    result = doctest.testmod(recurrent)
    assert result.attempted and not result.failed
