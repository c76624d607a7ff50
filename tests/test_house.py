"""The house: imports go down only, no circle, no arrow between methods."""

import ast
import pathlib
import re

import pytest
import slow

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_lifelong"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def floors():
    """Floor by room, as CONTRIBUTING's table says."""
    found = {}
    for floor, rooms in re.findall(r"^\| (\d) \| (`.*?`) \|", CONTRIBUTING, re.M):
        for room in re.findall(r"`([\w/.]+)`", rooms):
            found[room.strip("/").removesuffix(".py")] = int(floor)
    return found


FLOORS = floors()


def modules():
    """Path of every module of the package, by dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if "presets" in path.parts and "zoo" in path.parts:
            continue
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path):
    """Modules that a file imports whenever it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    pending, found = list(tree.body), set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If):  # `if NAME == "jax":`
            pending += [*node.body, *node.orelse]
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


def room(module):
    return (module.split(".") + [""])[1]


def test_every_room_has_a_floor():
    rooms = {room(name) for name in MODULES} - {"", "__main__"}
    assert rooms == set(FLOORS), rooms ^ set(FLOORS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down_only(name):
    for other in IMPORTS[name] & MODULES.keys():
        if room(name) and room(other) and room(name) != "__main__":
            assert FLOORS[room(other)] <= FLOORS[room(name)], f"{name} -> {other}"
        mine, its = name.split(".")[1:3], other.split(".")[1:3]
        if mine[0:1] == its[0:1] == ["methods"] and len(mine) == len(its) == 2:
            assert mine == its, f"{name} -> {other}"
        if room(other) in ("methods", "baselines"):
            assert FLOORS[room(name)] >= FLOORS["methods"]


def test_no_circle():
    """Whatever is imported has no way back to who imports it."""
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in IMPORTS[name] & MODULES.keys():
            visit(other)
        path.pop()
        done.add(name)

    for name in MODULES:
        visit(name)
    assert done == MODULES.keys()


def test_backends_are_imported_in_one_room():
    for name, others in IMPORTS.items():
        roots = {other.partition(".")[0] for other in others}
        if roots & {"tensorflow", "jax", "torch"}:
            assert room(name) == "backend", name


def test_files_are_one_idea():
    """Those over four hundred lines are named in CONTRIBUTING, with the reason."""
    long = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES.values()
        if len(path.read_text(encoding="utf-8").splitlines()) > 400
    }
    allowed = set(re.findall(r"^- `([\w/]+\.py)`: over 400 lines", CONTRIBUTING, re.M))
    assert long == allowed


def test_equations_are_where_the_table_says():
    rows = re.findall(
        r"^\| .*? \| `(methods/\w+/\w+\.py)`: (.*?) \|$", CONTRIBUTING, re.M
    )
    assert {path.split("/")[1] for path, _ in rows} == {
        "den",
        "lasem",
        "bind_and_grow",
        "par",
        "ari",
    }
    assert len(rows) > 20
    for path, names in rows:
        source = (PACKAGE / path).read_text(encoding="utf-8")
        for name in re.findall(r"`([\w.]+)`", names):
            defined = re.search(
                rf"^ *(?:def|class) {name.split('.')[-1]}\b", source, re.M
            )
            assert defined, f"{path} has no {name}"


def test_slow_tests_are_there():
    """What `tests/slow.txt` names is a test: a renamed one would be forgotten."""
    for test in slow.listed():
        path, _, name = test.partition("::")
        name = re.escape(name.partition("[")[0])
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", source, re.M), test
