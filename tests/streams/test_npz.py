"""A user's own file, exported streams, and files that are damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_lifelong import streams
from keras_lifelong.streams import Task
from keras_lifelong.streams import TaskSpec
from keras_lifelong.streams import TaskStream
from keras_lifelong.streams import export_npz
from keras_lifelong.streams import npz as npz_module

RNG = np.random.default_rng(0)


def data_set(**changes):
    """Twelve classes 10, 11, ..., of which every input holds the label."""
    y_train, y_test = (10 + np.arange(n) % 12 for n in (240, 60))
    arrays = {"y_train": y_train, "y_test": y_test}
    for split in ("train", "test"):
        y = arrays[f"y_{split}"]
        arrays[f"x_{split}"] = (y[:, None] + np.zeros(3)).astype("float32")
    arrays |= changes
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.fixture
def write(tmp_path):
    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return write


def get(path, **arguments):
    return streams.get("npz", path=path, **arguments)


# === Data sets ===


def test_split(write):
    stream = get(write(**data_set()), split=4)
    assert len(stream) == 4
    for index, task in enumerate(stream):
        assert task.spec == TaskSpec(3, input_shape=(3,))
        for split, size in (("train", 54), ("validation", 6), ("test", 15)):
            x, y = getattr(task, split)
            assert len(x) == size
            np.testing.assert_array_equal(x[:, 0], 10 + 3 * index + y)


def test_lists_of_classes(write):
    stream = get(write(**data_set()), tasks=[[21, 10], [11, 10, 12]])
    assert [task.spec.num_classes for task in stream] == [2, 3]
    x, y = stream[0].test
    np.testing.assert_array_equal(x[:, 0], np.where(y == 0, 21, 10))


def test_permutations(write):
    x = RNG.random((240, 3), "float32")
    path = write(**data_set(x_train=x))
    stream = get(path, permutations=50, permute_first=False)
    assert len(stream) == 50
    (x, y), (z, w) = stream[0].train, stream[49].train
    np.testing.assert_array_equal(y, w)
    np.testing.assert_array_equal(np.sort(x), np.sort(z))
    assert len(get(path, permutations=50, num_tasks=3)) == 3


def test_own_validation_data_and_shared_head(write):
    extra = {"x_val": np.full((24, 3), 0.5), "y_val": 10 + np.arange(24) % 12}
    task = get(write(**data_set(**extra)), split=6, head="shared")[0]
    assert len(task.train[0]) == 40 and task.spec.head == "shared"
    np.testing.assert_array_equal(task.validation[0], np.full((4, 3), 0.5))


def test_uint8_are_images(write):
    images = {f"x_{s}": RNG.integers(0, 256, (n, 4, 4), "uint8") for s, n in SIZES}
    task = get(write(**data_set(**images)), split=6)[0]
    assert task.spec.input_shape == task.train[0].shape[1:] == (4, 4, 1)
    assert task.train[0].dtype == "float32" and task.train[0].max() <= 1


def test_integers_stay_integers_and_are_not_standardized(write):
    tokens = {f"x_{s}": RNG.integers(0, 99, (n, 7)) for s, n in SIZES}
    path = write(**data_set(**tokens))
    assert get(path, split=6)[0].train[0].dtype == "int64"
    with pytest.raises(ValueError, match="`standardize` needs real-valued"):
        get(path, split=6, standardize=True)[0].train  # noqa: B018


SIZES = (("train", 240), ("test", 60))


@pytest.mark.parametrize(
    "changes, arguments, words",
    [
        ({}, {}, "give one of `tasks`, `split` and `permutations`.*none of them"),
        ({}, {"split": 2, "permutations": 2}, "give one of.*'split': 2"),
        ({}, {"split": 5}, r"`split` must be one of \[1, 2, 3, 4, 6\].*12 classes.*5"),
        ({}, {"tasks": []}, "`tasks` must be one list or more"),
        ({}, {"tasks": [[10, 99]]}, r"`tasks`.*of the file.*\[10, 99\]"),
        ({}, {"tasks": [[10, 10]]}, r"`tasks`.*different.*\[10, 10\]"),
        ({}, {"tasks": [[10]]}, r"`tasks`.*two or more.*\[10\]"),
        ({}, {"tasks": [10, 11]}, "`npz.tasks` must be a list, each a list"),
        ({}, {"permutations": 0}, "`permutations`.*1 or more.*0"),
        ({}, {"split": 2, "num_tasks": 3}, "`num_tasks`.*1 ... 2.*3"),
        ({"x_test": None}, {"split": 2}, "data.npz lacks x_test; .*x_train, y_train"),
        ({"y_train": np.zeros(240)}, {"split": 2}, "`y_train`.*integers.*float64"),
        ({"y_test": np.int64(3)}, {"split": 2}, r"`y_test`.*shape \(\)"),
        ({"y_test": np.zeros((60, 2), int)}, {"split": 2}, r"`y_test`.*\(60, 2\)"),
        ({"x_train": np.zeros((9, 3))}, {"split": 2}, r"`x_train`.*\(9, 3\).*\(240,\)"),
        ({"x_train": np.zeros(240)}, {"split": 2}, r"`x_train`.*\(240,\)"),
        ({"x_test": np.zeros((60, 4))}, {"split": 2}, "test data must.*shape"),
        (
            {"y_test": np.full(60, 7)},
            {"split": 2},
            r"test data must.*only there: \[7\]",
        ),
        ({"x_train": np.array([{}] * 240)}, {"split": 2}, "data.npz can't.*objects"),
        ({"y_train": np.array([{}] * 240)}, {"split": 2}, "data.npz can't.*Object"),
    ],
)
def test_bad_data_sets_are_refused_at_once(write, changes, arguments, words):
    with pytest.raises(ValueError, match=words):
        get(write(**data_set(**changes)), **arguments)


def test_nothing_but_labels_is_read_before_a_task_is(write, monkeypatch):
    read = []
    original = npz_module._read
    monkeypatch.setattr(
        npz_module, "_read", lambda path, key: read.append(key) or original(path, key)
    )
    stream = get(write(**data_set()), split=4)
    assert sorted(read) == ["y_test", "y_train"]
    stream[0].train, stream[1].train  # noqa: B018
    assert sorted(read) == ["x_test", "x_train", "y_test", "y_train"]


# === Export ===


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("digits", {}),
        ("digits", {"standardize": True, "train_per_task": 20, "head": "shared"}),
        ("split_mnist", {"num_tasks": 2}),
        ("permuted_mnist", {"num_tasks": 3}),
        ("rotated_mnist", {"num_tasks": 2, "train_per_task": 40}),
        ("mnist_variation", {"images_per_class": [20, 5, 10]}),
        ("split_cifar10", {"num_tasks": 1}),
        ("split_cifar100", {"num_tasks": 2, "labels": "one_vs_rest"}),
        ("cifar100_superclass", {"num_tasks": 2, "standardize": True}),
    ],
)
def test_every_stream_comes_back_bit_for_bit(
    name, arguments, fake_data, tmp_path, assert_same
):
    fake_data.sizes = {"train": 5200, "test": 200}
    stream = streams.get(name, **arguments)
    export_npz(stream, tmp_path / "stream.npz")
    assert_same(stream, get(tmp_path / "stream.npz"))


def own_stream():
    """Kinds, dtypes and splits that no named stream has."""
    x = RNG.normal(size=(20, 4))
    tokens = RNG.integers(0, 200, (20, 5), "uint8")
    y = np.arange(20) % 3
    test = (x[:5], y[:5])
    return TaskStream(
        [
            Task("monday", train=(x, y), test=test),
            Task(
                "tuesday", train=(tokens, y), test=(tokens, y), validation=(tokens, y)
            ),
            Task("sun/day", train=(x, x), test=(x, x)),
            Task("no validation", train=(x, y), test=test, validation_split=0),
            Task("no test", TaskSpec(2, "binary"), train=(x, y > 0)),
        ]
    )


def test_own_tasks_come_back(tmp_path):
    stream = own_stream()
    export_npz(stream, tmp_path / "stream.npz")
    again = get(tmp_path / "stream.npz")
    for one, two in zip(stream, again, strict=True):
        assert (one.name, one.spec) == (two.name, two.spec)
        for split in ("train", "validation", "test"):
            data, other = getattr(one, split), getattr(two, split)
            assert (data is None) == (other is None)
            for array, copy in zip(data or (), other or (), strict=True):
                assert array.dtype == copy.dtype and array.shape == copy.shape
                assert array.tobytes() == copy.tobytes()
    assert get(tmp_path / "stream.npz", head="shared")[0].spec.head == "shared"
    assert len(get(tmp_path / "stream.npz", train_per_task=7)[0].train[0]) == 7


def test_datasets_are_exported(tmp_path):
    tf = pytest.importorskip("tensorflow")
    x, y = np.ones((6, 2), "float32"), np.arange(6) % 2
    data = tf.data.Dataset.from_tensor_slices((x, y))
    task = Task("a", TaskSpec(2), train=data, validation=(x, y))
    export_npz(TaskStream([task]), tmp_path / "stream.npz")
    np.testing.assert_array_equal(get(tmp_path / "stream.npz")[0].train[0], x)


def test_equal_arrays_and_pixels_are_stored_small(tmp_path, fake_data):
    stream = streams.get("mnist_variation", images_per_class=[20, 5, 10])
    export_npz(stream, tmp_path / "a.npz")
    export_npz(stream, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert len(file.files) == 3 + 3 * 10 + 1  # images, labels of ten tasks, meta
        assert file["array_0"].dtype == "uint8"
        assert json.loads(str(file["meta"]))["config"] == stream.config


def test_a_failed_export_leaves_what_was_there(tmp_path):
    path = tmp_path / "stream.npz"
    path.write_text("old")
    bad = Task("bad", train=([[np.nan], [1.0]], [0, 1]), validation=([[1.0]], [0]))
    with pytest.raises(ValueError, match="train of task 'bad': `x` must be finite"):
        export_npz(TaskStream([own_stream()[0], bad]), path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_exported_stream_has_its_own_tasks(tmp_path):
    export_npz(own_stream(), tmp_path / "stream.npz")
    with pytest.raises(ValueError, match="tasks of its own.*'split': 2"):
        get(tmp_path / "stream.npz", split=2)
    with pytest.raises(ValueError, match="`num_tasks`.*1 ... 5.*6"):
        get(tmp_path / "stream.npz", num_tasks=6)


# === Damaged files ===


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file .*nothing.npz"):
        get(tmp_path / "nothing.npz", split=2)


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\x03\x04", b"\x80\x04N."])
def test_no_npz_file(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match="data.npz can't be read as an npz file"):
        get(tmp_path / "data.npz", split=2)


def test_a_single_array_is_no_npz_file(tmp_path):
    np.save(tmp_path / "data.npy", np.zeros(3))
    with pytest.raises(ValueError, match="data.npy can't be read.*single array"):
        get(tmp_path / "data.npy", split=2)


@pytest.mark.parametrize("kind", ["data set", "stream"])
def test_truncated_and_damaged_files(tmp_path, kind):
    path = tmp_path / "data.npz"
    if kind == "stream":
        export_npz(own_stream(), path)
    else:
        np.savez_compressed(path, **data_set())
    arguments = {} if kind == "stream" else {"split": 2}

    def read_all():
        return [(t.train, t.validation, t.test) for t in get(path, **arguments)]

    whole = path.read_bytes()
    expected = str(read_all())
    for size in RNG.integers(0, len(whole), 40):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="data.npz"):
            read_all()
    for position in RNG.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:  # bytes that mean nothing, such as dates, may be wrong
            assert str(read_all()) == expected
        except ValueError as error:
            assert "data.npz" in str(error)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda meta: "{", "`meta`.*Received"),
        (lambda meta: "[]", "`meta`.*Received"),
        (lambda meta: meta.replace('"version": 1', '"version": 9'), "version 9"),
        (lambda meta: meta.replace('"tasks"', '"jobs"'), "`meta`.*'tasks'"),
        (lambda meta: meta.replace("categorical", "magical"), "`kind`.*'magical'"),
        (lambda meta: meta.replace("array_1", "array_99"), "lacks array_99"),
    ],
)
def test_bad_meta(tmp_path, write, change, words):
    export_npz(own_stream(), tmp_path / "stream.npz")
    with np.load(tmp_path / "stream.npz") as file:
        arrays = dict(file)
    arrays["meta"] = np.array(change(str(arrays["meta"])))
    with pytest.raises(ValueError, match=words):
        get(write(**arrays))


def test_weights_of_examples_are_not_dropped(tmp_path):
    x, y = np.zeros((4, 2), "float32"), np.arange(4) % 2
    for weights in ({"sample_weight": np.ones(4)}, {"class_weight": {0: 2.0}}):
        stream = TaskStream.of([Task("a", train=(x, y), **weights)])
        with pytest.raises(ValueError, match="Weights of examples are not stored.*'a'"):
            export_npz(stream, tmp_path / "stream.npz")
    assert not (tmp_path / "stream.npz").exists()
