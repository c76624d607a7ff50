"""The Pareto oracle: what it asks, what it finds, and what a kill leaves."""

import importlib.util
import json
import os
import shutil
import time

import keras_tuner as kt
import numpy as np
import processes
import pytest

from keras_lifelong.search import ParetoOracle
from keras_lifelong.search import ParetoTuner
from keras_lifelong.search import pareto
from keras_lifelong.search.samplers import SAMPLERS
from keras_lifelong.search.samplers import Space
from keras_lifelong.search.samplers import TiedSpace

OBJECTIVES = [kt.Objective("gain", "max"), kt.Objective("size", "min")]
GP = pytest.param(
    "gp",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("torch") is None,
        reason="the sampler 'gp' needs PyTorch: pip install torch",
    ),
)
HERE = [GP if s == "gp" else s for s in SAMPLERS]
STAGED = {"tied": ["a", "b"], "tied_trials": 6}


def space(kind="float"):
    hp = kt.HyperParameters()
    if kind == "grid":
        hp.Float("a", 0.0, 1.0, step=0.1)
        hp.Int("b", 0, 3)
        return hp
    hp.Float("a", 0.0, 1.0)
    hp.Float("b", 0.0, 1.0)
    hp.Choice("c", ["x", "y"])
    hp.Int("d", 1, 5)
    hp.Boolean("e")
    hp.Fixed("f", 7)
    return hp


def outcome(values):
    """Gain grows with a, and so does size; b is best in the middle."""
    a, b = values["a"], values["b"]
    gain = a - (b - 0.5) ** 2 + (0.1 if values.get("c") == "y" else 0)
    return {"gain": gain, "size": a**2 + 0.1 * values.get("d", 1)}


class Tuner(ParetoTuner):
    runs: list = []

    def measure(self, values):
        self.runs.append(values)
        return outcome(values), None


def tuner(path, trials=12, sampler="ehvi", kind="float", **kwargs):
    oracle = ParetoOracle(OBJECTIVES, trials, space(kind), sampler=sampler, **kwargs)
    return Tuner(oracle, directory=str(path), project_name="p")


def searched(path, **kwargs):
    t = tuner(path, **kwargs)
    t.search(verbose=0)
    return t


def record(t):
    return [(i.trial_id, i.hyperparameters.values) for i in t.oracle.completed()]


@pytest.mark.parametrize("sampler", HERE)
def test_every_sampler_finds_distinct_trials_again_and_again(sampler, tmp_path):
    kind = "grid" if sampler == "grid" else "float"
    first = searched(tmp_path / "1", sampler=sampler, kind=kind)
    again = searched(tmp_path / "2", sampler=sampler, kind=kind)
    assert record(first) == record(again)
    values = [json.dumps(v, sort_keys=True) for _, v in record(first)]
    assert len(set(values)) == 12
    if sampler != "grid":
        other = searched(tmp_path / "3", sampler=sampler, seed=5)
        assert record(other) != record(first)
        assert all(v["f"] == 7 and 1 <= v["d"] <= 5 for _, v in record(first))


def test_the_front_is_what_nothing_beats(tmp_path):
    t = searched(tmp_path, trials=20)
    measured = [t.oracle.measured(x) for x in t.oracle.completed()]
    assert measured == [pytest.approx(outcome(v)) for _, v in record(t)]
    points = np.array([[-m["gain"], m["size"]] for m in measured])
    best = pareto.non_dominated(points)
    names = {x.trial_id for x in t.oracle.pareto_trials()}
    assert names == {i for (i, _), b in zip(record(t), best, strict=True) if b}
    reference = {"gain": -1.0, "size": 2.0}
    expected = pareto.hypervolume(points, (1.0, 2.0))
    assert t.oracle.hypervolume(reference) == pytest.approx(expected)
    order = t.oracle.get_best_trials(20)
    fronts = pareto.ranks(points)
    found = [int(fronts[int(x.trial_id)]) for x in order]
    assert found == sorted(found) and len(order) == 20


@pytest.mark.parametrize("sampler", ["ehvi", "tpe"])
def test_it_gains_more_than_chance(sampler, tmp_path):
    """Hypervolume after 25 trials, over three seeds."""
    reference, gained = {"gain": -1.0, "size": 2.0}, {}
    for name in (sampler, "random"):
        gained[name] = [
            searched(
                tmp_path / f"{name}{seed}", trials=25, sampler=name, seed=seed
            ).oracle.hypervolume(reference)
            for seed in range(3)
        ]
    assert np.mean(gained[sampler]) > np.mean(gained["random"])


def test_a_space_that_is_exhausted_ends_the_search(tmp_path):
    t = searched(tmp_path, trials=100, sampler="grid", kind="grid")
    assert len(t.oracle.completed()) == 44
    t = searched(tmp_path / "ehvi", trials=100, kind="grid", start=40)
    assert len(t.oracle.completed()) == 44


def test_initial_points_come_first(tmp_path):
    t = searched(tmp_path, trials=4, initial_points=[{"a": 0.25}, {"a": 1.0, "b": 0.5}])
    values = [v for _, v in record(t)]
    assert values[0] == {"a": 0.25, "b": 0.0, "c": "x", "d": 1, "e": False, "f": 7}
    assert (values[1]["a"], values[1]["b"]) == (1.0, 0.5)


@pytest.mark.parametrize("sampler", HERE)
def test_a_staged_search_leaves_the_line_after_its_first_stage(sampler, tmp_path):
    kind = "grid" if sampler == "grid" else "float"
    stages = {"tied": ["a"]} if kind == "grid" else STAGED
    stages = {**stages, "tied_trials": 6}
    t = searched(tmp_path / "1", sampler=sampler, kind=kind, **stages)
    again = searched(tmp_path / "2", sampler=sampler, kind=kind, **stages)
    assert record(t) == record(again)
    values = [v for _, v in record(t)]
    assert len({json.dumps(v, sort_keys=True) for v in values}) == 12
    defaults = {hp.name: hp.default for hp in Space(space(kind)).axes}
    defaults = {k: v for k, v in defaults.items() if k not in stages["tied"]}
    for v in values[:6]:
        assert {k: v[k] for k in defaults} == defaults
        assert len({v[name] for name in stages["tied"]}) == 1
    line = TiedSpace(Space(space(kind)), stages["tied"])
    assert any(not line.holds(v) for v in values[6:])


def test_the_second_stage_knows_what_the_first_found(tmp_path):
    """With one trial left for the whole space, it is where a model of all says."""
    t = searched(tmp_path, trials=9, **{**STAGED, "tied_trials": 8})
    first = t.oracle.tried()[:8]
    asked, _ = t.oracle._sampler.ask(8, first)
    assert record(t)[8][1] == asked
    assert asked != t.oracle._sampler.ask_random(8, first)[0]


def test_points_off_the_line_are_not_taken_for_points_on_it(tmp_path):
    off = {"a": 0.9, "b": 0.1}
    t = searched(tmp_path, initial_points=[off, {"a": 0.5, "b": 0.5}], **STAGED)
    values = [v for _, v in record(t)]
    assert (values[0]["a"], values[0]["b"]) == (0.9, 0.1)
    assert all(v["a"] == v["b"] for v in values[1:6])
    line = t.oracle._tied.space
    assert [line.holds(v) for v in values[:6]] == [False] + [True] * 5


def test_a_first_stage_that_has_tried_all_ends_early(tmp_path):
    stages = {"tied": ["b"], "tied_trials": 8}
    values = [v for _, v in record(searched(tmp_path, kind="grid", **stages))]
    assert sorted(v["b"] for v in values[:4]) == [0, 1, 2, 3]
    assert all(v["a"] == 0.0 for v in values[:4])
    assert all(v["a"] != 0.0 for v in values[4:])


@pytest.mark.parametrize("stages", [{}, STAGED], ids=["plain", "staged"])
@pytest.mark.parametrize("sampler", ["ehvi", "tpe", "nsga2", GP])
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_an_interrupted_search_has_the_trials_it_would_have_had(
    sampler, stop, stages, tmp_path
):
    whole = searched(tmp_path / "whole", sampler=sampler, **stages)

    class Stop(BaseException):
        pass

    t = tuner(tmp_path / "part", sampler=sampler, **stages)
    measure, calls = t.measure, []

    def stopping(values):
        calls.append(values)
        if len(calls) > stop:
            raise Stop
        return measure(values)

    t.measure = stopping
    with pytest.raises(Stop):
        t.search(verbose=0)
    again = searched(tmp_path / "part", sampler=sampler, **stages)
    assert record(again) == record(whole)
    assert len(set(again.oracle.end_order)) == len(again.oracle.end_order) == 12


def test_files_that_a_kill_left_between_two_writes(tmp_path):
    whole = searched(tmp_path / "whole")
    directory = tmp_path / "part"
    searched(directory, trials=12)
    project = directory / "p"
    # trial 11 was begun, and its file written, but not yet its place in the order
    oracle = json.loads((project / "oracle.json").read_text())
    for name in ("start_order", "end_order"):
        oracle[name] = oracle[name][:10]
    oracle["attributes"] = {}
    (project / "oracle.json").write_text(json.dumps(oracle))
    trial = json.loads((project / "trial_11" / "trial.json").read_text())
    trial["status"] = "RUNNING"
    (project / "trial_11" / "trial.json").write_text(json.dumps(trial))
    again = searched(directory)
    assert record(again) == record(whole)
    assert sorted(again.oracle.end_order) == [f"{i:02d}" for i in range(12)]


def test_a_trial_that_ends_twice_ends_once(tmp_path):
    t = searched(tmp_path, trials=3)
    trial = t.oracle.completed()[1]
    t.oracle.ongoing_trials["late"] = trial
    t.oracle.end_trial(trial)
    assert t.oracle.end_order == ["0", "1", "2"] and not t.oracle.ongoing_trials


def test_a_trial_that_fails_is_left_out(tmp_path):
    t = tuner(tmp_path, trials=6)
    measure = t.measure

    def failing(values):
        if len(t.oracle.trials) == 3:
            raise RuntimeError("out of luck")
        return measure(values)

    t.measure = failing
    t.search(verbose=0)
    assert len(t.oracle.completed()) == 5 and len(t.oracle.trials) == 6
    failed = t.oracle.trials["2"]
    assert "out of luck" in failed.message and failed.status == "FAILED"


def test_the_table_has_every_trial(tmp_path):
    t = searched(tmp_path, trials=5)
    lines = (tmp_path / "p" / "trials.csv").read_text().splitlines()
    assert lines[0] == "trial,f,a,b,c,d,e,gain,size,on_front" and len(lines) == 6
    assert t.rows()[0]["on_front"] in (True, False)


def test_no_file_is_written_in_place(tmp_path, monkeypatch):
    """KerasTuner's own writing truncates first: a kill there leaves an empty file."""

    def in_place(path, obj):
        raise AssertionError(f"{path} is written in place")

    monkeypatch.setattr("keras_tuner.src.utils.save_json", in_place)
    searched(tmp_path, trials=3)
    assert json.loads((tmp_path / "p" / "tuner0.json").read_text()) == {}
    again = tuner(tmp_path, trials=3)
    assert len(again.oracle.completed()) == 3


PROGRAM = """
import time
import test_oracle as t

class Slow(t.Tuner):
    def measure(self, values):
        time.sleep(0.05)
        return super().measure(values)

t.Tuner = Slow
t.searched({path!r}, trials=15, **{stages!r})
"""


@pytest.mark.parametrize("stages", [{}, STAGED], ids=["plain", "staged"])
def test_ten_kills(stages, tmp_path):
    """kill -9 at random moments; the search ends with the same trials."""
    whole = searched(tmp_path / "whole", trials=15, **stages)
    path, rng = tmp_path / "part", np.random.default_rng(0)
    code = PROGRAM.format(path=str(path), stages=stages)
    kills = 0
    for _ in range(40):
        process = processes.Process(code, path=[os.path.dirname(__file__)])
        if kills < 10:
            # a few trials after the first has been begun
            deadline = time.monotonic() + 60
            count = len(list(path.glob("p/trial_*")))
            while (
                process.returncode is None
                and len(list(path.glob("p/trial_*"))) <= count
                and time.monotonic() < deadline
            ):
                time.sleep(0.005)
            time.sleep(float(rng.random()) * 0.1)
            if process.returncode is None:
                process.kill()
                kills += 1
        if process.wait(timeout=120) == 0:
            break
    assert kills == 10
    again = searched(path, trials=15, **stages)
    assert record(again) == record(whole)
    order = again.oracle.end_order
    assert sorted(order) == sorted(set(order)) == [f"{i:02d}" for i in range(15)]
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "best"}, "no sampler 'best'. Known: ehvi"),
        ({"sampler": "grid"}, "`sampler='grid'` needs"),
        ({"max_trials": 0}, "`max_trials`.*0"),
        ({"objectives": OBJECTIVES[:1]}, "`objectives` must be two"),
        ({"initial_points": [{"z": 1}]}, r"`initial_points`.*\['z'\]"),
        ({"tied": ["a", "z"], "tied_trials": 2}, r"`tied` must.*\['a', 'z'\]"),
        ({"tied": ["a", "d"], "tied_trials": 2}, r"`tied` must.*\['a', 'd'\]"),
        ({"tied": [], "tied_trials": 2}, r"`tied` must.*\[\]"),
        ({"tied": ["a", "b"]}, "`tied_trials`.*from 1 .*Received: 0"),
        ({"tied": ["a", "b"], "tied_trials": 6}, r"`tied_trials`.*\(5\).*6"),
    ],
)
def test_bad_arguments(arguments, message):
    settings = {"objectives": OBJECTIVES, "max_trials": 5, "hyperparameters": space()}
    with pytest.raises(ValueError, match=message):
        ParetoOracle(**{**settings, **arguments})


@pytest.mark.parametrize(
    ("sampler", "absent", "message"),
    [
        ("gp", ["torch"], r"`sampler='gp'` needs optuna and torch.*install torch$"),
        ("gp", ["optuna", "torch"], "`sampler='gp'`.*install optuna torch$"),
        ("tpe", ["optuna"], r"`sampler='tpe'` needs optuna\..*install optuna$"),
    ],
)
def test_a_sampler_without_what_it_needs_is_refused(
    sampler, absent, message, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n in absent else find(n)
    )
    with pytest.raises(ImportError, match=message):
        ParetoOracle(OBJECTIVES, 5, space(), sampler=sampler)


def test_conditions_are_refused():
    hp = kt.HyperParameters()
    hp.Boolean("on")
    with hp.conditional_scope("on", [True]):
        hp.Float("rate", 0.0, 1.0)
    with pytest.raises(ValueError, match="'rate' has conditions"):
        Space(hp)


def test_another_oracle_is_refused(tmp_path):
    other = kt.oracles.RandomSearchOracle(
        objective=OBJECTIVES[0], max_trials=1, hyperparameters=space()
    )
    with pytest.raises(ValueError, match="must be a ParetoOracle.*RandomSearch"):
        Tuner(other, directory=str(tmp_path))


def test_values_and_their_points():
    s = Space(space())
    values = s.values([0.3, 0.9, 0.99, 0.5, 0.0])
    assert values == {
        "a": pytest.approx(0.3),
        "b": pytest.approx(0.9),
        "c": "y",
        "d": 3,
        "e": values["e"],
        "f": 7,
    }
    assert s.cube(values)[0] == pytest.approx(0.3)
    assert len(s.features(values)) == 6  # the choice has no order: one of two
    assert s.everything(10**6) is None
    assert len(Space(space("grid")).everything(100)) == 44
