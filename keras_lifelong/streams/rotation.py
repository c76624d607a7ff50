"""Rotating many images at once."""

from __future__ import annotations

import numpy as np

CHUNK = 2048  # images; bounds the memory for coordinates and weights


def rotate(images: np.ndarray, degrees: float | np.ndarray) -> np.ndarray:
    """Images rotated about their centre, bilinear, black where nothing comes in.

    Every pixel of the result is a weighted mean of the four pixels around the place it
    came from. For one angle these places are computed once for all images.

    Args:
        images: (n, height, width, channels), any real dtype.
        degrees: counter-clockwise; one angle, or (n,) an angle for each image.

    Returns:
        float32, of the images' shape and range.

    Example:

    >>> image = np.array([[1, 2], [3, 4]], "float32").reshape(1, 2, 2, 1)
    >>> rotate(image, 90).round(3).reshape(2, 2).tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    n, height, width, channels = images.shape
    degrees = np.asarray(degrees, "float64").reshape(-1)
    out = np.empty((n, height * width, channels), "float32")
    for start in range(0, n, CHUNK):
        chunk = slice(start, start + CHUNK)
        if start == 0 or degrees.size > 1:
            angles = degrees if degrees.size == 1 else degrees[chunk]
            places, weights = _neighbours(height, width, angles)
        # A border of black pixels, which stand for all that lies outside.
        padded = np.pad(images[chunk], ((0, 0), (1, 1), (1, 1), (0, 0)))
        padded = padded.reshape(len(padded), -1, channels)
        rows = np.arange(len(padded))[:, None] if degrees.size > 1 else slice(None)
        out[chunk] = sum(
            weight[..., None] * padded[rows, place]
            for place, weight in zip(places, weights, strict=True)
        )
    return out.reshape(images.shape)


def _neighbours(height, width, degrees):
    """Places in the padded image and weights of four neighbours, (4, [n,] pixels)."""
    radians = np.deg2rad(degrees)[:, None]
    cos, sin = np.cos(radians), np.sin(radians)
    rows, columns = np.indices((height, width)).reshape(2, -1)
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
    # Rows count downwards, so this turns the image counter-clockwise.
    row = np.clip(cos * y + sin * x + (height - 1) / 2, -1, height) + 1
    column = np.clip(cos * x - sin * y + (width - 1) / 2, -1, width) + 1
    top = np.minimum(row.astype(int), height)
    left = np.minimum(column.astype(int), width)
    down, right = (row - top).astype("float32"), (column - left).astype("float32")
    place = top * (width + 2) + left
    places = (place, place + 1, place + width + 2, place + width + 3)
    weights = (
        (1 - down) * (1 - right),
        (1 - down) * right,
        down * (1 - right),
        down * right,
    )
    if len(degrees) == 1:
        return [p[0] for p in places], [w[0] for w in weights]
    return places, weights
