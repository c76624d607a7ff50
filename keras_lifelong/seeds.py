"""Explicit seeds for everything a layer draws."""

from __future__ import annotations

import hashlib

import keras

from keras_lifelong import networks

SEED_STATE = "seed_generator_state"  # Keras' name for it


def derive_seed(*parts) -> int:
    """A 31-bit seed that depends on all its parts (integers and strings) alone.

    >>> derive_seed(0, "task_1") == derive_seed(0, "task_1")
    True
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF


def seed_config(config, *parts):
    """A copy of a Keras configuration in which every absent seed is set from `parts`.

    A seed that the user gave stays as it is.
    """
    if isinstance(config, dict):
        out = {k: seed_config(v, *parts, k) for k, v in config.items()}
        if "seed" in config and config["seed"] is None:
            out["seed"] = derive_seed(*parts)
        return out
    if isinstance(config, (list, tuple)):
        return type(config)(seed_config(v, *parts, i) for i, v in enumerate(config))
    return config


def seeded_copy(network, *parts) -> keras.Model:
    """A copy of a network whose weights are drawn anew, by seeds of `parts` alone.

    A seed that the user gave a layer stays as it is. Names count for nothing.

    Args:
        network: `keras.Sequential` or functional model; it is not changed.
        parts: integers and strings.

    Example:

    >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> a, b = (seeded_copy(network, 0, "task_1").get_weights() for _ in range(2))
    >>> bool((a[0] == b[0]).all())
    True
    """
    config = network.get_config()
    seeded = seed_config(config, *parts)
    copy = networks.from_config(seeded)
    _redraw_doubles(copy, _seeds(seeded) - _seeds(config))
    return copy


_DRAWN = ("kernel", "recurrent_kernel", "embeddings")


def _seeds(config) -> set[int]:
    """All seeds that a configuration holds."""
    if isinstance(config, list | tuple):
        return set().union(*map(_seeds, config))
    if not isinstance(config, dict):
        return set()
    found = set().union(*map(_seeds, config.values()))
    if isinstance(config.get("seed"), int):
        found.add(config["seed"])
    return found


def _redraw_doubles(network, derived: set[int]) -> None:
    """Draws anew what one initializer drew twice.

    Attention gives its initializer to four layers, and `Bidirectional` to two: under
    one seed they would be equal.

    Args:
        derived: seeds that are not the user's.
    """
    seen: dict[tuple, int] = {}
    for layer in network._flatten_layers():
        for name in _DRAWN:
            role = name.replace("recurrent_kernel", "recurrent")
            initializer = getattr(layer, f"{role}_initializer", None)
            variable = getattr(layer, name, None)
            if not isinstance(variable, keras.Variable):
                continue
            seed = getattr(initializer, "seed", None)
            if not isinstance(seed, int) or seed not in derived:
                continue
            times = seen[seed, name] = seen.get((seed, name), -1) + 1
            if times:
                again = reseeded(initializer, derive_seed(seed, times))
                variable.assign(again(variable.shape, dtype=variable.dtype))


def reseeded(initializer, seed: int):
    """A copy of a Keras initializer that draws from `seed`."""
    config = initializer.get_config()
    if "seed" in config:
        config["seed"] = seed
    return type(initializer).from_config(config)


def without_seed_states(variables) -> list:
    """Those of the variables that are no state of a random generator."""
    return [v for v in variables if v.name != SEED_STATE]


def has_weights(layer) -> bool:
    """Whether it is a layer with variables, states of random generators apart."""
    is_layer = isinstance(layer, keras.layers.Layer)
    return is_layer and bool(without_seed_states(layer.variables))


def weights_of(layers) -> list:
    """The variables of layers, each once, states of random generators apart."""
    found = [v for layer in layers for v in without_seed_states(layer.variables)]
    return list({id(v): v for v in found}.values())


def draw_kernels(variables, initializer, *parts):
    """Draws kernels by `initializer(seed)`, the seed of `parts` and of the place."""
    for i, variable in enumerate(variables):
        if "kernel" in variable.name:
            draw = initializer(derive_seed(*parts, i))
            variable.assign(draw(variable.shape))


def reset_seed_generators(variables, *parts):
    """Sets the state of every seed generator among `variables` from `parts`."""
    for i, variable in enumerate(variables):
        if variable.name == SEED_STATE:
            seed = derive_seed(*parts, i)
            variable.assign(keras.ops.cast([seed, 0], variable.dtype))
