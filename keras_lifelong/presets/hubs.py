"""Where the files of a preset come from, and where a preset is published.

What is fetched from Hugging Face is kept in the client's folder for the files of other
libraries (`~/.cache/huggingface/assets/keras_lifelong`, moved by `HF_HOME`): regular
files with their own names, in a folder for each commit. The client's own cache would
give links to files without a suffix, and readers of presets refuse links. A file gets
its name only once its checksum, which the client does not look at, is found right.
Kaggle's client checks and keeps files itself.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import importlib
import os
import pathlib
import re
import tempfile
from typing import Any

from keras_lifelong.presets.hub_errors import CORRUPT
from keras_lifelong.presets.hub_errors import HubError
from keras_lifelong.presets.hub_errors import HubFileNotFoundError
from keras_lifelong.presets.hub_errors import Reason
from keras_lifelong.presets.hub_errors import asking
from keras_lifelong.presets.hub_errors import patiently
from keras_lifelong.presets.source import Directory
from keras_lifelong.presets.source import Source
from keras_lifelong.presets.source import inside

__all__ = ["HubError", "HubFileNotFoundError", "Source", "source", "upload"]

_SHIPPED = pathlib.Path(__file__).parents[1] / "zoo" / "presets"
_METADATA = "metadata.json"
_OF_TASKS = ("tasks/*.weights.h5", "figures/*")  # as many as a model has tasks

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HF = re.compile(rf"hf://(?!.*(?:--|\.\.))({_PART}/{_PART})(?:@([^\s@]+))?")
_KAGGLE = re.compile(rf"kaggle://({_PART}(?:/{_PART}){{3}})(?:/([1-9][0-9]*))?")
_FORMS = (
    "'hf://user/name' (with '@revision', if any), "
    "'kaggle://owner/model/framework/variation' (with '/version', if any)"
)
_HF_LOGIN = "To log in, set HF_TOKEN or run `hf auth login`."
_KAGGLE_LOGIN = "To log in, run `kagglehub.login()` or write ~/.kaggle/kaggle.json."

_COMMIT = re.compile("[0-9a-f]{40}")
_ANSWER = re.compile("[0-9a-f]{40} ([0-9a-f]{40}|[0-9a-f]{64})")  # commit, checksum


def source(uri: str | os.PathLike) -> Source:
    """Says where the files of a preset come from; fetches nothing yet.

    Args:
        uri: `hf://user/name[@revision]`, a model repository of Hugging Face;
            `kaggle://owner/model/framework/variation[/version]`, a model of Kaggle; a
            directory; or the name of a preset in `keras_lifelong/zoo/presets` (over
            which a directory of that name wins).

    Raises:
        ValueError: if it is none of these.

    Example:

    ```python
    preset = source("hf://user/name")
    metadata = json.loads(preset.file("metadata.json").read_text())
    ```
    """
    if not isinstance(uri, str | os.PathLike):
        raise ValueError(f"`uri` must be a string or a path. Received: {uri!r}.")
    text = os.fspath(uri)
    if match := _HF.fullmatch(text):
        return _HuggingFace(text, *match.groups())
    if match := _KAGGLE.fullmatch(text):
        return _Kaggle(text, *match.groups())
    if text and "://" not in text and os.path.isdir(text):
        return Directory(text, pathlib.Path(text))
    shipped = [path.parent.name for path in sorted(_SHIPPED.glob(f"*/{_METADATA}"))]
    if text in shipped:
        return Directory(text, _SHIPPED / text)
    nearest = difflib.get_close_matches(text, shipped, n=len(shipped) or 1, cutoff=0)
    raise ValueError(
        f"`uri` must be {_FORMS}, a directory, or the name of a preset of this package "
        f"({', '.join(map(repr, nearest)) or 'none yet'}). Received: {text!r}."
    )


def upload(
    uri: str,
    directory: str | os.PathLike,
    message: str | None = None,
    private: bool = False,
    license: str | None = None,
) -> str:
    """Publishes a preset, as the newest version of what is there.

    Hugging Face: creates the repository if need be; one commit, which deletes the files
    of tasks and figures that the new preset no longer has. Kaggle: a new version.

    Args:
        uri: `hf://user/name` or `kaggle://owner/model/framework/variation`.
        directory: of a preset. Hidden files are left out.
        message: of the commit or version.
        private: whether a new repository of Hugging Face is private. (A new model of
            Kaggle is, until you make it public on its page.)
        license: by Kaggle's name for it. None: none is named. (Hugging Face reads it in
            the card.)

    Returns:
        The URI, with the commit where the hub tells it.

    Raises:
        ValueError: if `uri` is no place to upload to, or `directory` no preset.
        HubError: if the hub refuses, or the repository is public and not to be.
        ImportError: if the hub's client is not installed.
    """
    target = source(uri) if isinstance(uri, str) and "://" in uri else None
    if target is None or target.version is not None:
        raise ValueError(
            f"`uri` must be {_FORMS}, here without revision or version; to write a "
            f"directory, use `model.save_to_preset`. Received: {uri!r}."
        )
    directory = pathlib.Path(directory)
    links = any(path.is_symlink() for path in directory.rglob("*"))
    if links or not (directory / _METADATA).is_file():
        raise ValueError(  # what links lead to need not be meant for others
            f"`directory` must be a preset, with a {_METADATA} and without links. "
            f"Received: {str(directory)!r}."
        )
    return target.upload(directory, message or "Upload a preset", private, license)


class _HuggingFace(Source):
    """A preset in a model repository of Hugging Face."""

    def file(self, name, largest=None):
        inside(name)
        hub = _client("huggingface_hub")
        revision = self._pinned or self.version or "main"
        exact = _COMMIT.fullmatch(revision)
        if exact and (kept := self._kept(hub, revision, name)).is_file():
            return kept
        with asking(f"{self.uri!r}: {name!r} not fetched, nothing kept", _HF_LOGIN):
            url = hub.hf_hub_url(self._place, name, revision=revision)
            found = patiently(lambda: hub.get_hf_file_metadata(url))
            commit, checksum = found.commit_hash, found.etag
            known = _ANSWER.fullmatch(f"{commit} {checksum}")
            if not known or found.size is None or (exact and commit != revision):
                raise Reason(
                    "the answer names no checksum, no size or not the commit, so it is "
                    "not the hub's. Look at HF_ENDPOINT and at proxies"
                )
            if largest is not None and found.size > largest:
                raise Reason(
                    f"it is too large: {found.size:,} bytes, where {largest:,} are "
                    "expected"
                )
            self._pinned = commit
            if (kept := self._kept(hub, commit, name)).is_file():
                return kept
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=kept.parent) as scratch:
                fetched = hub.hf_hub_download(
                    self._place,
                    name,
                    revision=commit,
                    local_dir=scratch,
                    tqdm_class=_bounded(found.size),
                )
                if _checksum(fetched, len(checksum)) != checksum:
                    raise Reason(CORRUPT)
                os.replace(fetched, kept)
        return kept

    def _kept(self, hub, commit, name):
        return hub.cached_assets_path("keras_lifelong", self._place, commit) / name

    def upload(self, directory, message, private, license):
        hub = _client("huggingface_hub")
        api = hub.HfApi()
        names = [p.relative_to(directory) for p in directory.rglob("*") if p.is_file()]
        names = [p.as_posix() for p in names if not re.search(r"(^|/)\.", p.as_posix())]
        with asking(f"{self.uri!r}: {str(directory)!r} not uploaded", _HF_LOGIN):
            api.create_repo(self._place, private=private, exist_ok=True)
            there = api.repo_info(self._place)
            if private and not there.private:
                raise Reason(
                    "`private` is asked of a repository that is public. Take another "
                    "name or make it private on its page"
                )
            steps = [hub.CommitOperationAdd(n, directory / n) for n in sorted(names)]
            for name in api.list_repo_files(self._place, revision=there.sha):
                old = any(fnmatch.fnmatch(name, pattern) for pattern in _OF_TASKS)
                if old and name not in names:
                    steps.append(hub.CommitOperationDelete(name))
            # Not `upload_folder`, which may make several commits: in between, the
            # repository would hold a mixture of two presets.
            commit = api.create_commit(
                self._place,
                steps,
                commit_message=message,
                parent_commit=there.sha,  # refused if somebody pushes meanwhile
            )
        return f"{self.uri}@{commit.oid}"


class _Kaggle(Source):
    """A preset in a model of Kaggle."""

    def file(self, name, largest=None):
        inside(name)
        hub = _client("kagglehub")
        handle = f"{self._place}/{self.version}" if self.version else self._place
        with asking(f"{self.uri!r}: {name!r} not fetched", _KAGGLE_LOGIN):
            path = pathlib.Path(hub.model_download(handle, path=name))
            folder = path.parents[name.count("/")]
            path = path.resolve() if path.is_symlink() else path
            if not path.is_file():
                raise Reason(f"kagglehub gave {str(path)!r}, which is no file")
            if self._pinned not in (None, folder):
                raise Reason("a new version came in between. Start again")
        self._pinned = folder
        if self.version is None and folder.name.isdecimal():
            self.version = folder.name  # the client names folders by the version
        return path

    def upload(self, directory, message, private, license):
        if private:
            raise ValueError(
                "`private` must be False for Kaggle: a new model is private there, "
                "until you make it public on its page."
            )
        hub = _client("kagglehub")
        with asking(f"{self.uri!r}: {str(directory)!r} not uploaded", _KAGGLE_LOGIN):
            hub.model_upload(
                self._place,
                str(directory),
                license_name=license,
                version_notes=message,
                ignore_patterns=[".*", "*/.*"],
            )
        return self.uri


def _client(name: str):
    """The client of a hub."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'This needs {name} ({error}): pip install "keras-lifelong[hub]".'
        ) from error


def _bounded(size: int | None):
    """A progress bar that ends a transfer which the client would begin for ever.

    The client gives up after attempts that bring nothing, not after those that bring
    the same beginning again. (Less than a MiB it fetches in one piece, or not at all.)
    """

    bar: Any = importlib.import_module("huggingface_hub.utils").tqdm

    class Bounded(bar):
        received = 0

        def update(self, n=1):
            self.received += max(n or 0, 0)
            if size is not None and self.received > 3 * max(size, 2**20):
                raise Reason("the connection breaks off each time. Try again later")
            return super().update(n)

    return Bounded


def _checksum(path, length: int) -> str:
    """SHA-256 of a large file, Git's SHA-1 of a small one, as the hub has them."""
    start = b"" if length == 64 else b"blob %d\0" % os.path.getsize(path)
    with open(path, "rb") as file:
        kind = "sha256" if length == 64 else "sha1"
        return hashlib.file_digest(file, lambda: hashlib.new(kind, start)).hexdigest()
