"""Choosing rows by seed."""

from __future__ import annotations

import hypothesis
import numpy as np
from hypothesis import strategies as st

from keras_lifelong.streams.sampling import hold_out
from keras_lifelong.streams.sampling import subset

labels = st.lists(st.integers(0, 5), min_size=2, max_size=60).map(np.array)


@hypothesis.given(labels, st.integers(1, 60), st.integers(0, 3))
def test_hold_out_keeps_every_class_and_loses_no_row(y, amount, seed):
    spare = len(y) - len(np.unique(y))
    hypothesis.assume(spare > 0)
    kept, held = hold_out(y, amount, seed)
    assert len(held) == min(amount, spare)
    assert sorted([*kept, *held]) == list(range(len(y)))
    assert set(y[kept]) == set(y)
    # In proportion, up to rounding and to what has to stay.
    ideal = amount * np.bincount(y) / len(y)
    if amount <= spare / 2:
        assert (np.bincount(y[held], minlength=y.max() + 1) <= ideal + 1 + 6).all()


@hypothesis.given(labels, st.integers(1, 60), st.integers(0, 3))
def test_subset_has_every_class_as_far_as_possible(y, count, seed):
    rows = subset(y, count, seed)
    assert len(rows) == len(set(rows)) == min(count, len(y))
    if count >= len(np.unique(y)):
        assert set(y[rows]) == set(y)


def test_choices_are_in_proportion():
    y = np.repeat([0, 1, 2], [100, 200, 700])
    assert np.bincount(y[hold_out(y, 0.1, seed=0)[1]]).tolist() == [10, 20, 70]
    assert np.bincount(y[subset(y, 50, seed=0)]).tolist() == [5, 10, 35]


def test_real_valued_and_multilabel_rows_can_be_chosen():
    assert len(subset(np.random.default_rng(0).random(100), 10, seed=0)) == 10
    one_hot = np.eye(5)[np.arange(100) % 5]
    assert one_hot[subset(one_hot, 10, seed=0)].sum(0).tolist() == [2] * 5
