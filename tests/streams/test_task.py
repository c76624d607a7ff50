"""Tasks, their specs, and what bad data is told."""

from __future__ import annotations

import re

import numpy as np
import pytest

from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import check_split
from keras_lifelong.streams.numbers import is_finite

X = np.linspace(0, 1, 24, dtype="float32").reshape(8, 3)
Y = np.arange(8) % 2


def error(function, *arguments, **keywords):
    """The message of the ValueError that a call raises."""
    with pytest.raises(ValueError) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


# === TaskSpec ===


@pytest.mark.parametrize(
    "kind, classes, units",
    [
        ("categorical", 5, 5),
        ("binary", 2, 1),
        ("multilabel", 5, 5),
        ("regression", 1, 1),
    ],
)
def test_units_and_config_round_trip(kind, classes, units):
    spec = TaskSpec(classes, kind, [8, 8, 1], "shared")
    assert spec.units == units
    assert spec.input_shape == (8, 8, 1)
    assert TaskSpec.from_config(spec.to_config()) == spec


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"num_classes": 3, "kind": "ordinal"}, "`kind`.*'ordinal'.*categorical"),
        ({"num_classes": 3, "head": "none"}, "`head`.*shared.*'none'"),
        ({"num_classes": 1}, "`num_classes`.*2 or more.*1"),
        ({"num_classes": 3, "kind": "binary"}, "`num_classes`.*must be 2.*3"),
        ({"num_classes": 2.0}, "`num_classes`.*2.0"),
    ],
)
def test_bad_specs_are_refused(arguments, words):
    assert re.search(words, error(TaskSpec, **arguments))


@pytest.mark.parametrize(
    "y, spec",
    [
        (np.arange(8) % 4, TaskSpec(4, input_shape=(3,))),
        (Y[:, None], TaskSpec(2, input_shape=(3,))),
        (Y == 1, TaskSpec(2, input_shape=(3,))),
        (np.eye(8)[:, :5], TaskSpec(5, "multilabel", (3,))),
        (np.eye(4)[np.arange(8) % 4], TaskSpec(4, input_shape=(3,))),
        (Y * 1.0, TaskSpec(2, input_shape=(3,))),
        (
            np.array(list("babababc")),
            TaskSpec(3, input_shape=(3,), class_names=("a", "b", "c")),
        ),
        (X[:, 0], TaskSpec(1, "regression", (3,))),
        (X, TaskSpec(3, "regression", (3,))),
    ],
)
def test_spec_is_inferred_from_labels(y, spec):
    assert Task("a", train=(X, y)).spec == spec


@pytest.mark.parametrize(
    "y, words",
    [
        (np.array(list("aaaaaaaa")), "two classes at least.*one class, 'a'"),
        (Y + 5, r"every class from 0 on.*TaskSpec\(7\).*2 classes: 5, 6"),
        (X[:, 0] * 0 + 3, r"every class from 0 on.*TaskSpec\(4\).*1 classes: 3"),
        (np.zeros((8, 2, 2)), r"\(n,\) or \(n, C\).*\(8, 2, 2\)"),
        (np.arange(24).reshape(8, 3), "without a spec.*int64"),
        (np.zeros(0), "at least one label"),
    ],
)
def test_labels_that_suggest_no_spec(y, words):
    message = error(lambda: Task("a", train=(X, y)).spec)
    assert message.startswith("train of task 'a'")
    assert re.search(words, message)


# === Task ===


def test_arrays_come_back_as_they_are():
    task = Task("a", train=(X, Y), validation=(X[:2], Y[:2]), test=(X[2:], Y[2:]))
    assert task.train[0] is X
    assert task.test[1].tolist() == Y[2:].tolist()


def test_missing_test_is_none():
    assert Task("a", train=(X, Y)).test is None


def test_functions_are_called_at_every_access_and_not_before():
    calls = []

    def load():
        calls.append(1)
        return X, Y

    task = Task("a", TaskSpec(2), train=load, validation=load)
    assert task.spec == TaskSpec(2) and calls == []
    assert task.train[0] is X and task.train[0] is X
    assert len(calls) == 2


def test_held_out_data_are_disjoint_complete_and_the_same_each_time():
    x = np.arange(100, dtype="float32")[:, None]
    task = Task("a", train=(x, np.arange(100) % 4), validation_split=0.2)
    train, validation = task.train[0], task.validation[0]
    assert len(validation) == 20
    assert np.bincount(task.validation[1]).tolist() == [5, 5, 5, 5]
    assert sorted([*train[:, 0], *validation[:, 0]]) == x[:, 0].tolist()
    np.testing.assert_array_equal(task.validation[0], validation)
    other = Task("a", train=(x, np.arange(100) % 4), validation_split=0.2, seed=1)
    assert not np.array_equal(other.validation[0], validation)


def test_the_only_example_of_a_class_is_not_held_out():
    for seed in range(20):
        y = np.array([0, 0, 0, 0, 0, 1])
        task = Task("a", train=(X[:6], y), validation_split=0.9, seed=seed)
        assert set(task.train[1]) == {0, 1}
        assert len(task.validation[1]) == 4


def test_nothing_to_hold_out():
    message = error(lambda: Task("a", train=(X[:2], [0, 1])).validation)
    assert "train of task 'a'" in message and "pass `validation`" in message


@pytest.mark.parametrize("y", [X[:, 0], X, np.eye(8)[:, :7]])
def test_labels_that_are_no_classes_are_held_out_too(y):
    task = Task("a", train=(X, y))
    assert len(task.train[0]) == 7 and len(task.validation[0]) == 1


def test_no_validation_on_request():
    assert Task("a", train=(X, Y), validation_split=0).validation is None


def test_bad_data_is_not_hidden_by_the_hold_out():
    assert "5 labels for 8" in error(lambda: Task("a", train=(X, Y[:5])).train)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"name": ""}, "`name`.*non-empty.*''"),
        ({"name": 3}, "`name`.*3"),
        ({"spec": 10}, "`spec` of task 'a'.*10"),
        ({"train": X}, r"`train` of task 'a'.*pair \(x, y\).*ndarray"),
        ({"train": None}, "`train` of task 'a'.*NoneType"),
        ({"test": (X, Y, Y)}, "`test` of task 'a'.*tuple"),
        ({"seed": -1}, "`seed` of task 'a'.*-1"),
        ({"validation_split": 1.0}, "`validation_split` of task 'a'.*1.0"),
    ],
)
def test_bad_tasks_are_refused(arguments, words):
    arguments = {"name": "a", "train": (X, Y)} | arguments
    assert re.search(words, error(Task, **arguments))


def test_datasets_are_passed_on_and_not_split():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    task = Task("a", TaskSpec(2), train=data, validation=(X, Y), test=data)
    assert task.train is data and task.test is data
    assert "held out of a tf.data.Dataset" in error(Task, "a", train=data)
    lazy = Task("a", train=lambda: data)
    assert "held out of a tf.data.Dataset" in error(lambda: lazy.train)
    no_spec = Task("a", train=data, validation_split=0)
    assert "needs a `spec`" in error(lambda: no_spec.spec)


# === check_split ===


@pytest.mark.parametrize(
    "spec, y, dtype, shape",
    [
        (TaskSpec(2), Y, "int32", (8,)),
        (TaskSpec(2), Y[:, None].astype("uint8"), "int32", (8,)),
        (TaskSpec(2), Y.astype("float64"), "int32", (8,)),
        (TaskSpec(2, "binary"), Y == 1, "float32", (8, 1)),
        (TaskSpec(2, "binary"), Y.astype("float64"), "float32", (8, 1)),
        (TaskSpec(8, "multilabel"), np.eye(8, dtype="int64"), "float32", (8, 8)),
        (TaskSpec(1, "multilabel"), Y, "float32", (8, 1)),
        (TaskSpec(1, "regression"), np.arange(8), "float32", (8, 1)),
        (TaskSpec(3, "regression"), X, "float32", (8, 3)),
    ],
)
def test_standard_form(spec, y, dtype, shape):
    x, labels = check_split(X.astype("float64"), y, spec, "train of task 'a'")
    assert x.dtype == "float32"
    assert (labels.dtype, labels.shape) == (dtype, shape)
    np.testing.assert_array_equal(labels.reshape(-1), np.asarray(y).reshape(-1))
    again = check_split(x, labels, spec)
    assert again[0] is x and np.shares_memory(again[1], labels)


def test_names_and_one_hot_rows_are_ids_of_classes():
    ids = [1, 0, 1]
    for y in (["a", "b", "a"], np.array([b"a", b"b", b"a"]), np.eye(2)[ids]):
        assert check_split(X[:3], y, NAMED)[1].tolist() == ids
    binary = TaskSpec(2, "binary", class_names=("no", "yes"))
    found = check_split(X[:2], np.array([["yes"], ["no"]], object), binary)[1]
    assert found.tolist() == [[1.0], [0.0]]


def test_a_categorical_says_its_classes_and_their_order():
    class Categorical:  # of pandas, as it shows itself
        categories, codes = ["low", "mid", "high"], np.array([2, 0, 0, 1] * 2)

    spec = Task("a", train=(X, Categorical())).spec
    assert spec.class_names == ("low", "mid", "high") and spec.num_classes == 3
    assert check_split(X, Categorical(), spec)[1].tolist() == [2, 0, 0, 1] * 2
    gap = Categorical()
    gap.codes = np.array([-1] * 8)
    assert "a category for each" in error(check_split, X, gap, spec)


def test_a_class_alone_under_a_shared_head():
    shared = TaskSpec(10, head="shared")
    check_split(X, np.full(8, 7), shared, "train of task 'a'", trained=True)
    own = (X, np.full(8, 7), TaskSpec(10), "train of task 'a'", True)
    assert "two classes" in error(check_split, *own)


@pytest.mark.parametrize(
    "names, words",
    [
        (["a"], "must be 2 different texts"),
        (["a", "a"], "must be 2 different texts"),
        ("ab", "must be 2 different texts"),
        ([1, 2], "must be 2 different texts"),
    ],
)
def test_bad_names_of_classes(names, words):
    assert words in error(TaskSpec, 2, class_names=names)
    assert "go with classes" in error(TaskSpec, 2, "regression", class_names=names)


def test_names_are_in_the_configuration_only_where_there_are_any():
    assert "class_names" not in TaskSpec(2).to_config()
    assert TaskSpec.from_config(NAMED.to_config()) == NAMED


# === Weights ===


def test_weights_go_with_their_rows():
    x = np.arange(40, dtype="float32")[:, None]
    weights = x[:, 0] + 1
    by_class = {1: 10}
    task = Task(
        "a", train=(x, np.arange(40) % 2), sample_weight=weights, class_weight=by_class
    )
    (kept, y), (held, _) = task.train, task.validation
    expected = (kept[:, 0] + 1) * np.where(y == 1, 10, 1)
    assert task.weight("train").tolist() == expected.tolist()
    assert task.weight("validation").tolist() == (held[:, 0] + 1).tolist()
    assert task.weight("test") is None
    assert Task("a", train=(X, Y)).weight("train") is None
    named = Task("a", NAMED, train=(X, Y)).with_class_weight({"a": 3})
    assert set(named.weight("train")[named.train[1] == 1]) == {3}


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"sample_weight": np.ones(7)}, "`sample_weight` must have shape.*7"),
        ({"sample_weight": -np.ones(8)}, "`sample_weight`.*at least 0"),
        ({"sample_weight": X[:, 0] * np.nan}, "`sample_weight`.*finite"),
        ({"class_weight": [1, 2]}, "`class_weight` must be a dict.*1, 2"),
        ({"class_weight": {0: -1}}, "`class_weight` must be a dict"),
        ({"class_weight": {2: 1}}, "`class_weight` must name classes.*0 ... 1.*2"),
        ({"validation_sample_weight": [1]}, "goes with `validation`"),
    ],
)
def test_bad_weights_are_refused(arguments, words):
    message = error(lambda: Task("a", train=(X, Y), **arguments).weight("train"))
    assert re.search(words, message), message


# === Data in batches ===


class Batches:
    """A `keras.utils.PyDataset`, as it shows itself, in another order each time."""

    num_batches = 4
    passes = 0

    def __getitem__(self, i):
        self.passes += i == 0
        rows = np.roll(np.arange(8), self.passes)[2 * i : 2 * i + 2]
        return X[rows], Y[rows], rows + 1


class Loader(list):
    """A `DataLoader` of PyTorch, as it shows itself."""

    dataset, collate_fn, batch_size = (), None, 2


def test_batches_are_read_once():
    given = Batches()
    task = Task("a", train=given)
    x, y = map(np.concatenate, zip(task.train, task.validation, strict=True))
    order = [X.tolist().index(row) for row in x.tolist()]
    assert sorted(order) == list(range(8)) and (y == Y[order]).all()
    weights = np.concatenate([task.weight("train"), task.weight("validation")])
    assert weights.tolist() == [row + 1 for row in order]
    assert given.passes == 1


def test_a_loader_of_pytorch():
    class Tensor:
        def __init__(self, array):
            self.array = array

        detach = cpu = lambda self: self

        def numpy(self):
            return self.array

    loader = Loader([Tensor(X[i : i + 3]), Tensor(Y[i : i + 3])] for i in (0, 3, 6))
    task = Task("a", train=loader, validation_split=0)
    assert (task.train[0] == X).all() and (task.train[1] == Y).all()


def test_bad_batches():
    def message(loader):
        return error(lambda: Task("a", train=loader).train)

    assert "must give a batch" in message(Loader())
    assert "as many parts" in message(Loader([(X,)]))
    assert "a dict of ['x']" in message(Loader([{"x": X}]))
    endless = Batches()
    endless.num_batches = None
    assert "number of batches must be known" in message(endless)


def test_integer_inputs_stay_integers():
    assert (
        check_split(np.ones((2, 5), "int64"), [0, 1], TaskSpec(2))[0].dtype == "int32"
    )


def test_free_dimensions_take_any_size():
    spec = TaskSpec(2, input_shape=(None, 3))
    check_split(np.zeros((8, 5, 3)), Y, spec)
    assert "(n, any, 3)" in error(check_split, np.zeros((8, 5, 2)), Y, spec)


NAN, INFINITE, HUGE = X.copy(), X.copy(), X.astype("float64")
NAN[3, 1], INFINITE[3, 1], HUGE[3, 1] = np.nan, -np.inf, 1e300
RAGGED = [[1.0], [2.0, 3.0]]
NAMED = TaskSpec(2, class_names=["b", "a"])


@pytest.mark.parametrize(
    "x, y, spec, words",
    [
        (X[:, :2], Y, TaskSpec(2, input_shape=(3,)), r"`x`.*\(n, 3\).*\(8, 2\)"),
        (X[None], Y, TaskSpec(2, input_shape=(3,)), r"`x`.*\(n, 3\).*\(1, 8, 3\)"),
        (X[:, 0], Y, TaskSpec(2), r"`x`.*\(n, ...\).*\(8,\)"),
        (X.astype(str), Y, TaskSpec(2), "`x` must be an array of numbers.*dtype <U"),
        (X.astype(object), Y, TaskSpec(2), "`x`.*numbers.*dtype object"),
        (X.astype(complex), Y, TaskSpec(2), "`x`.*numbers.*complex128"),
        (RAGGED, [0, 1], TaskSpec(2), "`x`.*numbers.*list of dtype object"),
        (X[:0], Y[:0], TaskSpec(2), r"`x`.*at least one example.*\(0, 3\)"),
        (NAN, Y, TaskSpec(2), "`x` must be finite.*NaN"),
        (INFINITE, Y, TaskSpec(2), "`x` must be finite.*infinity"),
        (X.astype("int64") + 2**40, Y, TaskSpec(2), "`x` must fit into int32"),
        (HUGE, Y, TaskSpec(2), "`x` must be finite.*float32"),
        (X, Y[:5], TaskSpec(2), "`y`.*one label for each.*5 labels for 8"),
        (X, Y + 1, TaskSpec(2), "`y`.*0 ... 1.*2 classes.*from 1 to 2"),
        (X, Y - 1, TaskSpec(2), "`y`.*0 ... 1.*from -1 to 0"),
        (X, Y * 0.5, TaskSpec(2), "`y` must be integers.*float64, such as 0.5"),
        (X, np.eye(8)[:, :2], TaskSpec(2), "`y`.*exactly one 1 in each row"),
        (X, np.eye(8)[:, :3], TaskSpec(2), r"`y`.*\(8, 1\) or \(8, 2\).*\(8, 3\)"),
        (X, np.array(list("ababcdcd")), TaskSpec(2), "`y`.*names no classes.*'d'"),
        (
            X,
            np.array(list("ababcdcd")),
            NAMED,
            r"of the classes \['b', 'a'\].*'c', 'd'",
        ),
        (X, Y * 0, TaskSpec(2), "`y`.*two classes at least.*8 labels, all 0"),
        (X, Y * 0 + 1, TaskSpec(2, "binary"), "`y`.*two classes.*all 1"),
        (X, Y * 2, TaskSpec(2, "binary"), "`y` must be 0 or 1.*from 0 to 2"),
        (X, X, TaskSpec(3, "multilabel"), "`y` must be 0 or 1"),
        (X, X, TaskSpec(4, "multilabel"), r"`y`.*\(8, 4\).*\(8, 3\)"),
        (X, X, TaskSpec(1, "regression"), r"`y`.*\(8,\) or \(8, 1\).*\(8, 3\)"),
        (X, NAN, TaskSpec(3, "regression"), "`y` must be finite"),
        (X, HUGE, TaskSpec(3, "regression"), "`y` must be finite.*float32"),
        (X, NAN[:, 1], TaskSpec(2), "`y` must be finite"),
    ],
)
def test_bad_data_are_refused(x, y, spec, words):
    message = error(check_split, x, y, spec, "train of task 'monday'", True)
    assert message.startswith("train of task 'monday': ")
    assert "Received: " in message
    assert re.search(words, message), message


def test_one_class_is_no_matter_outside_training():
    for what in ("test of task 'a'", "training labels, as said in other words"):
        check_split(X, Y * 0, TaskSpec(2), what)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_what_is_finite(dtype):
    numbers = np.ones((3, 4), dtype)
    assert is_finite(numbers) and is_finite(numbers[:, ::2]) and is_finite(numbers[:0])
    if dtype == "int32":
        return
    numbers[1, 2] = np.finfo(dtype).max  # of which the square is not
    assert is_finite(numbers)
    for value in (np.nan, np.inf, -np.inf):
        numbers[2, 2] = value
        assert not is_finite(numbers) and not is_finite(numbers[:, ::2])
