"""Which examples a buffer keeps, by hand."""

import numpy as np
import pytest

from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.task_memory import TaskRecord
from keras_lifelong.training import buffers
from keras_lifelong.training.buffers import Buffer


def memory(*names):
    found = TaskMemory(buffers.FORMS)
    for name in names:
        found.records[name] = TaskRecord(None)
    return found


def columns(ranks, y=None):
    ranks = np.asarray(ranks, "float64")
    y = np.zeros(len(ranks), "int32") if y is None else np.asarray(y, "int32")
    return {"x": np.arange(len(ranks)).astype("float32"), "y": y, "rank": ranks}


def kept(found, name):
    return found[buffers.KEY, name, "x"].tolist()


def test_a_reservoir_keeps_the_lowest_ranks_of_all():
    found, buffer = memory("a", "b"), Buffer(3)
    buffer.add(found, "a", columns([0.5, 0.1, 0.9, 0.2]))
    assert kept(found, "a") == [0, 1, 3]
    buffer.add(found, "b", columns([0.3, 0.6]))
    assert kept(found, "a") == [1, 3] and kept(found, "b") == [0]
    buffer.add(found, "b", columns([0.0, 0.0]))  # learned again: its old ones go
    assert kept(found, "a") == [1] and kept(found, "b") == [0, 1]
    assert buffer.count(found) == 3


def test_every_example_of_a_reservoir_is_kept_as_often():
    times = np.zeros(40)
    for seed in range(400):
        rng, found, buffer = np.random.default_rng(seed), memory("a", "b"), Buffer(10)
        for name, count in (("a", 30), ("b", 10)):
            ranks = buffers.drawn_ranks(count, rng)
            buffer.add(found, name, columns(ranks))
        for start, name in ((0, "a"), (30, "b")):
            times[start + np.array(kept(found, name), int)] += 1
    assert times.sum() == 4000
    assert abs(times[:30].mean() - 100) < 4 and abs(times[30:].mean() - 100) < 8


def test_a_balanced_buffer_has_as_many_of_each_class_of_each_task():
    found, buffer = memory("a", "b"), Buffer(6, policy="balanced")
    y = [0, 0, 0, 0, 1, 1, 1, 1]
    buffer.add(found, "a", columns([4, 3, 2, 1, 1, 2, 3, 4], y))
    assert kept(found, "a") == [1, 2, 3, 4, 5, 6]
    buffer.add(found, "b", columns([4, 3, 2, 1, 1, 2, 3, 4], y))
    assert kept(found, "a") == [2, 3, 4, 5]  # the first groups have what is over
    assert kept(found, "b") == [3, 4]


def test_a_budget_in_bytes():
    found = memory("a")
    one = 4 + 4 + 8  # x, y and the rank
    Buffer(100, max_bytes=3 * one + 1).add(found, "a", columns(range(9)))
    assert kept(found, "a") == [0, 1, 2]
    assert Buffer(1).bytes(found) == 3 * one
    with pytest.raises(ValueError, match="`max_bytes` must be at least .*16 bytes"):
        Buffer(1, max_bytes=15).add(found, "a", columns(range(9)))


def test_a_removed_task_leaves_room():
    found, buffer = memory("a", "b"), Buffer(4)
    buffer.add(found, "a", columns([0, 0, 0, 0]))
    del found.records["a"]
    buffer.add(found, "b", columns([5, 5, 5]))
    assert kept(found, "b") == [0, 1, 2] and buffer.names(found) == ["b"]


def test_herding_follows_the_mean():
    """The mean is 2: first 2, then 2.5 (or as near, 1.5), then the other of the two."""
    phi = np.array([[0.0], [2.0], [4.0], [2.5], [1.5]])
    ranks = buffers.herded_ranks(phi, np.zeros(5, int))
    assert phi[np.argsort(ranks)][:, 0].tolist() == [2, 2.5, 1.5, 0, 4]


def test_how_many_of_a_class_may_stay():
    buffer = buffers.Buffer(7, policy="herding")
    assert buffer.most_of_a_class({"y": np.repeat([0, 1, 2], [9, 9, 1])}) == 3


def test_herding_ends_with_as_many_as_may_be_kept():
    rng = np.random.default_rng(0)
    phi, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    whole, begun = (buffers.herded_ranks(phi, y, most) for most in (None, 4))
    assert begun.tolist() == np.where(whole < 4, whole, np.inf).tolist()
    assert np.isfinite(begun).sum() == 8


def test_herding_is_by_class():
    y = np.array([0, 1, 0, 1])
    ranks = buffers.herded_ranks(np.arange(4.0)[:, None], y)
    assert sorted(ranks[y == 0]) == sorted(ranks[y == 1]) == [0, 1]
