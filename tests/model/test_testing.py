"""Testing by samples: all after every k-th task and the last, else the newest."""

import json
import math
import types

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.metrics import Result
from keras_lifelong.metrics import forgetting
from keras_lifelong.model import testing as testing_lib
from keras_lifelong.model.results import Measured

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6)).astype("float32")
TESTED = (  # by (evaluate_every, evaluate_last): who is tested after each of 5 tasks
    (1, 1, ["0", "01", "012", "0123", "01234"]),
    (3, 1, ["0", "1", "012", "3", "01234"]),
    (9, 2, ["0", "01", "12", "23", "01234"]),
    (2, 0, ["", "01", "", "0123", "01234"]),
)


class Learner:
    """Scores each task by how many were learned since; trains nothing."""

    def __init__(self):
        self._scored_by = [types.SimpleNamespace(name="accuracy")]
        self.trainer = types.SimpleNamespace(compile_count=0)
        self.learned = 0

    def evaluate(self, task):
        return {"accuracy": 1.0 - (self.learned - task.test) / 10}

    def count_params(self):
        return 1


@pytest.mark.parametrize(("every", "last", "wanted"), TESTED)
@pytest.mark.parametrize("stopped", [None, 2])
def test_what_is_tested(every, last, wanted, stopped):
    """What was measured goes through a checkpoint's JSON at `stopped`."""
    learner, testing = Learner(), testing_lib.Testing(every, last)
    measured, tasks = Measured(learner, testing), []
    for i in range(5):
        tasks.append(types.SimpleNamespace(name=f"t{i}", test=i))
        learner.learned = i
        measured.after_task(tasks, None, 1.0, 1.0)
        if i == stopped:
            kept = json.loads(json.dumps(measured.to_config()))
            measured = Measured(learner, testing)
            measured.restore(kept)
    for _ in range(2):
        measured.after_last(tasks)
    R = measured.matrices()["accuracy"]
    assert ["".join(map(str, np.flatnonzero(np.isfinite(row)))) for row in R] == wanted
    i, j = np.nonzero(np.isfinite(R))
    assert R[i, j] == pytest.approx(1 - (i - j) / 10)
    result = Result(
        **{"method": "x", "stream": "x", "seed": 0, "backend": "x"},
        **{
            "metric": "accuracy",
            "task_names": measured.names,
            "matrices": {"accuracy": R},
        },
    )
    assert result.acc == pytest.approx(0.8)
    assert math.isnan(result.bwt) == (last == 0)
    assert math.isnan(result.forgetting) == (every > 1)
    assert ("which forgetting needs" in str(result)) == (every > 1 and last > 0)


def tasks(count=4):
    for i in range(count):
        data = (X, (X[:, i] > 0).astype("int32"))
        yield kl.Task(f"t{i}", train=data, validation=data, test=data)


def model():
    made = kl.Finetune(keras.Sequential([keras.Input((6,)), layers.Dense(3)]))
    made.compile(keras.optimizers.Adam(0.05))
    return made


def test_a_run_that_was_stopped_goes_on(eager, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if self.model.active_task == "t2":
                raise KeyboardInterrupt

    asked = {"verbose": 0, "evaluate_every": 9, "evaluate_last": 1}
    whole = model().fit_stream(tasks(), **asked)  # whose end nobody knows before
    assert np.isfinite(whole.matrix).sum(1).tolist() == [1, 1, 1, 4]
    with pytest.raises(KeyboardInterrupt):
        model().fit_stream(
            tasks(), checkpoint_dir=tmp_path, callbacks=[Stop()], **asked
        )
    with pytest.raises(ValueError, match="testing.every .9 there, 1 here"):
        model().fit_stream(tasks(), checkpoint_dir=tmp_path, verbose=0)
    for _ in range(2):  # and once more, when all is done
        result = model().fit_stream(tasks(), checkpoint_dir=tmp_path, **asked)
        assert np.array_equal(result.matrix, whole.matrix, equal_nan=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("evaluate_every", 0), ("evaluate_every", 1.5), ("evaluate_last", -1)],
)
def test_what_is_no_number_of_tasks(key, value):
    with pytest.raises(ValueError, match=f"`{key}` must be an integer of at least"):
        model().fit_stream(tasks(), **{key: value})


def test_forgetting_needs_what_lies_in_between():
    nan = math.nan
    assert math.isnan(forgetting([[0.9, nan, nan], [nan, 0.8, nan], [0.5, 0.6, 0.7]]))
    only = [[0.9, nan, nan], [0.8, nan, nan], [0.5, 0.6, 0.7]]
    assert forgetting(only, tasks=[True, False, True]) == pytest.approx(0.4)


def test_few_are_tested_at_a_time():
    testing = testing_lib.Testing(every=100, last=3)
    counts = [n - testing.first(n) for n in range(1, 1001)]
    assert sum(counts) < 10 * (100 + 1000) / 2 + 3 * 1000
