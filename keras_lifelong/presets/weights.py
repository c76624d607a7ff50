"""Arrays in an HDF5 file, read with nothing believed that the file says of itself.

Every array is a contiguous, unfiltered dataset of plain numbers at the root, under its
quoted name. So a file can hold no compressed bomb, link, reference or Python object,
and no array takes more memory than its part of the file.
"""

from __future__ import annotations

import io
import os
import urllib.parse
from collections.abc import Callable
from collections.abc import Mapping

import h5py
import numpy as np

MOST_ARRAYS = 20_000  # in a file: HDF5 takes a while for each


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name; the same arrays give the same bytes."""
    content = io.BytesIO()  # on a full disk HDF5 itself would end the process
    with h5py.File(content, "w") as file:
        for key in sorted(arrays):
            file.create_dataset(urllib.parse.quote(key, safe=""), data=arrays[key])
    with open(path, "wb") as file:
        file.write(content.getbuffer())


def read(
    source: str | os.PathLike | bytes, wanted: Callable[[str], bool] | None = None
) -> dict[str, np.ndarray]:
    """Reads arrays that `write` wrote.

    Args:
        source: path of the file, or what it holds.
        wanted: says of a name whether its array is to be read. None: all are.

    Raises:
        ValueError: if the file is not what `write` writes, or an array that is read
            has a number that is not finite.
    """
    content = source
    if not isinstance(content, bytes):
        with open(content, "rb") as opened:
            content = opened.read()
    size = len(content)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            if len(file) > MOST_ARRAYS:
                raise ValueError(
                    f"it holds {len(file):,} arrays, where {MOST_ARRAYS:,} are the most"
                )
            names = {urllib.parse.unquote(name): name for name in file}
            sets = {
                key: _checked(file, name, size)
                for key, name in names.items()
                if wanted is None or wanted(key)
            }
            if sum(s.nbytes for s in sets.values()) > size:
                raise ValueError("its arrays overlap")
            arrays = {key: np.asarray(s[()]) for key, s in sets.items()}
    except (OSError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no readable HDF5 file ({error})") from error
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"its array {key!r} holds numbers that are not finite")
    return arrays


def _checked(file, name: str, size: int):
    """A dataset of `file`, its data within the file's `size` bytes."""

    def refuse(why):
        raise ValueError(f"its entry {name!r} {why}")

    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        refuse("is a link")
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        refuse("is no array")
    if found.dtype.kind not in "fiub" or found.dtype.itemsize > 8:
        refuse(f"is of type {found.dtype}, where numbers are accepted")
    plan = found.id.get_create_plist()
    if (
        plan.get_layout() != h5py.h5d.CONTIGUOUS
        or plan.get_nfilters()
        or plan.get_external_count()
    ):
        refuse("is stored in another way than as plain numbers in one piece")
    if found.nbytes:
        start, held = found.id.get_offset(), found.id.get_storage_size()
        if start is None or held != found.nbytes or start + held > size:
            refuse(f"claims {found.nbytes:,} bytes, which the file does not hold")
    return found
