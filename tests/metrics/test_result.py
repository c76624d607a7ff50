"""results.json: its keys, its round trip, its whole-or-nothing writing."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from keras_lifelong.files import write_atomic
from keras_lifelong.metrics import Result
from keras_lifelong.metrics import compare
from keras_lifelong.metrics.table import duration

NAN = float("nan")
KEYS = """schema method stream seed backend metric task_names matrix matrices acc bwt
forgetting ap af forgetting_ratio peak_by_task params_base params_total capacity
params_by_task train_seconds_by_task wall_seconds compile_count peak_rss_mib growth
config versions""".split()


def make(**fields):
    defaults = {
        "method": "DEN",
        "stream": "digits",
        "seed": 3,
        "backend": "tensorflow",
        "metric": "accuracy",
        "task_names": ["task_0", "task_1"],
        "matrices": {
            "accuracy": np.array([[0.9, NAN], [0.6, 0.8]]),
            "auroc": np.array([[0.99, NAN], [0.98, 0.97]]),
        },
        "peak_by_task": [0.8, None],
        "params_base": 1000,
        "params_by_task": [1000, 1387],
        "train_seconds_by_task": [1.5, 2.5],
        "wall_seconds": 5.0,
        "compile_count": 4,
        "peak_rss_mib": 512.25,
        "growth": [
            {
                "task": "task_1",
                "layer": "dense",
                "kind": "add",
                "count": np.int64(7),
                "why": {"loss": np.float32(0.25), "threshold": NAN},
            }
        ],
        "config": {"method": {"name": "DEN", "ks": (1, 2)}, "seed": 3},
        "versions": {"keras": "3.15"},
    }
    return Result(**(defaults | fields))


def test_content_is_the_contract():
    content = json.loads(make().to_json())
    assert list(content) == KEYS
    assert content["schema"] == 1
    assert content["matrix"] == [[0.9, None], [0.6, 0.8]]
    assert content["matrices"] == {"auroc": [[0.99, None], [0.98, 0.97]]}
    assert content["acc"] == pytest.approx(0.7)
    assert content["bwt"] == pytest.approx(-0.3)
    assert content["forgetting"] == pytest.approx(0.3)
    assert content["ap"] == content["acc"]
    assert content["af"] == pytest.approx(-0.15)
    assert content["forgetting_ratio"] == pytest.approx(0.75)
    assert content["peak_by_task"] == [0.8, None]
    assert content["params_total"] == 1387
    assert content["capacity"] == pytest.approx(1.387)
    assert content["growth"][0]["why"] == {"loss": 0.25, "threshold": None}
    assert content["config"] == {"method": {"name": "DEN", "ks": [1, 2]}, "seed": 3}


def test_round_trip(tmp_path):
    result = make()
    path = tmp_path / "results.json"
    result.save(path)
    back = Result.load(path)
    assert back == result
    assert back.to_json() == result.to_json() == path.read_text()
    np.testing.assert_array_equal(back.matrix, result.matrix)
    assert np.isnan(back.matrix[0, 1]) and math.isnan(back.peak_by_task[1])
    np.testing.assert_array_equal(back.matrices["auroc"], result.matrices["auroc"])
    assert back != make(seed=4)
    no_peaks = make(peak_by_task=None)
    assert Result.from_json(no_peaks.to_json()).peak_by_task is None
    assert json.loads(no_peaks.to_json())["forgetting_ratio"] is None


def test_numbers_keep_every_bit():
    R = np.array([[1 / 3, NAN], [0.1 + 0.2, 2 / 3]])
    back = Result.from_json(make(matrices={"accuracy": R}).to_json())
    np.testing.assert_array_equal(back.matrix, R)


def test_infinity_becomes_null():
    result = make(matrices={"accuracy": [[np.inf, NAN], [0.5, 0.5]]})
    assert json.loads(result.to_json())["matrix"][0][0] is None


def test_what_is_unknown_comes_back(tmp_path):
    seconds = {"train_seconds_by_task": [1.0, NAN], "wall_seconds": NAN}
    curves = [[0.5, NAN], [0.75, 1.0]]
    result = make(learning_curves=curves, peak_rss_mib=NAN, **seconds)
    result.save(tmp_path / "results.json")
    back = Result.load(tmp_path / "results.json")
    assert back == result and np.isnan(back.learning_area)
    assert back.learning_curves[1] == [0.75, 1.0]
    assert np.isnan(back.learning_curves[0][1]) and np.isnan(back.wall_seconds)
    said = "time: · training of · in all, 4 compilations, peak memory · MiB"
    assert str(back).endswith(said) and "ACC" in str(compare([back]))


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    old = make()
    old.save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(OSError, match="No space left"):
                make(seed=4).save(path)
        assert Result.load(path) == old
        assert os.listdir(tmp_path) == ["results.json"]
    # A result that can't be written is refused before anything is touched.
    with pytest.raises(ValueError, match="`config.f`.*Received"):
        make(config={"f": object()}).save(path)
    assert Result.load(path) == old
    make(seed=4).save(path)
    assert Result.load(path).seed == 4


def test_write_atomic_makes_the_directory(tmp_path):
    write_atomic(tmp_path / "a" / "b.bin", b"abc")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"abc"


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "results.json"
    text = make().to_json()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match="results.json.*Not a whole JSON document"):
        Result.load(path)
    path.write_text(text.replace('"schema": 1', '"schema": 9'))
    with pytest.raises(ValueError, match="`schema` must be 1. Received: 9"):
        Result.load(path)
    content = json.loads(text)
    del content["params_base"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"Missing: \['params_base'\]"):
        Result.load(path)
    for text in ("[]", "3", '{"schema": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="Cannot read a result from"):
            Result.load(path)
    with pytest.raises(FileNotFoundError):
        Result.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "f1"}, "`matrices` must hold the main metric 'f1'. Received"),
        ({"task_names": ["a"]}, r"must have shape \(1, 1\).*Received"),
        ({"params_by_task": [1]}, "`params_by_task` must hold one value.*2 tasks"),
        ({"peak_by_task": [1.0]}, "`peak_by_task` must hold one value.*2 tasks"),
        ({"growth": [{"task": "a"}]}, r"Missing: \['count', 'kind', 'layer'\]"),
        ({"matrices": {"accuracy": [[1.0, 2.0]]}}, r"`matrices\['accuracy'\]`"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_str_shows_the_matrix_and_the_sizes():
    assert str(make()) == (
        "DEN on digits, 2 tasks (seed 3, tensorflow)\n"
        "\n"
        "accuracy on   task_0  task_1\n"
        "after task_0  0.9000       ·\n"
        "after task_1  0.6000  0.8000\n"
        "\n"
        "accuracy: ACC 0.7000  BWT -0.3000  forgetting 0.3000  forgetting ratio "
        "0.7500\n"
        "auroc: ACC 0.9750  BWT -0.0100  forgetting 0.0100\n"
        "size: 1,387 parameters, capacity 1.387x the base network's 1,000\n"
        "time: 4.00 s training of 5.00 s in all, 4 compilations, peak memory 512 MiB"
    )


@pytest.mark.parametrize("tasks", [1, 11, 20, 50])
def test_str_fits_a_terminal(tasks):
    R = np.where(np.tri(tasks, dtype=bool), 0.9, NAN)
    names = [f"a rather long name of task\n{i}" for i in range(tasks)]
    result = Result(
        method="EWC",
        stream="x",
        seed=0,
        backend="jax",
        metric="accuracy",
        task_names=names,
        matrices={"accuracy": R},
    )
    text = str(result)
    assert max(map(len, text.splitlines())) <= 145
    assert text.count("after ") == (tasks if tasks <= 20 else 0)
    assert "capacity ·x" in text


def test_durations():
    times = [0.421, 12.34, 99.96, 245, 4320]
    assert [duration(t) for t in times] == [
        "0.42 s",
        "12.3 s",
        "1 min 40 s",
        "4 min 05 s",
        "1 h 12 min",
    ]


def test_tasks_of_several_kinds_are_measured_by_theirs():
    accuracy = [[0.9, NAN], [0.6, NAN]]
    mse = [[NAN, NAN], [NAN, 2.0]]
    result = make(matrices={"accuracy": accuracy, "mse": mse})
    assert result.scored().tolist() == [True, False]
    assert (result.acc, result.bwt) == (0.6, pytest.approx(-0.3))
    assert result.forgetting == pytest.approx(0.3)
    assert result.measures("mse")["acc"] == 2.0
    assert "accuracy (1 of 2 tasks): ACC 0.6000" in str(result)
    assert Result.from_json(result.to_json()) == result
    alone = make(matrices={"accuracy": accuracy})  # not measured at all: unknown
    assert math.isnan(alone.acc)


def test_directions_that_names_do_not_tell_are_kept():
    R = [[0.5, NAN], [0.8, 0.1]]
    plain = make(metric="mse", matrices={"mse": R}, directions={"mse": False})
    assert plain.directions == {} and "directions" not in plain.to_dict()
    assert plain.forgetting == pytest.approx(0.3)
    told = make(metric="drift", matrices={"drift": R}, directions={"drift": False})
    assert told.forgetting == pytest.approx(0.3)
    assert Result.from_json(told.to_json()).forgetting == pytest.approx(0.3)
    assert make(metric="drift", matrices={"drift": R}).forgetting < 0
