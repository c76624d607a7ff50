"""What growable layers have in common: units, timestamps, capacity, storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.growable.resizing import resize_inputs
from keras_lifelong.layers.growable.resizing import resize_last
from keras_lifelong.seeds import reseeded

# A timestamp holds the stage of birth below this, and that of retirement above it.
RETIRED = 2**16
_SHARED = (
    "name",
    "dtype",
    "activation",
    "use_bias",
    "kernel_initializer",
    "bias_initializer",
)


class Growable(keras.layers.Layer):
    """A layer whose units come and go; the kernel's last axes are (in, out).

    It works in any Keras model: called without a `stage` it is what is there now, and
    outputs are `capacity` wide, 0 where no unit is. There `capacity` is to leave room
    for what `add_units` will add, since what reads the layer has a row for each place.

    A kind of it is a file here: it gives its kernel's shape, `call`, `plain` and
    `from_plain`, and is decorated with `@grows`.

    Attributes:
        spatial: whether its inputs keep their places: it may follow only such layers.
        groups_filters: whether DEN thins it out by the (2,1)-norm, a group being a
            filter, in place of the l1 norm (Yoon et al., ICLR 2018, section 3).
        translated: what `from_plain` reads of a configuration and has in other words.

    Args:
        units: units that exist at stage 1, a positive integer.
        activation: Keras activation; must act on each unit by itself.
        use_bias: whether units have a bias.
        kernel_initializer: also draws the incoming weights of later units.
        bias_initializer: also draws the biases of later units.
        bucket: capacities are multiples of this.
        capacity: units of storage; at least `units`. None: the next multiple of
            `bucket`.

    Raises:
        ValueError: if an argument is out of range, or the activation mixes units.
    """

    spatial = False
    groups_filters = False
    translated: tuple[str, ...] = ("units",)

    def __init__(
        self,
        units: int,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        bucket: int = 64,
        capacity: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for argument, value in (("units", units), ("bucket", bucket)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(
                    f"`{argument}` must be a positive integer. Received: {value!r}."
                )
        self.units = int(units)
        self.activation = keras.activations.get(activation)
        if self.activation in (
            keras.activations.softmax,
            keras.activations.log_softmax,
        ):
            raise ValueError(
                "`activation` must act on each unit by itself, since units come and "
                f"go. Received: {activation!r}."
            )
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bucket = int(bucket)
        if capacity is not None and capacity < units:
            raise ValueError(
                f"`capacity` must be at least `units` ({units}). Received: {capacity}."
            )
        self.capacity = int(capacity or self._round_up(units))
        # variables, once it is built
        self.kernel: Any = None
        self.bias: Any = None
        self.timestamps: Any = None

    @classmethod
    def from_plain(cls, layer: keras.layers.Layer, bucket: int) -> Growable:
        """The growable counterpart of one of Keras' layers, weights not included.

        Args:
            layer: of the class that `@grows` names.
            bucket: capacities are multiples of this.

        Raises:
            ValueError: if it cannot grow; the message is the reason alone.
        """
        raise NotImplementedError(f"{cls.__name__} says what it makes of a layer.")

    @staticmethod
    def shared_arguments(layer: keras.layers.Layer) -> dict:
        """What a layer and its growable counterpart are both given."""
        config = layer.get_config()
        return {key: config[key] for key in _SHARED}

    def plain(self, inputs, units) -> tuple[keras.layers.Layer, list[np.ndarray]]:
        """An ordinary layer of some units and inputs, and the arrays to give it."""
        raise NotImplementedError(f"{type(self).__name__} says what it was made of.")

    def plain_weights(self, inputs, units) -> list[np.ndarray]:
        """Kernel and bias of some units, of some input rows."""
        kernel = self.kernel_array()[..., inputs, :][..., units]
        return [kernel] + ([self.bias_array()[units]] if self.use_bias else [])

    def take(self, arrays, inputs, units):
        """Gives some units of some rows kernel and bias: undoes `plain_weights`."""
        kernel = self.kernel_array()
        kernel[..., np.asarray(inputs)[:, None], np.asarray(units)] = arrays[0]
        self.kernel.assign(kernel)
        if self.use_bias:
            bias = self.bias_array()
            bias[units] = arrays[1]
            self.bias.assign(bias)

    def _round_up(self, units: int) -> int:
        return -(-int(units) // self.bucket) * self.bucket

    def _kernel_shape(self, inputs: int, units: int) -> tuple[int, ...]:
        raise NotImplementedError(f"{type(self).__name__} gives its kernel's shape.")

    def build(self, input_shape):
        self._add_storage(int(input_shape[-1]), self.capacity)
        self.draw_kernel(np.arange(int(input_shape[-1])))
        if self.use_bias:
            bias = np.zeros(self.capacity, "float32")
            bias[: self.units] = self._draw(self.bias_initializer, (self.units,))
            self.bias.assign(bias)
        self.timestamps.assign((np.arange(self.capacity) < self.units).astype("int32"))

    def draw_kernel(self, rows):
        """Draws the first units' weights out of the input rows that exist."""
        rows = np.asarray(rows, int)
        kernel = np.zeros(self.kernel.shape, "float32")
        shape = self._kernel_shape(rows.size, self.units)
        kernel[..., rows, : self.units] = self._draw(self.kernel_initializer, shape)
        self.kernel.assign(kernel)

    @staticmethod
    def _draw(initializer, shape):
        return ops.convert_to_numpy(initializer(shape, "float32"))

    def _add_storage(self, inputs: int, capacity: int):
        self.kernel = self.add_weight(
            name="kernel",
            shape=self._kernel_shape(inputs, capacity),
            initializer="zeros",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(capacity,), initializer="zeros"
            )
        self.timestamps = self.add_weight(
            name="timestamps",
            shape=(capacity,),
            dtype="int32",
            initializer="zeros",
            trainable=False,
        )

    # What exists

    def alive(self, stage=None, rank: int | None = None):
        """Float mask of the units that exist at `stage`.

        Args:
            stage: integer, or integers (batch,), one for each sample. None: those that
                are there now, and not retired.
            rank: of the outputs. None: that of the kernel.

        Returns:
            (capacity,), or (batch, 1, …, capacity) that broadcasts to the outputs.
        """
        stamps = ops.convert_to_tensor(self.timestamps)
        if stage is None:
            now = ops.logical_and(stamps > 0, stamps < RETIRED)
            return ops.cast(now, self.compute_dtype)
        stage = ops.cast(stage, "int32")
        if len(stage.shape):
            rank = rank or len(self.kernel.shape)
            stage = ops.reshape(stage, (-1, *[1] * (rank - 1)))
        birth, retired = stamps % RETIRED, stamps // RETIRED
        born = ops.logical_and(birth > 0, birth <= stage)
        active = ops.logical_or(retired == 0, stage < retired)
        return ops.cast(ops.logical_and(born, active), self.compute_dtype)

    def masked(self, x, stage=None):
        """Outputs with 0 in the place of units that do not exist at `stage`.

        They are selected, not multiplied: what is infinite there stays out.
        """
        alive = self.alive(stage, len(x.shape))
        return ops.where(alive > 0, x, ops.zeros((), x.dtype))

    def units_at(self, stage: int | Sequence[int] | None = None) -> np.ndarray:
        """Indices of the units that exist at a stage, at any of some, or of all."""
        birth, retired = self.births(), self._retirements()
        exists = birth > 0
        if stage is not None:
            stages = np.append(np.sort(np.atleast_1d(stage)), RETIRED)  # and never
            first = stages[np.searchsorted(stages[:-1], birth)]  # from its birth on
            exists &= (first < RETIRED) & ((retired == 0) | (first < retired))
        return np.flatnonzero(exists)

    def births(self) -> np.ndarray:
        """The stage at which each unit was born, (capacity,); 0 is free."""
        return ops.convert_to_numpy(self.timestamps) % RETIRED

    def _retirements(self) -> np.ndarray:
        return ops.convert_to_numpy(self.timestamps) // RETIRED

    # Growth

    def add_units(
        self, count: int, stage: int | None = None, inputs=None, seed: int = 0
    ):
        """Adds units born at `stage`, weights into them drawn anew.

        Args:
            count: how many, at least 1.
            stage: positive integer, at least 1. None: the one after the latest.
            inputs: indices of the kernel's input rows that exist. None: all.
            seed: of the initializers.

        Returns:
            Indices of the new units, (count,). Free slots are used in order; storage
            is made anew (and `kernel` is then another variable) if there are too few.

        Raises:
            ValueError: if an argument is out of range, or the layer is not built.
        """
        new = self.reserve_units(count, stage)
        self.draw_units(new, inputs, seed)
        return new

    def reserve_units(self, count: int, stage: int | None = None):
        """Adds units whose weights are zero as yet; see `add_units`."""
        if not self.built:
            raise ValueError(
                f"The layer {self.name!r} has no inputs yet: call it, or `build` it, "
                "before units are added."
            )
        stage = int(self.births().max()) + 1 if stage is None else stage
        if count < 1 or not 1 <= stage < RETIRED // 2:
            raise ValueError(
                f"`count` and `stage` must be at least 1, `stage` below {RETIRED // 2}."
                f" Received: count={count}, stage={stage}."
            )
        used = self.units_at()
        if used.size + count > self.capacity:
            rows = self.kernel.shape[-2]
            self.set_capacity(rows, self._round_up(used.size + count))
        stamps = ops.convert_to_numpy(self.timestamps).copy()
        new = np.flatnonzero(stamps == 0)[:count]
        stamps[new] = stage
        self.timestamps.assign(stamps)
        return new

    def draw_units(self, new, inputs=None, seed: int = 0):
        """Draws the weights into units that are there already; see `add_units`."""
        kernel, count = self.kernel_array(), len(new)
        inputs = np.arange(kernel.shape[-2]) if inputs is None else np.asarray(inputs)
        # drawn at the size of the whole grown layer, so that fans are its fans
        shape = self._kernel_shape(inputs.size, self.units_at().size)
        drawn = self._draw(reseeded(self.kernel_initializer, seed), shape)
        kernel[..., inputs[:, None], new[None, :]] = drawn[..., -count:]
        self.kernel.assign(kernel)
        if self.use_bias:
            bias = self.bias_array()
            bias[new] = self._draw(reseeded(self.bias_initializer, seed), (count,))
            self.bias.assign(bias)

    def remove_units(self, units):
        """Frees units: their timestamps, incoming weights and biases become zero.

        The weights *out of* them belong to the next layer: `clear_inputs` there.
        """
        units = np.asarray(units, int)
        stamps = ops.convert_to_numpy(self.timestamps).copy()
        stamps[units] = 0
        self.timestamps.assign(stamps)
        kernel = self.kernel_array()
        kernel[..., units] = 0
        self.kernel.assign(kernel)
        if self.use_bias:
            bias = self.bias_array()
            bias[units] = 0
            self.bias.assign(bias)

    def split_units(self, units, stage: int | None = None):
        """Duplicates units: each copy has its original's incoming weights and bias.

        Args:
            units: indices of the originals.
            stage: as in `add_units`.

        Returns:
            Indices of the copies, in the order of `units`. The copies feed nothing
            until the next layer is given weights for them.
        """
        units = np.asarray(units, int)
        copies = self.add_units(units.size, stage)
        kernel = self.kernel_array()
        kernel[..., copies] = kernel[..., units]
        self.kernel.assign(kernel)
        if self.use_bias:
            bias = self.bias_array()
            bias[copies] = bias[units]
            self.bias.assign(bias)
        return copies

    def retire_units(self, units, stage: int | None):
        """Lets units take no part from `stage` on; None: they are not retired."""
        retired = self._retirements()
        retired[np.asarray(units, int)] = stage or 0
        self.timestamps.assign(self.births() + RETIRED * retired)

    def units_retired_after(self, stage: int) -> np.ndarray:
        """Indices of the units that are retired from a later stage on."""
        return np.flatnonzero(self._retirements() > stage)

    def clear_inputs(self, rows):
        """Zeroes the weights out of the given input rows."""
        kernel = self.kernel_array()
        kernel[..., np.asarray(rows, int), :] = 0
        self.kernel.assign(kernel)

    # Storage

    def kernel_array(self) -> np.ndarray:
        """A copy of the kernel, (..., inputs, capacity)."""
        return ops.convert_to_numpy(self.kernel).copy()

    def bias_array(self) -> np.ndarray:
        """A copy of the biases, (capacity,)."""
        return ops.convert_to_numpy(self.bias).copy()

    def set_capacity(self, inputs: int, capacity: int, input_positions: int = 1):
        """Makes storage anew for `inputs` input rows and `capacity` units.

        Existing weights keep their place. After a `Flatten` the rows are
        `input_positions` groups, and each group is extended at its end.
        """
        old = [ops.convert_to_numpy(v).copy() for v in self._storage()]
        for variable in self._storage():
            self._untrack_variable(variable)  # `del` would collect garbage each time
        self._tracker.unlock()  # as Keras' own enable_lora does to swap weights
        self.capacity = capacity
        self._add_storage(inputs, capacity)
        self._tracker.lock()
        for variable, array in zip(self._storage(), old, strict=True):
            if variable is self.kernel:
                array = resize_inputs(array, inputs, input_positions)
            variable.assign(resize_last(array, capacity))

    def _storage(self):
        return [v for v in (self.kernel, self.bias, self.timestamps) if v is not None]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "bucket": self.bucket,
            "capacity": self.capacity,
        }
