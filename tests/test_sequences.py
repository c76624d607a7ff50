"""Words as labels: what is refused, what CTC costs, what is decoded, and learning."""

import doctest
import itertools

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong import heads
from keras_lifelong.heads import sequence
from keras_lifelong.heads.sequence import decoded
from keras_lifelong.layers.head import per_sample_loss
from keras_lifelong.presets.card import front_matter
from keras_lifelong.streams import check_split
from keras_lifelong.training.importance import drawn_labels

SPEC = kl.TaskSpec(3, "sequence")


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([[0, -1, 1]], r"-1 after the last character.*\[0, -1, 1\] in row 0"),
        ([[0, 3]], r"characters 0 \.\.\. 2, and -1 after.*from 0 to 3"),
        ([[-2, 0]], "from -2 to 0"),
        ([[0.5, 1]], "be integers.*float"),
        ([0], r"shape \(1, any\) for a sequence task.*\(1,\)"),
        (np.zeros((1, 0), int), r"room for a character.*\(1, 0\)"),
    ],
)
def test_labels_that_are_no_words_are_refused(y, said):
    with pytest.raises(ValueError, match=f"train of 'a': `y` must .*{said}"):
        check_split(np.ones((1, 2)), np.array(y), SPEC, "train of 'a'")


def test_words_are_standard_as_they_are():
    y = np.array([[0, 1], [2, -1], [-1, -1]])
    found = check_split(np.ones((3, 2)), y.astype("float64"), SPEC)[1]
    assert found.dtype == "int32" and found.tolist() == y.tolist()
    assert SPEC.units == 4
    with pytest.raises(ValueError, match="must be floats, or 0 and 1.*without a spec"):
        kl.TaskSpec.infer(np.ones((3, 2)), y)  # never guessed


def by_hand(y, logits):
    """-log of the sum over all paths of outputs that are read as the word."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    steps, units = logits.shape
    total = 0.0
    for path in itertools.product(range(units), repeat=steps):
        kept = [c for c, _ in itertools.groupby(path) if c]
        if [c - 1 for c in kept] == [c for c in y if c >= 0]:
            total += np.prod([p[t, c] for t, c in enumerate(path)])
    return -np.log(total)


def test_the_loss_is_minus_the_logarithm_of_all_alignments():
    y = np.array([[0, 1], [1, 1], [2, -1], [-1, -1]], "int32")
    logits = np.random.default_rng(0).normal(size=(4, 4, 4)).astype("float32")
    found = per_sample_loss("ctc", *map(keras.ops.convert_to_tensor, (y, logits)))
    expected = [by_hand(*pair) for pair in zip(y, logits, strict=True)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-5)
    # further outputs that are never an answer, as heads of other alphabets get
    wider = np.concatenate([logits, np.full((4, 4, 2), -1e9, "float32")], axis=-1)
    more = per_sample_loss("ctc", *map(keras.ops.convert_to_tensor, (y, wider)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(more), expected, rtol=1e-5)


def test_words_are_drawn_as_probable_as_they_are():
    logits = np.random.default_rng(1).normal(size=(1, 3, 3)).astype("float32")
    many = np.repeat(logits, 4000, axis=0)
    words = drawn_labels(many, "ctc", np.random.default_rng(2))
    assert words.shape == (4000, 3)
    for word in ([0, -1, -1], [1, 0, -1], [-1, -1, -1]):
        share = (words == word).all(1).mean()
        assert share == pytest.approx(np.exp(-by_hand(word, logits[0])), abs=0.02)


def test_decoding_by_hand():
    steps = [[1, 1, 0, 1, 2], [0, 0, 0, 0, 0], [3, 0, 0, 3, 3], [2, 2, 2, 2, 2]]
    found = decoded(np.eye(4)[steps])
    assert found.dtype == "int32"
    assert found.tolist() == [[0, 0, 1], [-1, -1, -1], [2, 2, -1], [1, -1, -1]]
    assert decoded(np.eye(4)[[[0, 0]]]).tolist() == [[-1]]
    named = heads.get("sequence").named(np.eye(4)[steps], ("a", "b", "ch"))
    assert named.tolist() == ["aab", "", "chch", "b"]


# Learning


def network():
    return keras.Sequential(
        [
            keras.Input((8, 5)),
            layers.Conv1D(16, 3, padding="same", activation="relu"),
            layers.Dense(8, activation="relu"),
        ]
    )


def words_of(script, n, seed):
    """Words of up to three letters, drawn over time: each script has its own signs."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, (n, 3))
    y[np.arange(3) >= rng.integers(1, 4, (n, 1))] = -1
    signs = np.random.default_rng(script).normal(size=(3, 2, 5))
    x = rng.normal(0, 0.2, (n, 8, 5))
    for i, j in zip(*np.nonzero(y >= 0), strict=True):
        x[i, 3 * j : 3 * j + 2] += signs[y[i, j]]
    return x.astype("float32"), y


@pytest.fixture(scope="module")
def reader():
    model = kl.Independent(network())
    metrics = ["word_accuracy", "character_error_rate"]
    model.compile(keras.optimizers.Adam(0.02), metrics=metrics)
    model.tasks = {}
    spec = kl.TaskSpec(3, "sequence", class_names=("x", "y", "z"))
    for i, name in enumerate("ab"):
        test = words_of(i, 60, 100 + i)
        task = kl.Task(name, spec, train=words_of(i, 300, i), test=test)
        model.fit(task, epochs=9, batch_size=20, verbose=0)
        model.tasks[name] = task
    return model


def test_held_out_words_of_two_scripts_are_read(reader):
    untrained = kl.Independent(network())
    untrained.compile("adam", metrics=["word_accuracy", "character_error_rate"])
    for name, task in reader.tasks.items():
        untrained.add_task(name, task.spec)
        before, after = (m.evaluate(task) for m in (untrained, reader))
        assert before["word_accuracy"] < 0.1
        assert after["word_accuracy"] > 0.7
        assert after["character_error_rate"] < 0.2 < before["character_error_rate"]
        x, y = task.test
        texts = reader.predict(x, task=name, names=True)
        true = ["".join("xyz"[c] for c in word if c >= 0) for word in y]
        right = np.mean([a == b for a, b in zip(texts, true, strict=True)])
        assert right == pytest.approx(after["word_accuracy"])


def test_mixed_rows_and_a_plain_model_say_the_same(reader):
    x = reader.tasks["a"].test[0][:4]
    mixed = reader.predict(x, task=["a", "b", "a", "b"])
    for name, rows in (("a", [0, 2]), ("b", [1, 3])):
        np.testing.assert_allclose(
            mixed[rows], reader.predict(x, task=name)[rows], atol=1e-6
        )
    plain = reader.task_model("b").predict(x, verbose=0)
    np.testing.assert_allclose(plain, reader.predict(x, task="b"), atol=1e-5)
    assert reader.count_params() == 2 * (5 * 3 * 16 + 16 + 17 * 8 + 9 * 4)
    assert reader.base_params() == 5 * 3 * 16 + 16 + 17 * 8 + 9 * 4


def test_words_that_the_time_steps_cannot_spell_are_refused():
    model = kl.Finetune(network())
    model.compile("adam", metrics=["word_accuracy"])
    model.add_task("a", SPEC)
    x = np.zeros((2, 8, 5), "float32")
    fits, broken = [0, 1] * 4, [0, 0, 0, 0, 0]  # 8 steps, and 9 with the blanks
    y = np.array([fits, [*broken, -1, -1, -1]])
    said = "`y` must be of words that 8 time steps can spell.*row 1 that takes 9"
    with pytest.raises(ValueError, match=f"train of task 'c': {said}"):
        task = kl.Task("c", SPEC, train=(x, y), validation_split=0)
        model.fit(task, verbose=0)
    with pytest.raises(ValueError, match=f"test of task 'a': {said}"):
        model.evaluate(x, y, task="a")
    assert np.isfinite(model.evaluate(x[:1], y[:1], task="a")["loss"])


def test_empty_words_alone_are_refused_where_characters_are_counted():
    model = kl.Finetune(network())
    x, y = np.zeros((5, 8, 5), "float32"), np.array([[0, 1]] * 5)
    held = {"validation": (x, y), "test": (x, 0 * y - 1)}
    task = kl.Task("c", SPEC, train=(x, 0 * y - 1), **held)
    model.compile("adam", metrics=["character_error_rate"])
    with pytest.raises(ValueError, match="test of task 'c': .*Received: 5 empty ones"):
        model.fit(task, verbose=0)
    assert model.task_names == []
    model.compile("adam", metrics=["word_accuracy"])
    model.fit(task, verbose=0)
    assert 0 <= model.evaluate(task)["word_accuracy"] <= 1


def test_networks_of_other_ends_and_losses_are_refused():
    free = keras.Sequential([keras.Input((None, 5)), layers.Conv1D(4, 3)])
    with pytest.raises(ValueError, match=r"fixed number of time steps.*None, None, 4"):
        kl.Finetune(free)
    masked = keras.Sequential([keras.Input((8, 5)), layers.Masking()])
    with pytest.raises(ValueError, match="which all count.*features are masked"):
        kl.Finetune(masked)
    with pytest.raises(ValueError, match="must end in features.*add a Flatten"):
        kl.Finetune(keras.Sequential([keras.Input((8, 5, 1)), layers.Conv2D(4, 3)]))
    model = kl.Finetune(network())
    with pytest.raises(ValueError, match=r"'a' is a categorical.*\(batch, width\)"):
        model.check_spec("a", kl.TaskSpec(3), {})
    model.compile("adam", "categorical_hinge")
    with pytest.raises(ValueError, match="`loss` of `compile` must be None.*'a'"):
        model.check_spec("a", SPEC, {})


def test_the_card_of_a_preset_says_that_words_are_read():
    def tag(*kinds, shape=(32, 64, 1)):
        tasks = [{"spec": {"kind": kind}} for kind in kinds]
        return front_matter("name", "Finetune", tasks, shape, None)["pipeline_tag"]

    assert tag("sequence") == "image-to-text"
    assert tag("sequence", "categorical") == "image-classification"
    assert tag("sequence", shape=(8, 5)) == "tabular-classification"


def test_examples_in_docstrings():
    result = doctest.testmod(sequence)
    assert result.attempted and not result.failed
