"""Which of Keras' layers a growing network carries, and what it makes of each.

A layer that grows, or has weights for each channel of one that does, is a class
decorated with `@grows`. A layer that has nothing to grow is carried as it is, if it
acts on each channel by itself: a free unit, which gives 0, then stays free. So a new
kind of layer is one file that says here, by `@grows` or `carries`, what it is.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.graph import Step
from keras_lifelong.graph import Wire

K = keras.layers

_GROWN: dict[type, type[Any]] = {}  # the growable class by Keras' own
_CARRIED: dict[type, Facts] = {}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a network must know of a layer that it carries as it is.

    Args:
        pointwise: each value by itself, so that what is constant stays so.
        moves_zero: what it makes of 0 may be something else.
        random: it takes `training`, and does something in training alone.
        flattens: it lays out the places of each channel side by side.
    """

    pointwise: bool = False
    moves_zero: bool = False
    random: bool = False
    flattens: bool = False


class ByChannel(keras.layers.Layer):
    """A layer with weights for each channel of the growable layer before it.

    All its variables are (channels,), and each task has its own. Call arguments are x
    (…, channels), alive (channels,) or None, and training; it gives 0 where no unit is
    alive. Its statistics may be of units that are. Decorate it with `@grows`.

    Attributes:
        params_by_channel: how many of its numbers a channel is trained with.
        translated: what `from_plain` reads of a configuration and has in other words.
    """

    params_by_channel: int = 0
    translated: tuple[str, ...] = ()

    @classmethod
    def from_plain(cls, layer: keras.layers.Layer, bucket: int) -> ByChannel:
        """The counterpart of one of Keras' layers, as `Growable.from_plain`."""
        raise NotImplementedError(f"{cls.__name__} says what it makes of a layer.")

    def plain(self, channels) -> tuple[keras.layers.Layer, list[np.ndarray]]:
        """An ordinary layer of some channels (None: all), and its arrays."""
        raise NotImplementedError(f"{type(self).__name__} says what it was made of.")

    def set_channels(self, channels: int, moved: tuple | None = None) -> None:
        """Makes storage anew for `channels`; what is new there is as at the beginning.

        Args:
            channels: how many.
            moved: index arrays: where channels that stay were, and where they come to
                be. None: they keep their place.
        """
        had = self.variables
        arrays = [ops.convert_to_numpy(v).copy() for v in had]
        kept = np.arange(min([channels, *(a.size for a in arrays)]))
        old, new = (kept, kept) if moved is None else moved
        for variable in had:
            self._untrack_variable(variable)
        self._tracker.unlock()
        self.build((channels,))
        self._tracker.lock()
        for variable, array in zip(self.variables, arrays, strict=True):
            fresh = ops.convert_to_numpy(variable).copy()
            fresh[new] = array[old]
            variable.assign(fresh)

    def take(self, arrays, channels) -> None:
        """Gives some channels the arrays of an ordinary layer."""
        for variable, array in zip(self.variables, arrays, strict=True):
            values = ops.convert_to_numpy(variable).copy()
            values[channels] = array
            variable.assign(values)


class PerUnit(keras.layers.Layer):
    """A layer with weights of its own for each unit of its input, which mixes no units.

    It has the units of its input: they come, go and are split together. Its weights are
    those of the units, shared by tasks. Decorate it with `@grows`.

    Attributes:
        kernel: (..., 1, channels).
        bias: (channels,), or None.
        translated: what `from_plain` reads of a configuration and has in other words.
    """

    groups_filters = True
    translated: tuple[str, ...] = ()
    kernel: Any = None
    bias: Any = None

    @classmethod
    def from_plain(cls, layer: keras.layers.Layer, bucket: int) -> PerUnit:
        """The counterpart of one of Keras' layers, as `Growable.from_plain`."""
        raise NotImplementedError(f"{cls.__name__} says what it makes of a layer.")

    def plain(self, channels) -> tuple[keras.layers.Layer, list[np.ndarray]]:
        """An ordinary layer of some channels, and its arrays."""
        raise NotImplementedError(f"{type(self).__name__} says what it was made of.")

    def take(self, arrays, channels) -> None:
        """Gives some channels the arrays of an ordinary layer."""
        raise NotImplementedError(f"{type(self).__name__} says what it is given.")

    def draw(self, channels, count: int, seed: int | None = None) -> None:
        """Draws the last `count` of the channels that exist; None: by its own seed."""
        raise NotImplementedError(f"{type(self).__name__} draws its weights.")

    def set_channels(self, channels: int, moved: tuple) -> None:
        """Makes storage anew; `moved` as of `ByChannel`. What is new is zero."""
        had = [v for v in (self.kernel, self.bias) if v is not None]
        arrays = [ops.convert_to_numpy(v).copy() for v in had]
        for variable in had:
            self._untrack_variable(variable)
        self._tracker.unlock()
        self.add_storage(channels)
        self._tracker.lock()
        now = [v for v in (self.kernel, self.bias) if v is not None]
        for variable, array in zip(now, arrays, strict=True):
            fresh = np.zeros(variable.shape, "float32")
            fresh[..., moved[1]] = array[..., moved[0]]
            variable.assign(fresh)

    def add_storage(self, channels: int) -> None:
        """Makes `kernel` and `bias` of so many channels, all zero."""
        raise NotImplementedError(f"{type(self).__name__} makes its storage.")

    def clear(self, channels) -> None:
        """Zeroes the weights of some channels."""
        for variable in (self.kernel, self.bias):
            if variable is not None:
                values = ops.convert_to_numpy(variable).copy()
                values[..., np.asarray(channels, int)] = 0
                variable.assign(values)


def masked(x, alive):
    """`x` where a mask is not 0, else 0: selected, so that what is infinite stays out.

    Args:
        x: (..., channels).
        alive: float mask that broadcasts to it. None: all of it.
    """
    return x if alive is None else ops.where(alive > 0, x, ops.zeros((), x.dtype))


def _refuse_terms(config: Mapping[str, Any]) -> None:
    """Raises a ValueError if a layer's configuration has a regularizer or the like."""
    for key, value in config.items():
        if key.endswith(("regularizer", "constraint")) and value is not None:
            raise ValueError(f"its {key} would act on units that do not exist yet.")


def _refuse_lost(layer: keras.layers.Layer, twin: Any) -> None:
    """Raises a ValueError if something that a layer was given is not its twin's.

    What the twin's configuration lacks must be as Keras has it by default.
    """
    given, kept = layer.get_config(), twin.get_config()
    parameters = inspect.signature(type(layer).__init__).parameters
    needed = [k for k in given if k in parameters and _is_needed(parameters[k])]
    default = type(layer).from_config({k: given[k] for k in needed}).get_config()
    for key, value in given.items():
        expected = kept[key] if key in kept else default.get(key)
        if key not in twin.translated and _text(value) != _text(expected):
            raise ValueError(f"its `{key}` is not carried. Received: {value!r}.")


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


def _text(value: Any) -> str:
    """Of a part of a configuration, without the ids of a file that is being read."""
    text = json.dumps(value, sort_keys=True, default=repr)
    return re.sub(r', "shared_object_id": \d+', "", text)


def grows(plain: type) -> Callable[[type], type]:
    """Class decorator: makes a class what growing networks make of a layer of Keras.

    Args:
        plain: the layer's class; classes derived from it are not meant.

    Example:

    ```python
    @grows(keras.layers.Conv1D)
    @keras.saving.register_keras_serializable(package="mine")
    class GrowableConv1D(Growable):
        translated = ("padding",)  # which `from_plain` sees to; its config lacks it
        ...
    ```
    """

    def decorate(cls: type) -> type:
        _GROWN[plain] = cls
        return cls

    return decorate


def carries(*classes: type, **facts: bool) -> None:
    """Says that growing networks carry layers of these classes as they are.

    Args:
        classes: of layers that act on each channel by itself and have no weights.
        facts: see `Facts`.
    """
    _CARRIED.update(dict.fromkeys(classes, Facts(**facts)))


carries(K.ReLU, K.LeakyReLU, K.ELU, pointwise=True)
carries(K.Activation, K.Rescaling, pointwise=True, moves_zero=True)
carries(K.Identity, pointwise=True)
carries(K.Dropout, K.GaussianDropout, K.GaussianNoise, random=True)
carries(K.SpatialDropout1D, K.SpatialDropout2D, K.SpatialDropout3D, random=True)
carries(K.MaxPooling1D, K.MaxPooling2D, K.MaxPooling3D)
carries(K.AveragePooling1D, K.AveragePooling2D, K.AveragePooling3D)
carries(K.ZeroPadding1D, K.ZeroPadding2D, K.ZeroPadding3D)
carries(K.Cropping1D, K.Cropping2D, K.Cropping3D)
carries(K.UpSampling1D, K.UpSampling2D, K.UpSampling3D)
carries(K.GlobalMaxPooling1D, K.GlobalMaxPooling2D, K.GlobalMaxPooling3D)
carries(K.GlobalAveragePooling1D, K.GlobalAveragePooling2D, K.GlobalAveragePooling3D)
carries(K.Flatten, flattens=True)

# Merged unit by unit, and what Keras calls the same done by an operator
_TIES = (K.Add, K.Subtract, K.Average, K.Maximum, K.Minimum, K.Multiply)
_TYING_OPERATIONS = ("Add", "Subtract", "Maximum", "Minimum", "Multiply")
# Operations on one tensor, and numbers, that take each value by itself
_POINTWISE_OPERATIONS = (
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Negative", "Absolute"),
    *("Relu", "Relu6", "Sigmoid", "HardSigmoid", "Silu", "HardSilu", "Gelu", "Elu"),
    *("LeakyRelu", "Softplus", "Tanh", "Square", "Sqrt", "Exp", "Clip"),
)
# As many weights as inputs have units, in a form that does not grow
_MIXES = (
    K.RNN,  # LSTM, GRU and SimpleRNN among them
    K.Bidirectional,
    K.MultiHeadAttention,
    K.GroupQueryAttention,
    K.Attention,
    K.AdditiveAttention,
)
_MIXED = "softmax mixes the units, which come and go."
_SOFTMAX = (keras.activations.softmax, keras.activations.log_softmax)


def plain_classes(kind: type = keras.layers.Layer) -> list[type]:
    """Keras' classes that have a growable counterpart derived from `kind`."""
    return [plain for plain, cls in _GROWN.items() if issubclass(cls, kind)]


def facts(layer: keras.layers.Layer) -> Facts:
    """What is known of a layer of a growing network; no fact of one that grows."""
    if _is_operation(layer, _POINTWISE_OPERATIONS):
        return Facts(moves_zero=True)
    return _CARRIED.get(type(layer), Facts())


def builds_alone(layer: keras.layers.Layer) -> bool:
    """Whether `build(input_shape)` of its one input is all that it needs."""
    grown = tuple(_GROWN.values())
    return type(layer) in _CARRIED or isinstance(layer, grown)


def role(step: Step) -> tuple[str, str]:
    """What a step does with the units of its inputs: see `Role` of `WidthGroups`.

    Returns:
        The kind, and why what it takes may not grow, if the kind is "fixed".
    """
    layer, wires = step.layer, step.inputs
    if isinstance(layer, keras.layers.Layer) and not is_channels_last(layer):
        return "fixed", "its channels are not last."
    if type(layer) in _GROWN:
        if not layer.trainable:
            return "fixed", (
                "it is not trainable, and a layer before it grows: there would be no "
                "weights for new units. Freeze only layers before the first trainable "
                "one."
            )
        grown = _GROWN[type(layer)]
        return (
            "follows" if issubclass(grown, (ByChannel, PerUnit)) else "produces"
        ), ""
    if isinstance(layer, _TIES) or _is_operation(layer, _TYING_OPERATIONS):
        if len(wires) > 1:
            return "ties", ""
    if _is_operation(layer, _POINTWISE_OPERATIONS) and _has_numbers_only(step):
        return "follows", ""
    if isinstance(layer, K.Concatenate) or _is_operation(layer, ("Concatenate",)):
        return "joins", ""
    if isinstance(layer, (K.Flatten, K.Reshape)):
        width, out = wires[0].shape[-1], step.outputs[0].shape[-1]
        if width and out and len(wires[0].shape) > 1 and out % width == 0:
            return "folds", ""
        return "fixed", "it takes the channels of a place apart."
    if type(layer) in _CARRIED:
        return "follows", ""
    if isinstance(layer, _MIXES):
        return "mixes", ""
    if isinstance(layer, K.Softmax):
        return "fixed", _MIXED
    known = ", ".join(c.__name__ for c in [*_GROWN, *_CARRIED])
    return "fixed", f"growing networks are made of {known}."


def _is_operation(layer: Any, names: tuple[str, ...]) -> bool:
    """Whether it is one of `keras.ops`, such as an `x + y` of two tensors makes."""
    is_layer = isinstance(layer, keras.layers.Layer)
    return not is_layer and type(layer).__name__ in names


def _has_numbers_only(step: Step) -> bool:
    """Whether it is called on one tensor, and beside it on numbers."""
    flat = keras.tree.flatten((step.args, step.kwargs))
    rest = [x for x in flat if x is not None and not isinstance(x, Wire)]
    return len(step.inputs) == 1 and all(isinstance(x, int | float) for x in rest)


def is_channels_last(layer: keras.layers.Layer) -> bool:
    return getattr(layer, "data_format", None) != "channels_first"


def grown(
    layer: Any, bucket: int, method: str, path: str | None = None, fixed: bool = False
) -> Any:
    """What a growing network makes of a backbone's layer.

    Args:
        layer: of the backbone; it is not changed. An operation of `keras.ops` has no
            state, and is itself what becomes of it.
        bucket: capacities are multiples of this.
        method: named in refusals.
        path: of the layer, named in refusals. None: its name.
        fixed: whether it is carried as it is, since it takes and gives what is fixed.

    Raises:
        ValueError: if it cannot be carried, with its path and the reason.

    >>> from keras_lifelong.layers import growable
    >>> type(grown(keras.layers.Dense(3), 4, "DEN")).__name__
    'GrowableDense'
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer
    try:
        soft = (
            isinstance(layer, K.Softmax) or getattr(layer, "activation", 0) in _SOFTMAX
        )
        if soft and not fixed:
            raise ValueError(_MIXED)
        if type(layer) in _GROWN and not fixed:
            _refuse_terms(layer.get_config())
            twin = _GROWN[type(layer)].from_plain(layer, bucket)
            _refuse_lost(layer, twin)
            return twin
    except ValueError as error:
        raise refusal(method, path or layer.name, layer, str(error)) from error
    copy = type(layer).from_config(layer.get_config())
    copy.trainable = layer.trainable
    return copy


def refusal(method: str, path: str, layer: Any, why: str) -> ValueError:
    """What is raised of a layer that cannot be carried."""
    return ValueError(
        f"{method} cannot carry the layer {path!r} ({type(layer).__name__}) of "
        f"`backbone`: {why}"
    )
