"""Publishing a preset: it is checked, loaded, given its card for the hub, and sent."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from typing import Any

from keras_lifelong.metrics import Result
from keras_lifelong.presets import card
from keras_lifelong.presets import hubs
from keras_lifelong.presets import layout
from keras_lifelong.presets.reading import Preset


def upload_preset(
    uri: str,
    directory: str | os.PathLike,
    message: str | None = None,
    private: bool = False,
) -> str:
    """Publishes what `save_to_preset` wrote.

    Every file is checked and the model is loaded before anything is sent. The card is
    written anew for the hub, unless you have edited it.

    Args:
        uri: "hf://user/name" or "kaggle://owner/model/framework/variation".
        directory: of the preset.
        message: of the commit or version.
        private: whether a new repository of Hugging Face is private.

    Returns:
        The URI, with the commit where the hub tells it.

    Raises:
        ValueError: if it is no preset that can be loaded, or `uri` no hub's.
        OSError: if the hub refuses.
        ImportError: if the hub's client is not installed.

    Example:

    ```python
    model.save_to_preset("den_digits")
    kl.upload_preset("hf://user/den_digits", "den_digits")
    ```
    """
    return publish(directory, uri, message=message, private=private)["uploaded"]


def publish(
    directory: str | os.PathLike,
    uri: str,
    message: str | None = None,
    private: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """As `upload_preset`; with `dry_run` all but the sending.

    Returns:
        Dict of "files" (path -> bytes) that were or would be sent, "card" (its text),
        and "uploaded" (see `upload_preset`; None after a dry run).
    """
    from keras_lifelong.model import LifelongModel

    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise ValueError(
            f"`directory` must be that of a preset. Received: {str(directory)!r}."
        )
    if "://" not in uri:
        raise ValueError(
            "`uri` must be a hub's, such as 'hf://user/name'; to write a directory, "
            f"use `model.save_to_preset`. Received: {uri!r}."
        )
    hubs.source(uri)  # refuses what is no URI before anything is read
    preset = Preset(directory)
    preset.check_all()
    LifelongModel.from_preset(directory)
    with tempfile.TemporaryDirectory(prefix="keras_lifelong_") as place:
        copy = pathlib.Path(place) / uri.rpartition("/")[2].partition("@")[0]
        _copy(preset, directory, copy, uri)
        sent = sorted(path for path in copy.rglob("*") if path.is_file())
        found = {
            "files": {p.relative_to(copy).as_posix(): p.stat().st_size for p in sent},
            "card": (copy / layout.CARD).read_text(encoding="utf-8"),
            "uploaded": None,
        }
        if not dry_run:
            found["uploaded"] = hubs.upload(uri, copy, message, private)
    return found


def _copy(preset: Preset, directory, copy, uri):
    """Copies the files that the preset lists, with a card that names `uri`."""
    for file in [*preset.metadata["files"], layout.METADATA]:
        if (directory / file).exists():  # a card may have been removed
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory / file, copy / file)
    listed = preset.metadata["files"].get(layout.CARD)
    edited = (copy / layout.CARD).exists() and layout.describe(
        copy / layout.CARD
    ) != listed
    if not edited:
        tasks = preset.json(layout.TASKS, list)
        results = preset.json(layout.METRICS, dict)["results"]
        figures = [f for f in preset.metadata["files"] if f.endswith(".png")]
        last = Result.from_dict(results[-1]) if results else None
        text = card.write(uri, preset.metadata, tasks, last, sorted(figures))
        (copy / layout.CARD).write_text(text, encoding="utf-8")
    metadata = {**preset.metadata, "files": layout.files(copy)}
    layout.write_json(copy / layout.METADATA, metadata)
