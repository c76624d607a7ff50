"""The check of a mapping against a signature, and strict YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Literal

import hypothesis
import pytest
from hypothesis import strategies as st

from keras_lifelong import checks
from keras_lifelong.strict_yaml import dump
from keras_lifelong.strict_yaml import parse

if TYPE_CHECKING:
    import nothing_that_exists


def callee(
    units: list[int],
    growth: int = 10,
    rate: float = 0.5,
    mode: Literal["dynamic", "constant"] | None = "dynamic",
    split: bool = True,
    shape: tuple[int, ...] = (1, 2),
    names: Sequence[str] | None = None,
    table: dict | None = None,
    free=None,
    odd: nothing_that_exists.Type = None,
    seed: int = 0,
    **more,
):
    """Stands for a constructor."""


def resolve(**section):
    return checks.arguments("p", {"units": [1], **section}, callee, skip=["seed"])


def test_defaults_are_filled_in_as_data():
    assert resolve() == {
        "units": [1],
        "growth": 10,
        "rate": 0.5,
        "mode": "dynamic",
        "split": True,
        "shape": [1, 2],
        "names": None,
        "table": None,
        "free": None,
        "odd": None,
    }


@pytest.mark.parametrize(
    "section",
    [
        {"rate": 1},  # a whole number is a number
        {"mode": None},
        {"names": ["a"]},
        {"table": {"a": 1}},
        {"free": object()},
        {"odd": "anything: its type is for type checkers only"},
    ],
)
def test_accepted(section):
    assert resolve(**section) == {**resolve(), **section}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"growth": 1.5}, "`p.growth` must be an integer. Received: 1.5"),
        ({"growth": True}, "`p.growth` must be an integer. Received: True"),
        ({"growth": "4"}, "`p.growth` must be an integer. Received: '4' (a string)"),
        ({"growth": None}, "`p.growth` must be an integer. Received: None"),
        ({"rate": "x"}, "`p.rate` must be a number. Received: 'x' (a string)"),
        ({"split": 1}, "`p.split` must be True or False. Received: 1"),
        (
            {"mode": "dinamic"},
            "`p.mode` must be one of 'dynamic', 'constant' or None. Received: "
            "'dinamic'. Nearest: dynamic",
        ),
        (
            {"units": [1, "a"]},
            "`p.units` must be a list, each an integer. Received: [1, 'a']",
        ),
        ({"units": 3}, "`p.units` must be a list, each an integer. Received: 3"),
        (
            {"names": "a"},
            "`p.names` must be a list, each a string, or None. Received: 'a' (a "
            "string)",
        ),
        ({"table": [1]}, "`p.table` must be a mapping or None. Received: [1]"),
        (
            {"growht": 3},
            "Unknown key `p.growht`. Received: p.growht=3. Nearest: `p.growth`. "
            "Accepted in p: units, growth, rate, mode, split, shape, names, table, "
            "free, odd",
        ),
    ],
)
def test_errors_say_path_received_and_accepted(section, message):
    with pytest.raises(ValueError) as error:
        resolve(**section)
    assert str(error.value) == message


def test_a_skipped_parameter_is_no_key():
    with pytest.raises(ValueError, match="Unknown key `p.seed`.*Nearest: `seed`"):
        checks.arguments("p", {"seed": 1}, callee, ["seed"], ["seed", "other.key"])


def test_without_annotation_the_default_says_the_type():
    def plain(size=3, on=False, name="a", free=None):
        """Annotates nothing."""

    given = {"size": 2.5, "on": True, "name": "b", "free": [1]}
    assert checks.arguments("p", given, plain) == given
    for wrong in ({"size": "3"}, {"on": 1}, {"name": 2}):
        with pytest.raises(ValueError, match=f"`p.{next(iter(wrong))}` must be"):
            checks.arguments("p", wrong, plain)


def test_a_missing_one_is_named():
    with pytest.raises(ValueError, match=r"`p.units` is required.*each an integer"):
        checks.arguments("p", {}, callee)


def test_of_a_class_the_constructor_is_meant():
    class Thing:
        def __new__(cls, *args, **kwargs):
            return super().__new__(cls)

        def __init__(self, width: int = 3):
            self.width = width

    assert checks.arguments("p", {}, Thing) == {"width": 3}


def test_nearest_prefers_the_same_last_part():
    paths = ["training.epochs", "stream.num_tasks", "seed"]
    assert checks.nearest("epochs", paths) == "training.epochs"
    assert checks.nearest("method.epochs", paths) == "training.epochs"
    assert checks.nearest("sed", paths) == "seed"
    assert checks.nearest("den", ["EWC", "DEN"]) == "DEN"


@hypothesis.given(st.text())
def test_nearest_is_always_one_of_them(word):
    assert checks.nearest(word, ["a", "b.c"]) in ("a", "b.c")


def test_yaml_numbers_are_as_people_write_them():
    text = "[1e-3, 1E5, 1.5e-3, -2e+4, 12, 0.5, 1e, e3, '1e-3']"
    assert parse(text) == [0.001, 1e5, 0.0015, -2e4, 12, 0.5, "1e", "e3", "1e-3"]


_numberlike = st.from_regex(r"[-+]?[0-9]{1,2}[.]?[eE]?[-+]?[0-9]{0,2}", fullmatch=True)
_text = st.text() | _numberlike
_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner) | st.dictionaries(_text, inner),
    max_leaves=8,
)


@hypothesis.given(_data)
def test_what_yaml_writes_is_read_back(data):
    assert parse(dump(data)) == data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "`a` is given twice, again in line 3"),
        ("a: {b: 1, b: 1}", "`b` is given twice"),
        ("1: a", "Keys must be strings. Received: 1"),
        ("a: [1", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML.*python/object"),
    ],
)
def test_yaml_refused(text, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        parse(text)
