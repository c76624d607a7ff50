"""Publishing a preset: it is checked, loaded, given its card for the hub, and sent."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from keras_lifelong.metrics import Result
from keras_lifelong.presets import card
from keras_lifelong.presets import hubs
from keras_lifelong.presets import layout
from keras_lifelong.presets import local_paths
from keras_lifelong.presets.layout import CARD
from keras_lifelong.presets.reading import Preset


def upload_preset(
    uri: str,
    directory: str | os.PathLike,
    message: str | None = None,
    private: bool = False,
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> str:
    """Publishes what `save_to_preset` wrote.

    Every file is checked and the model is loaded before anything is sent. The card is
    written anew for the hub, unless you have edited it.

    Args:
        uri: "hf://user/name" or "kaggle://owner/model/framework/variation".
        directory: of the preset.
        message: of the commit or version.
        private: whether a new repository of Hugging Face is private.
        license: of your model, by the hub's name for it, such as "apache-2.0" on
            Hugging Face. None: none is named.
        datasets: on which it was learned, by the hub's names. None are named else.

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
    done = publish(
        directory,
        uri,
        message=message,
        private=private,
        license=license,
        datasets=datasets,
    )
    return done["uploaded"]


def publish(
    directory: str | os.PathLike,
    uri: str,
    message: str | None = None,
    private: bool = False,
    dry_run: bool = False,
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> dict[str, Any]:
    """As `upload_preset`; with `dry_run` all but the sending.

    Paths of this machine, which a preset of an earlier version may hold, are left out.

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
    _check_said(license, datasets)
    hubs.source(uri)  # refuses what is no URI before anything is read
    preset = Preset(directory)
    preset.check_all()
    LifelongModel.from_preset(directory)
    with tempfile.TemporaryDirectory(prefix="keras_lifelong_") as place:
        copy = pathlib.Path(place) / uri.rpartition("/")[2].partition("@")[0]
        _copy(preset, copy, uri, license, datasets)
        sent = sorted(path for path in copy.rglob("*") if path.is_file())
        found = {
            "files": {p.relative_to(copy).as_posix(): p.stat().st_size for p in sent},
            "card": (copy / layout.CARD).read_text(encoding="utf-8"),
            "uploaded": None,
        }
        if not dry_run:
            found["uploaded"] = hubs.upload(uri, copy, message, private, license)
    return found


def _check_said(license, datasets):
    if license is not None and (not isinstance(license, str) or not license.strip()):
        raise ValueError(f"`license` must be a name or None. Received: {license!r}.")
    if isinstance(datasets, str) or not all(isinstance(d, str) and d for d in datasets):
        raise ValueError(f"`datasets` must be a list of names. Received: {datasets!r}.")


def _copy(preset: Preset, copy, uri, license, datasets):
    """Writes what the preset holds, checked, with a card that names `uri`.

    What is written is what was read: no file is opened again, and no link followed.
    """
    contents = {f: preset.content(f) for f in preset.metadata["files"] if f != CARD}
    metrics = preset.json(layout.METRICS, dict)
    contents |= _without_paths(contents, metrics)
    card_text = preset.edited(CARD)
    listed = preset.metadata["files"].get(CARD)
    if card_text is None or layout.description(card_text) == listed:  # not edited
        tasks = preset.json(layout.TASKS, list)
        results = metrics["results"]
        figures = [f for f in preset.metadata["files"] if f.endswith(".png")]
        last = Result.from_dict(results[-1]) if results else None
        text = card.write(
            uri,
            preset.metadata,
            tasks,
            last,
            sorted(figures),
            license=license,
            datasets=datasets,
        )
        card_text = text.encode()
    for file, content in {**contents, CARD: card_text}.items():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes(content)
    metadata = {**preset.metadata, "files": layout.files(copy)}
    layout.write_json(copy / layout.METADATA, metadata)


def _without_paths(contents, metrics):
    """The files that named paths of this machine, without them."""
    found = {}
    results = [
        {**r, "config": local_paths.left_out(r.get("config"))}
        for r in metrics["results"]
    ]
    if results != metrics["results"]:
        text = json.dumps({**metrics, "results": results}, indent=1)
        found[layout.METRICS] = text.encode()
    if layout.EXPERIMENT in contents:
        from keras_lifelong import strict_yaml  # PyYAML, which nothing else here needs

        said = strict_yaml.parse(contents[layout.EXPERIMENT].decode())
        if (public := local_paths.left_out(said)) != said:
            found[layout.EXPERIMENT] = strict_yaml.dump(public).encode()
    return found
