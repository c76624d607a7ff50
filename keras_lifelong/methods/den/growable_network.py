"""A Sequential backbone remade with growable layers."""

from __future__ import annotations

import contextlib
import itertools
import json

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.growable import Growable
from keras_lifelong.layers.growable import GrowableConv2D
from keras_lifelong.layers.growable import GrowableDense

K = keras.layers
# Layers that act on each channel by itself, so that a free unit stays free.
BY_CHANNEL = (
    K.Activation,
    K.ReLU,
    K.LeakyReLU,
    K.ELU,
    K.MaxPooling2D,
    K.AveragePooling2D,
    K.GlobalMaxPooling2D,
    K.GlobalAveragePooling2D,
    K.ZeroPadding2D,
    K.Dropout,
    K.SpatialDropout2D,
    K.GaussianDropout,
    K.GaussianNoise,
    K.Flatten,
    K.Rescaling,
)
_POINTWISE = (K.Activation, K.ReLU, K.LeakyReLU, K.ELU, K.Rescaling)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableBatchNormalization(keras.layers.Layer):
    """Batch normalisation over the channels of the growable layer before it.

    Args:
        momentum, epsilon, center, scale: as in `keras.layers.BatchNormalization`.

    Call arguments:
        x: (..., channels).
        alive: mask (channels,), or None when nothing before it grows.
        training: whether to use the batch's statistics and move the averages.
    """

    def __init__(self, momentum=0.99, epsilon=1e-3, center=True, scale=True, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale

    def build(self, input_shape):
        shape = (int(input_shape[-1]),)

        def weight(name, initializer, trainable):
            return self.add_weight(
                name=name, shape=shape, initializer=initializer, trainable=trainable
            )

        self.gamma = weight("gamma", "ones", True) if self.scale else None
        self.beta = weight("beta", "zeros", True) if self.center else None
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(self, x, alive=None, training=False):
        if training:
            mean, variance = ops.moments(x, axes=list(range(len(x.shape) - 1)))
            for moving, now in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        x = (x - mean) * ops.rsqrt(variance + self.epsilon)
        if self.scale:
            x = x * self.gamma
        if self.center:
            x = x + self.beta
        return x if alive is None else x * alive

    def compute_output_shape(self, input_shape, **kwargs):
        return tuple(input_shape)

    def plain(self, channels) -> tuple:
        """An ordinary BatchNormalization of `channels` (None: all), and its arrays."""
        layer = K.BatchNormalization(
            momentum=self.momentum,
            epsilon=self.epsilon,
            center=self.center,
            scale=self.scale,
            name=self.name,
        )
        arrays = [self.gamma, self.beta, self.moving_mean, self.moving_variance]
        arrays = [ops.convert_to_numpy(v) for v in arrays if v is not None]
        return layer, arrays if channels is None else [a[channels] for a in arrays]

    def set_channels(self, channels: int):
        """Makes storage anew for `channels`; existing ones keep their place."""
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        old = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        old = {n: ops.convert_to_numpy(v).copy() for n, v in old.items()}
        for name in old:
            self._untrack_variable(getattr(self, name))
        self._tracker.unlock()
        self.build((channels,))
        self._tracker.lock()
        for name, array in old.items():
            fresh = ops.convert_to_numpy(getattr(self, name)).copy()
            n = min(channels, array.size)
            fresh[:n] = array[:n]
            getattr(self, name).assign(fresh)

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
        }


def _grown(layer, bucket: int, method: str) -> keras.layers.Layer:
    """The growable counterpart of a backbone's layer, or a refusal that says why."""
    config = layer.get_config()
    shared = (
        "name",
        "dtype",
        "activation",
        "use_bias",
        "kernel_initializer",
        "bias_initializer",
    )

    def refuse(reason):
        raise ValueError(
            f"{method} cannot carry the layer {layer.name!r} "
            f"({type(layer).__name__}) of `backbone`: {reason}"
        )

    if isinstance(layer, K.Softmax) or getattr(layer, "activation", None) in (
        keras.activations.softmax,
        keras.activations.log_softmax,
    ):
        refuse("softmax mixes the units, which come and go.")
    if isinstance(layer, (K.Dense, K.Conv2D)):
        for name in ("regularizer", "constraint"):
            for key, value in config.items():
                if key.endswith(name) and value is not None:
                    refuse(f"its {key} would act on units that do not exist yet.")
        arguments = {key: config[key] for key in shared}
        arguments["bucket"] = bucket
    if type(layer) is K.Dense:
        return GrowableDense.from_config({**arguments, "units": config["units"]})
    if type(layer) is K.Conv2D:
        if config["groups"] != 1 or config["data_format"] == "channels_first":
            refuse("only ungrouped, channels-last convolutions can grow.")
        for key in ("kernel_size", "strides", "padding", "dilation_rate"):
            arguments[key] = config[key]
        return GrowableConv2D.from_config({**arguments, "units": config["filters"]})
    if type(layer) is K.BatchNormalization:
        return GrowableBatchNormalization(
            **{
                key: config[key]
                for key in ("name", "momentum", "epsilon", "center", "scale")
            }
        )
    if type(layer) not in BY_CHANNEL:
        known = ["Dense", "Conv2D", "BatchNormalization"]
        known += [c.__name__ for c in BY_CHANNEL]
        refuse(f"growing networks are made of {', '.join(known)}.")
    return type(layer).from_config(config)


@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableNetwork(keras.layers.Layer):
    """A Sequential backbone whose Dense and Conv2D layers grow.

    Args:
        backbone: `keras.Sequential` with an input shape. Its weights are not copied;
            its initializers are.
        bucket: capacities are multiples of this.
        method: named in refusals.

    Call arguments:
        x: (batch, *input_shape).
        stage: integer: the units born until then take part.
        training: as everywhere in Keras.

    Raises:
        ValueError: if a layer cannot be carried, with its name and the reason.
    """

    def __init__(self, backbone, bucket: int = 64, method: str = "DEN", **kwargs):
        super().__init__(**kwargs)
        self.layers_in_order = [_grown(x, bucket, method) for x in backbone.layers]
        if not self.growable:
            raise ValueError(
                f"{method} needs a `backbone` with at least one Dense or Conv2D layer. "
                f"Received layers: {[x.name for x in backbone.layers]}."
            )
        self._check_order(method)
        self.bucket = bucket
        self.method = method
        self._input_shape = tuple(backbone.input_shape)
        self._backbone = json.dumps(keras.saving.serialize_keras_object(backbone))
        self.build(self._input_shape)

    def _check_order(self, method):
        flat = False
        for layer in self.layers_in_order:
            flat = (flat or isinstance(layer, K.Flatten)) and not isinstance(
                layer, Growable
            )
            if flat and isinstance(layer, GrowableBatchNormalization):
                raise ValueError(
                    f"{method} cannot carry the layer {layer.name!r} of `backbone`: "
                    "batch normalisation after Flatten. Put it before."
                )
        for index, layer in enumerate(self.growable[1:], 1):
            if isinstance(layer, GrowableConv2D) and not isinstance(
                self.growable[index - 1], GrowableConv2D
            ):
                raise ValueError(
                    f"{method} cannot carry the layer {layer.name!r} of `backbone`: a "
                    "convolution after a Dense layer."
                )

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": json.loads(self._backbone),
            "bucket": self.bucket,
            "method": self.method,
            "capacities": self.capacities(),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        capacities = config.pop("capacities")
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        network = cls(backbone, **config)
        network.set_capacities(capacities)
        return network

    @property
    def growable(self) -> list[Growable]:
        """The growable layers, from the input up."""
        return [x for x in self.layers_in_order if isinstance(x, Growable)]

    def build(self, input_shape):
        for layer in self.layers_in_order:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)
        self.output_width = input_shape[-1]
        self.built = True
        for index, layer in enumerate(self.growable[1:], 1):
            layer.draw_kernel(self.input_rows(index))

    def call(self, x, stage, training=False):
        alive = None
        for layer in self.layers_in_order:
            if isinstance(layer, Growable):
                x, alive = layer(x, stage=stage), layer.alive(stage)
            elif isinstance(layer, GrowableBatchNormalization):
                x = layer(x, alive, training=training)
            elif isinstance(layer, K.Flatten):
                positions = int(np.prod(x.shape[1:-1]))
                x = layer(x)
                if alive is not None:
                    lead = [] if len(alive.shape) == 1 else [-1]
                    alive = ops.reshape(alive, (*lead, alive.shape[-1]))
                    alive = ops.tile(alive, [1] * len(lead) + [positions])
            else:
                x = layer(x, training=training) if _trains(layer) else layer(x)
                if alive is not None and isinstance(layer, (K.Activation, K.Rescaling)):
                    x = x * alive  # f(0) may not be 0
        return x

    def compute_output_shape(self, input_shape, **kwargs):
        return (*input_shape[:-1][:1], self.output_width)

    def input_rows(self, index: int, stage: int | None = None) -> np.ndarray:
        """Rows of growable layer `index`'s kernel that carry existing inputs.

        `index` may be one past the last layer: the rows of a head.
        """
        if index == 0:
            return np.arange(self.growable[0].kernel.shape[-2])
        below = self.growable[index - 1]
        return self.rows_of(index, below.units_at(stage))

    def rows_of(self, index: int, units) -> np.ndarray:
        """Rows of growable layer `index`'s kernel fed by `units` of the layer below."""
        below = self.growable[index - 1]
        positions = self.positions(index)
        units = np.asarray(units, int)
        return (np.arange(positions)[:, None] * below.capacity + units).ravel()

    def positions(self, index: int) -> int:
        """How many rows each unit below feeds: more than 1 after a Flatten."""
        if index == 0:
            return 1
        rows = (
            self.growable[index].kernel.shape[-2]
            if index < len(self.growable)
            else self.output_width
        )
        return rows // self.growable[index - 1].capacity

    def capacities(self) -> list[int]:
        return [layer.capacity for layer in self.growable]

    def set_capacities(self, capacities):
        """Sets the storage of every growable layer, and of what depends on it."""
        for index, capacity in enumerate(capacities):
            layer = self.growable[index]
            if layer.capacity == capacity:
                continue
            with self._following(index):
                layer.set_capacity(
                    layer.kernel.shape[-2], capacity, self.positions(index)
                )

    def add_units(self, index: int, count: int, stage: int, seed: int = 0):
        """Adds units to growable layer `index`; see `Growable.add_units`."""
        with self._following(index) as layer:
            return layer.add_units(count, stage, self.input_rows(index), seed)

    def split_units(self, index: int, units, stage: int):
        """Duplicates units of growable layer `index`; see `Growable.split_units`."""
        with self._following(index) as layer:
            return layer.split_units(units, stage)

    def copy_channels(self, index: int, units, copies):
        """Gives copies of units the batch normalisation of their originals."""
        for layer in self._until_next(index):
            if isinstance(layer, GrowableBatchNormalization):
                for variable in layer.variables:
                    values = ops.convert_to_numpy(variable).copy()
                    values[copies] = values[units]
                    variable.assign(values)

    def constant_outputs(self, index: int) -> np.ndarray:
        """What each unit of growable layer `index` gives if nothing comes in.

        Returns:
            (capacity,), after the activations that follow the layer.
        """
        layer = self.growable[index]
        bias = layer.bias_array() if layer.use_bias else np.zeros(layer.capacity)
        x = layer.activation(ops.convert_to_tensor(bias, "float32"))
        for following in self._until_next(index):
            if isinstance(following, _POINTWISE):
                x = following(x)
        return ops.convert_to_numpy(x)

    def _until_next(self, index: int) -> list:
        """The layers between growable layer `index` and the next one."""
        start = self.layers_in_order.index(self.growable[index]) + 1
        rest = self.layers_in_order[start:]
        return list(itertools.takewhile(lambda x: not isinstance(x, Growable), rest))

    @contextlib.contextmanager
    def _following(self, index):
        """Lets a layer change its capacity and resizes what reads it."""
        layer = self.growable[index]
        capacity, positions = layer.capacity, self.positions(index + 1)
        yield layer
        if layer.capacity != capacity:
            self._propagate(index, positions)

    def _propagate(self, index: int, positions: int):
        """Resizes what reads growable layer `index` after its capacity changed.

        Args:
            index: of the growable layer.
            positions: `self.positions(index + 1)` before the change.
        """
        capacity = self.growable[index].capacity
        start = self.layers_in_order.index(self.growable[index]) + 1
        for layer in self.layers_in_order[start:]:
            if isinstance(layer, Growable):
                rows = capacity * positions
                layer.set_capacity(rows, layer.capacity, input_positions=positions)
                return
            if isinstance(layer, GrowableBatchNormalization):
                layer.set_channels(capacity)
        self.output_width = capacity * positions


def _trains(layer) -> bool:
    return isinstance(
        layer, (K.Dropout, K.SpatialDropout2D, K.GaussianDropout, K.GaussianNoise)
    )
