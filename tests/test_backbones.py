"""Named backbones: their layers, their names, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_lifelong import backbones


def layer_names(model):
    return [layer.name for layer in model.layers]


def output_shapes(model):
    return [layer.output.shape[1:] for layer in model.layers]


def test_mlp_flattens_images_and_names_layers_in_order():
    model = backbones.get("mlp", (28, 28, 1), units=[312, 128])
    assert layer_names(model) == ["flatten", "dense", "dense_1"]
    assert output_shapes(model) == [(784,), (312,), (128,)]
    # 784 x 312 and 312 x 128 weights and their biases, by hand.
    assert model.count_params() == 784 * 312 + 312 + 312 * 128 + 128


def test_mlp_of_vectors_does_not_flatten():
    model = backbones.get("mlp", (16,), units=[8], activation="tanh", dropout=0.2)
    assert layer_names(model) == ["dense", "dropout"]
    assert model.layers[0].activation is keras.activations.tanh
    assert model.layers[1].rate == 0.2


def test_names_do_not_depend_on_what_was_built_before():
    first = layer_names(backbones.get("cnn", (8, 8, 1), filters=[2], units=[3]))
    keras.layers.Dense(1)
    assert layer_names(backbones.get("cnn", (8, 8, 1), filters=[2], units=[3])) == first


def test_cnn_pools_after_each_convolution():
    model = backbones.get("cnn", (32, 32, 3), filters=[16, 32], units=[64])
    assert layer_names(model) == [
        "conv2d",
        "max_pooling2d",
        "conv2d_1",
        "max_pooling2d_1",
        "flatten",
        "dense",
    ]
    assert output_shapes(model)[1] == (16, 16, 16)
    assert output_shapes(model)[3] == (8, 8, 32)
    assert model.layers[0].kernel_size == (3, 3)


def test_den_dense_is_the_papers_net():
    model = backbones.get("den_dense", (28, 28, 1))
    assert output_shapes(model) == [(784,), (312,), (128,)]
    # The base network of DEN's tables, with one head of ten (reference: 286,274).
    assert model.count_params() + 128 * 10 + 10 == 286_274


@pytest.mark.parametrize(
    ("side", "last"), [(32, (1, 1, 128)), (28, (1, 1, 128)), (8, (1, 1, 128))]
)
def test_den_conv_pools_while_it_fits(side, last):
    model = backbones.get("den_conv", (side, side, 3))
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    assert [x.filters for x in convolutions] == [64, 128, 256, 256, 128]
    assert {x.kernel_size for x in convolutions} == {(5, 5)}
    pools = [x for x in model.layers if isinstance(x, keras.layers.MaxPooling2D)]
    assert len(pools) == int(np.log2(side))
    flatten = layer_names(model).index("flatten")
    assert output_shapes(model)[flatten - 1] == last
    assert output_shapes(model)[flatten + 1 :] == [(384,), (192,)]


def test_den_conv_of_other_widths():
    """25 weights of each pair of channels, and biases."""
    model = backbones.get("den_conv", (4, 4, 3), filters=[1, 2], units=[3, 2])
    sizes = (76, 25 * 2 + 2, 2 * 3 + 3, 3 * 2 + 2)
    assert [layer.count_params() for layer in model.layers if layer.weights] == [*sizes]


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "words"),
    [
        ("mpl", (4,), {}, "no backbone 'mpl'. Did you mean 'mlp'. Known: cells, cnn"),
        ("mlp", (4,), {"units": []}, "`units` must be a list of one or more"),
        ("mlp", (4,), {"units": [0]}, r"positive integers. Received: \[0\]"),
        ("mlp", (4,), {"units": [True]}, "positive integers"),
        ("mlp", (4,), {"units": [4], "dropout": 1}, r"`dropout` must be in \[0, 1\)"),
        ("cnn", (4,), {"filters": [2]}, r"takes images.*input_shape=\(4,\)"),
        ("cnn", (4, 4, 1), {"filters": [2, 2, 2]}, "must measure 8 or more"),
        ("cnn", (4, 4, 1), {"filters": [2], "kernel_size": 0}, "`kernel_size`"),
        ("den_conv", (4,), {}, "takes images"),
        ("den_conv", (4, 4, 3), {"filters": []}, "`filters` must be a list"),
        ("lasem_cifar100", (4,), {}, "`lasem_cifar100` takes images"),
        ("lasem_stl10", (9, 9, 3), {"units": [0]}, "`units`"),
    ],
)
def test_errors_name_the_argument(name, shape, arguments, words):
    with pytest.raises(ValueError, match=words):
        backbones.get(name, shape, **arguments)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="exists. Received: 'mlp'"):
        backbones.register("mlp")(lambda input_shape: None)


def test_layers_in_keras_own_form():
    layers = [
        {"class_name": "Flatten"},
        {"class_name": "Dense", "config": {"units": 5, "activation": "relu"}},
        {
            "module": "keras.layers",
            "class_name": "Dense",
            "config": {"units": 4, "name": "last"},
        },
    ]
    model = backbones.from_layers(layers, (2, 2, 1))
    assert layer_names(model) == ["flatten", "dense", "last"]
    assert model.output_shape == (None, 4)


def test_layers_round_trip_what_keras_serialises():
    before = backbones.get("cnn", (8, 8, 1), filters=[2], units=[3])
    after = backbones.from_layers(before.get_config()["layers"], (8, 8, 1))
    assert [layer.get_config() for layer in after.layers] == [
        layer.get_config() for layer in before.layers
    ]


_DENSE = {"class_name": "Dense", "config": {"units": 3}}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "`layers` must be a list of one or more"),
        (["Dense"], r"`layers\[0\]` must be \{class_name"),
        ([_DENSE, {"class_name": "Dens"}], r"`layers\[1\]` must be one of Keras' own"),
        ([{"class_name": "Layer", "module": "os"}], "module='os'"),
        ([{"class_name": "Lambda"}], "runs code"),
        ([{"class_name": "deserialize"}], "Keras' own layers"),
        ([{**_DENSE, "config": {"unit": 3}}], r"`layers\[0\]` \(Dense\) has a config"),
        (
            [{**_DENSE, "config": {"units": -3}}],
            r"`layers\[0\]` \(Dense\) has a config",
        ),
        (
            [
                {"class_name": "InputLayer", "config": {"batch_shape": [None, 9]}},
                _DENSE,
            ],
            r"must have the stream's input shape \(4,\)",
        ),
        ([_DENSE, {"class_name": "InputLayer"}], "may only stand first"),
    ],
)
def test_layers_refused(layers, words):
    with pytest.raises(ValueError, match=words):
        backbones.from_layers(layers, (4,))


@pytest.mark.parametrize(
    "evil",
    [
        {"module": "os", "class_name": "system", "config": "true"},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"module": "builtins", "class_name": "function", "config": "eval"},
        {"module": "keras.layers", "class_name": "Lambda", "config": {}},
    ],
)
def test_nested_objects_are_keras_own(evil):
    dense = {"class_name": "Dense", "config": {"units": 3, "kernel_initializer": evil}}
    with pytest.raises(ValueError, match=r"`layers\[0\].kernel_initializer` names"):
        backbones.from_layers([dense], (4,))


def test_a_bidirectional_layer_may_not_hide_code():
    inner = {"module": "keras.layers", "class_name": "Lambda", "config": {}}
    layer = {"class_name": "Bidirectional", "config": {"layer": inner}}
    with pytest.raises(ValueError, match=r"`layers\[0\].layer` names"):
        backbones.from_layers([layer], (4, 2))


@pytest.mark.parametrize(
    ("name", "side", "convolutions", "pools", "flat", "units"),
    [
        ("lasem_cifar100", 32, [(32, 3)] * 2 + [(64, 3)] * 2, [2, 2], 4096, [64]),
        (
            "lasem_office_home",
            128,
            [(64, 11), (256, 5), (256, 3), (256, 3)],
            [3, 3, 2, 2],
            4096,
            [256, 64],
        ),
        (
            "lasem_stl10",
            96,
            [(32, 3)] * 2 + [(64, 3)] * 2 + [(128, 3)] * 2,
            [3, 3, 3],
            2048,
            [128, 16],
        ),
        (
            "lasem_stl10_nine",
            96,
            [(32, 3)] * 3 + [(64, 3)] * 3 + [(128, 3)] * 3,
            [3, 3, 3],
            2048,
            [128, 16],
        ),
    ],
)
def test_lasem_nets_are_the_papers(name, side, convolutions, pools, flat, units):
    model = backbones.get(name, (side, side, 3))
    kinds = [type(layer).__name__ for layer in model.layers]
    of = {kind: [x for x in model.layers if type(x).__name__ == kind] for kind in kinds}
    assert [(x.filters, x.kernel_size[0]) for x in of["Conv2D"]] == convolutions
    assert [x.pool_size[0] for x in of["MaxPooling2D"]] == pools
    for pool in of["MaxPooling2D"]:
        assert pool.strides == pool.pool_size and pool.padding == "same"
    assert kinds[-2 - len(units) :] == ["Flatten", "Dropout", *["Dense"] * len(units)]
    assert len(of["Dropout"]) == 1 and of["Dropout"][0].rate == 0.5
    assert of["Flatten"][0].output.shape == (None, flat)
    assert [x.units for x in of["Dense"]] == units
    if name == "lasem_cifar100":
        assert sum(x.count_params() for x in of["Conv2D"]) == 65_568
        assert sum(x.count_params() for x in of["Dense"]) + 65 * 10 == 262_858
    for layer in (*of["Conv2D"], *of["Dense"]):
        kernel, bias = layer.get_weights()
        assert (bias == np.float32(0.2)).all()
        assert kernel.std() == pytest.approx(0.05 * 0.88, rel=0.1)  # cut at 2 std
        assert layer.activation is keras.activations.relu


def test_lasem_nets_draw_each_layer_anew():
    model = backbones.get("lasem_office_home", (8, 8, 3))
    kernels = [x.get_weights()[0].ravel()[:4000] for x in model.layers if x.weights]
    together = np.corrcoef(kernels)
    assert np.abs(together - np.eye(len(together))).max() < 0.1


def test_lasem_stl10_takes_other_dense_layers():
    model = backbones.get("lasem_stl10", (9, 9, 3), units=[5])
    assert model.output_shape == (None, 5)
