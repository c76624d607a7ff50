"""Figures of routes, conflicts and searches say what they were given."""

import numpy as np
import pytest

from keras_lifelong.report import page
from keras_lifelong.report import routes
from keras_lifelong.report import style
from keras_lifelong.search import figures as search

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
def result(fake):
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


def texts(figure):
    found = [t.get_text() for t in figure.texts]
    for axes in figure.axes:
        found += [t.get_text() for t in axes.texts]
    return found


def test_routes_go_through_the_tasks_bound_to(result):
    tasks, units, table = routes.routes(result)
    assert (tasks, units) == (result.task_names, UNITS)
    assert table.tolist() == [[0, 0], [1, 0], [1, 0], [1, 3]]
    _, norms, to = routes.conflicts(result)
    assert to == [-1, 0, 1, 2] and norms[2, 1] == 0.2 and np.isnan(norms[1, 2])


def test_pictures_name_owners_and_conflicts(result):
    found = texts(routes.joint_net(result))
    a, b, _, d = result.task_names
    assert [found.count(name) for name in (a, b, d)] == [4, 3, 1]
    assert any("3 different networks of 4 tasks" in text for text in found)
    found = texts(routes.conflict_map(result))
    assert {"0.30", "0.50", "0.20", "0.60", "0.10", "0.90", "0.40"} <= set(found)
    frames = [p for p in routes.conflict_map(result).axes[0].patches if not p.fill]
    assert len(frames) == 3


def test_the_page_has_them_for_routed_methods_alone(result, fake, tmp_path):
    page.write(result, tmp_path / "a")
    page.write(fake(2), tmp_path / "b")
    shown = [
        {path.stem for path in (tmp_path / name / "figures").iterdir()} for name in "ab"
    ]
    assert {"joint_net", "conflicts"} <= shown[0]
    assert not {"joint_net", "conflicts"} & shown[1]
    for draw in (routes.joint_net, routes.conflict_map):
        with pytest.raises(ValueError, match="has no"):
            draw(fake(2))


ROWS = [
    {"trial": "0", "gain": 1.0, "params": 100},
    {"trial": "1", "gain": 0.5, "params": 120},  # beaten
    {"trial": "2", "gain": 2.0, "params": 150},
    {"trial": "3", "gain": 2.0, "params": 150},  # the same again
    {"trial": "4", "gain": -1.0, "params": 50},
]


def test_the_front_is_numbered():
    figure = search.front(ROWS)
    found = texts(figure)
    assert any("3 trade-offs of 5 trials" in text for text in found)
    assert {"0", "2", "4"} <= set(found) and "1" not in found
    assert style.to_png(figure).startswith(b"\x89PNG")


def test_hypervolume_grows_to_the_whole():
    figure = search.hypervolume(ROWS)
    line = figure.axes[0].lines[0].get_ydata()
    assert line[-1] == 1 and (np.diff(line) >= 0).all() and line[2] == line[3]
    assert any("after 5 of 5 trials" in text for text in texts(figure))
    for draw in (search.front, search.hypervolume):
        with pytest.raises(ValueError, match="one trial or more"):
            draw([])
