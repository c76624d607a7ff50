"""Units come and go; what was there before does not notice."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.layers.growable import Growable
from keras_lifelong.layers.growable import GrowableConv2D
from keras_lifelong.layers.growable import GrowableDense
from keras_lifelong.layers.growable import carries
from keras_lifelong.layers.growable import grows
from keras_lifelong.layers.growable import resize_inputs
from keras_lifelong.layers.growable import table
from keras_lifelong.methods.den.growable_network import GrowableNetwork

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 6, 6, 2)).astype("float32")


def out(layer, x, stage):
    return np.array(layer(x, stage=stage))


def make(kind, **kwargs):
    if kind == "dense":
        layer = GrowableDense(3, activation="relu", bucket=4, **kwargs)
        return layer, RNG.normal(size=(5, 7)).astype("float32")
    layer = GrowableConv2D(3, 3, padding="same", activation="relu", bucket=4, **kwargs)
    return layer, IMAGES


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_old_stage_is_bit_identical_while_storage_is_kept(kind):
    layer, x = make(kind)
    before = out(layer, x, 1)
    new = layer.add_units(1, stage=2)
    assert new.tolist() == [3]
    assert (out(layer, x, 1) == before).all()
    assert np.abs(out(layer, x, 2)[..., 3]).max() > 0
    assert (out(layer, x, 1)[..., 3] == 0).all()


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_overflow_makes_storage_anew_and_keeps_what_was_there(kind):
    layer, x = make(kind)
    before = out(layer, x, 1)
    old = layer.kernel
    layer.add_units(4, stage=2)
    assert layer.capacity == 8 and layer.kernel is not old
    np.testing.assert_allclose(out(layer, x, 1)[..., :4], before, atol=1e-6)
    assert len(layer.trainable_variables) == 2  # the old ones are gone
    assert layer.units_at(1).tolist() == [0, 1, 2]
    assert layer.units_at().size == 7


def test_plain_layer_of_the_same_weights_gives_the_same():
    layer, x = make("dense")
    layer.build(x.shape)
    layer.add_units(2, stage=2)
    plain, weights = layer.plain(np.arange(7), layer.units_at(2))
    plain.build((None, 7))
    plain.set_weights(weights)
    expected = out(layer, x, 2)[:, layer.units_at(2)]
    np.testing.assert_allclose(np.array(plain(x)), expected, atol=1e-6)


def test_removed_units_are_free_zero_and_used_again():
    layer, x = make("dense")
    layer.build(x.shape)
    layer.add_units(1, stage=2)
    layer.remove_units([1])
    assert (layer.kernel_array()[:, 1] == 0).all() and layer.bias_array()[1] == 0
    assert (out(layer, x, 9)[:, 1] == 0).all()
    assert layer.add_units(1, stage=3).tolist() == [1]
    assert layer.units_at(2).tolist() == [0, 2, 3]


def test_split_copies_incoming_weights():
    layer, x = make("dense")
    layer.build(x.shape)
    layer.bias.assign(RNG.normal(size=4).astype("float32"))
    copies = layer.split_units([2, 0], stage=2)
    y = out(layer, x, 2)
    assert (y[:, copies] == y[:, [2, 0]]).all()


def test_stage_for_each_sample():
    layer, x = make("conv")
    layer.build(x.shape)
    layer.add_units(1, stage=2)
    stages = np.array([1, 2, 1, 2, 2], "int32")
    mixed = np.array(layer(x, stage=keras.ops.convert_to_tensor(stages)))
    for i, stage in enumerate(stages):
        assert (mixed[i] == out(layer, x, int(stage))[i]).all()


def test_free_units_get_no_gradient():
    inputs = keras.Input((7,))
    layer = GrowableDense(3, bucket=8, activation="relu")
    top = layers.Dense(1)
    model = keras.Model(inputs, top(layer(inputs, stage=1)))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    x = RNG.normal(size=(32, 7)).astype("float32")
    before = layer.kernel_array(), np.array(top.kernel)
    model.fit(x, x[:, :1], epochs=3, verbose=0)
    after = layer.kernel_array(), np.array(top.kernel)
    assert (after[0][:, 3:] == 0).all()
    assert (after[1][3:] == before[1][3:]).all()
    assert (after[0][:, :3] != before[0][:, :3]).any()


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_retired_unit_is_there_for_earlier_stages_only(kind):
    layer, x = make(kind)
    layer.build(x.shape)
    layer.add_units(2, stage=2)
    count = layer.units_at(1).size
    early, late = out(layer, x, 1), out(layer, x, 3)
    layer.retire_units([1, count], stage=3)
    assert layer.units_at(1).tolist() == list(range(count))
    assert layer.units_at(2).tolist() == list(range(count + 2))
    assert layer.units_at(3).tolist() == [0, *range(2, count), count + 1]
    assert layer.units_at().size == count + 2
    assert layer.births()[: count + 2].tolist() == [1] * count + [2, 2]
    assert layer.units_retired_after(2).tolist() == [1, count]
    assert (out(layer, x, 1) == early).all()
    assert not out(layer, x, 3)[..., [1, count]].any()
    assert count + 2 not in layer.units_at() and layer.add_units(1, 3) == [count + 2]
    layer.remove_units([count + 2])
    layer.retire_units([1, count], None)
    assert (out(layer, x, 3) == late).all()


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_config_round_trip(kind):
    layer, x = make(kind)
    layer.build(x.shape)
    layer.add_units(3, stage=2)
    twin = type(layer).from_config(layer.get_config())
    twin.build(x.shape)
    assert twin.capacity == layer.capacity
    for a, b in zip(twin.variables, layer.variables, strict=True):
        a.assign(b)
    assert (out(twin, x, 2) == out(layer, x, 2)).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"units": 0}, "`units` must be a positive integer. Received: 0"),
        ({"units": 2, "bucket": 1.5}, "`bucket` must be a positive integer"),
        ({"units": 9, "capacity": 8}, "`capacity` must be at least `units`"),
        ({"units": 2, "activation": "softmax"}, "act on each unit by itself"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GrowableDense(**kwargs)


def test_resize_inputs_extends_every_group():
    kernel = np.arange(12).reshape(6, 2)  # 3 positions of 2 channels
    wide = resize_inputs(kernel, 9, 3).reshape(3, 3, 2)
    assert (wide[:, :2] == kernel.reshape(3, 2, 2)).all() and (wide[:, 2] == 0).all()
    assert (resize_inputs(wide.reshape(9, 2), 6, 3) == kernel).all()


def backbone():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("sigmoid"),  # f(0) is not 0
            layers.MaxPooling2D(2),
            layers.Conv2D(5, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(6, activation="tanh"),
            layers.Dense(4, activation="relu"),
        ]
    )


def test_network_keeps_old_stages_through_overflow_flatten_and_normalisation():
    network = GrowableNetwork(backbone(), bucket=4)
    before = out(network, IMAGES, 1)[:, :4]
    for index in range(4):
        network.add_units(index, 6, stage=2, seed=index)
    assert network.capacities() == [12, 12, 12, 12]
    assert network.growable[2].kernel.shape == (9 * 12, 12)
    np.testing.assert_allclose(out(network, IMAGES, 1)[:, :4], before, atol=1e-6)
    assert np.abs(out(network, IMAGES, 2)[:, :4] - before).max() < 1e-6  # feeds 0 above
    network.split_units(0, [1], stage=3)
    network.set_capacities([4, 8, 8, 4])
    np.testing.assert_allclose(out(network, IMAGES, 1)[:, :4], before, atol=1e-6)


def test_network_equals_the_plain_backbone():
    plain = backbone()
    network = GrowableNetwork(plain, bucket=4)
    for layer, twin in zip(plain.layers, network.layers_in_order, strict=True):
        if isinstance(layer, layers.Conv2D | layers.Dense):
            units = twin.units_at()
            rows = network.input_rows(network.growable.index(twin))
            kernel = twin.kernel_array()
            kernel[..., rows[:, None], units] = np.array(layer.kernel)
            twin.kernel.assign(kernel)
    np.testing.assert_allclose(
        out(network, IMAGES, 1)[:, :4], np.array(plain(IMAGES)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (layers.UnitNormalization(name="norm"), "'norm'.*UnitNormalization"),
        (layers.Dense(4, activation="softmax", name="soft"), "'soft'.*softmax mixes"),
        (layers.Dense(4, kernel_regularizer="l2", name="reg"), "'reg'.*regularizer"),
    ],
)
def test_refusals_name_the_layer_and_the_reason(bad, message):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), bad])
    with pytest.raises(ValueError, match=message):
        GrowableNetwork(model)


def test_normalisation_after_flatten_is_of_each_place():
    plain = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(2, 3),
            layers.Flatten(),
            layers.BatchNormalization(),
            layers.Dense(2),
        ]
    )
    for v in plain.variables:
        v.assign(RNG.uniform(0.5, 1, size=v.shape))
    network = GrowableNetwork(plain, bucket=4)
    network.take_weights(plain)
    images = IMAGES[:, :4, :4]
    expected = np.array(plain(images))
    np.testing.assert_allclose(out(network, images, 1)[:, :2], expected, atol=1e-5)
    (norm,) = network.by_channel
    gamma = np.array(norm.gamma).reshape(4, 4)
    network.set_capacities([8, 4])  # what is new is as at the beginning
    wide = np.array(norm.gamma).reshape(4, 8)
    assert (wide[:, :4] == gamma).all() and (wide[:, 4:] == 1).all()
    np.testing.assert_allclose(out(network, images, 1)[:, :2], expected, atol=1e-5)


def test_refusals_of_groups():
    with pytest.raises(ValueError, match="'c'.*ungrouped"):
        GrowableNetwork(
            keras.Sequential(
                [
                    keras.Input((6, 6, 2)),
                    layers.Conv2D(2, 3, groups=2, name="c"),
                    layers.Flatten(),
                ]
            )
        )


@pytest.fixture
def growable_conv1d(monkeypatch):
    """A growable layer of one's own, and a pooling that is carried; then forgotten."""
    for name in ("_GROWN", "_CARRIED"):
        monkeypatch.setattr(table, name, dict(getattr(table, name)))

    @grows(layers.Conv1D)
    @keras.saving.register_keras_serializable(package="test_growable")
    class GrowableConv1D(Growable):
        spatial = groups_filters = True
        translated = ("kernel_size", "padding")

        @classmethod
        def from_plain(cls, layer, bucket):
            if layer.kernel_size != (3,) or layer.padding != "same":
                raise ValueError("only windows of three grow here.")
            given = {**cls.shared_arguments(layer), "bucket": bucket}
            return cls.from_config({**given, "units": layer.filters})

        def _kernel_shape(self, inputs, units):
            return (3, inputs, units)

        def call(self, x, stage):
            kernel = keras.ops.convert_to_tensor(self.kernel)
            x = keras.ops.conv(x, kernel, padding="same") + self.bias
            return self.activation(x) * self.alive(stage)

        def compute_output_shape(self, input_shape, **kwargs):
            return (*input_shape[:-1], self.capacity)

        def plain(self, inputs, units):
            layer = layers.Conv1D(
                len(units), 3, padding="same", activation=self.activation
            )
            return layer, self.plain_weights(inputs, units)

    carries(layers.GlobalAveragePooling1D)
    return GrowableConv1D


def test_a_new_growable_layer_is_one_class(growable_conv1d):
    backbone = keras.Sequential(
        [
            keras.Input((6, 2)),
            layers.Conv1D(3, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4, activation="relu"),
        ]
    )
    model = kl.DEN(backbone, growth=2, loss_threshold=0.0)
    assert isinstance(model.network.growable[0], growable_conv1d)
    model.compile("adam")
    y = np.arange(40) % 2
    x = RNG.normal(size=(40, 6, 2)).astype("float32") + y[:, None, None]
    for name in ("a", "b"):
        task = kl.Task(name, kl.TaskSpec(2), train=(x, y), test=(x, y))
        model.fit(task, epochs=2, verbose=0)
    assert any(entry["task"] == "b" for entry in model.growth)
    for name in ("a", "b"):
        plain = model.task_model(name).predict(x, verbose=0)
        np.testing.assert_allclose(plain, model.predict(x, task=name), atol=1e-5)


def test_a_new_growable_layer_says_what_it_refuses(growable_conv1d):
    wide = keras.Sequential([keras.Input((6, 2)), layers.Conv1D(3, 5, name="wide")])
    with pytest.raises(ValueError, match="DEN cannot carry.*'wide' .Conv1D.*of three"):
        GrowableNetwork(wide)
    other = [layers.Conv1D(3, 3, padding="same"), layers.UnitNormalization()]
    other = keras.Sequential([keras.Input((6, 2)), *other])
    with pytest.raises(ValueError, match="made of .*Conv2D.*Dense.*, Conv1D, "):
        GrowableNetwork(other)
