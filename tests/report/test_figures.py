"""Figures: what they draw and say, at every size of stream."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from fake_results import fake
from fake_results import texts

from keras_lifelong.report import figures
from keras_lifelong.report import style
from keras_lifelong.report import units

ALL = (figures.accuracy_over_tasks, figures.accuracy_matrix, units.growth)
NAN = float("nan")


@pytest.mark.parametrize("draw", ALL)
@pytest.mark.parametrize("tasks", [1, 5, 20, 30])
def test_valid_png_at_twice_the_resolution(draw, tasks):
    png = style.to_png(draw(fake(tasks, forget=0.05)))
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and png[-8:-4] == b"IEND"
    width = int.from_bytes(png[16:20], "big")
    assert width == 1680


@pytest.mark.parametrize("draw", ALL)
def test_text_stays_inside_the_picture(draw):
    name = "a very very long name of a task " * 3
    result = fake(10, method="M" * 80, forget=0.1, task_names=[name + str(i)
                  for i in range(10)], growth=[])  # fmt: skip
    figure = draw(result)
    style.to_png(figure)
    renderer = figure.canvas.get_renderer()
    box = figure.bbox
    drawn = list(figure.texts)
    for axes in figure.axes:
        drawn += [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]
    for text in drawn:
        if not text.get_text() or not text.get_visible():
            continue
        extent = text.get_window_extent(renderer)
        assert box.x0 <= extent.x0 and extent.x1 <= box.x1, text
        assert box.y0 <= extent.y0 and extent.y1 <= box.y1, text


def test_same_result_same_picture():
    pngs = [style.to_png(units.growth(fake(5))) for _ in range(2)]
    assert pngs[0] == pngs[1]


def test_titles_say_the_finding():
    R = [[0.9, NAN, NAN], [0.5, 0.9, NAN], [0.4, 0.8, 0.9]]
    result = fake(3, matrices={"accuracy": R}, method="EWC", log=False)
    found = texts(figures.accuracy_over_tasks(result))
    assert "EWC ends at a mean accuracy of 0.700; task_0 lost most (0.500)" in found
    assert "mean of all  0.700" in found and "task_0  0.400" in found
    found = texts(figures.accuracy_matrix(result))
    assert "2 of 2 earlier tasks fade; task_0 lost most (0.500)" in found
    assert found.count("0.900") == 3
    kept = fake(3, forget=0.0)
    found = texts(figures.accuracy_over_tasks(kept))
    assert any(text.endswith("no task was forgotten") for text in found)


def test_the_mean_is_over_the_tasks_so_far():
    R = [[0.9, NAN], [0.5, 0.8]]
    figure = figures.accuracy_over_tasks(fake(2, matrices={"accuracy": R}))
    lines = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert any(np.allclose(line, [0.9, 0.65]) for line in lines if len(line) == 2)


def test_errors_are_read_the_other_way_round():
    R = [[0.2, NAN, NAN], [0.5, 0.3, NAN], [0.9, 0.1, 0.3]]
    result = fake(3, metric="mse", matrices={"mse": R})
    np.testing.assert_allclose(figures.losses(result), [0.7, -0.2, 0.0])
    assert figures.verdict(result) == "task_0 lost most (0.700)"


def test_a_matrix_measured_only_in_the_end():
    R = [[NAN, NAN], [0.8, 0.9]]
    result = fake(2, method="Joint", matrices={"accuracy": R}, log=False)
    for draw in ALL:
        style.to_png(draw(result))
    found = texts(figures.accuracy_over_tasks(result))
    assert any("0.850" in text for text in found)
    R = np.full((2, 2), NAN)
    for draw in ALL:
        style.to_png(draw(fake(2, matrices={"accuracy": R})))


def test_units_are_counted_by_layer_and_task():
    def entry(task, layer, kind, count):
        return {"task": task, "layer": layer, "kind": kind, "count": count, "why": {}}

    log = [
        entry("task_0", "a", "initial", 10),
        entry("task_0", "b", "initial", 4),
        entry("task_1", "a", "select", 8),
        entry("task_1", "a", "add", 3),
        entry("task_1", "a", "split", 2),
        entry("task_2", "b", "add", 1),
    ]
    result = fake(3, growth=log)
    layers, initial, added, split = units.count_units(result)
    assert layers == ["a", "b"] and initial.tolist() == [10, 4]
    assert added.tolist() == [[0, 5, 0], [0, 0, 1]]
    assert split.tolist() == [[0, 2, 0], [0, 0, 0]]
    figure = units.growth(result)
    found = texts(figure)
    assert "DEN added 6 units to 14, 43 % more (2 of them by splitting)" in found
    assert "15\n+5" in found
    # The columns of the first panel end at the final sizes.
    tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].patches]
    assert max(tops) == 15
    # What was added before this stream, as after loading, is where it began.
    log = [entry("task_0", "a", "initial", 10), entry("monday", "a", "add", 3)]
    _, initial, added, _ = units.count_units(fake(3, growth=log))
    assert initial.tolist() == [13] and not added.any()


def test_baselines_do_not_grow():
    found = texts(units.growth(fake(3, method="L2", grow=False)))
    assert "L2 did not grow: 440 units from start to end" in found
    found = texts(units.growth(fake(3, method="L2", log=False)))
    assert "L2 ends with 308,274 parameters, 1.08x the base network" in found


def test_labels_are_moved_apart():
    placed = style.spread([0.5, 0.5, 0.51, 0.9], 0.1, 0.0, 1.0)
    assert np.diff(np.sort(placed)).min() >= 0.1 - 1e-9
    assert placed[3] == pytest.approx(0.9)
    placed = style.spread([0.0, 0.0], 0.1, 0.0, 1.0)
    assert placed.min() == 0.0


def test_the_users_style_and_pyplot_are_left_alone():
    code = (
        "import sys, matplotlib, numpy as np\n"
        "matplotlib.rcParams['font.size'] = 33\n"
        "from keras_lifelong.metrics import Result\n"
        "from keras_lifelong.report import figures, style\n"
        "r = Result(method='m', stream='s', seed=0, backend='b', metric='accuracy',\n"
        "           task_names=['a'], matrices={'accuracy': [[0.5]]})\n"
        "style.to_png(figures.accuracy_matrix(r))\n"
        "print('matplotlib.pyplot' in sys.modules, matplotlib.rcParams['font.size'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.split() == ["False", "33.0"], out.stderr
