"""What a layer of Keras was given is the growable layer's, or is refused by name."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_lifelong.layers.growable import table

L2 = keras.regularizers.L2(0.1)
NON_NEGATIVE = keras.constraints.NonNeg()
IMAGES, ROWS = (None, 4, 4, 6), (None, 6)
# Each kind of growable layer, the shape it is built at, and its weights' names.
KINDS = {
    "dense": (lambda **k: layers.Dense(3, **k), ROWS, "kernel bias"),
    "conv1d": (lambda **k: layers.Conv1D(3, 2, **k), (None, 5, 6), "kernel bias"),
    "conv2d": (lambda **k: layers.Conv2D(3, 2, **k), IMAGES, "kernel bias"),
    "conv3d": (lambda **k: layers.Conv3D(3, 2, **k), (None, 4, 4, 4, 6), "kernel bias"),
    "transposed": (
        lambda **k: layers.Conv2DTranspose(3, 2, **k),
        IMAGES,
        "kernel bias",
    ),
    "depthwise": (lambda **k: layers.DepthwiseConv2D(2, **k), IMAGES, "depthwise bias"),
    "batch": (layers.BatchNormalization, ROWS, "gamma beta"),
    "group": (lambda **k: layers.GroupNormalization(2, **k), ROWS, "gamma beta"),
    "layer": (layers.LayerNormalization, ROWS, "gamma beta"),
    "prelu": (layers.PReLU, ROWS, "alpha"),
}
TERMS = [
    *(
        (kind, f"{weight}_{term}")
        for kind, (_, _, weights) in KINDS.items()
        for weight in weights.split()
        for term in ("regularizer", "constraint")
    ),
    *((kind, "activity_regularizer") for kind in KINDS),
]


def grown(kind, **arguments):
    make, shape, _ = KINDS[kind]
    layer = make(name="mine", **arguments)
    layer.build(shape)
    return table.grown(layer, 4, "DEN")


@pytest.mark.parametrize(("kind", "term"), TERMS)
def test_a_term_is_refused_by_name(kind, term):
    value = NON_NEGATIVE if term.endswith("constraint") else L2
    with pytest.raises(ValueError, match=f"DEN.*'mine'.*its {term} would act"):
        grown(kind, **{term: value})


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_without_is_carried_with_its_type(kind):
    twin = grown(kind, dtype="mixed_bfloat16")
    assert twin.compute_dtype == "bfloat16" and twin.variable_dtype == "float32"


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_a_normalisation_of_another_axis_is_refused(kind):
    make = KINDS[kind][0]
    last, first = make(axis=3), make(axis=1, name="mine")
    for layer in (last, first):
        layer.build((None, 6, 4, 6))
    table.grown(last, 4, "DEN")
    with pytest.raises(ValueError, match="'mine'.*must be its `axis`.*Received: axis="):
        table.grown(first, 4, "DEN")


def test_a_normalisation_of_several_axes_is_refused():
    layer = layers.LayerNormalization(axis=(1, 2, 3), name="mine")
    layer.build(IMAGES)
    with pytest.raises(ValueError, match=r"'mine'.*axis=\[1, 2, 3\]"):
        table.grown(layer, 4, "DEN")


@pytest.mark.parametrize("argument", ["renorm", "rms_scaling"])
@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
def test_what_has_no_counterpart_is_refused(argument):
    kind = "batch" if argument == "renorm" else "layer"
    with pytest.raises(ValueError, match=f"'mine'.*its `{argument}` is not carried"):
        grown(kind, **{argument: True})


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_weights_of_channels_begin_as_asked(kind):
    twin = grown(kind, gamma_initializer="zeros", beta_initializer="ones")
    twin.build(ROWS)
    assert (np.asarray(twin.gamma) == 0).all() and (np.asarray(twin.beta) == 1).all()
    twin.gamma.assign(np.full(6, 2.0))
    twin.set_channels(8)
    assert np.asarray(twin.gamma).tolist() == [2.0] * 6 + [0.0] * 2
    copy = type(twin).from_config(twin.get_config())
    copy.build(ROWS)
    assert (np.asarray(copy.beta) == 1).all()


def test_statistics_are_of_float32_in_halves():
    """The mean moves by a hundredth, which halves could not tell."""
    twin = grown("batch", dtype="mixed_bfloat16")
    twin.build(ROWS)
    twin.moving_mean.assign(np.full(6, 100.0))
    x = keras.ops.cast(np.full((8, 6), 101.0), "bfloat16")
    twin(x, training=True)
    # 100 x 0.99 + 101 x 0.01; the next value above 100 of a bfloat16 is 100.5
    np.testing.assert_allclose(np.asarray(twin.moving_mean), 100.01, rtol=1e-6)
    assert keras.backend.standardize_dtype(twin(x).dtype) == "bfloat16"


def test_a_separable_convolution_keeps_its_activity_regularizer():
    from keras_lifelong.methods.den.growable_network import GrowableNetwork

    convolution = layers.SeparableConv2D(3, 2, name="mine", activity_regularizer=L2)
    network = keras.Sequential(
        [keras.Input(IMAGES[1:]), layers.Conv2D(6, 1), convolution]
    )
    with pytest.raises(ValueError, match="'mine'.*activity_regularizer"):
        GrowableNetwork(network)
