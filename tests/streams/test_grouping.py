"""Which classes make which task, worked out by hand."""

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams.grouping import groups


def test_even_uneven_and_larger_first_tasks():
    assert groups(4, 2) == [[0, 1], [2, 3]]
    assert groups(10, [4, 2, 3]) == [[0, 1, 2, 3], [4, 5], [6, 7, 8]]  # 9 is left out
    assert groups(8, 2, first_task=4) == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert groups(4, 2, first_task=4) == [[0, 1, 2, 3]]


def test_the_order_of_classes():
    assert groups(4, 2, class_order=[3, 0, 2, 1]) == [[3, 0], [2, 1]]
    drawn = groups(100, 10, class_order="random", seed=1)
    assert sorted(sum(drawn, [])) == list(range(100))
    assert drawn == groups(100, 10, class_order="random", seed=1)
    assert drawn != groups(100, 10, class_order="random", seed=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes_per_task": 3}, r"`classes_per_task`.*\[2, 5, 10\].*3"),
        ({"classes_per_task": True}, r"`classes_per_task`.*True"),
        ({"classes_per_task": []}, r"`classes_per_task`.*\[\]"),
        ({"classes_per_task": [2, 1]}, r"`classes_per_task`.*\[2, 1\]"),
        ({"classes_per_task": [6, 6]}, r"`classes_per_task`.*10 classes.*\[6, 6\]"),
        ({"classes_per_task": [2], "first_task": 4}, r"`first_task` must be None.*4"),
        ({"first_task": 1}, r"`first_task`.*2 \.\.\. 10.*1"),
        ({"first_task": 11}, r"`first_task`.*2 \.\.\. 10.*11"),
        ({"first_task": 5}, r"`classes_per_task`.*\[5\].*divide 5 classes.*2"),
        ({"class_order": [0, 1]}, r"`class_order`.*0 \.\.\. 9 once.*\[0, 1\]"),
        ({"class_order": "any"}, r"`class_order`.*'random'.*'any'"),
    ],
)
def test_what_is_not_possible_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        groups(10, **arguments)


def test_a_stream_of_uneven_tasks_in_another_order():
    order = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    stream = streams.get(
        "digits", first_task=4, class_order=order, train_per_task=[40, 20, 20, 10]
    )
    plain = streams.get("digits")
    assert [task.spec.num_classes for task in stream] == [4, 2, 2, 2]
    assert [len(task.train[0]) for task in stream] == [40, 20, 20, 10]
    # the last task has 1 and 0, in this order: label 0 is the digit 1
    (x, y), (expected, labels) = stream[3].test, plain[0].test
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(y, 1 - labels)


def test_a_number_of_images_for_each_task():
    with pytest.raises(ValueError, match=r"`train_per_task`.*5 tasks.*\[3, 4\]"):
        streams.get("digits", train_per_task=[3, 4])
    with pytest.raises(ValueError, match=r"`train_per_task`.*0"):
        streams.get("digits", num_tasks=2, train_per_task=[3, 0])
    with pytest.raises(ValueError, match=r"`train_per_task`.*2 or more.*1 for task 1"):
        streams.get("digits", num_tasks=2, train_per_task=[3, 1])
    first = streams.get("digits", num_tasks=2, train_per_task=[3, 4, 5, 6, 7])
    assert [len(task.train[0]) for task in first] == [3, 4]
    counts = {"num_tasks": 2, "train_per_task": [3, 1]}
    shared = streams.get("digits", **counts, head="shared")
    assert [len(task.train[0]) for task in shared] == [3, 1]


def test_tasks_in_another_order(fake_data):
    order = [19, 0, *range(1, 19)]
    stream, plain = (
        streams.get("cifar100_superclass", task_order=given) for given in (order, None)
    )
    for index in (0, 1, 5):
        (x, y), (expected, labels) = stream[index].test, plain[order[index]].test
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(y, labels)
    few = {"images_per_class": [20, 5, 10], "num_tasks": 2}
    stream, plain = (
        streams.get("mnist_variation", task_order=given, **few)
        for given in ([1, 0, *range(2, 10)], None)
    )
    np.testing.assert_array_equal(stream[0].test[1], plain[1].test[1])
    assert stream[0].test[1].sum() == 10
    with pytest.raises(ValueError, match=r"`task_order`.*0 ... 19 once.*\[0\]"):
        streams.get("cifar100_superclass", task_order=[0])
    with pytest.raises(ValueError, match="`seed` must be an integer of 0 or more.*-1"):
        streams.get("digits", class_order="random", seed=-1)
