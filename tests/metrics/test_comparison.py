"""Runs side by side: groups, intervals and pairs, by values worked out by hand."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest
from fake_results import fake

from keras_lifelong.metrics import Result
from keras_lifelong.metrics import compare
from keras_lifelong.metrics import forward_transfer
from keras_lifelong.metrics import gain_by_step
from keras_lifelong.metrics import interval
from keras_lifelong.metrics import learning_area

NAN = float("nan")
T2 = 4.302652729911275  # Student's t at 0.975, two degrees of freedom (tables: 4.303)


def run(acc, seed=0, method="DEN", **fields):
    """Two tasks whose mean score in the end is `acc`."""
    R = np.array([[acc + 0.1, NAN], [acc, acc]])
    config = {"method": {"name": method}, "stream": {"name": "s"}, "seed": seed}
    made = {"method": method, "config": config, "matrices": {"accuracy": R}}
    return dataclasses.replace(fake(2, log=False, **(made | fields)), seed=seed)


def test_the_interval_is_students():
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.count) == (2.0, 3)
    assert found.half == pytest.approx(T2 / 3**0.5)
    assert (found.low, found.high) == (2.0 - found.half, 2.0 + found.half)
    assert not found.excludes_zero and interval([2.0, 2.1, 2.2]).excludes_zero
    assert np.isnan(interval([1.0]).half) and not interval([1.0]).excludes_zero
    assert np.isnan(interval([1.0, NAN]).mean)  # unknown, not the mean of the rest
    for wrong in ([], [[1.0]]):
        with pytest.raises(ValueError, match="`values`"):
            interval(wrong)
    with pytest.raises(ValueError, match="`level`"):
        interval([1.0], level=1.0)


def test_runs_of_several_seeds_are_a_group():
    runs = [run(0.5, 0), run(0.7, 2), run(0.6, 1), run(0.4, 0, "EWC")]
    comparison = compare(runs)
    assert [(g.name, g.seeds) for g in comparison.groups] == [
        ("DEN", (0, 1, 2)),
        ("EWC", (0,)),
    ]
    found = comparison["DEN"].interval("acc")
    assert found.mean == pytest.approx(0.6)
    assert found.half == pytest.approx(T2 * 0.1 / 3**0.5)
    assert comparison["DEN"].by_tasks_seen() == pytest.approx(
        np.array([[0.6, 0.5], [0.7, 0.6], [0.8, 0.7]])
    )


def test_differences_are_of_pairs():
    ours = [run(0.5, 0), run(0.7, 1), run(0.6, 2), run(0.9, 7)]
    theirs = [run(0.4, 0, "EWC"), run(0.6, 1, "EWC"), run(0.5, 2, "EWC")]
    comparison = compare([*ours, *theirs])
    found = comparison.difference(comparison["EWC"], "acc")
    # every pair differs by 0.1, though seeds differ by more
    assert found.mean == pytest.approx(-0.1)
    assert found.half == pytest.approx(0.0, abs=1e-12)
    assert found.count == 3
    assert comparison.difference(comparison["DEN"], "acc") is None
    back = compare([*ours, *theirs], reference="EWC")
    assert back.difference(back["DEN"], "acc").mean == pytest.approx(0.1)


def test_there_are_no_pairs_across_streams():
    other = run(0.4, 0, "EWC", stream="another")
    comparison = compare([run(0.5, 0), other])
    assert [g.name for g in comparison.groups] == [
        "DEN on permuted_mnist",
        "EWC on another",
    ]
    assert comparison.difference(comparison.groups[1], "acc") is None
    assert "less" not in str(comparison)


def test_groups_are_named_by_what_differs():
    config = {"method": {"name": "DEN", "growth": 3}, "stream": {"name": "s"}}
    runs = [run(0.5), run(0.6, config={**config, "seed": 0})]
    names = [group.name for group in compare(runs).groups]
    assert names == ["DEN (growth=None)", "DEN (growth=3)"]
    jax = run(0.6, backend="jax")
    names = [group.name for group in compare([run(0.5), jax]).groups]
    assert names == ["DEN (backend=tensorflow)", "DEN (backend=jax)"]


def test_groups_that_differ_in_much_are_all_there():
    def made(last, first=1):
        config = {"a": first, "b": first, "c": first, "d": first, "e": last}
        return run(last / 10, config={"method": {"name": "DEN", **config}})

    groups = compare([made(1), made(2), made(3), made(9, first=2)]).groups
    assert [group.name.rpartition(")")[2] for group in groups] == ["", " #2", " #3", ""]
    accs = [group.interval("acc").mean for group in groups]
    assert accs == pytest.approx([0.1, 0.2, 0.3, 0.9])


def test_settings_of_one_name_are_told_by_their_path():
    def made(rate):
        config = {"method": {"name": "DEN", "rate": rate}, "training": {"rate": rate}}
        return run(0.5, config=config)

    names = [group.name for group in compare([made(1), made(2)]).groups]
    assert names[0] == "DEN (method.rate=1, training.rate=1)"


def test_pairs_are_of_one_stream_run_by_run():
    mixed = [run(0.5, 0), run(0.9, 1, stream="another")]
    comparison = compare({"a": mixed, "b": [run(0.4, 0), run(0.4, 1)]})
    found = comparison.difference(comparison["b"], "acc")
    assert (found.count, found.mean) == (1, pytest.approx(-0.1))


def test_what_is_no_result_is_refused():
    for wrong in (run(0.5), "runs/a", ["runs/a"], {"a": run(0.5)}, None):
        with pytest.raises(ValueError, match="`results` must be a list of `Result`s"):
            compare(wrong)
    with pytest.raises(ValueError, match="must differ as text. Received: 1, '1'"):
        compare({1: [run(0.5)], "1": [run(0.6)]})
    found = compare({0.3: [run(0.5)], 0.55: [run(0.6)]})
    assert [group.name for group in found.groups] == ["0.3", "0.55"]


def test_what_would_mislead_is_refused():
    with pytest.raises(ValueError, match="none"):
        compare([])
    with pytest.raises(ValueError, match="have the seed 0, and would count twice"):
        compare([run(0.5), run(0.6)])
    assert len(compare({"a": [run(0.5)], "b": [run(0.6)]}).groups) == 2
    matrices = {"mse": run(0.5).matrix}
    error = dataclasses.replace(run(0.5, 0, "EWC"), metric="mse", matrices=matrices)
    with pytest.raises(ValueError, match="runs with accuracy; with mse"):
        compare([run(0.5), error])
    with pytest.raises(ValueError, match="`metric`.*'auroc'"):
        compare([run(0.5)], metric="auroc")
    with pytest.raises(ValueError, match="different numbers of tasks"):
        compare({"a": [fake(2), dataclasses.replace(fake(3), seed=1)]})


def test_unknown_measures_are_shown_as_unknown():
    known = run(0.5, single_by_task=[0.5, 0.25])
    comparison = compare([known, run(0.4, 0, "EWC")])
    assert "gain" in comparison.measures and "flops" not in comparison.measures
    rows = str(comparison).splitlines()
    column = rows[0].index("gain %")
    assert rows[1][column:].split()[0] == "50.00"  # (0 + 100) / 2
    assert rows[2][column:].split()[0] == "·"


def test_tables_hold_what_users_wrote_as_text():
    names = {"=1+1 | <b>`x`": [run(0.5)], "plain": [run(0.4)]}
    comparison = compare(names)
    assert "=1+1 \\| &lt;b&gt;\\`x\\`" in comparison.to_markdown()
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert rows[0]["group"] == "'=1+1 | <b>`x`"
    assert float(rows[1]["acc_difference"]) == pytest.approx(-0.1)
    assert rows[1]["acc_half"] == "" and rows[1]["seeds"] == "0"


def test_measures_beside_single_task_networks():
    R = [[0.9, NAN], [0.8, 0.75]]
    assert forward_transfer(R, [0.9, 0.5]) == pytest.approx(0.25)
    assert forward_transfer(R, [0.9, 0.5], higher_is_better=False) == pytest.approx(
        -0.25
    )
    assert forward_transfer([[0.9]], [0.5]) == 0.0
    assert np.isnan(forward_transfer(R, [0.9, None]))
    assert gain_by_step(R, [0.9, 0.5]) == pytest.approx(
        [0.0, 100 * (-0.1 / 0.9 + 0.5) / 2]
    )
    assert np.isnan(gain_by_step(R, [0.0, 0.5])).all()
    assert learning_area([[0.5, 1.0], [0.25], []]) == 0.5
    assert np.isnan(learning_area([[], []]))


def test_a_result_keeps_them_in_its_file():
    result = run(
        0.5,
        single_by_task=[0.5, None],
        learning_curves=[[0.1, 0.2], []],
        flops_by_task=[20, None],
    )
    content = result.to_dict()
    assert content["single_by_task"] == [0.5, None]
    assert content["multi_task_gain"] is None and content["learning_area"] is not None
    assert Result.from_json(result.to_json()) == result
    assert np.isnan(result.flops)
    plain = run(0.5).to_dict()
    assert not {"single_by_task", "multi_task_gain", "learning_area"} & set(plain)
    for key, wrong in [
        ("single_by_task", [0.5]),
        ("learning_curves", [0.5, 0.5]),
        ("flops_by_task", ["many", 1]),
    ]:
        with pytest.raises(ValueError, match=key):
            Result.from_dict(content | {key: wrong})
