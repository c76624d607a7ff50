"""Figures of a knowledge base say what the log holds."""

import numpy as np
import pytest
from fake_results import fake
from fake_results import texts

from keras_lifelong.methods.ari import figures
from keras_lifelong.report import page


def kept(task, slot, learned, accuracy):
    why = {"learned": learned, "accuracy": accuracy}
    return {
        "task": task,
        "layer": f"slot {slot}",
        "kind": "keep",
        "count": 0,
        "why": why,
    }


def explored(task, learned, curve, predicted=0.5):
    why = {
        "learned": learned,
        "curve": curve,
        "predicted": predicted,
        "rate": float(np.mean(curve)),
    }
    return {"task": task, "layer": "x", "kind": "explore", "count": 0, "why": why}


@pytest.fixture
def result():
    result = fake(3, method="ARI", log=False)
    a, b, c = result.task_names
    result.growth = [
        explored(a, None, [0.5, 0.9]),
        kept(a, 0, a, 0.91),
        explored(b, a, [0.7, 0.95]),
        explored(b, None, [0.5, 0.9]),
        kept(b, 0, a, 0.92),
        kept(b, 1, b, 0.93),
        explored(c, b, [0.6, 0.9]),
        kept(c, 0, c, 0.94),
        kept(c, 1, b, 0.95),
    ]
    return result


def test_slots_over_tasks(result):
    tasks, accuracy = figures.slots(result)
    assert tasks.tolist() == [[0, 0, 2], [-1, 1, 1]]
    assert accuracy[1, 2] == 0.95 and np.isnan(accuracy[1, 0])
    found = texts(figures.knowledge_base(result))
    assert "0.95" in found and any("2 of 3 tasks" in t for t in found)


def test_curves_leave_the_first_task_out(result):
    found = figures.curves(result)
    assert [drawn for _, drawn, _ in found] == [False, True, False]
    assert len(figures.estimates(result)) == 3
    shown = texts(figures.adaptation(result))
    assert any("learn faster: 0.08" in t for t in shown)


def test_only_a_knowledge_base_has_them(result, tmp_path):
    page.write(result, tmp_path / "a")
    page.write(fake(3), tmp_path / "b")
    shown = [{p.stem for p in (tmp_path / n / "figures").iterdir()} for n in "ab"]
    assert {"knowledge_base", "adaptation"} <= shown[0]
    assert not {"knowledge_base", "adaptation"} & shown[1]
    for draw in (figures.knowledge_base, figures.adaptation):
        with pytest.raises(ValueError, match="`result` has no"):
            draw(fake(3))
