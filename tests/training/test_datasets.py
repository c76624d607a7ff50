"""A `tf.data.Dataset` trains as it does under `keras.Model.fit`."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.streams.datasets import Examples
from keras_lifelong.training.data import StreamedData
from keras_lifelong.training.importance import examples_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
W = RNG.uniform(0, 2, 23).astype("float32")
SPEC = kl.TaskSpec(3, input_shape=(4,))

pytestmark = pytest.mark.usefixtures("eager")


def tf_data(*parts):
    tf = pytest.importorskip("tensorflow", reason="gives tf.data")
    return tf.data.Dataset.from_tensor_slices(parts)


def sizes_vary():
    """Batches of 5, 5, 2, 5, 5, 1: of 12 examples, then of 11."""
    data = tf_data(X, Y)
    return data.take(12).batch(5).concatenate(data.skip(12).batch(5))


def larger_later():
    data = tf_data(X, Y)
    return data.take(4).batch(4).concatenate(data.skip(4).batch(9))


CASES = {
    "weights": (lambda: tf_data(X, Y, W).batch(6), {}),
    "weights in columns": (lambda: tf_data(X, Y, W[:, None]).batch(6), {}),
    "weights of classes": (
        lambda: tf_data(X, Y).batch(6),
        {"class_weight": {0: 3.0, 1: 1.0, 2: 0.5}},
    ),
    "repeated": (lambda: tf_data(X, Y).batch(6).repeat(2), {}),
    "endless": (lambda: tf_data(X, Y, W).batch(6).repeat(), {"steps_per_epoch": 6}),
    "sizes that vary": (sizes_vary, {}),
    "larger later": (larger_later, {}),
}


def pair(between=()):
    """Our model and Keras' own, of the same weights."""
    backbone = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, "relu"), *(make() for make in between)]
    )
    model = kl.Finetune(backbone, pretrained=True)
    model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    model.add_task("a", SPEC)
    head = layers.Dense(3, "softmax")
    plain = keras.Sequential([keras.Input((4,)), *backbone.layers, head])
    key = model.head_key("a")
    head.set_weights([model.memory[*key, part] for part in ("kernel", "bias")])
    plain.compile(
        keras.optimizers.SGD(0.1),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=True,
    )
    return model, plain


def weights_of(model):
    key = model.head_key("a")
    head = [model.memory[*key, part] for part in ("kernel", "bias")]
    return [*model.network.get_weights(), *head]


@pytest.mark.parametrize("case", [*CASES, "repeated, rows meet", "endless, rows meet"])
def test_it_trains_as_under_keras(case):
    case, rows_meet, _ = case.partition(", rows meet")
    make, arguments = CASES[case]
    model, plain = pair([layers.BatchNormalization] if rows_meet else ())
    validation = tf_data(X, Y, W).batch(10)
    common = {"epochs": 2, "verbose": 0, "validation_data": validation, **arguments}
    expected = plain.fit(make(), **common).history
    found = model.fit(make(), task="a", **common).history
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)
    for ours, theirs in zip(weights_of(model), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_weights_count_in_what_evaluate_says():
    model, plain = pair()
    data = tf_data(X, Y, W).batch(6)
    expected = plain.evaluate(data, verbose=0, return_dict=True)
    assert model.evaluate(data, task="a") == pytest.approx(expected, rel=1e-5)
    task = kl.Task("a", SPEC, train=data, test=data, validation_split=0)
    assert model.evaluate(task) == pytest.approx(expected, rel=1e-5)


def test_what_is_wrong_is_refused_before_training():
    model, _ = pair()
    with pytest.raises(ValueError, match="`class_weight` must name classes.*7"):
        model.fit(tf_data(X, Y).batch(6), task="a", class_weight={7: 1}, verbose=0)
    with pytest.raises(ValueError, match="it is the third part"):
        task = kl.Task(
            "a", SPEC, train=tf_data(X, Y), sample_weight=W, validation_split=0
        )
        model.fit(task, verbose=0)
    before = weights_of(model)
    with pytest.raises(ValueError, match="`sample_weight` must .*at least 0"):
        model.fit(tf_data(X, Y, W - 1).batch(6), task="a", verbose=0)
    for found, expected in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    ari = kl.ARI(keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu")]))
    ari.compile(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="`sample_weight` and `class_weight` must be"):
        ari.fit(tf_data(X, Y, W).batch(6), task="a", verbose=0)


def test_weights_of_classes_and_examples_are_multiplied():
    """Which Keras refuses."""
    ours = []
    for weights, arguments in (
        (W, {"class_weight": {0: 3, 2: 0.5}}),
        (W * np.array([3, 1, 0.5], "float32")[Y], {}),
    ):
        model, _ = pair()
        keras.utils.set_random_seed(0)
        start = [np.full_like(w, 0.1) for w in model.network.get_weights()]
        model.network.set_weights(start)
        data = tf_data(X, Y, weights).batch(6)
        model.fit(data, task="a", verbose=0, **arguments)
        ours.append(weights_of(model))
    for found, expected in zip(*ours, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_examples_of_weight_0_are_not_looked_at():
    model, _ = pair()
    weights = np.where(np.arange(23) % 2, W + 0.1, 0).astype("float32")
    source = kl.Task("a", SPEC, train=tf_data(X, Y, weights), validation_split=0)
    rng = np.random.default_rng(0)
    x, y, found = examples_of(model.load_task(source), 10, rng, weighed=True)
    assert len(x) == len(y) == len(found) == 5 and (found > 0).all()
    where = [int(np.flatnonzero((X == row).all(1))[0]) for row in x]
    np.testing.assert_array_equal(found, weights[where])


def test_own_batches_of_another_size_are_cut_anew():
    examples = Examples(tf_data(X, Y).batch(6).repeat(2), batched=True)
    own = [sizes for *_, sizes in examples.trained_by(6, None).stacks(6, 3)]
    assert [list(sizes) for sizes in own] == [[6, 6, 6], [5, 6, 6], [6, 5]]
    cut = [sizes for *_, sizes in examples.trained_by(8, None).stacks(8, 3)]
    assert [list(sizes) for sizes in cut] == [[8, 8, 8], [8, 8, 6]]


def test_rows_of_a_block_are_those_of_its_batches():
    examples = Examples(larger_later(), batched=True).trained_by(4, None)
    data = StreamedData(examples, 4, lambda x, y: (x, y), steps_per_call=4)
    (block,) = data.epoch(None)
    assert block.steps == 4 and list(block.valid) == [4, 9, 9, 1]
    taken = [
        row for rows, n in zip(block.rows, block.valid, strict=True) for row in rows[:n]
    ]
    assert taken == list(range(23))


def test_batches_of_several_inputs():
    """As a dict and as a tuple, in stacks of the data set's own batches."""
    for x in ({"a": X, "b": X[:, :2]}, (X, X[:, :2])):
        data = tf_data(x, Y).batch(6)
        (stack,) = Examples(data, batched=True).trained_by(6, None).stacks(6, 9)
        found, y, weights, sizes = stack
        assert weights is None and list(sizes) == [6, 6, 6, 5] and (y == Y).all()
        pairs = zip(keras.tree.flatten(found), keras.tree.flatten(x), strict=True)
        assert type(found) is type(x) and all((a == b).all() for a, b in pairs)
