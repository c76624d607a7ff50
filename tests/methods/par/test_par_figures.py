"""Figures of experts say what the growth log says."""

import numpy as np
import pytest
from fake_results import fake
from fake_results import texts

from keras_lifelong.layers.cell import DARTS_V1
from keras_lifelong.layers.cell import DARTS_V2
from keras_lifelong.methods.par import figures
from keras_lifelong.report import page
from keras_lifelong.report import style


def entry(task, expert, kind, distances, count=0, cells=None, cell=None):
    why = {
        "distance": min(distances.values(), default=None),
        "distances": distances,
        "cell": cell,
        "genotype": cells,
    }
    return {"task": task, "layer": expert, "kind": kind, "count": count, "why": why}


@pytest.fixture
def result():
    result = fake(4, method="PAR", log=False)
    a, b, c, d = result.task_names
    first, second = ({k: list(v) for k, v in g.items()} for g in (DARTS_V1, DARTS_V2))
    result.growth = [
        {"task": a, "layer": "expert_0", "kind": "search", "count": 0, "why": {}},
        entry(a, "expert_0", "allocate", {}, 1000, first, "searched"),
        entry(b, "expert_1", "allocate", {a: 0.9}, 1200, second, "searched"),
        entry(c, "expert_0", "reuse", {a: 0.1, b: 0.8}, 0, first),
        entry(d, "expert_0", "freeze", {a: 0.2, b: 0.7, c: 0.3}, 0, first),
    ]
    return result


def test_distances_are_read_off_the_growth_log(result):
    names, table = figures.distances(result)
    assert names == result.task_names
    expected = np.full((4, 4), np.nan)
    expected[1, 0], expected[2, :2], expected[3, :3] = 0.9, [0.1, 0.8], [0.2, 0.7, 0.3]
    np.testing.assert_array_equal(table, expected)


def test_the_map_shows_distances_and_decisions(result):
    found = texts(figures.distance_map(result))
    assert {"0.90", "0.10", "0.80", "0.20", "0.70", "0.30"} <= set(found)
    assert {"new: expert_1", "shared: expert_0", "frozen: expert_0"} <= set(found)
    assert any("2 of 4 tasks share an expert" in text for text in found)
    frames = [p for p in figures.distance_map(result).axes[0].patches if not p.fill]
    assert len(frames) == 3  # c-a, d-a, d-c


def test_the_tree_names_every_expert_and_task(result):
    found = texts(figures.tree_of_groups(result))
    assert "expert_0 (1,000, cells searched)" in found
    assert set(result.task_names) <= set(found)
    assert {"new", "new, 0.90", "shared, 0.10", "frozen, 0.20"} <= set(found)
    assert any("2 experts serve 4 tasks" in text for text in found)


def test_cells_are_drawn_once_each(result):
    assert [names for names, _ in figures.genotypes(result)] == [
        ["expert_0"],
        ["expert_1"],
    ]
    figure = figures.cells(result)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["expert_0: normal cell", "expert_0: reduce cell"]
    assert len(figure.axes) == 4
    drawn = [t.get_text() for t in figure.axes[0].texts]
    short = [figures.SHORT[op] for op, _ in DARTS_V1["normal"]]
    assert sorted(t for t in drawn if t in figures.SHORT.values()) == sorted(short)
    result.growth[2]["why"]["genotype"] = result.growth[1]["why"]["genotype"]
    assert [names for names, _ in figures.genotypes(result)] == [
        ["expert_0", "expert_1"]
    ]


def test_names_are_no_formulas(result):
    for e in result.growth:
        e["task"] = e["task"].replace("task", "$x_")
        for name in list(e["why"].get("distances") or {}):
            value = e["why"]["distances"].pop(name)
            e["why"]["distances"][name.replace("task", "$x_")] = value
    for draw in (figures.distance_map, figures.tree_of_groups, figures.cells):
        assert style.to_png(draw(result)).startswith(b"\x89PNG")


def test_the_page_has_them_only_where_there_are_experts(result, tmp_path):
    page.write(result, tmp_path / "par")
    names = {path.stem for path in (tmp_path / "par" / "figures").iterdir()}
    assert {"distances", "groups", "cells"} <= names
    text = (tmp_path / "par" / "report.html").read_text()
    assert "Who shares an expert" in text
    page.write(fake(2), tmp_path / "den")
    names = {path.stem for path in (tmp_path / "den" / "figures").iterdir()}
    assert not {"distances", "groups", "cells"} & names


def test_without_experts_there_is_nothing_to_draw():
    for draw, words in (
        (figures.distance_map, "no distances"),
        (figures.tree_of_groups, "no experts"),
        (figures.cells, "no cells"),
    ):
        with pytest.raises(ValueError, match=words):
            draw(fake(2))


def test_many_tasks_fit():
    result = fake(30, method="PAR", log=False)
    names = result.task_names
    rng = np.random.default_rng(0)
    result.growth = [
        entry(
            name,
            f"expert_{i % 7}",
            "allocate" if i < 7 else "reuse",
            {other: float(rng.random()) for other in names[:i]},
            100,
        )
        for i, name in enumerate(names)
    ]
    for draw in (figures.distance_map, figures.tree_of_groups):
        assert style.to_png(draw(result)).startswith(b"\x89PNG")
