"""Chief and workers as processes: whoever is killed, every trial ends once."""

import json
import os
import socket
import time

import numpy as np
import processes
import pytest
import test_oracle as single

from keras_lifelong.search import distributed

TRIALS = 16
PROGRAM = """
import time
import test_oracle as t
from keras_lifelong.search import ParetoOracle

class Slow(t.Tuner):
    def measure(self, values):
        time.sleep(0.3)
        return super().measure(values)

oracle = ParetoOracle(t.OBJECTIVES, {trials}, t.space(), sampler="tpe")
tuner = Slow(oracle, directory={path!r}, project_name="p", trial_timeout=3.0,
             idle_timeout=120.0)
tuner.search(verbose=0)
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """A chief and two workers, started again when they have been killed."""

    def __init__(self, path):
        self.code = PROGRAM.format(path=str(path), trials=TRIALS)
        self.port = str(free_port())
        self.processes = {n: self.start(n) for n in ("chief", "worker0", "worker1")}

    def start(self, name):
        environment = {
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": self.port,
            "KERASTUNER_TUNER_ID": name,
            "CUDA_VISIBLE_DEVICES": "",
        }
        here = os.path.dirname(__file__)
        return processes.Process(self.code, env=environment, path=[here])

    def kill(self, name, restart=True):
        process = self.processes[name]
        if process.returncode is not None:
            return False
        process.kill()
        if restart:
            self.processes[name] = self.start(name)
        return True

    def wait(self, names, timeout=180):
        end = time.monotonic() + timeout
        codes = {}
        for name in names:
            codes[name] = self.processes[name].wait(max(1, end - time.monotonic()))
        return codes

    def close(self):
        for process in self.processes.values():
            process.kill()


def check_record(path):
    state = json.loads((path / "p" / "oracle.json").read_text())
    names = [f"{i:02d}" for i in range(TRIALS)]
    assert sorted(state["end_order"]) == names  # each exactly once
    for name in names:
        trial = json.loads((path / "p" / f"trial_{name}" / "trial.json").read_text())
        assert trial["status"] == "COMPLETED"
        values = trial["hyperparameters"]["values"]
        metrics = trial["metrics"]["metrics"]
        for key, expected in single.outcome(values).items():
            observed = metrics[key]["observations"]
            assert len(observed) == 1
            assert observed[0]["value"] == [pytest.approx(expected, rel=1e-6)]
    lines = (path / "p" / "trials.csv").read_text().splitlines()
    assert len(lines) == TRIALS + 1


def begun(path):
    return len(list(path.glob("p/trial_*")))


def test_a_worker_that_never_returns_holds_nobody_up(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        while begun(tmp_path) < 4:
            time.sleep(0.05)
        cluster.kill("worker1", restart=False)
        assert cluster.wait(["worker0", "chief"]) == {"worker0": 0, "chief": 0}
    finally:
        cluster.close()
    check_record(tmp_path)


def test_ten_kills_of_chief_and_workers(tmp_path):
    rng = np.random.default_rng(0)
    cluster, kills = Cluster(tmp_path), 0
    order = ["worker0", "chief", "worker1", "chief", "worker0"] * 2
    try:
        for k, name in enumerate(order):
            end = time.monotonic() + 60
            while begun(tmp_path) < k + 1 and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(float(rng.random()) * 0.3)
            kills += cluster.kill(name)
        # A worker that comes back when all is done finds no chief, and says so.
        assert cluster.wait(cluster.processes)["chief"] == 0
    finally:
        cluster.close()
    assert kills == 10
    check_record(tmp_path)


def test_a_chief_without_workers_gives_up(tmp_path, monkeypatch):
    t = single.tuner(tmp_path)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free_port()))
    with pytest.raises(TimeoutError, match="No worker was heard of for 0.5 seconds"):
        distributed.serve(t.oracle, 1.0, 0.5)


def test_trials_of_silent_workers_are_given_to_others(tmp_path):
    oracle = single.tuner(tmp_path, trials=3).oracle
    oracle.verbose = 0
    first = oracle.create_trial("a")
    oracle.release(timeout=10.0)
    assert oracle.ongoing_trials == {"a": oracle.trials[first.trial_id]}
    for name in ("a", first.trial_id):
        oracle._heard[name] -= 11
    oracle.release(timeout=10.0)
    assert not oracle.ongoing_trials and not oracle.tuner_ids
    again = oracle.create_trial("b")
    assert again.trial_id == first.trial_id
    found = {**single.outcome(again.hyperparameters.values), "multi_objective": 0.0}
    for late in (again, first):  # both end it; the first to do so counts
        oracle.update_trial(late.trial_id, found)
        late.status = "COMPLETED"
        oracle.end_trial(late)
    assert oracle.end_order == [first.trial_id] and not oracle.ongoing_trials
    trial = oracle.trials[first.trial_id]
    assert len(trial.metrics.get_history("gain")[0].value) == 1


def test_a_trial_that_ends_while_it_waits_for_another_worker_is_not_run_again(tmp_path):
    oracle = single.tuner(tmp_path, trials=3).oracle
    oracle.verbose = 0
    slow = oracle.create_trial("a")
    for name in ("a", slow.trial_id):
        oracle._heard[name] -= 11
    oracle.release(timeout=10.0)
    assert oracle.is_waiting and not oracle.ongoing_trials
    found = {**single.outcome(slow.hyperparameters.values), "multi_objective": 0.0}
    oracle.update_trial(slow.trial_id, found)
    slow.status = "COMPLETED"
    oracle.end_trial(slow)
    assert not oracle.is_waiting
    assert oracle.create_trial("b").trial_id != slow.trial_id
    assert [t.trial_id for t in oracle.completed()] == [slow.trial_id]


def test_a_sampler_that_fails_is_replaced_by_chance(tmp_path, monkeypatch):
    t = single.tuner(tmp_path, trials=3)

    def failing(index, tried):
        raise RuntimeError("singular")

    monkeypatch.setattr(t.oracle._sampler, "ask", failing)
    with pytest.warns(UserWarning, match="drawn at random: RuntimeError: singular"):
        t.search(verbose=0)
    assert len(t.oracle.completed()) == 3
