"""Two searches: each has a port of its own, and workers know which they mean."""

import json
import os
import socket
import threading
import time

import keras_tuner as kt
import pytest

from keras_lifelong.search import distributed
from keras_lifelong.search.oracle import ParetoOracle


@pytest.fixture
def port(monkeypatch):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        number = str(s.getsockname()[1])
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", number)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    return number


def oracle(place, name="p", **kwargs):
    space = kt.HyperParameters()
    space.Float("d", 0.0, 1.0, step=0.05)
    objectives = [kt.Objective("g", "max"), kt.Objective("p", "min")]
    found = ParetoOracle(
        objectives, **{"max_trials": 2, "hyperparameters": space, **kwargs}
    )
    found._set_project_dir(str(place), name)
    return found


def serving(found, idle=2.0):
    errors = []

    def chief():
        try:
            distributed.serve(found, 5, idle)
        except (OSError, TimeoutError) as error:
            errors.append(error)

    thread = threading.Thread(target=chief)
    thread.start()
    return thread, errors


def test_the_second_chief_fails_at_once(port, tmp_path):
    first, errors = serving(oracle(tmp_path / "a"))
    time.sleep(0.5)
    start = time.monotonic()
    with pytest.raises(OSError, match="port of its own"):
        distributed.serve(oracle(tmp_path / "b"), 5, 3)
    assert time.monotonic() - start < 1.5
    first.join()
    assert [type(e) for e in errors] == [TimeoutError]


def test_a_port_that_is_no_chief_s(port, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", int(port)))
        s.listen()
        with pytest.raises(OSError, match="cannot listen"):
            distributed.serve(oracle(tmp_path), 5, 3)


@pytest.mark.parametrize(
    "other",
    [{"max_trials": 3}, {"seed": 1}, {"sampler": "random"}, {"name": "q"}, {}],
)
def test_a_worker_of_another_search_is_refused(port, tmp_path, other):
    chief, _ = serving(oracle(tmp_path / "here"))
    # on another machine, where the directory lies elsewhere
    mine = oracle(tmp_path / "elsewhere" / "here", **other)
    os.environ["KERASTUNER_TUNER_ID"] = "worker0"
    client = distributed.Client(mine, 10)
    if other:
        with pytest.raises(ValueError, match="runs another search"):
            client.get_space()
    else:
        assert [p.name for p in client.get_space().space] == ["d"]
    chief.join()


def test_what_the_program_means_counts(tmp_path):
    one, other = oracle(tmp_path), oracle(tmp_path)
    assert one.identity() == other.identity()
    other.meant = "another configuration"
    assert one.identity() != other.identity()


@pytest.mark.parametrize("text", ["[]", "{}", "x", "[" * 100_000, '{"trials": 3}'])
def test_an_oracle_that_no_search_wrote(tmp_path, text):
    found = oracle(tmp_path)
    found.save()
    path = tmp_path / "p" / "oracle.json"
    assert json.loads(path.read_text())
    path.write_text(text)
    with pytest.raises(ValueError, match=r"oracle\.json .*is not what a search"):
        found.reload()
