"""Arrays in files, which are believed nothing."""

import h5py
import numpy as np
import pytest

from keras_lifelong.presets import weights

ARRAYS = {
    "a/b c": np.arange(6, dtype="float32").reshape(2, 3),
    "scalar": np.float32(3),
    "empty": np.zeros((0, 4), "float32"),
    "count": np.arange(3),
}


def test_what_is_written_is_read(tmp_path):
    weights.write(tmp_path / "x.h5", ARRAYS)
    found = weights.read(tmp_path / "x.h5")
    assert found.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert found[key].dtype == array.dtype and found[key].shape == array.shape
        assert (found[key] == array).all()
    some = weights.read(tmp_path / "x.h5", lambda key: key != "count")
    assert some.keys() == ARRAYS.keys() - {"count"}
    weights.write(tmp_path / "y.h5", ARRAYS)
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "y.h5").read_bytes()


def put(file, how):
    if how == "group":
        file.create_group("x")
    elif how == "soft link":
        file["x"] = h5py.SoftLink("/y")
    elif how == "external link":
        file["x"] = h5py.ExternalLink("/etc/hostname", "/y")
    elif how == "text":
        file["x"] = "text"
    elif how == "complex":
        file["x"] = np.ones(3, "complex64")
    elif how == "record":
        file["x"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
    elif how == "compressed":
        zeros = np.zeros(10**6, "f4")
        file.create_dataset("x", data=zeros, compression="gzip")
    elif how == "never stored":
        file.create_dataset("x", shape=(10**6, 10**6), dtype="f4")
    elif how == "virtual":
        layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
        layout[:] = h5py.VirtualSource("other.h5", "y", shape=(4,))
        file.create_virtual_dataset("x", layout)
    elif how == "in another file":
        place = [("other.raw", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("x", shape=(4,), dtype="f4", external=place)
    elif how == "NaN":
        file["x"] = np.array([1.0, np.nan])
    else:
        file["x"] = np.array([np.inf])


REFUSED = {
    "group": "'x' is no array",
    "soft link": "'x' is a link",
    "external link": "'x' is a link",
    "text": "'x' is of type object, where numbers are accepted",
    "complex": "'x' is of type complex64",
    "record": "'x' is of type",
    "compressed": "'x' is stored in another way",
    "never stored": "'x' claims 4,000,000,000,000 bytes, which the file does not hold",
    "virtual": "'x' is stored in another way",
    "in another file": "'x' is stored in another way",
    "NaN": "'x' holds numbers that are not finite",
    "infinity": "'x' holds numbers that are not finite",
}


@pytest.mark.parametrize("how", REFUSED)
def test_nothing_but_plain_numbers_is_read(how, tmp_path):
    (tmp_path / "other.raw").write_bytes(bytes(16))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        put(file, how)
    with pytest.raises(ValueError, match=REFUSED[how]):
        weights.read(tmp_path / "x.h5")


@pytest.mark.parametrize("raw", [b"", b"\x89HDF\r\n\x1a\n", b"PK\3\4" * 99, bytes(512)])
def test_no_hdf5_file(raw, tmp_path):
    (tmp_path / "x.h5").write_bytes(raw)
    with pytest.raises(ValueError, match="no readable HDF5 file"):
        weights.read(tmp_path / "x.h5")
