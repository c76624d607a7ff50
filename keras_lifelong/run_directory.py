"""The directory of one run: who may write it, how far it is, what may be removed.

    config.yaml    written first: the resolved configuration; marks the directory ours
    checkpoint/    while tasks are learned, to resume
    preset/        the learned model
    results.json   written when all of the above is whole
    single/        a network for each task, if they were asked for: a run of its own
    figures/       made from results.json
    report.html    written last: with it the run is finished

A run killed at any moment leaves one of these states, and the next run goes on from it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_lifelong import config as config_lib

CONFIG = "config.yaml"
RESULTS = "results.json"
REPORT = "report.html"
SINGLE = "single"
SEED = "seed-"  # how the folder of a repetition begins, in a directory of several
# All that a run writes, in the order of removal: results first, so that a directory
# half emptied is never taken for a finished one, and our mark last.
OURS = (RESULTS, REPORT, "figures", "preset", "checkpoint", SINGLE, CONFIG)

_MARK = "# Written by `keras-lifelong run`: every setting of the run beside it.\n"
_LOCK = ".lock"
_REMOVED = ".removed"


def seed_folder(directory: Path, seed: int) -> Path:
    """Where the repetition with a seed is, in a directory of several."""
    return directory / f"{SEED}{seed}"


def seed_folders(directory: Path) -> dict[int, Path]:
    """The folders of repetitions that are in a directory, by seed and in its order."""
    names = [place.name.removeprefix(SEED) for place in directory.glob(f"{SEED}*")]
    seeds = sorted(int(n) for n in names if n.isdecimal() and n == str(int(n)))
    return {seed: seed_folder(directory, seed) for seed in seeds}


class RunDirectory:
    """The `--output_dir` of a run.

    Args:
        path: a directory, which need not exist.

    Raises:
        ValueError: if `path` is a file.

    Example:

    ```python
    directory = RunDirectory("runs/den")
    with directory.locked():
        directory.begin(config)
        result = model.fit_stream(stream, checkpoint_dir=directory.checkpoint)
        directory.save(model, result)
    ```
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"A run is a directory. Received a file: {self.path}")

    def check_ours(self) -> None:
        """Raises a ValueError if a run would write over what none wrote, or several."""
        for place in seed_folders(self.path).values():
            if RunDirectory(place).started:
                raise ValueError(
                    f"{self.path} holds runs of several seeds, as {place.name}. Give "
                    "another --output_dir, or go on there by --seeds"
                )
        foreign = [name for name in OURS if (self.path / name).exists()]
        if foreign and not self._is_marked():
            raise ValueError(
                f"{self.path} holds {', '.join(foreign)}, which no run wrote. Give a "
                "new or empty directory"
            )

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def has_results(self) -> bool:
        return (self.path / RESULTS).exists()

    @property
    def has_report(self) -> bool:
        return (self.path / REPORT).exists()

    @property
    def started(self) -> bool:
        """Whether a run was begun here, finished or not."""
        return self._is_marked()

    def differences(self, config: config_lib.Config) -> dict[str, tuple[Any, Any]]:
        """Each setting that differs -> (value of the run begun here, of `config`).

        Raises:
            ValueError: if the stored configuration is no longer a valid one.
        """
        return config_lib.load(self.path / CONFIG).differences(config)

    def differing(self, config: config_lib.Config) -> str:
        """`differences` as a message says them; "" if there are none."""
        found = self.differences(config)
        keys = [f"{k} is {a!r} there, {b!r} here" for k, (a, b) in found.items()]
        return "; ".join(keys)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for this process; the system lets go if it dies.

        Raises:
            BlockingIOError: if another process holds it.
        """
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / _LOCK, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(
                    f"Another run is writing to {self.path}. Wait for it, or give "
                    "another --output_dir"
                ) from error
            yield

    def clear(self) -> None:
        """Removes what runs wrote, and nothing else."""
        self._remove_leftovers()
        for name in OURS:
            # Moved first: a kill leaves each of them whole, or out of the way.
            if os.path.lexists(self.path / name):
                os.replace(self.path / name, self.path / _REMOVED)
                self._remove_leftovers()

    def begin(self, config: config_lib.Config) -> None:
        """Stores the configuration; the directory is ours from here on."""
        from keras_lifelong.files import write_atomic

        text = _MARK + config.to_yaml()
        write_atomic(self.path / CONFIG, text.encode())

    def save(self, model: Any, result: Any) -> None:
        """Stores the model, with the result, and after it the result by itself."""
        model.results[-1:] = [result]  # which knows the configuration
        preset = self.path / "preset"
        if preset.exists():  # of a run killed while it was written
            shutil.rmtree(preset)
        model.save_to_preset(str(preset))
        result.save(self.path / RESULTS)

    def write_report(self) -> None:
        """Makes figures and page anew from `results.json`.

        Raises:
            FileNotFoundError: if there is no `results.json`.
        """
        if not self.has_results:
            raise FileNotFoundError(
                f"There is no {RESULTS} in {self.path}: no run finished there"
            )
        from keras_lifelong.report import page

        page.write(self.result(), self.path)

    def result(self) -> Any:
        """The stored `Result`."""
        from keras_lifelong.metrics import Result

        return Result.load(self.path / RESULTS)

    def _is_marked(self) -> bool:
        try:
            return (self.path / CONFIG).read_text(encoding="utf-8").startswith(_MARK)
        except (OSError, UnicodeDecodeError):
            return False

    def _remove_leftovers(self) -> None:
        removed = self.path / _REMOVED
        if removed.is_dir() and not removed.is_symlink():
            shutil.rmtree(removed)
        elif os.path.lexists(removed):
            removed.unlink()
