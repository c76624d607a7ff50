"""Normalisation over the units of an example: of those alone that a task uses."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.growable.normalization import check_axis
from keras_lifelong.layers.growable.normalization import serialized_initializers
from keras_lifelong.layers.growable.table import ByChannel
from keras_lifelong.layers.growable.table import grows
from keras_lifelong.layers.growable.table import masked

_INITIAL = ("beta_initializer", "gamma_initializer")


@grows(keras.layers.GroupNormalization)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableGroupNormalization(ByChannel):
    """Group normalisation over the channels of the growable layer before it.

    Mean and variance are of the units of a task's time. Those are divided into `groups`
    by their order, of sizes that differ by one at most, so that a unit that is born
    later moves no earlier task.

    Args:
        groups: how many; -1: as many as there are units.
        epsilon, center, scale: as in `keras.layers.GroupNormalization`.
        beta_initializer, gamma_initializer: likewise; also of channels that are new.
        over_places: whether statistics are of all places of an example; otherwise each
            place has its own.

    Call arguments:
        x: (batch, ..., channels).
        alive: mask (channels,), or (batch, 1, ..., channels). None: all.
        training: has no effect.
    """

    translated = ("axis", "groups")

    def __init__(
        self,
        groups=32,
        epsilon=1e-3,
        center=True,
        scale=True,
        over_places=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.groups, self.epsilon = groups, epsilon
        self.center, self.scale, self.over_places = center, scale, over_places
        self.initializers = {
            "beta": keras.initializers.get(beta_initializer),
            "gamma": keras.initializers.get(gamma_initializer),
        }

    @classmethod
    def from_plain(cls, layer, bucket):
        del bucket
        check_axis(layer)
        keys = ("name", "dtype", "groups", "epsilon", "center", "scale", *_INITIAL)
        config = layer.get_config()
        if layer.built and config["groups"] == layer.input_spec.axes[layer.axis]:
            config["groups"] = -1  # one for each unit, whatever their number
        return cls.from_config({key: config[key] for key in keys})

    @property
    def params_by_channel(self):
        return self.center + self.scale

    def build(self, input_shape):
        shape = (int(input_shape[-1]),)

        def weight(name):
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=self.initializers[name],
                autocast=False,
            )

        self.gamma = weight("gamma") if self.scale else None
        self.beta = weight("beta") if self.center else None

    def call(self, x, alive=None, training=False):
        del training
        dtype = x.dtype
        x = ops.cast(x, "float32")
        mean, variance = self._moments(x, alive)
        x = (x - mean) * ops.rsqrt(variance + self.epsilon)
        if self.scale:
            x = x * ops.cast(self.gamma, "float32")
        if self.center:
            x = x + ops.cast(self.beta, "float32")
        return masked(ops.cast(x, dtype), alive)

    def _moments(self, x, alive):
        """Mean and variance for each channel, of those in its group."""
        places = tuple(range(1, len(x.shape) - 1)) if self.over_places else ()
        count = 1
        for axis in places:
            count = count * ops.shape(x)[axis]
        count = ops.cast(count, "float32")
        weights = ops.ones((x.shape[-1],)) if alive is None else alive
        weights = ops.cast(weights, "float32")
        x = masked(x, None if alive is None else alive)

        def mean_of(values):
            total = ops.sum(values, axis=places, keepdims=True) if places else values
            if self.groups == -1:
                return total / count
            if self.groups == 1:
                units = ops.sum(weights, axis=-1, keepdims=True)
                total = ops.sum(total, axis=-1, keepdims=True)
                return total / (ops.maximum(units, 1.0) * count)
            same = self._same_group(weights)  # (..., channels, channels)
            total = ops.matmul(total[..., None, :], same)[..., 0, :]
            units = ops.matmul(weights[..., None, :], same)[..., 0, :]
            return total / (ops.maximum(units, 1.0) * count)

        mean = mean_of(x)
        apart = masked(x - mean, None if alive is None else alive)
        return mean, mean_of(ops.square(apart))

    def _same_group(self, weights):
        """1 where two units that are alive are of one group."""
        rank = ops.cumsum(weights, axis=-1) - 1
        units = ops.sum(weights, axis=-1, keepdims=True)
        group = ops.floor((rank * self.groups + 0.5) / ops.maximum(units, 1.0))
        same = ops.equal(group[..., :, None], group[..., None, :])
        there = weights[..., :, None] * weights[..., None, :]
        return ops.cast(same, "float32") * there

    def compute_output_shape(self, input_shape, **kwargs):
        return tuple(input_shape)

    def plain(self, channels):
        arrays = [v for v in (self.gamma, self.beta) if v is not None]
        arrays = [ops.convert_to_numpy(v) for v in arrays]
        arrays = arrays if channels is None else [a[channels] for a in arrays]
        width = self.variables[0].shape[0] if channels is None else len(channels)
        if self.groups not in (-1, 1) and width % self.groups:
            return self.plain_parts(width), arrays
        groups = width if self.groups == -1 else self.groups
        return self.plain_layer(groups), arrays

    def plain_layer(self, groups, **kwargs):
        return keras.layers.GroupNormalization(
            groups,
            epsilon=self.epsilon,
            **{"center": self.center, "scale": self.scale, "name": self.name, **kwargs},
        )

    def plain_parts(self, width) -> keras.layers.Layer:
        """A layer that becomes one normalisation for each group; see `UnevenGroups`."""
        sizes = np.bincount((np.arange(width) * self.groups) // width)
        return UnevenGroups(self, [int(n) for n in sizes if n])

    def get_config(self):
        return {
            **super().get_config(),
            "groups": self.groups,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "over_places": self.over_places,
            **serialized_initializers(self),
        }


class UnevenGroups:
    """What stands for a group normalisation whose groups differ in size, as plain ones.

    It is called on a symbolic tensor, as a layer is, and then takes its weights.

    Args:
        of: the growable layer.
        sizes: of the groups, in their order.
    """

    def __init__(self, of: GrowableGroupNormalization, sizes: list[int]):
        self.name, self.sizes = of.name, sizes
        self.norms = [
            of.plain_layer(1, name=f"{of.name}_{i}", dtype=of.dtype_policy)
            for i in range(len(sizes))
        ]
        self.join = keras.layers.Concatenate(name=of.name)

    def __call__(self, x):
        ends = np.cumsum(self.sizes).tolist()
        parts = [
            norm(x[..., end - size : end])
            for norm, end, size in zip(self.norms, ends, self.sizes, strict=True)
        ]
        return self.join(parts)

    def set_weights(self, arrays):
        ends = np.cumsum(self.sizes)[:-1]
        by_part = zip(*(np.split(a, ends) for a in arrays), strict=True)
        for norm, values in zip(self.norms, by_part, strict=True):
            norm.set_weights(list(values))


@grows(keras.layers.LayerNormalization)
@keras.saving.register_keras_serializable(package="keras_lifelong")
class GrowableLayerNormalization(GrowableGroupNormalization):
    """Layer normalisation: one group, and statistics of each place by itself."""

    def __init__(self, epsilon=1e-3, center=True, scale=True, **kwargs):
        kwargs = {"groups": 1, "over_places": False, **kwargs}
        super().__init__(epsilon=epsilon, center=center, scale=scale, **kwargs)

    @classmethod
    def from_plain(cls, layer, bucket):
        del bucket
        check_axis(layer)
        keys = ("name", "dtype", "epsilon", "center", "scale", *_INITIAL)
        config = layer.get_config()
        return cls.from_config({key: config[key] for key in keys})

    def plain_layer(self, groups, **kwargs):
        del groups
        return keras.layers.LayerNormalization(
            epsilon=self.epsilon,
            center=self.center,
            scale=self.scale,
            name=self.name,
            **kwargs,
        )
