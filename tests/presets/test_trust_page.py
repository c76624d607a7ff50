"""`docs/trust.md` says what was measured, and nothing else."""

import importlib.util
import json
import pathlib

import pytest

from keras_lifelong.presets import origin

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trust_page():
    place = ROOT / "benchmarks" / "trust_page.py"
    spec = importlib.util.spec_from_file_location("trust_page", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_of_its_data(trust_page):
    """After a change of either: python benchmarks/trust_page.py."""
    found = json.loads(trust_page.DATA.read_text())
    assert trust_page.PAGE.read_text() == trust_page.page(found)


def test_what_was_measured_held(trust_page):
    found = json.loads(trust_page.DATA.read_text())
    writers, drawn = found.get("two_writers"), found.get("grammar")
    if writers is not None:
        assert writers["lost"] == writers["errors"] == writers["left"] == 0
    if drawn is not None:
        assert drawn["loaded"] + drawn["refused"] == drawn["presets"]
        assert drawn["seconds"] < 5 and drawn["mib"] < 1024
    for row in found.get("hostile_files", ()):
        assert row[1].startswith("refused"), row


def test_the_lines_name_tests_that_exist(trust_page):
    for tests in trust_page.LINES.values():
        for each in tests:
            file, _, start = each.partition("::")
            text = (ROOT / file).read_text()
            assert not start or f"def {start}" in text, each


def test_what_is_not_measured_is_said(trust_page):
    assert "Not measured yet: grammar." in trust_page.page({})


def test_the_bounds_are_those_of_the_code(trust_page):
    from keras_lifelong.presets import budget
    from keras_lifelong.presets import json_text
    from keras_lifelong.presets import reading
    from keras_lifelong.presets import values
    from keras_lifelong.presets import weights

    text = trust_page.page({})
    for number in (
        *(json_text.MOST_VALUES, reading.LONGEST, values.MOST_NUMBERS),
        *(budget.SLACK, budget.RATIO, budget.LAYERS, budget.A_LAYER),
        *(weights.MOST_ARRAYS, origin.MOST, origin.KEPT),
    ):
        assert f"{number:,}" in text, number
