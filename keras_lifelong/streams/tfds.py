"""Reading data sets prepared by TensorFlow Datasets."""

from __future__ import annotations

import numpy as np

from keras_lifelong.streams.sampling import hold_out


def load(name: str, split: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """All images (n, height, width, channels), uint8, and labels (n,) of a split.

    Args:
        name: of the data set in TFDS.
        split: "train" or "test".
        data_dir: where TFDS keeps its data; None: `TFDS_DATA_DIR`, or TFDS' default.

    Raises:
        FileNotFoundError: if the data set isn't there, saying how to get it.
        ImportError: if TFDS isn't installed.
    """
    batches = list(_read(name, split, data_dir, batch_size=1024))
    x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return x, y


def _builder(name, data_dir):
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"The data set {name!r} is read with tensorflow-datasets; install it with "
            "tensorflow. On a machine without TensorFlow use the stream 'npz' and a "
            "file made elsewhere by `keras-lifelong export`."
        ) from error
    return tfds.builder(name, data_dir=data_dir)


def _missing(name, builder):
    return FileNotFoundError(
        f"The data set {name!r} is not in {builder.data_path}. Get it once with\n"
        f"  python -c \"import tensorflow_datasets as tfds; tfds.load('{name}')\"\n"
        "or, if another folder has it, name that folder in the environment "
        "variable TFDS_DATA_DIR or the stream's argument `data_dir`."
    )


def check(name: str, data_dir: str | None) -> None:
    """Looks whether a data set is there, without reading it.

    Raises:
        FileNotFoundError, ImportError: as `load`.
    """
    builder = _builder(name, data_dir)
    if not builder.data_path.exists():
        raise _missing(name, builder)


def _read(name, split, data_dir, batch_size=None):
    """Pairs of images and labels, in batches if a size is given."""
    builder = _builder(name, data_dir)
    try:
        data = builder.as_dataset(split=split, batch_size=batch_size)
    except AssertionError as error:  # TFDS' way to say that it isn't prepared
        raise _missing(name, builder) from error
    import tensorflow_datasets as tfds

    for batch in tfds.as_numpy(data):
        yield batch["image"], batch["label"]


def load_splits(
    name: str, validation: int | float, seed: int, data_dir: str | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Train, validation and test data, validation held out of the training data.

    Args:
        name, data_dir: as in `load`.
        validation: images to hold out, a number if integer, else a part.
        seed: of the hold-out.
    """
    x, y = load(name, "train", data_dir)
    kept, held = hold_out(y, validation, seed)
    return {
        "train": (x[kept], y[kept]),
        "validation": (x[held], y[held]),
        "test": load(name, "test", data_dir),
    }


def load_covering(
    name: str, split: str, side: int, data_dir: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """As `load`, for images of any size: the middle square of each, `side` pixels wide.

    Raises:
        FileNotFoundError, ImportError: as `load`.
    """
    examples = [(covering(x, side), y) for x, y in _read(name, split, data_dir)]
    x, y = zip(*examples, strict=True)
    return np.stack(x), np.array(y)


def covering(image: np.ndarray, side: int) -> np.ndarray:
    """Scaled so that it just covers a square, and cropped to it from the middle.

    Args:
        image: (height, width, 3), uint8.
        side: of the square, in pixels.
    """
    from PIL import Image
    from PIL import ImageOps

    bilinear = Image.Resampling.BILINEAR
    return np.asarray(ImageOps.fit(Image.fromarray(image), (side, side), bilinear))
