"""Configurations of Keras without the names that it counts up."""

from __future__ import annotations

from typing import Any


def unnamed(config: Any, places: dict | None = None) -> Any:
    """A Keras configuration without names, which Keras counts up in each process.

    Where a graph says which layer a tensor comes from, its place is in the name's.
    """
    if isinstance(config, dict):
        if "output_layers" in config:
            places = {x["name"]: i for i, x in enumerate(config["layers"])}
        return {
            k: _placed(v, places) if k in _SOURCES and places else unnamed(v, places)
            for k, v in config.items()
            if k != "name"
        }
    if isinstance(config, list):
        return [unnamed(v, places) for v in config]
    return config


_SOURCES = ("keras_history", "input_layers", "output_layers")


def _placed(value, places):
    """Names of layers replaced by their places, in lists and dicts."""
    if isinstance(value, dict):
        return {k: _placed(v, places) for k, v in value.items()}
    if isinstance(value, list):
        return [_placed(v, places) for v in value]
    return places.get(value, value) if isinstance(value, str) else value
