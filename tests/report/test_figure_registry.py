"""Figures register themselves: shared ones, a method's, and one of a test."""

import pathlib
import sys
import tomllib

import pytest
from fake_results import fake

from keras_lifelong import methods
from keras_lifelong.report import figure
from keras_lifelong.report import registry
from keras_lifelong.report import style
from keras_lifelong.report import write
from keras_lifelong.report.page import html

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test registers is forgotten after it."""
    registry.discover()
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))


def bars(result):
    drawn = style.new_figure(4.0, 3.0)
    drawn.add_subplot().bar(result.task_names, result.params_by_task)
    return drawn


def page_of(result, directory):
    path = write(result, directory)
    names = {file.stem for file in (directory / "figures").iterdir()}
    return path.read_text(encoding="utf-8"), names


def test_a_new_figure_is_on_the_page_and_escaped(tmp_path):
    figure("Size <b>", 'By "task" & more', name="size")(bars)
    page, names = page_of(fake(2), tmp_path)
    assert "size" in names and "<b>&lt;" not in page
    assert "<h2>Size &lt;b&gt;</h2>" in page
    assert "<figcaption>By &quot;task&quot; &amp; more</figcaption>" in page
    assert 'alt="Size &lt;b&gt;: By &quot;task&quot; &amp; more"' in page


def test_when_decides_and_a_caption_may_follow_the_result(tmp_path):
    def count(result):
        return f"{len(result.task_names)} tasks <in all>"

    figure("Size", count, when=lambda r: r.method == "DEN", name="size")(bars)
    page, names = page_of(fake(3), tmp_path / "a")
    assert "size" in names and "3 tasks &lt;in all&gt;" in page
    page, names = page_of(fake(3, method="EWC"), tmp_path / "b")
    assert "size" not in names and "<h2>Size</h2>" not in page


def test_names_are_of_one_figure_and_of_a_file():
    figure("Size", "", name="size")(bars)
    figure("Size", "", name="size")(bars)  # a module that is loaded again
    with pytest.raises(ValueError, match="There is a figure 'size' already"):
        figure("Size", "", name="size")(page_of)
    with pytest.raises(ValueError, match="must be a Python identifier"):
        figure("Size", "", name="../size")(bars)


def test_figures_of_a_new_method_are_found_in_its_folder(tmp_path, monkeypatch):
    place = tmp_path / "methods" / "brand_new"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("")
    (place / "figures.py").write_text(
        "from keras_lifelong.report import registry, style\n"
        "@registry.figure('Brand new', 'Nothing yet.')\n"
        "def brand_new(result):\n"
        "    return style.new_figure(4.0, 3.0)\n"
    )
    silent = tmp_path / "methods" / "silent"  # has no figures: is not imported
    silent.mkdir()
    (silent / "__init__.py").write_text("raise AssertionError")
    path = [*methods.__path__, str(tmp_path / "methods")]
    monkeypatch.setattr(methods, "__path__", path)
    page, names = page_of(fake(2), tmp_path / "run")
    for name in ("brand_new", "brand_new.figures"):
        monkeypatch.delitem(sys.modules, f"{registry.METHODS}.{name}")
    monkeypatch.delattr(methods, "brand_new")
    assert "brand_new" in names and "Nothing yet." in page


def test_shared_figures_come_first_whatever_was_imported_first():
    known = registry._REGISTERED
    names = [f.name for f in registry.figures_for(fake(2))]
    assert names == ["accuracy_over_tasks", "accuracy_matrix", "growth"]
    for name in names[:2]:
        known[name] = known.pop(name)  # as if the others had come before
    assert [f.name for f in registry.figures_for(fake(2))] == names
    others = [f for f in known.values() if f.of == "result" and f.name not in names]
    modules = [f.draw.__module__ for f in others]
    assert all(m.startswith("keras_lifelong.methods.") for m in modules)
    assert len({m.split(".")[2] for m in modules}) == 4


def test_the_style_sheet_is_a_file_of_the_package():
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file)["tool"]["setuptools"]
    patterns = settings["package-data"]["keras_lifelong"]
    package = ROOT / "keras_lifelong"
    built = {file for pattern in patterns for file in package.glob(pattern)}
    sheet = package / "report" / "page.css"
    assert sheet in built
    assert f"<style>\n{sheet.read_text(encoding='utf-8')}</style>" in html(fake(1), {})
