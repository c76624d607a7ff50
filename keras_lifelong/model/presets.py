"""Presets: a trained model as a directory of plain data, to publish and go on from."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import pathlib
import shutil
import tempfile

import keras

from keras_lifelong.layers import cell  # noqa: F401 - backbones may hold these
from keras_lifelong.layers import residual  # noqa: F401

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
TASKS = "tasks.json"


class PresetMixin:
    """`save_to_preset` and `from_preset` of a `LifelongModel`."""

    def save_to_preset(self, directory) -> None:
        """Writes the model to a directory: configuration, weights and tasks.

        The directory appears whole or not at all; an existing preset is replaced.

        Args:
            directory: path; its parent is created if absent.

        Raises:
            ValueError: if `directory` is a file, or a directory with other content.
            OSError: if the disk has no room for it; nothing is written then.

        Example:

        ```python
        model.save_to_preset("den_digits")
        model = kl.LifelongModel.from_preset("den_digits")
        ```
        """
        directory = pathlib.Path(directory)
        known = {CONFIG, WEIGHTS, TASKS}
        if directory.exists() and (
            not directory.is_dir()
            or not {path.name for path in directory.iterdir()} <= known
        ):
            raise ValueError(
                "`directory` must be new, empty or an earlier preset. "
                f"Received: {str(directory)!r}."
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._check_space(directory.parent)
        temporary = tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent)
        temporary = pathlib.Path(temporary)
        try:
            config = {
                "class_name": type(self).__name__,
                "registered_name": keras.saving.get_registered_name(type(self)),
                "config": self.get_config(),
                "compile_config": self.get_compile_config() if self.compiled else None,
                "keras_version": keras.__version__,
            }
            (temporary / CONFIG).write_text(json.dumps(config, indent=2))
            tasks = [
                {"name": name, **self.task_spec(name).to_config()}
                for name in self.task_names
            ]
            (temporary / TASKS).write_text(json.dumps(tasks, indent=2))
            self.save_weights(temporary / WEIGHTS)
            temporary.chmod(0o755)
            if directory.exists():  # kept until the new one is in its place
                aside = temporary.with_name(f"{temporary.name}.old")
                directory.rename(aside)
                temporary.rename(directory)
                shutil.rmtree(aside)
            else:
                temporary.rename(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _check_space(self, directory):
        """Raises an OSError if the disk is too full: HDF5 would crash the process."""
        arrays = self.get_state()[1].values()
        needed = 2**20 + sum(array.nbytes + 2**14 for array in arrays)
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"No space left for a preset of up to {needed} bytes; {free} are free",
                str(directory),
            )

    @classmethod
    def from_preset(cls, directory, load_weights: bool = True):
        """Loads what `save_to_preset` wrote; runs no code from it.

        Args:
            directory: path of a preset.
            load_weights: False gives an untrained model of the same configuration.

        Returns:
            A model of the class that was saved, which predicts as it did and goes on
            learning. It must be `cls` or a subclass of it.

        Raises:
            ValueError: if it is no preset, or of another class.
        """
        directory = pathlib.Path(directory)
        with _reading(directory, CONFIG):
            config = json.loads((directory / CONFIG).read_text())
            name = config["class_name"]
            arguments = config["config"]
            compile_config = config["compile_config"]
        package = importlib.import_module("keras_lifelong")
        if name in package.__all__:
            getattr(package, name)  # public classes are imported when first used
        found = next((c for c in _subclasses(cls) if c.__name__ == name), None)
        if found is None:
            raise ValueError(
                f"The preset {str(directory)!r} holds a {name}, which is no "
                f"{cls.__name__} known here."
            )
        with _reading(directory, CONFIG):
            model = found.from_config(arguments)
            if compile_config is not None:
                model.compile_from_config(compile_config)
        if load_weights:
            with _reading(directory, WEIGHTS):
                model.load_weights(directory / WEIGHTS)
        return model


@contextlib.contextmanager
def _reading(directory, file):
    """Names the preset and the file in whatever goes wrong while it is read."""
    try:
        yield
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(directory)!r} is no preset: {file} cannot be read "
            f"({type(error).__name__}: {error})."
        ) from error


def _subclasses(cls):
    """`cls` and all classes derived from it that have been imported."""
    found = [cls]
    for child in cls.__subclasses__():
        found += _subclasses(child)
    return found
