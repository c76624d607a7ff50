"""Backbones from layers in Keras' own serialised form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    import keras

from keras_lifelong.backbones.registry import Shape
from keras_lifelong.backbones.registry import Stack
from keras_lifelong.messages import shown

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

    from keras_lifelong.presets import configs

    if not isinstance(layers, list | tuple) or not layers:
        raise ValueError(
            f"`layers` must be a list of one or more layers. Received: {shown(layers)}"
        )
    stack = Stack("layers", tuple(input_shape))
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
            described = {
                "module": "keras.layers",
                "class_name": class_name,
                "config": {"name": name, **_with_modules(config)},
                "registered_name": None,
            }
            configs.check_objects([described], "layers")
            layer = keras.saving.deserialize_keras_object(described, safe_mode=True)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`{place}` ({class_name}) has a config that Keras refuses: {error}. "
                f"Received: {shown(config)}"
            ) from error
        stack.layers.append(layer)
    return stack.build()


def _check_entry(place: str, entry: Any) -> str:
    """Returns the class name of a serialised layer that Keras itself defines."""
    import keras

    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise ValueError(
            f"`{place}` must be {{class_name: …, config: {{…}}}}. "
            f"Received: {shown(entry)}"
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
                f"configuration may not. Received: {shown(value)}"
            )
        for key, item in value.items():
            _check_is_data(f"{place}.{key}", item)


def _with_modules(value: Any) -> Any:
    """A copy in which every object says in which module of Keras it is."""
    from keras_lifelong.presets import allowed

    if isinstance(value, list | tuple):
        return [_with_modules(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _with_modules(item) for key, item in value.items()}
    if "class_name" in value and "module" not in value:
        name = value["class_name"]
        found["module"] = next((m for m, n in allowed.CLASSES if n == name), "keras")
    return found


def _check_input(
    place: str, index: int, config: dict[str, Any], input_shape: Shape
) -> None:
    shape = tuple(config.get("batch_shape", (None, *input_shape)))[1:]
    if index or shape != input_shape:
        raise ValueError(
            f"`{place}` is an InputLayer; it may only stand first and must have the "
            f"stream's input shape {input_shape}. Received: {shown(config)}"
        )
