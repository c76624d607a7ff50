"""Hubs that lie, and publishing that is killed at any byte."""

import json
import random
import socket

import hub_server
import pytest
from test_hubs import FILES
from test_hubs import LARGE
from test_hubs import SMALL
from test_hubs import kept
from test_hubs import write

from keras_lifelong.presets import hubs
from keras_lifelong.presets import json_text
from keras_lifelong.presets import reading


@pytest.fixture
def published(hub):
    hub.repository = hub.repositories[hub.repo] = hub_server.Repository()
    hub.repository.push(FILES)
    hub.sent = 0
    return hub


class Kill(BaseException):
    """What no client catches."""


class Line:
    """Counts what sockets send, and kills whoever sends the n-th byte."""

    def __init__(self, patch, hub, limit=None):
        self.sent, self.limit = 0, limit
        self.ports = {int(url.rpartition(":")[2]) for url in (hub.url, hub.storage)}
        for name in ("send", "sendall"):
            send = getattr(socket.socket, name)
            patch.setattr(socket.socket, name, self._counted(send))

    def _counted(self, send):
        def counted(sock, data, *flags):
            data = memoryview(data).cast("B")
            to_hub = sock.family == socket.AF_INET
            if not to_hub or sock.getpeername()[1] not in self.ports:
                return send(sock, data, *flags)  # the hub's own answers
            if self.limit is not None and self.sent + len(data) > self.limit:
                send(sock, data[: max(0, self.limit - self.sent)], *flags)
                self.sent = self.limit
                raise Kill
            self.sent += len(data)
            return send(sock, data, *flags)

        return counted


def test_publishing_is_killed_at_any_byte(hub, tmp_path, monkeypatch):
    """Then the hub has the earlier preset, and the next try publishes all."""
    old = {SMALL: b"old"}

    def publish(number, limit):
        """An upload of what was never stored before; the bytes that were sent."""
        content = {**FILES, LARGE: bytes([number]) + FILES[LARGE][: 2**18]}
        directory = write(tmp_path / f"{number}", content)
        hub.repo = f"user/killed_{number:02}"
        repository = hub.repositories[hub.repo] = hub_server.Repository()
        repository.push(old)
        with monkeypatch.context() as patch:
            line = Line(patch, hub, limit)
            if limit is None:
                hubs.upload(f"hf://{hub.repo}", directory)
                return line.sent
            with pytest.raises(Kill):
                hubs.upload(f"hf://{hub.repo}", directory)
        assert [each[1] for each in repository.commits] == [old], limit
        hubs.upload(f"hf://{hub.repo}", directory)
        assert repository.commits[-1][1] == content

    whole = publish(0, None)
    assert whole > 2**18
    rng = random.Random(0)
    places = [0, 1, whole // 2, *(rng.randrange(whole - 300) for _ in range(7))]
    for number, place in enumerate(places, 1):
        publish(number, place)


@pytest.mark.parametrize("name", [SMALL, LARGE])
def test_an_answer_without_end_is_cut_off(published, name):
    published.fail("endless", f"/{name}$", "GET")
    with pytest.raises(hubs.HubError, match=f"'{name}' not fetched"):
        hubs.source(published.uri).file(name)
    assert published.sent < 2**25  # of the 64 MiB that would have come
    assert kept(published) == []


@pytest.mark.parametrize(
    "place", ["file:///etc/hostname", "/loop", "//", "ftp://127.0.0.1/x", "http://["]
)
def test_a_hub_that_sends_elsewhere(published, place):
    where = published.url + f"/{published.repo}/resolve/main/{SMALL}"
    header = {"Location": where if place == "/loop" else place}
    published.fail("status", f"/{SMALL}$", status=302, headers=header)
    with pytest.raises(hubs.HubError, match=f"'{SMALL}' not fetched"):
        hubs.source(published.uri).file(SMALL)
    assert kept(published) == []


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/../../x", "C:/x", "a\\b"])
def test_names_that_leave_the_directory(published, tmp_path, name):
    """In what metadata.json lists, and asked of a source."""
    entry = {"bytes": 1, "sha256": "0" * 64}
    metadata = {"schema": 1, "files": {name: entry}}
    published.repository.push({**FILES, SMALL: json.dumps(metadata).encode()})
    with pytest.raises(reading.PresetError, match="leaves the preset"):
        reading.Preset(published.uri)
    with pytest.raises(ValueError, match="must be the path of a file within"):
        hubs.source(published.uri).file(name)


def test_a_file_that_is_larger_than_it_may_be_is_not_fetched(published, monkeypatch):
    monkeypatch.setattr(json_text, "LARGEST", 10)
    with pytest.raises(hubs.HubError, match="too large: 13 bytes, where 10 are"):
        reading.Preset(published.uri)
    assert published.fetched() == [] and kept(published) == []
