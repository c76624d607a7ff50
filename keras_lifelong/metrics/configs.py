"""Metrics as JSON, for what is saved, and back."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from keras_lifelong.metrics.scores import Score

LARGEST = 4096  # of a saved metric: its arrays are of the square of it at most


def to_config(metric: Any) -> str | dict[str, Any]:
    """What `from_config` makes the metric of again: a name, or a dict.

    Args:
        metric: as `get` takes it.

    Returns:
        A name for those that are given by name; Keras' configuration of a metric
        object; of a function or a `Score` its name, under which it must be registered
        with `keras.saving.register_keras_serializable` where it is loaded.

    >>> to_config("mse")
    'mse'
    """
    if isinstance(metric, str | dict):
        return metric
    if isinstance(metric, Score):
        return {"score": metric.name}
    import keras

    metric = metric() if inspect.isclass(metric) else metric
    if isinstance(metric, keras.metrics.Metric):
        return keras.metrics.serialize(metric)
    name = getattr(metric, "__name__", type(metric).__name__)
    if not inspect.isroutine(metric):
        return {"function": name}
    return {"function": keras.saving.get_registered_name(metric)}


def from_config(configs: list[Any]) -> list[Any]:
    """Metrics, for `compile`, of what `to_config` gave of each.

    A function or a metric of one's own that this process does not know is left out
    with a warning that names it: what was learned is of use without it.

    Raises:
        ValueError: if a configuration is none of a metric.
    """
    found = []
    for config in configs:
        metric = _from_config(config)
        if metric is None:
            warnings.warn(
                f"The metric {_name(config)!r} that the model was compiled with is not "
                "known here and is left out. Register it with "
                "keras.saving.register_keras_serializable before loading, or call "
                "`compile(metrics=[...])` again.",
                stacklevel=2,
            )
        else:
            found.append(metric)
    return found


def _name(config: Any) -> str:
    return config.get("function") or config.get("score") or config.get("class_name", "")


def _from_config(config: Any) -> Any:
    if isinstance(config, str):
        return config
    if not isinstance(config, dict) or not isinstance(_name(config), str):
        raise ValueError(
            f"A saved metric must be a name or a dict. Received: {config!r}"
        )
    import keras

    if "class_name" not in config:
        known = keras.saving.get_registered_object(_name(config))
        if known is None:  # one of Keras' own functions
            try:
                return keras.metrics.get(_name(config))
            except ValueError:
                return None
        return known
    name, registered = config["class_name"], config.get("registered_name")
    is_kerases = config.get("module") == "keras.metrics"
    known = (
        getattr(keras.metrics, name, None)
        if is_kerases
        else keras.saving.get_registered_object(registered or name)
    )
    if known is None:
        return None
    # nothing but metrics is made of what may come from elsewhere
    if not (inspect.isclass(known) and issubclass(known, keras.metrics.Metric)):
        raise ValueError(f"A saved metric must be a metric. Received: {name!r}")
    _check_size(config.get("config"), name)
    return keras.metrics.deserialize(config)


def _check_size(value: Any, name: str) -> None:
    """Refuses thresholds and classes whose arrays would take much memory."""
    items = value.values() if isinstance(value, dict) else value
    if isinstance(items, str | bool | float) or items is None:
        return
    size = items if isinstance(items, int) else len(items)
    if size > LARGEST:
        raise ValueError(
            f"A saved metric must have at most {LARGEST:,} thresholds, classes or "
            f"numbers in a list. Received: {name} with {size:,}"
        )
    for item in () if isinstance(items, int) else items:
        _check_size(item, name)
