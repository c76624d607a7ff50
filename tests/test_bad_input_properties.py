"""What is given is accepted and valid, or refused with a reason; nothing else."""

from __future__ import annotations

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import layers

import keras_lifelong as kl
from keras_lifelong.training.trainer import Trainer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def model():
    backbone = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="d")])
    model = kl.Finetune(backbone)
    model.compile("adam")
    model.fit(X, Y, task="a", verbose=0)
    return model


@pytest.fixture(scope="module", autouse=True)
def untrained():
    """What is accepted is not trained on: that it was accepted is what is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "learn", lambda self, *args: None)
        yield


dtypes = st.sampled_from(["f4", "f8", "f2", "i4", "i8", "u1", "?", "c8", "U3", "O"])
shapes = st.one_of(
    st.tuples(st.integers(0, 6), st.integers(2, 4)),
    st.tuples(st.integers(0, 6), st.just(3)),
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=4),
)


@st.composite
def arrays(draw, shapes):
    dtype, shape = np.dtype(draw(dtypes)), draw(shapes)
    if dtype.kind == "f":
        width = 8 * dtype.itemsize
        elements = st.floats(width=width)
        return draw(hnp.arrays(dtype, shape, elements=elements))
    if dtype.kind == "O":
        return np.full(shape, None, dtype)
    return draw(hnp.arrays(dtype, shape))


labels = st.one_of(
    hnp.arrays("i4", st.integers(0, 6), elements=st.integers(-1, 4)),
    hnp.arrays("f4", st.integers(0, 6), elements=st.sampled_from([0.0, 1.0, 0.5])),
    hnp.arrays("i4", st.integers(0, 6), elements=st.integers(0, 1)),
    arrays(shapes),
)
names = st.one_of(st.text(max_size=5), st.sampled_from(["a", "b"]), st.none())
specs = st.one_of(
    st.none(),
    st.tuples(
        st.integers(-1, 5),
        st.sampled_from(["categorical", "binary", "multilabel", "regression", "other"]),
        st.sampled_from(["per_task", "shared", "none"]),
    ),
)


def state(model):
    config, arrays = model.get_state()
    return config, {key: array.copy() for key, array in arrays.items()}


def assert_as_before(model, before):
    config, arrays = model.get_state()
    assert config == before[0] and arrays.keys() == before[1].keys()
    assert all((arrays[key] == before[1][key]).all() for key in arrays)


@hypothesis.settings(max_examples=300)
@hypothesis.given(x=arrays(shapes), y=labels, name=names, spec=specs)
def test_data_is_valid_or_refused(model, x, y, name, spec):
    before = state(model)
    try:
        given = None if spec is None else kl.TaskSpec(*spec)
        task = kl.Task(name, given, train=(x, y), validation_split=0)
        model.fit(task, verbose=0)
    except ValueError as error:
        text = str(error)
        said = ("eceived", "the backbone accepts", "There is no kind of head")
        assert any(words in text for words in said), text
        assert len(text) < 1000
        assert_as_before(model, before)
        return
    x, y = np.asarray(x), np.asarray(y)
    assert x.shape[1:] == (3,) and len(x) == len(y) > 0
    assert x.dtype.kind in "biuf" and np.isfinite(x.astype("float64")).all()
    learned = model.task_spec(task.name)
    if learned.kind == "categorical":
        assert 0 <= y.min() and y.max() < learned.num_classes
    elif learned.kind in ("binary", "multilabel"):
        assert set(np.unique(y)) <= {0, 1}
    else:
        assert np.isfinite(y.astype("float64")).all()
    if task.name != "a":
        model.remove_task(task.name)
        assert_as_before(model, before)


@hypothesis.settings(max_examples=100)
@hypothesis.given(x=arrays(shapes))
def test_inputs_of_predict_are_valid_or_refused(model, x):
    before = state(model)
    try:
        found = model.predict(x, task="a")
    except ValueError as error:
        assert "eceived" in str(error)
    else:
        assert found.shape == (len(x), 2) and x.dtype.kind in "biuf"
    assert_as_before(model, before)


@hypothesis.settings(max_examples=100)
@hypothesis.given(
    order=st.lists(st.sampled_from("abcd"), min_size=1, max_size=6),
    removed=st.lists(st.sampled_from("abcd"), max_size=3),
)
def test_any_order_of_tasks_learned_and_removed(model, order, removed):
    fresh = type(model).from_config(model.get_config())
    fresh.compile("adam")
    expected = []
    for name in order:
        fresh.fit(X, Y, task=name, verbose=0)  # a known task is learned on
        expected += [name] if name not in expected else []
    for name in removed:
        if name in expected:
            fresh.remove_task(name)
            expected.remove(name)
        else:
            with pytest.raises(ValueError, match="must be the name of a learned task"):
                fresh.remove_task(name)
    assert fresh.task_names == expected
    for name in expected:
        assert fresh.predict(X, task=name).shape == (20, 2)
