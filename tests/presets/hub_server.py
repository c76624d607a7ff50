"""A hub of Hugging Face's kind on 127.0.0.1, for its real client to talk to.

It speaks what `create_repo`, `repo_info`, `list_repo_files`, `create_commit` and
`hf_hub_download` of the client ask for, keeps repositories in memory, each as a list of
commits, and fails when and as it is told to. As at the real one, small text files are
Git's (their ETag is Git's SHA-1); others are stored on another host under their SHA-256
and reached by a redirect.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
from urllib.parse import unquote
from urllib.parse import urlsplit

TOKEN = "hf_test"
STORED = (".h5", ".png")  # what `.gitattributes` of a new repository hands to LFS


@dataclasses.dataclass
class Repository:
    """Commits as (hash, {name: content}), the newest last."""

    private: bool = False
    commits: list = dataclasses.field(default_factory=list)

    def push(self, files):
        """A commit with these files, all and only; returns its hash."""
        commit = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode())
        self.commits.append((commit.hexdigest(), dict(files)))
        return commit.hexdigest()

    def at(self, revision):
        """The (hash, files) of a revision, or None."""
        if revision == "main":
            return self.commits[-1]
        return next((c for c in self.commits if c[0] == revision), None)


@dataclasses.dataclass
class Fault:
    """What goes wrong with requests whose path matches, so many times.

    `kind`: "break" (half of the content, then nothing; with `ranges=False` a request
    to go on is answered from the start again), "refuse" (no content at all), "bytes"
    (others, as many), "short" (too few, said to be all), "status" (an HTTP state),
    "push" (somebody else makes a commit before the answer), "endless" (zeros, without a
    length).
    """

    kind: str
    pattern: str = ""
    method: str = ""
    times: float = float("inf")
    status: int = 0
    headers: dict = dataclasses.field(default_factory=dict)
    ranges: bool = True


class HubServer:
    """`with HubServer() as hub:` serves until the block ends.

    Attributes:
        url: for `HF_ENDPOINT`.
        repositories: `Repository` objects by "user/name".
        log: (method, path, whether a token came along) of each request.
        faults: `Fault` objects; the first that matches happens.
    """

    def __init__(self):
        self.repositories, self.stored, self.log, self.faults = {}, {}, [], []
        self.sent = 0  # bytes of endless answers
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._servers = [
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in "ab"
        ]
        hub, storage = (server.server_port for server in self._servers)
        self.url = f"http://127.0.0.1:{hub}"
        self.storage = f"http://localhost:{storage}"  # another name is another host

    def __enter__(self):
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_):
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def fail(self, *args, **kwargs):
        self.faults.append(Fault(*args, **kwargs))

    def fetched(self):
        """Names of the files whose content was asked for, in order."""
        paths = [path for method, path, _ in self.log if method == "GET"]
        found = [re.fullmatch(r"/.+?/resolve/\w+/(.+)", path) for path in paths]
        stored = [re.fullmatch(r"/storage/\w+/(.+)", path) for path in paths]
        return [m[1] for pair in zip(found, stored, strict=True) for m in pair if m]

    def fault(self, method, path):
        with self.lock:
            for fault in self.faults:
                fits = re.search(fault.pattern, path) and fault.method in ("", method)
                if fits and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


def checksum(name, content):
    """The ETag of a file at the hub."""
    if name.endswith(STORED):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self.hub.log.append((self.command, path, authorised))
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # whoever sent it is gone
            self.close_connection = True
            return None
        self.fault = self.hub.fault(self.command, path)
        if self.fault and self.fault.kind == "status":
            return self._json(
                {"error": "told to"}, self.fault.status, self.fault.headers
            )
        if self.fault and self.fault.kind == "push":
            repository = self.hub.repositories["/".join(path.split("/")[3:5])]
            repository.push({**repository.commits[-1][1], "theirs.txt": b"theirs"})
        for pattern, method in (
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
            (r"/storage/(\w+)/.+", self._storage),
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", lambda _: self._json({})),
            (r"/api/models/([^/]+/[^/]+)(?:/revision/main)?", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self._preupload),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
        ):
            if match := re.fullmatch(pattern, path):
                if self.command in ("POST", "PUT") and "/storage/" not in path:
                    if not authorised:
                        return self._json({"error": "Invalid username"}, 401)
                return method(body, *match.groups())
        return self._json({"error": f"no such address: {path}"}, 404)

    # Reading

    def _file(self, _, repo, revision, name):
        found = self._revision(repo, revision)
        if found is None:
            return
        commit, files = found
        if name not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return self._json({"error": "Entry not found"}, 404, headers)
        content, etag = files[name], checksum(name, files[name])
        headers = {"X-Repo-Commit": commit}
        if not name.endswith(STORED):
            return self._content(content, {**headers, "ETag": f'"{etag}"'})
        self.hub.stored[etag] = content
        headers["X-Linked-ETag"] = f'"{etag}"'
        headers["X-Linked-Size"] = str(len(content))
        headers["Location"] = f"{self.hub.storage}/storage/{etag}/{name}"
        return self._json({}, 302, headers)

    def _storage(self, body, etag):
        if self.command == "PUT":
            self.hub.stored[etag] = body
            return self._json({})
        return self._content(self.hub.stored[etag], {"ETag": f'"{etag}"'})

    def _revision(self, repo, revision):
        repository = self.hub.repositories.get(repo)
        hidden = repository is None or (repository.private and not self.hub.log[-1][-1])
        if hidden:
            headers = {"X-Error-Code": "RepoNotFound"}
            return self._json({"error": "Repository not found"}, 401, headers)
        found = repository.at(revision)
        if found is None:
            headers = {"X-Error-Code": "RevisionNotFound"}
            return self._json({"error": "Invalid rev id"}, 404, headers)
        return found

    def _content(self, content, headers):
        """Sends a file or the part that is asked for, with the fault if any."""
        fault = self.fault if self.command == "GET" else None
        kind = fault.kind if fault else None
        if kind == "bytes":
            content = bytes(255 - byte for byte in content)
        elif kind == "short":
            content = content[: len(content) // 2]
        if kind == "endless":
            return self._endless(headers)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(start[1]) if start and (fault is None or fault.ranges) else 0
        self.send_response(206 if start else 200)
        if start:
            end = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        for item in headers.items():
            self.send_header(*item)
        self.end_headers()
        if self.command == "GET":
            end = {"break": len(content) // 2, "refuse": 0}.get(kind, len(content))
            self.wfile.write(content[start:end])

    def _endless(self, headers):
        """Sends bytes until nobody takes them, and says of no length."""
        self.send_response(200)
        for item in headers.items():
            self.send_header(*item)
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while self.hub.sent < 2**26:
                self.wfile.write(bytes(2**16))
                self.hub.sent += 2**16

    # Writing

    def _create(self, body):
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        exists = repo in self.hub.repositories
        if not exists:
            private = asked.get("visibility") == "private"
            self.hub.repositories[repo] = Repository(private)
            self.hub.repositories[repo].push({".gitattributes": b"*.h5 filter=lfs\n"})
        answer = {"url": f"{self.hub.url}/{repo}", "error": "exists"}
        return self._json(answer, 409 if exists else 200)

    def _info(self, _, repo):
        if found := self._revision(repo, "main"):
            private = self.hub.repositories[repo].private
            names = [{"rfilename": name} for name in found[1]]
            return self._json(
                {"id": repo, "sha": found[0], "private": private, "siblings": names}
            )

    def _tree(self, _, repo, revision):
        if found := self._revision(repo, revision):
            return self._json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": "0"}
                    for name, content in found[1].items()
                ]
            )

    def _preupload(self, body, repo, revision):
        if found := self._revision(repo, revision):
            return self._json(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs"
                            if file["path"].endswith(STORED)
                            else "regular",
                            "shouldIgnore": False,
                            "oid": file["path"] in found[1]
                            and checksum(file["path"], found[1][file["path"]])
                            or None,
                        }
                        for file in json.loads(body)["files"]
                    ]
                }
            )

    def _batch(self, body, _):
        answer = []
        for file in json.loads(body)["objects"]:
            if file["oid"] not in self.hub.stored:
                href = f"{self.hub.storage}/storage/{file['oid']}/upload"
                file["actions"] = {"upload": {"href": href}}
            answer.append(file)
        return self._json({"transfer": "basic", "objects": answer})

    def _commit(self, body, repo):
        found = self._revision(repo, "main")
        if found is None:
            return
        commit, files = found[0], dict(found[1])
        for line in body.splitlines():
            key, value = (json.loads(line)[part] for part in ("key", "value"))
            if key == "header" and value.get("parentCommit", commit) != commit:
                return self._json({"error": "A commit has happened since"}, 412)
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                content = self.hub.stored[value["oid"]]
                if checksum(".h5", content) != value["oid"]:
                    return self._json({"error": "wrong content"}, 400)
                files[value["path"]] = content
            elif key == "deletedFile":
                del files[value["path"]]
        commit = self.hub.repositories[repo].push(files)
        return self._json({"commitUrl": f"{self.hub.url}/{repo}", "commitOid": commit})

    def _json(self, answer, status=200, headers=None):
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for item in (headers or {}).items():
            self.send_header(*item)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(content)
