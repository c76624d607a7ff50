"""Rotation against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest

from keras_lifelong.streams import rotation
from keras_lifelong.streams.rotation import rotate


@pytest.mark.parametrize("angle", [0, 30, 90, 180, 213.5, -45, 720.1])
@pytest.mark.parametrize("shape", [(28, 28, 1), (5, 8, 3)])
def test_same_as_scipy(angle, shape):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = np.random.default_rng(0).random((3, *shape)).astype("float32")
    expected = ndimage.rotate(
        x, angle, axes=(2, 1), reshape=False, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(rotate(x, angle), expected, atol=1e-5)


def test_an_angle_for_each_image(monkeypatch):
    monkeypatch.setattr(rotation, "CHUNK", 3)  # several chunks
    x = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1), "uint8")
    angles = np.linspace(0, 360, 8)
    out = rotate(x, angles)
    assert out.shape == x.shape and out.dtype == "float32"
    for image, angle, rotated in zip(x, angles, out, strict=True):
        np.testing.assert_allclose(rotate(image[None], angle)[0], rotated, rtol=1e-6)
