"""Presets from directories and hubs, and to hubs.

Hugging Face's client is the real one, against a server on 127.0.0.1 (`hub_server.py`).
"""

import importlib
import importlib.util
import inspect
import pathlib
import subprocess
import sys
import types

import hub_server
import pytest

from keras_lifelong.presets import hubs

FILES = {
    "metadata.json": b'{"format": 1}',
    "README.md": b"---\nlicense: apache-2.0\n---\n# A preset\n",
    "tasks/one.weights.h5": bytes(range(256)) * 2**13,  # 2 MiB
    "tasks/two.weights.h5": bytes(range(255, -1, -1)) * 30,
    "figures/accuracy.png": b"\x89PNG" * 50,
}
LARGE = "tasks/one.weights.h5"
SMALL = "metadata.json"


@pytest.fixture
def published(hub):
    """The server with a repository of the five files."""
    hub.repository = hub.repositories[hub.repo] = hub_server.Repository()
    hub.repository.push(FILES)
    return hub


def write(directory, files=FILES):
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def kept(hub):
    """What lies in the folder of fetched files of this test's repository."""
    import huggingface_hub

    folder = huggingface_hub.cached_assets_path("keras_lifelong", hub.repo).parent
    return [path for path in folder.rglob("*") if path.is_file()]


# Names and directories


def test_a_directory_is_joined(tmp_path):
    preset = hubs.source(write(tmp_path))
    assert preset.uri == str(tmp_path)
    assert preset.file(LARGE) == tmp_path / LARGE
    with pytest.raises(FileNotFoundError, match=r"has no file 'tasks/three'") as caught:
        preset.file("tasks/three")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "tasks/../../secret", "", "a\\b", "C:/x", "a//b"],
)
@pytest.mark.parametrize("uri", [".", "hf://user/name", "kaggle://a/b/keras/c"])
def test_a_name_does_not_lead_out(uri, name):
    with pytest.raises(ValueError, match="`name` must be the path of a file within"):
        hubs.source(uri).file(name)


def test_a_shipped_preset_is_found_by_name(tmp_path, monkeypatch):
    shipped = tmp_path / "zoo"
    for name in ("den_digits", "par_digits", "ewc_rotation"):
        write(shipped / name)
    (shipped / "den_drafts").mkdir()  # without metadata
    monkeypatch.setattr(hubs, "_SHIPPED", shipped)
    monkeypatch.chdir(tmp_path)
    preset = hubs.source("den_digits")
    assert preset.uri == "den_digits"
    assert preset.file(SMALL) == shipped / "den_digits" / SMALL
    with pytest.raises(ValueError) as caught:
        hubs.source("den_digitz")
    assert "('den_digits', 'par_digits', 'ewc_rotation')" in str(caught.value)
    assert "Received: 'den_digitz'." in str(caught.value)

    mine = write(tmp_path / "den_digits", {SMALL: b"mine"})
    assert hubs.source("den_digits").file(SMALL).read_bytes() == b"mine"
    assert hubs.source(mine).file(SMALL).read_bytes() == b"mine"


def test_the_shipped_presets_lie_in_the_package():
    import keras_lifelong

    package = pathlib.Path(keras_lifelong.__file__).parent
    assert package / "zoo" / "presets" == hubs._SHIPPED


@pytest.mark.parametrize(
    "uri",
    [
        "hf://name",
        "hf://user/name/file",
        "hf://user/name@",
        "hf://user/../name",
        "hf://user/a--b",
        "hf://user/na me",
        "HF://user/name",
        "kaggle://owner/model/keras",
        "kaggle://owner/model/keras/base/latest",
        "kaggle://owner/model/keras/base/0",
        "kaggle://owner/model/keras/base/1/file",
        "s3://bucket/name",
        "no/such/directory",
        "",
        7,
        None,
    ],
)
def test_what_is_no_source_is_named(uri):
    with pytest.raises(ValueError, match="`uri` must be .* Received: ") as caught:
        hubs.source(uri)
    assert repr(uri) in str(caught.value)
    if isinstance(uri, str):
        assert "hf://user/name" in str(caught.value)
        assert "kaggle://owner/model/framework/variation" in str(caught.value)


@pytest.mark.parametrize("uri", ["preset", "a/preset", "hf:/user/name", 3])
def test_upload_leaves_directories_to_save_to_preset(uri, tmp_path):
    with pytest.raises(ValueError, match="`uri` must be .*save_to_preset.* Received: "):
        hubs.upload(uri, write(tmp_path))


def test_upload_wants_a_preset(tmp_path):
    with pytest.raises(ValueError, match="`directory` must be a preset"):
        hubs.upload("hf://user/name", tmp_path)
    write(tmp_path)
    for uri in ("hf://user/name@main", "kaggle://owner/model/keras/base/3"):
        with pytest.raises(ValueError, match="without revision or version"):
            hubs.upload(uri, tmp_path)
    (tmp_path / "tasks" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="without links"):
        hubs.upload("hf://user/name", tmp_path)


def test_importing_loads_neither_keras_nor_clients():
    code = "import sys, keras_lifelong.presets.hubs; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"keras", "tensorflow", "numpy", "huggingface_hub", "kagglehub"}


@pytest.mark.parametrize(
    "uri, package",
    [("hf://user/name", "huggingface_hub"), ("kaggle://a/b/keras/c", "kagglehub")],
)
def test_a_missing_client_says_what_to_install(uri, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}.*keras-lifelong\[hub\]"):
        hubs.source(uri).file(SMALL)
    with pytest.raises(ImportError, match=rf"{package}.*keras-lifelong\[hub\]"):
        hubs.upload(uri, write(tmp_path))


# Hugging Face: reading


def test_only_the_files_asked_for_are_fetched(published):
    preset = hubs.source(published.uri)
    assert published.log == []  # nothing before a file is asked for
    for name in (SMALL, LARGE):
        path = preset.file(name)
        assert path.read_bytes() == FILES[name]
        assert path.is_file() and not path.is_symlink()
        assert path.parts[-len(name.split("/")) :] == tuple(name.split("/"))
    assert published.fetched() == [SMALL, LARGE]
    assert len(kept(published)) == 2

    requests = len(published.log)
    assert preset.file(LARGE).read_bytes() == FILES[LARGE]
    assert len(published.log) == requests  # kept: the hub is not asked again
    hubs.source(published.uri).file(LARGE)
    assert published.fetched() == [SMALL, LARGE]


def test_the_storage_gets_no_token(published):
    hubs.source(published.uri).file(LARGE)
    seen = {path.startswith("/storage/"): token for _, path, token in published.log}
    assert seen == {True: False, False: True}


def test_a_push_in_between_mixes_nothing(published):
    old = published.repository.commits[-1][0]
    preset = hubs.source(published.uri)
    assert preset.file(SMALL).read_bytes() == FILES[SMALL]
    new = published.repository.push({name: b"new" for name in FILES})
    assert preset.file(LARGE).read_bytes() == FILES[LARGE]
    assert preset.file("README.md").read_bytes() == FILES["README.md"]
    assert hubs.source(published.uri).file(SMALL).read_bytes() == b"new"
    assert hubs.source(f"{published.uri}@{new}").file(LARGE).read_bytes() == b"new"
    pinned = hubs.source(f"{published.uri}@{old}")
    assert (
        pinned.file("figures/accuracy.png").read_bytes()
        == FILES["figures/accuracy.png"]
    )


def test_a_commit_that_was_fetched_needs_no_hub(published, monkeypatch):
    commit = published.repository.commits[-1][0]
    hubs.source(published.uri).file(LARGE)
    published.fail("status", status=503)
    preset = hubs.source(f"{published.uri}@{commit}")
    assert preset.file(LARGE).read_bytes() == FILES[LARGE]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert preset.file(LARGE).read_bytes() == FILES[LARGE]
    with pytest.raises(hubs.HubError, match="HF_HUB_OFFLINE is set"):
        preset.file(SMALL)
    assert published.waits == [] or sum(published.waits) < 5


@pytest.mark.parametrize("name", [SMALL, LARGE])
def test_a_transfer_that_breaks_once_goes_on(published, name):
    published.fail("break", f"/{name}$", "GET", times=1)
    assert hubs.source(published.uri).file(name).read_bytes() == FILES[name]
    assert published.fetched() == [name, name]


@pytest.mark.parametrize("name", [SMALL, LARGE])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kind", ["break", "refuse"])
def test_a_transfer_that_always_breaks_ends(published, kind, ranges, name):
    published.fail(kind, f"/{name}$", "GET", ranges=ranges)
    preset = hubs.source(published.uri)
    with pytest.raises(hubs.HubError, match="connection .*[Tt]ry again") as caught:
        preset.file(name)
    assert f"'{published.uri}': '{name}' not fetched" in str(caught.value)
    assert "nothing kept" in str(caught.value)
    assert sum(published.waits) < 10  # seconds, had they been waited for
    assert kept(published) == []
    published.faults.clear()
    assert preset.file(name).read_bytes() == FILES[name]


@pytest.mark.parametrize("name", [SMALL, LARGE])
@pytest.mark.parametrize(
    "kind, words", [("bytes", "another checksum"), ("short", "should be of size")]
)
def test_wrong_content_is_not_kept(published, kind, words, name):
    published.fail(kind, f"/{name}$", "GET")
    preset = hubs.source(published.uri)
    with pytest.raises(hubs.HubError, match=f"{name}.*{words}"):
        preset.file(name)
    assert kept(published) == []
    published.faults.clear()
    assert preset.file(name).read_bytes() == FILES[name]


def test_a_file_that_is_not_there(published):
    with pytest.raises(FileNotFoundError, match="tasks/three.*no such file") as caught:
        hubs.source(published.uri).file("tasks/three.weights.h5")
    assert isinstance(caught.value, hubs.HubError)
    assert kept(published) == []


def test_a_repository_or_revision_that_is_not_there(published):
    with pytest.raises(
        hubs.HubError, match="Revision.*Look at|knows nothing"
    ) as caught:
        hubs.source(f"{published.uri}@v2").file(SMALL)
    assert not isinstance(caught.value, FileNotFoundError)
    # The hub does not tell those without a right from those without an object.
    with pytest.raises(hubs.HubError, match="401.*does not exist.*hf auth login"):
        hubs.source("hf://user/nothing").file(SMALL)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_how_to_log_in(published, status):
    published.fail("status", status=status)
    with pytest.raises(
        hubs.HubError, match=f"{status}.*HF_TOKEN or run `hf auth login`"
    ):
        hubs.source(published.uri).file(SMALL)
    assert published.waits == []


def test_a_private_repository_needs_the_token(published, monkeypatch):
    published.repository.private = True
    assert hubs.source(published.uri).file(SMALL).read_bytes() == FILES[SMALL]
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(hubs.HubError, match="HF_TOKEN"):
        hubs.source(published.uri).file(LARGE)


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "2"}, {"RateLimit": '"resolvers";r=0;t=2'}]
)
def test_a_short_wait_is_waited(published, headers):
    published.fail("status", status=429, headers=headers, times=1)
    assert hubs.source(published.uri).file(SMALL).read_bytes() == FILES[SMALL]
    assert published.waits == [2]


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "300"}, {"RateLimit": '"resolvers";r=0;t=300'}]
)
def test_a_long_wait_is_told(published, headers):
    published.fail("status", status=429, headers=headers)
    preset = hubs.source(published.uri)
    with pytest.raises(hubs.HubError, match=r"429.*Try again in 300 seconds"):
        preset.file(SMALL)
    assert published.waits == []
    published.faults.clear()
    assert preset.file(SMALL).read_bytes() == FILES[SMALL]


def test_a_rate_limit_that_stays(published):
    published.fail("status", status=429, headers={"Retry-After": "1"})
    with pytest.raises(hubs.HubError, match="429.*Try again in 1 seconds"):
        hubs.source(published.uri).file(SMALL)
    assert published.waits == [1, 1]


def test_a_hub_in_trouble(published):
    published.fail("status", status=503, times=1)
    assert hubs.source(published.uri).file(SMALL).read_bytes() == FILES[SMALL]
    published.fail("status", status=503)
    with pytest.raises(hubs.HubError, match="503"):
        hubs.source(published.uri).file(LARGE)
    assert sum(published.waits) < 10


def test_no_hub_at_all(published, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
        raising=False,
    )
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    with pytest.raises(hubs.HubError, match=f"'{SMALL}' not fetched.*connection broke"):
        hubs.source(published.uri).file(SMALL)
    assert published.log == [] and sum(published.waits) < 10


def test_an_answer_that_is_no_hub_s(published):
    published.fail("status", method="HEAD", status=200)
    with pytest.raises(hubs.HubError, match="not the hub's. Look at HF_ENDPOINT"):
        hubs.source(published.uri).file(SMALL)


# Hugging Face: writing


def test_upload_then_download_is_the_same(hub, tmp_path):
    write(tmp_path / "preset", {**FILES, ".hidden": b"x", ".git/config": b"x"})
    written = hubs.upload(hub.uri, tmp_path / "preset", message="First")
    repository = hub.repositories[hub.repo]
    commit, files = repository.commits[-1]
    assert written == f"{hub.uri}@{commit}"
    assert len(repository.commits) == 2  # the hub's own first one, and one of ours
    assert files == {**FILES, ".gitattributes": files[".gitattributes"]}
    for uri in (hub.uri, written):
        preset = hubs.source(uri)
        assert {name: preset.file(name).read_bytes() for name in FILES} == FILES


def test_uploading_again_deletes_old_tasks_and_figures(hub, tmp_path):
    hubs.upload(hub.uri, write(tmp_path / "old"))
    repository = hub.repositories[hub.repo]
    notes = {**repository.commits[-1][1], "notes.txt": b"by hand"}
    repository.push(notes)
    new = {
        SMALL: b'{"format": 2}',
        "README.md": FILES["README.md"],
        "tasks/two.weights.h5": b"two" * 99,
        "tasks/three.weights.h5": b"three" * 99,
    }
    hubs.upload(hub.uri, write(tmp_path / "new", new))
    files = dict(repository.commits[-1][1])
    assert files.pop(".gitattributes") and files.pop("notes.txt") == b"by hand"
    assert files == new
    assert len(repository.commits) == 4  # deleted and added in one commit


def test_uploading_the_same_again_changes_nothing(hub, tmp_path):
    first = hubs.upload(hub.uri, write(tmp_path))
    assert hubs.upload(hub.uri, tmp_path) == first


def test_privacy_is_kept(hub, tmp_path):
    hubs.upload(hub.uri, write(tmp_path), private=True)
    repository = hub.repositories[hub.repo]
    assert repository.private
    hubs.upload(hub.uri, write(tmp_path, {SMALL: b"{}"}), private=True)
    repository.private = False
    before = len(repository.commits)
    with pytest.raises(hubs.HubError, match="public"):
        hubs.upload(hub.uri, tmp_path, private=True)
    assert len(repository.commits) == before


@pytest.mark.parametrize(
    "pattern, status, words",
    [
        ("", 401, "HF_TOKEN or run `hf auth login`"),
        ("/preupload/", 403, "HF_TOKEN or run `hf auth login`"),
        ("/commit/main", 412, "somebody else has changed it"),
        ("/commit/main", 429, "Try again in 300 seconds"),
        ("/commit/main", 500, "500"),
        ("/storage/", 403, "403"),
    ],
)
def test_an_upload_that_fails_changes_nothing(hub, tmp_path, pattern, status, words):
    hub.repositories[hub.repo] = hub_server.Repository()
    hub.repositories[hub.repo].push({SMALL: b"old"})
    headers = {"Retry-After": "300"} if status == 429 else {}
    hub.fail("status", pattern, status=status, headers=headers)
    content = {**FILES, LARGE: f"{pattern} {status}".encode()}  # nothing stored before
    with pytest.raises(hubs.HubError, match=words) as caught:
        hubs.upload(hub.uri, write(tmp_path, content))
    assert f"'{hub.uri}': '{tmp_path}' not uploaded" in str(caught.value)
    assert len(hub.repositories[hub.repo].commits) == 1
    hub.faults.clear()
    hubs.upload(hub.uri, tmp_path)
    assert hub.repositories[hub.repo].commits[-1][1] == content


def test_an_upload_does_not_mix_with_another(hub, tmp_path):
    hubs.upload(hub.uri, write(tmp_path))
    hub.fail("push", "/preupload/", times=1)
    with pytest.raises(hubs.HubError, match="somebody else has changed it meanwhile"):
        hubs.upload(hub.uri, write(tmp_path, {SMALL: b"{}"}))
    files = hub.repositories[hub.repo].commits[-1][1]
    assert files["theirs.txt"] and files[SMALL] == FILES[SMALL]
    hubs.upload(hub.uri, tmp_path)
    files = hub.repositories[hub.repo].commits[-1][1]
    assert files["theirs.txt"] and files[SMALL] == b"{}"


# Kaggle. There is none here: what is tested is what we ask of its client, with a stub
# in its place that keeps files as the client does, in a folder for each version.


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    stub = types.ModuleType("kagglehub")
    stub.calls, stub.versions, stub.error = [], [FILES], None
    stub.prefix = ""  # of the name of a version's folder

    def model_download(handle, path=None, *, force_download=False, output_dir=None):
        stub.calls.append((handle, path))
        if stub.error is not None:
            raise stub.error
        parts = handle.split("/")
        version = int(parts[4]) if len(parts) == 5 else len(stub.versions)
        folder = tmp_path.joinpath("kaggle", *parts[:4], f"{stub.prefix}{version}")
        write(folder, {path: stub.versions[version - 1][path]})
        return str(folder / path)

    def model_upload(
        handle,
        local_model_dir,
        license_name=None,
        version_notes="",
        ignore_patterns=None,
        *,
        sigstore=False,
    ):
        if stub.error is not None:
            raise stub.error
        stub.calls.append((handle, local_model_dir, license_name, version_notes))

    stub.model_download, stub.model_upload = model_download, model_upload
    monkeypatch.setitem(sys.modules, "kagglehub", stub)
    return stub


def test_the_stub_is_called_as_kaggle_s_client_is(kaggle, monkeypatch):
    monkeypatch.delitem(sys.modules, "kagglehub")
    real = pytest.importorskip("kagglehub", reason="the client is not installed")
    for name in ("model_download", "model_upload"):
        ours = inspect.signature(getattr(kaggle, name)).parameters
        theirs = inspect.signature(getattr(real, name)).parameters
        assert [(p.name, p.kind, p.default) for p in ours.values()] == [
            (p.name, p.kind, p.default) for p in theirs.values()
        ]


def test_kaggle_versions_are_not_mixed(kaggle):
    preset = hubs.source("kaggle://owner/model/keras/base")
    path = preset.file(LARGE)
    assert path.read_bytes() == FILES[LARGE] and path.parts[-3:-2] == ("1",)
    kaggle.versions.append({name: b"new" for name in FILES})
    assert preset.file(SMALL).read_bytes() == FILES[SMALL]
    assert kaggle.calls == [
        ("owner/model/keras/base", LARGE),
        ("owner/model/keras/base/1", SMALL),
    ]
    newest = hubs.source("kaggle://owner/model/keras/base/2")
    assert newest.file(SMALL).read_bytes() == b"new"


def test_kaggle_versions_are_not_mixed_where_folders_tell_no_number(kaggle):
    kaggle.prefix = "mounted_"
    preset = hubs.source("kaggle://owner/model/keras/base")
    preset.file(SMALL)
    preset.file(LARGE)
    kaggle.versions.append({name: b"new" for name in FILES})
    with pytest.raises(hubs.HubError, match="a new version came in between"):
        preset.file(SMALL)


def test_upload_to_kaggle(kaggle, tmp_path):
    uri = "kaggle://owner/model/keras/base"
    assert hubs.upload(uri, write(tmp_path / "preset"), message="Two tasks") == uri
    assert kaggle.calls == [
        ("owner/model/keras/base", str(tmp_path / "preset"), None, "Two tasks")
    ]
    hubs.upload(uri, tmp_path / "preset", license="MIT")
    assert kaggle.calls[-1][2] == "MIT"
    with pytest.raises(ValueError, match="`private` must be False for Kaggle"):
        hubs.upload(uri, tmp_path / "preset", private=True)


@pytest.mark.parametrize(
    "status, words",
    [
        (401, "kagglehub.login.*kaggle.json"),
        (403, "kagglehub.login.*kaggle.json"),
        (404, "knows nothing of that name"),
        (429, "Try again in 60 seconds"),
        (500, "500"),
        ("DataCorruptionError", "another checksum"),
        ("UnauthenticatedError", "kagglehub.login.*kaggle.json"),
        ("CredentialError", "kagglehub.login.*kaggle.json"),
        (ConnectionResetError, "connection broke"),
    ],
)
def test_what_kaggle_s_client_raises(kaggle, tmp_path, monkeypatch, status, words):
    """With the client's own exceptions, which the real `requests` makes of answers."""
    pytest.importorskip("kagglehub.exceptions", reason="the client is not installed")
    real = importlib.import_module("kagglehub.exceptions")
    if isinstance(status, int):
        requests = importlib.import_module("requests")
        response = requests.Response()
        response.status_code, response.url = status, "https://www.kaggle.com"
        response.headers["Retry-After"] = "60"
        kaggle.error = real.KaggleApiHTTPError(f"{status} Error", response=response)
    elif isinstance(status, str):
        kaggle.error = getattr(real, status)("what it says")
    else:
        kaggle.error = status("reset")
    uri = "kaggle://owner/model/keras/base"
    with pytest.raises(hubs.HubError, match=f"'{uri}': '{SMALL}' not fetched.*{words}"):
        hubs.source(uri).file(SMALL)
    with pytest.raises(hubs.HubError, match=f"'{uri}'.*not uploaded.*{words}"):
        hubs.upload(uri, write(tmp_path / "preset"))
