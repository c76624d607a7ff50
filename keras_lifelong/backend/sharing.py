"""The devices that batches are shared out among, whatever the backend."""

import keras


def devices() -> tuple[str, ...]:
    """Those of `keras.distribution`, as it is set now; none: one computes all."""
    found = keras.distribution.distribution()
    return () if found is None else tuple(map(str, found.device_mesh.devices.flat))


def check_parallel():
    """Refuses a `keras.distribution` that shares out more than the rows of batches.

    Raises:
        ValueError: naming what is set, and what is carried.
    """
    found = keras.distribution.distribution()
    if found is not None and not isinstance(found, keras.distribution.DataParallel):
        raise ValueError(
            "`keras.distribution` must be DataParallel: every device has all weights, "
            f"and a part of each batch. Received: {type(found).__name__}."
        )
