"""A search in an Optuna study: what KerasTuner tries, by any number of processes.

The tuners are those of `test_oracle.py`.
"""

import json
import os
import time

import numpy as np
import processes
import pytest
import test_oracle as single

from keras_lifelong.search import ParetoOracle

optuna = pytest.importorskip("optuna", reason="pip install keras-lifelong[search]")

PROGRAM = """
import time
import test_oracle as t
from keras_lifelong.search import ParetoOracle

class Slow(t.Tuner):
    def measure(self, values):
        time.sleep({seconds})
        with open({path!r} + "/measured", "a") as file:
            file.write(repr(values) + "\\n")
        return super().measure(values)

oracle = ParetoOracle(t.OBJECTIVES, {trials}, t.space(), sampler="random")
tuner = Slow(oracle, directory={path!r}, project_name="p", trial_timeout=2.0)
tuner.study({path!r} + "/journal.log").run(verbose=0)
print(len(tuner.rows()), sorted(row["trial"] for row in tuner.rows()))
"""


def studied(path, storage=None, **kwargs):
    t = single.tuner(path, **kwargs)
    t.study(storage or str(path / "journal.log")).run(verbose=0)
    return t


def process(path, trials=12, seconds=0.05):
    code = PROGRAM.format(path=str(path), trials=trials, seconds=seconds)
    return processes.Process(code, path=[os.path.dirname(__file__)])


@pytest.mark.parametrize(
    ("sampler", "kind", "more"),
    [
        ("ehvi", "float", {}),
        ("tpe", "float", {"initial_points": [{"a": 0.25}]}),
        ("nsga2", "float", {}),
        ("random", "float", {"tied": ["a", "b"], "tied_trials": 6}),
        ("grid", "grid", {}),
    ],
)
def test_one_process_tries_what_kerastuner_would(sampler, kind, more, tmp_path):
    given = {"sampler": sampler, "kind": kind, **more}
    expected = single.searched(tmp_path / "1", **given)
    found = studied(tmp_path / "2", **given)
    assert single.record(found) == single.record(expected)
    assert found.rows() == expected.rows()
    fronts = [[x.trial_id for x in t.oracle.pareto_trials()] for t in (found, expected)]
    assert fronts[0] == fronts[1]


def test_a_data_base_serves_as_well_as_a_journal(tmp_path):
    expected = studied(tmp_path / "1", sampler="random")
    url = f"sqlite:///{tmp_path}/search.db"
    found = studied(tmp_path / "2", url, sampler="random")
    assert found.rows() == expected.rows()
    # and what is there already is not tried again
    again = single.tuner(tmp_path / "3", sampler="random")
    again.runs = []
    again.study(url).run(verbose=0)
    assert again.runs == [] and again.rows() == expected.rows()


def test_it_ends_where_nothing_is_left_to_try(tmp_path):
    found = studied(tmp_path, trials=100, sampler="grid", kind="grid")
    assert len(found.rows()) == 11 * 4
    again = single.tuner(tmp_path, trials=100, sampler="grid", kind="grid")
    again.study(str(tmp_path / "journal.log")).run(verbose=0)
    assert again.rows() == found.rows()


def test_another_search_is_not_gone_on_with(tmp_path):
    studied(tmp_path, trials=3, sampler="random")
    with pytest.raises(ValueError, match="is another search"):
        studied(tmp_path, trials=4, sampler="random")
    other = single.tuner(tmp_path / "other", trials=4, sampler="random")
    other.study(str(tmp_path / "journal.log"), name="other").run(verbose=0)
    assert len(other.rows()) == 4


def test_what_fails_is_noted_and_the_next_is_tried(tmp_path, capfd):
    class Failing(single.Tuner):
        def measure(self, values):
            if len(self.runs) == 1:
                self.runs.append(values)
                raise FloatingPointError("this one diverges")
            return super().measure(values)

    oracle = ParetoOracle(single.OBJECTIVES, 4, single.space(), sampler="random")
    t = Failing(oracle, directory=str(tmp_path), project_name="p")
    t.runs = []
    t.study(str(tmp_path / "journal.log")).run(verbose=1)
    assert [row["trial"] for row in t.rows()] == ["0", "2", "3"]
    said = capfd.readouterr()
    assert "this one diverges" in said.err and said.out.count("trial ") == 3


def test_an_interrupted_trial_is_the_next_that_is_tried(tmp_path):
    class Interrupted(single.Tuner):
        def measure(self, values):
            self.asked.append(values)
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().measure(values)

    def of(cls):
        oracle = ParetoOracle(single.OBJECTIVES, 4, single.space(), sampler="random")
        t = cls(oracle, directory=str(tmp_path), project_name="p")
        t.runs, t.asked = [], []
        return t

    journal = str(tmp_path / "journal.log")
    first, second = of(Interrupted), of(single.Tuner)
    with pytest.raises(KeyboardInterrupt):
        first.study(journal).run(verbose=0)
    second.study(journal).run(verbose=0)
    assert second.runs[0] == first.asked[1] and len(second.runs) == 3
    expected = single.searched(tmp_path / "other", trials=4, sampler="random")
    assert single.record(second) == single.record(expected)


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_taken_back_meanwhile_counts_nothing(fails, tmp_path):
    journal = str(tmp_path / "journal.log")

    class Silent(single.Tuner):
        """Not heard of in its second trial, which another process takes back."""

        def measure(self, values):
            self.runs.append(values)
            if len(self.runs) == 2:
                other = single.tuner(tmp_path, trials=4, sampler="random")
                other.study(journal)._give_up(1)
                if fails:
                    raise FloatingPointError
            return single.outcome(values), None

    oracle = ParetoOracle(single.OBJECTIVES, 4, single.space(), sampler="random")
    t = Silent(oracle, directory=str(tmp_path), project_name="p")
    t.runs = []
    t.study(journal).run(verbose=0)
    assert t.runs[1] == t.runs[2] and len(t.runs) == 5
    expected = single.searched(tmp_path / "other", trials=4, sampler="random")
    assert single.record(t) == single.record(expected)


def test_processes_share_the_trials_out_and_finish_what_one_had_begun(tmp_path):
    first = process(tmp_path, seconds=0.3)
    measured = tmp_path / "measured"
    while not measured.exists():
        time.sleep(0.05)
        assert first.returncode is None
    others = [process(tmp_path), process(tmp_path)]
    first.kill()  # in the middle of its second trial
    assert [p.wait(120) for p in others] == [0, 0]
    lines = measured.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 12  # every trial once
    t = single.tuner(tmp_path / "look", sampler="random")
    t.runs = []
    t.study(str(tmp_path / "journal.log")).run(verbose=0)
    assert t.runs == [] and len(t.rows()) == 12
    ids = [row["trial"] for row in t.rows()]
    assert ids == [f"{i:02d}" for i in range(12)]
    values = [json.dumps(v, sort_keys=True) for _, v in single.record(t)]
    assert len(set(values)) == 12
    points = np.array([[-row["gain"], row["size"]] for row in t.rows()])
    assert np.isfinite(points).all()


def test_a_storage_that_cannot_be_opened_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for given in (
        f"{tmp_path}/file/journal.log",
        f"sqlite:///{tmp_path}/none/search.db",
        "nothing://user:secret@host/base",
        7,
    ):
        with pytest.raises(ValueError, match="`storage` must be") as caught:
            single.tuner(tmp_path / "t").study(given)
        assert "secret" not in str(caught.value)
