"""Golden numbers of the measures, by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from keras_lifelong import metrics

NAN = float("nan")
# By hand: last row .6 .9 .8. Changes from the diagonal: -.3 and +.2. Best of the
# rows before the last: .95 (task 0, after task 1) and .7 (task 1).
R = [[0.9, NAN, NAN], [0.95, 0.7, NAN], [0.6, 0.9, 0.8]]


def test_golden_numbers():
    assert metrics.acc(R) == pytest.approx(2.3 / 3)
    assert metrics.ap(R) == metrics.acc(R)
    assert metrics.bwt(R) == pytest.approx(-0.05)
    assert metrics.forgetting(R) == pytest.approx((0.35 - 0.2) / 2)
    assert metrics.af(R) == pytest.approx(-0.1 / 3)
    peaks = [0.8, 1.0, 0.1]  # the last one doesn't count
    assert metrics.forgetting_ratio(R, peaks) == pytest.approx((0.75 + 0.9) / 2)


def test_all_rows_before_the_last_count_for_the_best():
    # Entries above the diagonal count where they were measured, as defined.
    assert metrics.forgetting([[0.5, 0.8], [0.5, 0.4]]) == pytest.approx(0.0)
    measured = [[0.5, 0.8, NAN], [0.5, 0.4, NAN], [0.5, 0.4, 0.9]]
    assert metrics.forgetting(measured) == pytest.approx(0.2)


def test_one_task_has_nothing_to_forget():
    one = [[0.9]]
    assert metrics.acc(one) == 0.9
    assert (metrics.bwt(one), metrics.forgetting(one), metrics.af(one)) == (0, 0, 0)
    assert metrics.forgetting_ratio(one, [0.95]) == 1.0
    assert metrics.forgetting_ratio(one, [None]) == 1.0


def test_what_was_not_measured_stays_unknown():
    joint = [[NAN, NAN], [0.8, 0.9]]  # measured after the last task only
    assert metrics.acc(joint) == pytest.approx(0.85)
    assert math.isnan(metrics.bwt(joint))
    assert math.isnan(metrics.forgetting(joint))
    assert math.isnan(metrics.acc([[0.9, NAN], [0.8, NAN]]))
    assert math.isnan(metrics.forgetting_ratio(R, None))
    assert math.isnan(metrics.forgetting_ratio(R, [0.9, None, 0.9]))
    assert math.isnan(metrics.forgetting_ratio(R, [0.9, 0.0, 0.9]))
    assert not math.isnan(metrics.forgetting_ratio(R, [0.9, 0.9, None]))


def test_multi_task_gain():
    # (.9-.8)/.8 = 12.5 %, (.6-.5)/.5 = 20 %
    assert metrics.multi_task_gain([0.9, 0.6], [0.8, 0.5]) == pytest.approx(16.25)
    assert metrics.multi_task_gain([0.8, 0.5], [0.9, 0.6]) < 0
    gain = metrics.multi_task_gain([0.9, 0.6], [0.8, 0.5], points=True)
    assert gain == pytest.approx(10.0)
    # Errors: .1 instead of .2 is 50 % better.
    gain = metrics.multi_task_gain([0.1], [0.2], higher_is_better=False)
    assert gain == pytest.approx(50.0)
    with pytest.raises(ValueError, match="must not hold 0.*Received"):
        metrics.multi_task_gain([0.9, 0.6], [0.8, 0.0])
    with pytest.raises(ValueError, match="`single`.*2 tasks.*Received"):
        metrics.multi_task_gain([0.9, 0.6], [0.8])


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [0.9], [], [[]], np.zeros((2, 2, 2))])
def test_wrong_shapes_are_refused(bad):
    with pytest.raises(ValueError, match=r"`R` must have shape \(T, T\).*Received"):
        metrics.acc(bad)


def test_wrong_content_is_refused():
    with pytest.raises(ValueError, match="square matrix of numbers"):
        metrics.bwt([["a"]])
    with pytest.raises(ValueError, match="`peaks` must hold one number.*3 tasks"):
        metrics.forgetting_ratio(R, [0.9])


def test_arguments_are_left_alone():
    matrix, peaks = np.array(R), np.array([0.0, 0.5, 0.5])
    before = matrix.copy()
    metrics.forgetting(matrix)
    metrics.forgetting_ratio(matrix, peaks)
    np.testing.assert_array_equal(matrix, before)
    assert peaks[0] == 0.0


def test_importing_the_metrics_costs_numpy_only():
    heavy = ["keras", "tensorflow", "jax", "sklearn", "scipy", "matplotlib", "yaml"]
    code = (
        "import sys, keras_lifelong.metrics\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr


def test_an_errors_best_is_its_least():
    """Of task 0 the best was 0.5 and is 0.8 in the end; of task 1 nothing was lost."""
    nan = math.nan
    R = [[1.0, nan, nan], [0.5, 1.0, nan], [0.8, 1.0, 1.0]]
    assert metrics.forgetting(R, higher_is_better=False) == pytest.approx(0.15)
    assert metrics.forgetting(R) == pytest.approx(0.1)  # 1.0 at best: 0.2 and 0


def test_measures_of_the_tasks_that_count():
    """The second of three tasks has another metric."""
    nan = math.nan
    R = [[0.9, nan, nan], [0.8, nan, nan], [0.6, nan, 0.7]]
    mask = [True, False, True]
    assert math.isnan(metrics.acc(R))
    assert metrics.acc(R, mask) == pytest.approx(0.65)
    assert metrics.bwt(R, mask) == pytest.approx(-0.3)
    assert metrics.af(R, mask) == pytest.approx(-0.15)
    assert metrics.forgetting(R, tasks=mask) == pytest.approx(0.3)
    assert metrics.forgetting_ratio(R, [0.8, 5.0, 0.7], mask) == pytest.approx(0.75)
    assert metrics.bwt(R, [False, False, True]) == 0.0
    with pytest.raises(ValueError, match="a bool for each of the 3 tasks"):
        metrics.acc(R, [0, 2])
