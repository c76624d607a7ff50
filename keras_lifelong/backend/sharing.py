"""The devices that batches are shared out among, whatever the backend."""

import keras


def devices() -> tuple[str, ...]:
    """Those of `keras.distribution`, as it is set now; none: one computes all."""
    found = keras.distribution.distribution()
    return () if found is None else tuple(map(str, found.device_mesh.devices.flat))
