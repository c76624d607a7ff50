"""Tables of papers: what their files may say, and what is run of them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import sys

import numpy as np
import pytest

from keras_lifelong import cli
from keras_lifelong import papers
from keras_lifelong import reproduce
from keras_lifelong.report import page

ROOT = pathlib.Path(__file__).parents[1]
TABLE = """
# A table
table: {paper: Doe 2020, title: "Table 1 | x", plus_minus: two deviations}
base:
  backbone: {name: mlp, units: [8]}
  stream: {name: digits, num_tasks: 2}
  training: {epochs: 40}
fast: {stream.num_tasks: 1}
rows:
  one:
    label: "One <b>"
    config: {method: {name: FakeMethod}}
    published: {acc: [0.75, 0.01], params: 12}
  two:
    label: Two
    config: {method: {name: FakeMethod}}
    set: {method.growth: 3}
    published: {acc: 0.5, relative_seconds: 2.0}
    relative_to: one
  never: {label: Never, published: {acc: 0.9}, not_runnable: the data are secret}
"""


@pytest.fixture
def call(tmp_path, fake_method, monkeypatch):
    """Calls `keras-lifelong reproduce` of the table, without figures."""

    def write(result, output_dir):
        (pathlib.Path(output_dir) / "report.html").write_text(str(result))

    monkeypatch.setattr(page, "write", write)
    monkeypatch.chdir(tmp_path)
    pathlib.Path("t.yaml").write_text(TABLE)
    fit = fake_method.fit_stream
    learned = []

    def timed(self, stream, **kwargs):
        result = fit(self, stream, **kwargs)
        learned.append((self.growth, self.seed, kwargs["epochs"]))
        seconds = 4.0 if self.growth == 10 else 6.0
        result.train_seconds_by_task = [seconds / 2] * len(result.task_names)
        return result

    monkeypatch.setattr(fake_method, "fit_stream", timed)

    def call(*more):
        return cli.main(["reproduce", "t.yaml", "--out", "out", *more])

    call.learned, call.method = learned, fake_method
    return call


def rows():
    content = json.loads(pathlib.Path("out/table.json").read_text())
    return content, {row["name"]: row for row in content["rows"]}


def test_published_and_measured_stand_side_by_side(call, capsys):
    assert call("--seeds", "0,1") == 0
    content, found = rows()
    assert (content["schema"], content["fast"]) == (1, 1.0)
    assert content["command"] == "keras-lifelong reproduce t --seeds 0,1"
    one, two = found["one"], found["two"]
    assert one["published"]["acc"] == {"value": 0.75, "plus_minus": 0.01}
    assert one["measured"]["acc"] == {"mean": 0.5, "half": 0.0}
    assert one["difference"] == {"acc": -0.25, "params": -2}
    assert one["seeds"] == [0, 1] and one["schedule"] == {}
    assert one["machine"]["cores"] >= 1 and one["backend"] == "none"
    assert two["measured"]["relative_seconds"]["mean"] == pytest.approx(1.5)
    assert two["difference"]["relative_seconds"] == pytest.approx(-0.5)
    assert two["settings"]["method"]["growth"] == 3
    assert found["never"]["status"] == "not runnable"
    assert "measured" not in found["never"]
    text = pathlib.Path("out/table.md").read_text()
    assert "One &lt;b&gt;" in text and "Table 1 \\| x" in text
    assert "0.7500 ± 0.0100" in text and "the data are secret" in text
    assert "-0.2500" in capsys.readouterr().out


def test_what_is_there_is_not_learned_again(call):
    assert call("--rows", "one") == 0
    assert call.learned == [(10, 0, 40)]
    _, found = rows()
    assert found["two"]["status"] == "not measured"
    assert call() == 0
    assert call.learned == [(10, 0, 40), (3, 0, 40)]
    assert call("--seeds", "0,1", "--rows", "two") == 0
    assert call.learned[2:] == [(3, 1, 40)]
    _, found = rows()
    assert (found["one"]["seeds"], found["two"]["seeds"]) == ([0], [0, 1])
    # of the seeds that both have
    assert found["two"]["measured"]["relative_seconds"]["half"] is None


def test_an_interrupted_row_goes_on_by_task(call, capsys):
    call.method.stop_at = 1
    assert call() == 130
    assert "keras-lifelong reproduce t.yaml --out out" in capsys.readouterr().err
    call.method.stop_at = None
    assert call() == 0
    assert "Resuming the interrupted run" in capsys.readouterr().out


def test_a_row_that_fails_does_not_stop_the_others(call, capsys):
    call.method.stop_at, call.method.error = 1, OSError(28, "No space left")
    assert call() == 1
    assert "Rows that failed: one: [Errno 28] No space left; two" in (
        capsys.readouterr().err
    )
    assert rows()[1]["one"]["status"] == "failed"
    call.method.stop_at = None
    assert call() == 0


def test_two_programs_share_a_table(call, capsys, monkeypatch):
    other = reproduce.RunDirectory("out/one/seed-0")
    with other.locked():
        assert call() == 1
    said = capsys.readouterr()
    assert "one, seed 0: left out: Another run is writing to out" in said.out
    assert said.err.endswith("error: Another program is still at: one, seed 0\n")
    assert rows()[1]["one"]["status"] == "not measured"
    assert rows()[1]["two"]["status"] == "measured"
    # it has ended before this one does
    fit = call.method.fit_stream

    def with_the_other(self, *args, **kwargs):
        other.path.joinpath("results.json").write_text(result)
        return fit(self, *args, **kwargs)

    assert call("--rows", "one") == 0
    result = other.path.joinpath("results.json").read_text()
    other.path.joinpath("results.json").unlink()
    monkeypatch.setattr(call.method, "fit_stream", with_the_other)
    with other.locked():
        assert call("--seeds", "0,1") == 0
    assert rows()[1]["one"]["seeds"] == [0, 1]


def test_fast_shortens_the_schedule_and_says_so(call, capsys):
    assert call("--fast", "0.1", "--rows", "one") == 0
    assert call.learned == [(10, 0, 4)]
    content, found = rows()
    assert content["command"].endswith("reproduce t --fast 0.1 --rows one --seeds 0")
    assert found["one"]["schedule"] == {
        "stream.num_tasks": [2, 1],
        "training.epochs": [40, 4],
    }
    assert "training.epochs 4 of 40" in pathlib.Path("out/table.md").read_text()
    before = pathlib.Path("out/table.json").read_bytes()
    assert call("--rows", "one") == 2  # the whole schedule, in the same place
    assert "training.epochs is 4 there, 40 here" in capsys.readouterr().err
    assert pathlib.Path("out/table.json").read_bytes() == before
    for wrong in ("0", "1.5"):
        assert call("--fast", wrong) == 2
        assert "`--fast` must be a number in (0, 1]" in capsys.readouterr().err


def test_rows_of_one_table_have_one_schedule(call, capsys):
    assert call("--fast", "0.1", "--rows", "one") == 0
    before = pathlib.Path("out/table.json").read_bytes()
    for other in (("--rows", "two"), ("--rows", "one", "--seeds", "1")):
        assert call(*other) == 2  # would stand beside it as if they were alike
        err = capsys.readouterr().err
        assert "seed-0 holds a run of another configuration" in err
    assert pathlib.Path("out/table.json").read_bytes() == before
    assert not pathlib.Path("out/two").exists()
    assert call("--fast", "0.1", "--rows", "two") == 0


def test_what_no_run_wrote_is_left_alone(call, capsys):
    own = pathlib.Path("out/two/seed-0/preset/mine.txt")
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert call() == 2
    assert "which no run wrote" in capsys.readouterr().err
    assert not pathlib.Path("out/one").exists() and own.exists()


def test_no_rows_are_not_all_of_them(call, capsys):
    assert call("--rows", "") == 2
    assert "--rows names none. All: one, two, never" in capsys.readouterr().err


def test_a_row_may_be_shortened_in_its_own_way(call):
    path = pathlib.Path("t.yaml")
    own = "label: Two\n    fast: {stream.num_tasks: 3}"
    path.write_text(TABLE.replace("label: Two", own))
    table = papers.load(path)

    def tasks(row, fast):
        return table.config(row, fast=fast).resolved["stream"]["num_tasks"]

    assert [tasks("one", 0.5), tasks("two", 0.5)] == [1, 3]
    assert [tasks("one", 1.0), tasks("two", 1.0)] == [2, 2]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fast: {", "fst: {", "Unknown key `fst`"),
        ("paper: Doe 2020, ", "", "`table.paper` is required"),
        ("title:", "titel:", "Nearest: `table.title`"),
        ("label: Two\n", "lable: Two\n", "Nearest: `rows.two.label`"),
        ("    label: Two\n", "", "`rows.two.label` is required"),
        ("acc: 0.5", "ac: 0.5", "Unknown key `rows.two.published.ac`"),
        ("acc: 0.5", "acc: half", "`rows.two.published.acc` must be a list"),
        ("acc: 0.5", "acc: [1, 2, 3]", "must be a number, or two"),
        ("relative_to: one", "relative_to: onne", "must name a row"),
        ("    relative_to: one\n", "", "go together"),
        ("growth: 3", "grwth: 3", "row 'two': Unknown key `method.grwth`"),
        ("fast: {", "scaled: [training.epoch]\nfast: {", "Nearest: training.epochs"),
        ("fast: {", "scaled: [method.name]\nfast: {", "Received: 'method.name'"),
        ("epochs: 40", "epochs: 0", "row 'one': `training.epochs` must be"),
        ("  one:", '  "../one":', "Names of rows"),
    ],
)
def test_a_wrong_table_is_refused(call, capsys, old, new, words):
    assert old in TABLE
    pathlib.Path("t.yaml").write_text(TABLE.replace(old, new, 1))
    assert call() == 2
    err = capsys.readouterr().err
    assert words in err and "t.yaml" in err
    assert not pathlib.Path("out").exists()


def test_unknown_tables_and_rows_name_the_nearest(call, capsys):
    assert call("--rows", "tow") == 2
    assert "There is no row 'tow'. Nearest: two" in capsys.readouterr().err
    assert cli.main(["reproduce", "papers/par/tabel5"]) == 2
    assert "Nearest: papers/par/table5" in capsys.readouterr().err
    assert cli.main(["reproduce", "a", "b"]) == 2
    assert "takes one TABLE" in capsys.readouterr().err


# === The tables that ship ===


@pytest.mark.parametrize("name", papers.names())
def test_shipped_table(name):
    table = papers.load(papers.names()[name], name)
    opening = papers.names()[name].read_text(encoding="utf-8").splitlines()[:2]
    assert opening[0].startswith("# ") and len(opening[0]) < 100 and not opening[1]
    for key, row in table.rows.items():
        for measure in row.published:
            value, half = row.number(measure)
            if measure in ("acc", "peak", "forgetting", "forgetting_ratio"):
                assert 0 <= value <= 1, (key, measure)
            assert half is None or 0 <= half < max(abs(value), 1)


def test_every_paper_has_its_tables():
    folders = {name.split("/")[1] for name in papers.names()}
    assert folders == {"den", "lasem", "l2bg", "par", "ari"}


def test_accuracy_and_size_have_a_column_where_none_was_published(call):
    table = TABLE.replace("acc: [0.75, 0.01], params: 12", "forgetting: 0.25")
    pathlib.Path("t.yaml").write_text(table)
    assert call("--rows", "one") == 0
    text = pathlib.Path("out/table.md").read_text()
    heads, _, one = [line for line in text.splitlines() if line.startswith("|")][:3]
    found = dict(zip(heads.split(" | "), one.split(" | "), strict=True))
    assert "parameters, published" not in found and "ACC, published" in found  # of two
    measured = rows()[1]["one"]["measured"]
    assert found["parameters"] == f"{measured['params']['mean']:,.0f}"


def test_what_fast_names_is_not_scaled_besides(call):
    row = "    config: {method: {name: FakeMethod}}\n    published: {acc: [0.75, 0.01]"
    assert row in TABLE
    pathlib.Path("t.yaml").write_text(
        TABLE.replace(row, f"    fast: {{training.epochs: 20}}\n{row}")
    )
    assert call("--fast", "0.1") == 0
    found = rows()[1]
    epochs = [found[name]["schedule"]["training.epochs"] for name in ("one", "two")]
    assert epochs == [[40, 20], [40, 4]]


def test_a_default_is_scaled_as_what_a_row_states(call):
    path = pathlib.Path("t.yaml")
    path.write_text(
        TABLE.replace("fast: {", "scaled: [training.epochs, method.growth]\nfast: {")
    )
    table = papers.load(path)
    grown = [
        table.config(row, fast=0.5).resolved["method"]["growth"]
        for row in ("one", "two")
    ]
    assert grown == [5, 2]  # of 10, the default, and of 3
    assert table.schedule("one", 0.5)["method.growth"] == [10, 5]


def test_a_rate_in_place_of_a_schedule_is_one_difference(call):
    table = TABLE.replace(
        "fast: {stream.num_tasks: 1}", "fast: {training.learning_rate: 0.5}"
    )
    decay = "{name: exponential_decay, initial_learning_rate: 0.1, decay_steps: 2, "
    table = table.replace(
        "{epochs: 40}", f"{{epochs: 40, learning_rate: {decay}decay_rate: 0.9}}}}"
    )
    pathlib.Path("t.yaml").write_text(table)
    assert call("--fast", "0.1", "--rows", "one") == 0
    published, run = rows()[1]["one"]["schedule"]["training.learning_rate"]
    assert published["name"] == "exponential_decay" and run == 0.5
    text = pathlib.Path("out/table.md").read_text()
    assert "training.learning_rate 0.5 of exponential_decay" in text


def test_a_real_row_at_a_tiny_schedule(tmp_path, monkeypatch, eager):
    """DEN's Figure 6 on digits in place of MNIST, two epochs, two tasks."""
    monkeypatch.setattr(page, "write", lambda result, output_dir: None)
    table = papers.load(papers.names()["papers/den/figure6"], "papers/den/figure6")
    small = {"stream": {"name": "digits", "num_tasks": 2, "train_per_task": 40}}
    small["backbone"] = {"name": "mlp", "units": [6, 4]}
    base = {**table.base, **small, "training": table.base["training"] | {"epochs": 2}}
    table = dataclasses.replace(table, base=base, fast={})
    work = reproduce.Reproduction(table, tmp_path / "out", 0.5)
    work.run(["den"], [0], verbose=0)
    assert not work.failed
    den = next(row for row in work.content()["rows"] if row["name"] == "den")
    assert 0 < den["measured"]["acc"]["mean"] <= 1
    assert den["schedule"] == {"training.epochs": [2, 1]}
    assert np.isfinite(den["difference"]["capacity"])
    result = work.directory("den", 0).result()
    # 6 and 4 units over 64 pixels, and a head of two classes, whose sigmoid is free
    assert result.flops_by_task[0] >= 2 * 64 * 6 + 6
    assert [len(curve) > 0 for curve in result.learning_curves] == [True, True]


# === results/ and docs/results.md ===


def test_the_document_is_made_of_the_files(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import results_document

    text = results_document.document()
    sys.modules.pop("results_document")
    assert (ROOT / "docs/results.md").read_text(encoding="utf-8") == text


def test_rows_of_the_readme_are_traced_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Measured")[2].partition("\n## ")[0]
    files = re.findall(r"`(results/[\w/]+\.json)`", section)
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(lines) - 1 == len(files) == 6
    for file in files:
        content = json.loads((ROOT / file).read_text(encoding="utf-8"))
        assert content["schema"] == 1 and content["version"] and content["machine"]
