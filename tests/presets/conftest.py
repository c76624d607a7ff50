"""A hub on 127.0.0.1 for tests of presets."""

import importlib.util
import itertools
import os
import sys
import time

import hub_server
import pytest


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The client, as a user's environment would set it up to talk to the server."""
    if importlib.util.find_spec("huggingface_hub") is None:
        pytest.skip("huggingface_hub is not installed")
    folder = tmp_path_factory.mktemp("hf")
    with hub_server.HubServer() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HF_")]:
            patch.delenv(name)
        patch.setenv("HF_ENDPOINT", server.url)
        patch.setenv("HF_HOME", str(folder))
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        patch.setenv("HF_HUB_DISABLE_XET", "1")  # a protocol the server does not speak
        # The client reads its environment when it is imported: import it anew.
        for name in _modules_of_the_client():
            patch.delitem(sys.modules, name)
        server.numbers = itertools.count()
        yield server
        for name in _modules_of_the_client():
            del sys.modules[name]


def _modules_of_the_client():
    return [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]


@pytest.fixture
def hub(client, monkeypatch):
    """The server, without faults and with an empty log; pauses are noted and short."""
    client.faults.clear()
    client.log.clear()
    client.waits = []
    sleep = time.sleep

    def nap(seconds):
        client.waits.append(seconds)
        sleep(min(seconds, 0.01))

    monkeypatch.setattr(time, "sleep", nap)
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    # Pieces of 10 MiB elsewhere. What is lost within one is fetched again.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 2**18)
    client.repo = f"user/preset_{next(client.numbers)}"
    client.uri = f"hf://{client.repo}"
    return client
