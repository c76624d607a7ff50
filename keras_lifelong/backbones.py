"""Named backbones: the hidden layers of a network, for an input shape.

A backbone has no head: heads are the lifelong model's own, one per task. Its layers
are named `dense`, `dense_1`, … in order, whatever was built before in the process,
so that results and presets of two runs name the same layer alike.

    >>> backbone = get("mlp", (28, 28, 1), units=[312, 128])
    >>> [layer.name for layer in backbone.layers]
    ['flatten', 'dense', 'dense_1']
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    import keras

Shape = tuple[int, ...]

_BACKBONES: dict[str, Callable[..., keras.Sequential]] = {}

# What a serialised layer may name. Keras imports any module it is told to; a
# configuration is data and reaches Keras' own parts only.
_MODULES = {
    "keras",
    "keras.layers",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.regularizers",
}
# Layers of Keras that run code from outside it, or none of its own.
_REFUSED = {"Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper"}


def register(name: str) -> Callable:
    """Adds the decorated function to the backbones under `name`.

    The function takes `input_shape` first, then what a configuration may set.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(function: Callable[..., keras.Sequential]) -> Callable:
        if name in _BACKBONES:
            raise ValueError(f"A backbone of this name exists. Received: {name!r}")
        _BACKBONES[name] = function
        return function

    return decorate


def names() -> list[str]:
    """The names that `get` knows, sorted."""
    return sorted(_BACKBONES)


def function(name: str) -> Callable[..., keras.Sequential]:
    """The function behind a name; its signature says what it accepts.

    Raises:
        ValueError: if no backbone has this name.
    """
    if name not in _BACKBONES:
        raise ValueError(
            f"Unknown backbone. Received: {name!r}. Accepted: {', '.join(names())}"
        )
    return _BACKBONES[name]


def get(name: str, input_shape: Sequence[int], **arguments: Any) -> keras.Sequential:
    """Builds the backbone `name` for inputs of `input_shape` (without the batch).

    Example:

    ```python
    backbone = keras_lifelong.backbones.get("cnn", (32, 32, 3), filters=[16, 32])
    ```

    Raises:
        ValueError: for an unknown name or an argument out of range.
    """
    return function(name)(tuple(input_shape), **arguments)


class _Stack:
    """Collects layers, naming each after its class and place, and makes the model."""

    def __init__(self, name: str, input_shape: Shape):
        import keras

        self.name = name
        self.layers = [keras.Input(input_shape)]
        self._counts = collections.Counter()

    def name_for(self, class_name: str) -> str:
        """Keras' own naming, counted within this backbone: `conv2d`, `conv2d_1`."""
        base = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
        base = re.sub("([a-z])([A-Z])", r"\1_\2", base).lower()
        index = self._counts[base]
        self._counts[base] += 1
        return f"{base}_{index}" if index else base

    def add(self, class_name: str, *args: Any, **kwargs: Any) -> None:
        import keras

        layer = getattr(keras.layers, class_name)
        self.layers.append(layer(*args, name=self.name_for(class_name), **kwargs))

    def add_dense(self, units: Sequence[int], activation: str, dropout: float) -> None:
        for count in units:
            self.add("Dense", count, activation=activation)
            if dropout:
                self.add("Dropout", dropout)

    def build(self) -> keras.Sequential:
        import keras

        return keras.Sequential(self.layers, name=self.name)


def _check_sizes(argument: str, sizes: Any, empty: bool = False) -> None:
    whole = isinstance(sizes, list | tuple) and all(
        isinstance(size, int) and not isinstance(size, bool) and size > 0
        for size in sizes
    )
    if not whole or not (sizes or empty):
        least = "a list" if empty else "a list of one or more"
        raise ValueError(
            f"`{argument}` must be {least} of positive integers. Received: {sizes!r}"
        )


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout!r}")


def _check_image(backbone: str, input_shape: Shape) -> None:
    if len(input_shape) != 3:
        raise ValueError(
            f"`{backbone}` takes images, (height, width, channels). "
            f"Received: input_shape={input_shape}"
        )


@register("mlp")
def mlp(
    input_shape: Shape,
    units: Sequence[int],
    activation: str = "relu",
    dropout: float = 0.0,
) -> keras.Sequential:
    """Dense layers of the given widths; images are flattened.

    Args:
        input_shape: shape of one example.
        units: width of each hidden layer.
        activation: name of a Keras activation.
        dropout: rate after each layer, in [0, 1); 0 adds no dropout layer.
    """
    _check_sizes("units", units)
    _check_dropout(dropout)
    stack = _Stack("mlp", input_shape)
    if len(input_shape) > 1:
        stack.add("Flatten")
    stack.add_dense(units, activation, dropout)
    return stack.build()


@register("cnn")
def cnn(
    input_shape: Shape,
    filters: Sequence[int],
    units: Sequence[int] = (),
    kernel_size: int = 3,
    activation: str = "relu",
    dropout: float = 0.0,
) -> keras.Sequential:
    """Convolutions, each with 2x2 max pooling, then dense layers.

    Args:
        input_shape: (height, width, channels).
        filters: filters of each convolution ("same" padding, stride 1).
        units: width of each dense layer after them; may be empty.
        kernel_size: side of the convolutions' kernels.
        activation: name of a Keras activation.
        dropout: rate after each dense layer, in [0, 1); 0 adds no dropout layer.

    Raises:
        ValueError: also where the image is too small to be halved once a convolution.
    """
    _check_image("cnn", input_shape)
    _check_sizes("filters", filters)
    _check_sizes("units", units, empty=True)
    _check_sizes("kernel_size", [kernel_size])
    _check_dropout(dropout)
    if min(input_shape[:2]) < 2 ** len(filters):
        raise ValueError(
            f"`filters` has {len(filters)} entries, each halving the image: the image "
            f"must measure {2 ** len(filters)} or more on each side. "
            f"Received: input_shape={input_shape}, filters={list(filters)}"
        )
    stack = _Stack("cnn", input_shape)
    for count in filters:
        stack.add("Conv2D", count, kernel_size, padding="same", activation=activation)
        stack.add("MaxPooling2D", 2)
    stack.add("Flatten")
    stack.add_dense(units, activation, dropout)
    return stack.build()


@register("den_dense")
def den_dense(input_shape: Shape) -> keras.Sequential:
    """DEN's dense net, ReLU 312-128 (Yoon et al., ICLR 2018, section 4)."""
    stack = _Stack("den_dense", input_shape)
    if len(input_shape) > 1:
        stack.add("Flatten")
    stack.add_dense([312, 128], "relu", dropout=0)
    return stack.build()


@register("den_conv")
def den_conv(input_shape: Shape) -> keras.Sequential:
    """DEN's convolutional net for CIFAR-100 (Yoon et al., ICLR 2018, section 4).

    Five ReLU convolutions of 5x5 filters, 64-128-256-256-128, then dense layers
    384-192. The paper gives these sizes and no more; padding and pooling are our
    reading of its "modified AlexNet": "same" padding, stride 1, and 2x2 max pooling
    after each convolution while the image still measures 2 or more on each side (32x32
    images are pooled five times, 28x28 ones four).
    """
    _check_image("den_conv", input_shape)
    stack = _Stack("den_conv", input_shape)
    side = min(input_shape[:2])
    for count in (64, 128, 256, 256, 128):
        stack.add("Conv2D", count, 5, padding="same", activation="relu")
        if side >= 2:
            stack.add("MaxPooling2D", 2)
            side //= 2
    stack.add("Flatten")
    stack.add_dense([384, 192], "relu", dropout=0)
    return stack.build()


def _lasem(input_shape, name, convolutions, units):
    """Convolutions given as (filters, kernel size, pooling after it, 0 for none)."""
    import keras

    _check_image(name, input_shape)
    stack = _Stack(name, input_shape)

    def drawn():  # for each layer anew: an initializer draws the same every time
        return {
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.05),
            "bias_initializer": keras.initializers.Constant(0.2),
            "activation": "relu",
        }

    for filters, size, pool in convolutions:
        stack.add("Conv2D", filters, size, padding="same", **drawn())
        if pool:
            stack.add("MaxPooling2D", pool, padding="same")
    stack.add("Flatten")
    stack.add("Dropout", 0.5)
    for count in units:
        stack.add("Dense", count, **drawn())
    return stack.build()


@register("lasem_cifar100")
def lasem_cifar100(input_shape: Shape) -> keras.Sequential:
    """LASEM's net for CIFAR-100 (Lee et al., ICML 2021, Figure 6)."""
    convolutions = [(32, 3, 0), (32, 3, 2), (64, 3, 0), (64, 3, 2)]
    return _lasem(input_shape, "lasem_cifar100", convolutions, [64])


@register("lasem_office_home")
def lasem_office_home(input_shape: Shape) -> keras.Sequential:
    """LASEM's net for Office-Home (Lee et al., ICML 2021, Figure 6)."""
    convolutions = [(64, 11, 3), (256, 5, 3), (256, 3, 2), (256, 3, 2)]
    return _lasem(input_shape, "lasem_office_home", convolutions, [256, 64])


@register("lasem_stl10")
def lasem_stl10(
    input_shape: Shape, units: Sequence[int] = (128, 16)
) -> keras.Sequential:
    """LASEM's net for STL-10 (Lee et al., ICML 2021, Figure 6).

    Args:
        input_shape: (height, width, channels).
        units: of the dense layers; with tensor factorisation the authors had 128 only.
    """
    _check_sizes("units", units, empty=True)
    pairs = [[(filters, 3, 0), (filters, 3, 3)] for filters in (32, 64, 128)]
    return _lasem(input_shape, "lasem_stl10", sum(pairs, []), units)


def from_layers(
    layers: Sequence[dict[str, Any]], input_shape: Sequence[int]
) -> keras.Sequential:
    """Builds a backbone from layers in Keras' own serialised form.

    Args:
        layers: one `{"class_name": …, "config": {…}}` each, as in the `"layers"` of
            `keras.Sequential.get_config()`. `module` may be left out, and so may
            `name` in a config. An `InputLayer` may stand first if it fits.
        input_shape: shape of one example; the stream gives it.

    Raises:
        ValueError: naming the entry, if it isn't a layer of Keras, could run code
            (Lambda, custom classes), or has arguments that the layer refuses.

    Example:

    ```python
    keras_lifelong.backbones.from_layers(
        [{"class_name": "Dense", "config": {"units": 32, "activation": "relu"}}], (4,)
    )
    ```
    """
    import keras

    if not isinstance(layers, list | tuple) or not layers:
        raise ValueError(
            f"`layers` must be a list of one or more layers. Received: {layers!r}"
        )
    stack = _Stack("layers", tuple(input_shape))
    for index, entry in enumerate(layers):
        place = f"layers[{index}]"
        class_name = _check_entry(place, entry)
        config = entry.get("config") or {}
        _check_is_data(place, config)
        if class_name == "InputLayer":
            _check_input(place, index, config, tuple(input_shape))
            continue
        name = stack.name_for(class_name)
        try:
            layer = keras.saving.deserialize_keras_object(
                {
                    "module": "keras.layers",
                    "class_name": class_name,
                    "config": {"name": name, **config},
                    "registered_name": None,
                },
                safe_mode=True,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`{place}` ({class_name}) has a config that Keras refuses: {error}. "
                f"Received: {config!r}"
            ) from error
        stack.layers.append(layer)
    return stack.build()


def _check_entry(place: str, entry: Any) -> str:
    """Returns the class name of a serialised layer that Keras itself defines."""
    import keras

    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise ValueError(
            f"`{place}` must be {{class_name: …, config: {{…}}}}. Received: {entry!r}"
        )
    class_name = entry["class_name"]
    layer = getattr(keras.layers, class_name, None)
    if (
        entry.get("module", "keras.layers") != "keras.layers"
        or class_name in _REFUSED
        or not (isinstance(layer, type) and issubclass(layer, keras.Layer))
    ):
        raise ValueError(
            f"`{place}` must be one of Keras' own layers, and not one that runs code "
            f"from elsewhere. Received: module={entry.get('module')!r}, "
            f"class_name={class_name!r}"
        )
    return class_name


def _check_is_data(place: str, value: Any) -> None:
    """Refuses nested objects (initialisers, …) that are not Keras' own."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_is_data(f"{place}[{index}]", item)
    elif isinstance(value, dict):
        module, name = value.get("module", "keras"), value.get("class_name", "")
        if module not in _MODULES or name in _REFUSED or str(name).startswith("__"):
            raise ValueError(
                f"`{place}` names an object that isn't Keras' own, which a "
                f"configuration may not. Received: {value!r}"
            )
        for key, item in value.items():
            _check_is_data(f"{place}.{key}", item)


def _check_input(
    place: str, index: int, config: dict[str, Any], input_shape: Shape
) -> None:
    shape = tuple(config.get("batch_shape", (None, *input_shape)))[1:]
    if index or shape != input_shape:
        raise ValueError(
            f"`{place}` is an InputLayer; it may only stand first and must have the "
            f"stream's input shape {input_shape}. Received: {config!r}"
        )
