"""The page of runs side by side: self-contained, complete, and escaped."""

from __future__ import annotations

import pytest
from fake_results import fake
from fake_results import texts

from keras_lifelong.metrics import compare
from keras_lifelong.report import comparison_figures
from keras_lifelong.report import registry
from keras_lifelong.report import style
from keras_lifelong.report import write_comparison

EVIL = "<script>alert(1)</script>"


def several(**names):
    groups = names or {"DEN": 0.0, "EWC": 0.3}
    return compare(
        {
            name: [fake(3, seed=s, forget=f, method=name) for s in (0,)]
            for name, f in groups.items()
        }
    )


def test_the_page_holds_tables_and_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "to_png", lambda figure: b"png")
    path = write_comparison(several(**{EVIL: 0.0, "EWC": 0.3}), tmp_path)
    page = path.read_text(encoding="utf-8")
    assert EVIL not in page and "&lt;script&gt;" in page
    assert "default-src 'none'" in page and "<script" not in page
    for said in ("Student", "Means over runs", "Difference from", "forgetting"):
        assert said in page, said
    figures = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert figures == {
        "accuracy_by_tasks_seen",
        "accuracy_against_capacity",
        "forgetting",
        "time",
    }
    assert EVIL not in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_figures_say_what_was_found():
    comparison = several()
    drawn = comparison_figures.accuracy_by_tasks_seen(comparison)
    assert texts(drawn)[0].startswith("DEN ends best, at 0.9")
    assert texts(comparison_figures.forgetting(comparison))[0].startswith(
        "DEN forgets least"
    )


def test_figures_of_a_comparison_are_not_on_the_page_of_a_run():
    shown = {figure.name for figure in registry.figures_for(fake(2))}
    assert "time" not in shown and "accuracy_matrix" in shown
    with pytest.raises(ValueError, match="There is a figure 'time' already"):
        registry.figure("Time", "", name="time")(lambda result: None)
