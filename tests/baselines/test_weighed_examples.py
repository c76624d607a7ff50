"""What a method keeps of examples, or measures on them, by what they count."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.training import buffers

pytestmark = pytest.mark.usefixtures("eager")

X = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
Y = [(X[:, i] > 0).astype("int32") for i in range(2)]
RATE = 0.1


def new(method, **kwargs):
    hidden = layers.Dense(2, use_bias=False)
    model = getattr(kl, method)(keras.Sequential([keras.Input((5,)), hidden]), **kwargs)
    model.compile(keras.optimizers.SGD(RATE))
    return model


def fit(model, name, x, y, weight):
    task = kl.Task(name, train=(x, y), validation_split=0, sample_weight=weight)
    model.fit(task, batch_size=16, verbose=0)


def slopes(x, y, w, head):
    """Of the loss of each example, for the network's kernel: (n, 5, 2)."""
    kernel, bias = head
    z = np.exp(x @ w @ kernel + bias)
    slope = z / z.sum(1, keepdims=True) - np.eye(2)[y]
    return np.einsum("ni,nj->nij", x, slope @ kernel.T)


def head(model, name):
    return [model.memory["head", "own", name, p] for p in ("kernel", "bias")]


def second_step(method, weight_a, weight_b, **kwargs):
    """What the step of task b was to be by hand, of Keras' weighted sums, and was."""
    model = new(method, budget=1, replay_batch=4, **kwargs)
    fit(model, "a", X, Y[0], weight_a)
    w, old = model.network.get_weights()[0], head(model, "a")
    model.add_task("b", kl.TaskSpec(2, input_shape=(5,)))
    mine = slopes(X, Y[1], w, head(model, "b")) * weight_b[:, None, None]
    kept = [model.memory[buffers.KEY, "a", part] for part in ("x", "y", "weight")]
    theirs = slopes(kept[0], kept[1], w, old)[0]
    fit(model, "b", X, Y[1], weight_b)
    moved = model.network.get_weights()[0] - w
    return mine, theirs, kept, moved


ONE = np.where(np.arange(16) == 3, 2.5, 0).astype("float32")  # of row 3 alone
SOME = np.linspace(0.1, 0.4, 16).astype("float32")


def test_a_replayed_example_counts_as_much_as_it_did():
    mine, theirs, kept, moved = second_step("ExperienceReplay", ONE, SOME)
    np.testing.assert_array_equal(kept[0][0], X[3])
    assert kept[2].tolist() == [2.5]
    expected = -RATE * (mine.sum(0) + 4 * 2.5 * theirs) / 20
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_small_weights_of_a_task_leave_what_is_replayed_its_own():
    mine, theirs, _, moved = second_step("DERPP", ONE, SOME, alpha=0.0, beta=0.3)
    expected = -RATE * (mine.sum(0) / 16 + 0.3 * 2.5 * theirs)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    ["EWC", "MAS", "GPM", "TRGP", "ExperienceReplay", "DERPP", "ICaRL", "GEM", "AGEM"],
)
def test_an_example_of_weight_0_is_looked_at_nowhere(method):
    weight = (np.arange(16) % 4 > 0).astype("float32")
    found = []
    for nonsense in (0.0, 50.0):
        x = np.where(weight[:, None] > 0, X, nonsense)
        model = new(method)
        fit(model, "a", x, Y[0], weight)
        fit(model, "b", X, Y[1], None)
        found.append(model.get_state()[1])
    for key in found[0]:
        np.testing.assert_allclose(found[0][key], found[1][key], atol=1e-6, err_msg=key)


def test_a_task_that_comes_back_without_weights_has_none():
    model = new("ExperienceReplay")
    fit(model, "a", X, Y[0], SOME)
    fit(model, "a", X, Y[0], None)
    assert (buffers.KEY, "a", "weight") not in model.memory


@pytest.mark.parametrize("method", ["EWC", "ExperienceReplay", "ICaRL", "MNTDP", "PAR"])
def test_labels_of_a_data_set_are_looked_at_in_standard_form(method):
    tf = pytest.importorskip("tensorflow", reason="makes a tf.data.Dataset")
    options = {"fisher": "empirical"} if method == "EWC" else {}
    found = []
    for y in (Y[0], np.eye(2, dtype="float32")[Y[0]]):
        data = tf.data.Dataset.from_tensor_slices((X.astype("float64"), y))
        model = new(method, **options)
        spec = kl.TaskSpec(2, input_shape=(5,))
        model.fit(kl.Task("a", spec, train=data, validation_split=0), verbose=0)
        fit(model, "b", X, Y[1], None)
        found.append(model.get_state()[1])
    assert list(found[0]) == list(found[1])
    for key in found[0]:
        np.testing.assert_array_equal(found[0][key], found[1][key], err_msg=key)
