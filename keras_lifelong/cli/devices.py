"""`--devices`: each batch of a run shared out among devices."""

from __future__ import annotations

from typing import Any

from absl import flags

from keras_lifelong.cli.command import UsageError


def devices_flag(values: flags.FlagValues) -> None:
    """Defines the flag."""
    text = "Share each batch out among so many devices (TensorFlow or JAX)."
    flags.DEFINE_integer("devices", None, text, flag_values=values)


def share_out(count: int | None, config: Any) -> None:
    """Lets so many devices compute a part of each batch; None: one computes all.

    Args:
        count: of devices.
        config: the `Config` of the run; `keras.distribution` is set for the process.

    Raises:
        UsageError: if there are not as many, or they do not divide a batch.
    """
    if count is None:
        return
    import keras

    from keras_lifelong import backend

    name = keras.backend.backend()
    if name == "torch":
        raise UsageError(
            f"--devices needs KERAS_BACKEND=tensorflow or jax. Received: {name}"
        )
    batch_size = config.resolved["training"]["batch_size"]
    if count < 1 or batch_size % count:
        raise UsageError(
            f"--devices must divide training.batch_size, {batch_size}. "
            f"Received: {count}"
        )
    try:
        backend.divide_processor(count)
    except RuntimeError as error:
        raise UsageError(
            "--devices must be given before TensorFlow has made its devices. "
            f"Received: {count}, after it has ({error})"
        ) from error
    there = keras.distribution.list_devices()
    if count > len(there):
        raise UsageError(
            f"--devices must be 1 to {len(there)}: {', '.join(there)}. On a CPU "
            "XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of them for "
            f"JAX; for TensorFlow they are made. Received: {count}"
        )
    parallel = keras.distribution.DataParallel(devices=there[:count])
    keras.distribution.set_distribution(parallel)
