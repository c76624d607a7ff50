"""Where the files of a preset come from, and where a preset is published.

What is fetched from Hugging Face is kept in the client's folder for the files of other
libraries (`~/.cache/huggingface/assets/keras_lifelong`, moved by `HF_HOME`): regular
files with their own names, in a folder for each commit. The client's own cache would
give links to files without a suffix, and readers of presets refuse links. A file gets
its name only once its checksum, which the client does not look at, is found right.
Kaggle's client checks and keeps files itself.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fnmatch
import hashlib
import importlib
import os
import pathlib
import re
import tempfile
import time
from typing import Any

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

_CORRUPT = "what came has another checksum than the hub names. Try again"
_COMMIT = re.compile("[0-9a-f]{40}")
_ANSWER = re.compile("[0-9a-f]{40} ([0-9a-f]{40}|[0-9a-f]{64})")  # commit, checksum
_TRIES = 3  # of the question that comes before a file
_LONGEST_WAIT = 10  # seconds in between; a longer one is left to the user


class HubError(OSError):
    """What a hub would not do: names the URI, what was asked and what to do."""


class HubFileNotFoundError(HubError, FileNotFoundError):
    """A preset on a hub has no such file."""


class Source:
    """The files of one preset, which `uri` names; see `source`."""

    def __init__(self, uri: str, place, version: str | None = None):
        self.uri, self._place, self.version = uri, place, version
        self._pinned = None  # what all files are of, once one has been fetched

    def file(self, name: str, largest: int | None = None) -> pathlib.Path:
        """A regular file here that holds one file of the preset.

        It is fetched only now: who reads two tasks fetches those. All files of one
        source are of one version, whatever is pushed in between.

        Args:
            name: path within the preset, with `/`, as `"tasks/one.weights.h5"`.
            largest: bytes above which Hugging Face is not asked for it.

        Raises:
            ValueError: if `name` leads out of the preset.
            FileNotFoundError: if the preset has no such file.
            HubError: if a hub does not give it, or it is too large; a later call may.
            ImportError: if the hub's client is not installed.
        """
        raise NotImplementedError  # there is one class for each place

    def open(self, name: str, largest: int | None = None) -> int:
        """A descriptor of one file of the preset, for reading; see `file`.

        What is open stays what it is, whatever takes the file's name meanwhile.

        Raises:
            ValueError: if it is a link or leads out of the preset.
            OSError: as `file`.
        """
        return _opened(self.file(name, largest))

    def replaced(self) -> bool:
        """Whether another preset has taken this one's place since it was opened."""
        return False

    def close(self) -> None:
        """Lets go of what is open."""

    def upload(
        self,
        directory: pathlib.Path,
        message: str,
        private: bool,
        license: str | None,
    ) -> str:
        """Publishes a preset here, as `upload` does; returns its URI."""
        raise NotImplementedError  # a directory is no place to publish at


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
        return _Directory(text, pathlib.Path(text))
    shipped = [path.parent.name for path in sorted(_SHIPPED.glob(f"*/{_METADATA}"))]
    if text in shipped:
        return _Directory(text, _SHIPPED / text)
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


class _Directory(Source):
    """A preset in a directory, which stays the one that was opened first."""

    _folder: int | None = None

    def open(self, name, largest=None):
        if self._folder is None:
            self._folder = os.open(self._place, _FOLDER)
        *parents, last = _inside(name).split("/")
        try:
            if not parents:
                return _opened(last, self._folder)
            inner = self._folder
            for part in parents:
                outer, inner = inner, _inner(part, inner)
                if outer != self._folder:
                    os.close(outer)
            try:
                return _opened(last, inner)
            finally:
                os.close(inner)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.uri!r} has no file {name!r} ({self._place / name})."
            ) from error

    def replaced(self):
        if self._folder is None:
            return False
        mine = os.fstat(self._folder)
        try:
            there = os.stat(self._place)
        except FileNotFoundError:
            return True
        return (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino)

    def close(self):
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def file(self, name, largest=None):
        path = self._place / _inside(name)
        if not path.is_file():
            raise FileNotFoundError(f"{self.uri!r} has no file {name!r} ({path}).")
        return path


class _HuggingFace(Source):
    """A preset in a model repository of Hugging Face."""

    def file(self, name, largest=None):
        _inside(name)
        hub = _client("huggingface_hub")
        revision = self._pinned or self.version or "main"
        exact = _COMMIT.fullmatch(revision)
        if exact and (kept := self._kept(hub, revision, name)).is_file():
            return kept
        with _asking(f"{self.uri!r}: {name!r} not fetched, nothing kept", _HF_LOGIN):
            url = hub.hf_hub_url(self._place, name, revision=revision)
            found = _patiently(lambda: hub.get_hf_file_metadata(url))
            commit, checksum = found.commit_hash, found.etag
            known = _ANSWER.fullmatch(f"{commit} {checksum}")
            if not known or found.size is None or (exact and commit != revision):
                raise _Reason(
                    "the answer names no checksum, no size or not the commit, so it is "
                    "not the hub's. Look at HF_ENDPOINT and at proxies"
                )
            if largest is not None and found.size > largest:
                raise _Reason(
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
                    raise _Reason(_CORRUPT)
                os.replace(fetched, kept)
        return kept

    def _kept(self, hub, commit, name):
        return hub.cached_assets_path("keras_lifelong", self._place, commit) / name

    def upload(self, directory, message, private, license):
        hub = _client("huggingface_hub")
        api = hub.HfApi()
        names = [p.relative_to(directory) for p in directory.rglob("*") if p.is_file()]
        names = [p.as_posix() for p in names if not re.search(r"(^|/)\.", p.as_posix())]
        with _asking(f"{self.uri!r}: {str(directory)!r} not uploaded", _HF_LOGIN):
            api.create_repo(self._place, private=private, exist_ok=True)
            there = api.repo_info(self._place)
            if private and not there.private:
                raise _Reason(
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
        _inside(name)
        hub = _client("kagglehub")
        handle = f"{self._place}/{self.version}" if self.version else self._place
        with _asking(f"{self.uri!r}: {name!r} not fetched", _KAGGLE_LOGIN):
            path = pathlib.Path(hub.model_download(handle, path=name))
            folder = path.parents[name.count("/")]
            path = path.resolve() if path.is_symlink() else path
            if not path.is_file():
                raise _Reason(f"kagglehub gave {str(path)!r}, which is no file")
            if self._pinned not in (None, folder):
                raise _Reason("a new version came in between. Start again")
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
        with _asking(f"{self.uri!r}: {str(directory)!r} not uploaded", _KAGGLE_LOGIN):
            hub.model_upload(
                self._place,
                str(directory),
                license_name=license,
                version_notes=message,
                ignore_patterns=[".*", "*/.*"],
            )
        return self.uri


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe would keep who opens it waiting for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _opened(path, folder: int | None = None) -> int:
    try:
        return os.open(path, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("it is a link, or no file") from error
        raise


def _inner(name: str, folder: int) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ValueError("its folder is a link") from error
        raise


class _Reason(Exception):
    """What needs no more explaining."""


def _inside(name: str) -> str:
    """Checks that the name of a file stays within the preset, on any system."""
    drive = pathlib.PureWindowsPath(name).drive
    if {"", ".", ".."} & set(name.split("/")) or "\\" in name or drive:
        raise ValueError(
            f"`name` must be the path of a file within the preset. Received: {name!r}."
        )
    return name


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
                raise _Reason("the connection breaks off each time. Try again later")
            return super().update(n)

    return Bounded


def _checksum(path, length: int) -> str:
    """SHA-256 of a large file, Git's SHA-1 of a small one, as the hub has them."""
    start = b"" if length == 64 else b"blob %d\0" % os.path.getsize(path)
    with open(path, "rb") as file:
        kind = "sha256" if length == 64 else "sha1"
        return hashlib.file_digest(file, lambda: hashlib.new(kind, start)).hexdigest()


def _patiently(call):
    """Calls, and calls again after trouble that may pass."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return call()
        except Exception as error:
            response, broken = _origin(error)
            wait = _wait(response) or 1
            status = getattr(response, "status_code", None)
            passing = broken or status in (408, 429, 500, 502, 503, 504)
            if not (passing and tries_left and wait <= _LONGEST_WAIT):
                raise
        time.sleep(wait)


@contextlib.contextmanager
def _asking(what: str, login: str):
    """Makes a `HubError` that begins with `what` of all that a client raises."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        words = f"{kind}: {(str(error).strip().splitlines() or [''])[0].rstrip('.')}"
        response, broken = _origin(error)
        code = getattr(response, "headers", {}).get("X-Error-Code")
        status = getattr(response, "status_code", None)
        words = f"HTTP {status}, {words}" if status else words
        wait = _wait(response)
        reasons: dict[Any, str] = {
            "_Reason": str(error),
            "DataCorruptionError": _CORRUPT,
            "OSError": f"{words}. Try again",
            "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set. What was fetched before is "
            "read without the hub if the URI ends with '@' and the commit",
            "EntryNotFound": "the preset has no such file",
            404: f"the hub knows nothing of that name or revision ({words})",
            412: "somebody else has changed it meanwhile. Try again",
            429: "the hub gets too many requests (HTTP 429). Try again "
            + ("later" if wait is None else f"in {wait} seconds"),
            **dict.fromkeys((500, 502, 503, 504), f"{words}. Try again later"),
            True: f"the connection broke ({words}). Try again",
        }
        for key in (401, 403, "CredentialError", "UnauthenticatedError"):
            reasons[key] = (
                f"the hub refuses it ({words}). It is private, does not exist, or "
                f"needs a right that you do not have. {login}"
            )
        keys = (kind, code, status, broken)
        why = next((reasons[key] for key in keys if key in reasons), words)
        raised = HubFileNotFoundError if code == "EntryNotFound" else HubError
        raise raised(f"{what}: {why.rstrip('.')}.") from error


def _origin(error):
    """The answer of a server that led to an exception, and whether a connection broke.

    By names, as each client has its own classes.
    """
    response, names = None, set()
    while error is not None:
        if response is None:  # not `or`: an answer that is an error counts as False
            response = getattr(error, "response", None)
        names |= {base.__name__ for base in type(error).__mro__}
        error = error.__cause__
    broken = names & {"ConnectionError", "TransportError", "RequestException"}
    broken = broken and "OfflineModeIsEnabled" not in names
    return response, response is None and bool(broken)


def _wait(response) -> int | None:
    """The seconds that a server wants one to wait, if it says so."""
    headers = {} if response is None else response.headers
    limit = re.search(r";\s*t\s*=\s*(\d+)", headers.get("RateLimit", ""))
    after = headers.get("Retry-After", "").strip()
    return int(after) if after.isdecimal() else int(limit[1]) if limit else None
