"""One registry for things of any kind, and one way to refuse a name."""

import doctest

import pytest

from keras_lifelong import method_files
from keras_lifelong import registry
from keras_lifelong.registry import Registry


@pytest.fixture
def colours():
    found = Registry("colour")
    for name in ("green", "grey", "red"):
        found.register(name)(name.upper())
    return found


def test_names_are_sorted_and_found(colours):
    assert colours.names() == ["green", "grey", "red"]
    assert colours.get("red") == "RED"
    assert "red" in colours and "blue" not in colours
    assert ["red"] not in colours  # what is no text is no name


def test_an_unknown_name_is_answered_with_the_nearest(colours):
    message = r"^There is no colour 'gren'\. Did you mean 'green'.*Known: green, grey"
    with pytest.raises(ValueError, match=message):
        colours.get("gren")
    with pytest.raises(ValueError, match=r"no colour 'xyz'\. Known: green, grey, red"):
        colours.get("xyz")
    with pytest.raises(ValueError, match=r"no colour \['red'\]"):
        colours.get(["red"])
    error = colours.unknown("magnta", unlisted=["magenta"], reason=" (why)", also=", …")
    expected = "There is no colour 'magnta' (why). Did you mean 'magenta'? Known: "
    assert str(error) == expected + "green, grey, red, …."


def test_a_name_is_taken_once_but_by_the_same_thing_defined_again(colours):
    def make():
        @colours.register("own")
        def own():
            pass

        return own

    make()
    again = make()  # as when a cell of a notebook is run again
    assert colours.get("own") is again
    with pytest.raises(ValueError, match="colour of this name exists. Received: 'own'"):
        colours.register("own")(make)
    with pytest.raises(ValueError, match="A colour of this name exists"):
        colours.register("red")("crimson")
    with pytest.raises(ValueError, match="must be a text.*Received: 3"):
        colours.register(3)


def test_methods_are_found_by_their_source(tmp_path):
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "a_folder" / "__init__.py").write_text("from x import One\n")
    (tmp_path / "a_folder" / "one.py").write_text(
        "import x\n\n\n@register\n@other(1)\nclass One(Base):\n    pass\n"
    )
    (tmp_path / "two.py").write_text(
        '"""@register is told of here: class Told"""\n\n'
        "class Plain:\n    pass\n\n\n@registry.register  # why\nclass Two:\n    pass\n"
    )
    assert method_files.decorated("here", tmp_path) == {
        "One": "here.a_folder.one",
        "Two": "here.two",
    }


def test_a_method_that_no_source_tells_of_is_refused():
    method_files.check("Anything", "somebody.elses")
    method_files.check("Finetune", "keras_lifelong.baselines.finetune")
    for module in ("keras_lifelong.baselines.finetune", "keras_lifelong.methods.x"):
        with pytest.raises(ValueError, match="Hidden.*line above the class"):
            method_files.check("Hidden", module)
    with pytest.raises(ValueError, match="no other method has"):
        method_files.check("Finetune", "keras_lifelong.methods.finetune")


@pytest.mark.parametrize("module", [registry, method_files])
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
