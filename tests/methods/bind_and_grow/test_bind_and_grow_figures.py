"""Figures of routes and conflicts say what they were given."""

import numpy as np
import pytest
from fake_results import fake
from fake_results import texts

from keras_lifelong.methods.bind_and_grow import figures
from keras_lifelong.report import page

UNITS = ["low", "high"]


def bound(task, to, norms, rho=(0.9, 0.4)):
    conflicts = {
        other: {"rho": list(rho), "norm": norm} for other, norm in norms.items()
    }
    why = {"to": to, "units": UNITS, "conflicts": conflicts}
    return {
        "task": task,
        "layer": "joint_net",
        "kind": "bind",
        "count": 0,
        "why": why,
    }


def grown(task, layer):
    return {"task": task, "layer": layer, "kind": "grow", "count": 9, "why": {}}


@pytest.fixture
def result():
    result = fake(4, method="BindAndGrow", log=False)
    a, b, c, d = result.task_names
    result.growth = [
        {"task": a, "layer": u, "kind": "initial", "count": 9, "why": {}} for u in UNITS
    ] + [
        bound(b, a, {a: 0.3}),
        grown(b, "low"),
        bound(c, b, {a: 0.5, b: 0.2}),
        bound(d, c, {a: 0.5, b: 0.6, c: 0.1}),
        grown(d, "high"),
    ]
    return result


def test_routes_go_through_the_tasks_bound_to(result):
    tasks, units, table = figures.routes(result)
    assert (tasks, units) == (result.task_names, UNITS)
    assert table.tolist() == [[0, 0], [1, 0], [1, 0], [1, 3]]
    _, norms, to = figures.conflicts(result)
    assert to == [-1, 0, 1, 2] and norms[2, 1] == 0.2 and np.isnan(norms[1, 2])


def test_pictures_name_owners_and_conflicts(result):
    found = texts(figures.joint_net(result))
    a, b, _, d = result.task_names
    assert [found.count(name) for name in (a, b, d)] == [4, 3, 1]
    assert any("3 different networks of 4 tasks" in text for text in found)
    found = texts(figures.conflict_map(result))
    assert {"0.30", "0.50", "0.20", "0.60", "0.10", "0.90", "0.40"} <= set(found)
    frames = [p for p in figures.conflict_map(result).axes[0].patches if not p.fill]
    assert len(frames) == 3


def test_the_page_has_them_for_routed_methods_alone(result, tmp_path):
    page.write(result, tmp_path / "a")
    page.write(fake(2), tmp_path / "b")
    shown = [
        {path.stem for path in (tmp_path / name / "figures").iterdir()} for name in "ab"
    ]
    assert {"joint_net", "conflicts"} <= shown[0]
    assert not {"joint_net", "conflicts"} & shown[1]
    for draw in (figures.joint_net, figures.conflict_map):
        with pytest.raises(ValueError, match="has no"):
            draw(fake(2))
