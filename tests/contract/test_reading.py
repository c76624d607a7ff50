"""Reading a model writes nothing to it, whoever reads, and however many at once."""

import concurrent.futures
import functools

import keras
import numpy as np
import pytest
import small
from keras import ops
from small import X
from small import assert_same
from small import assert_same_state
from small import learn
from small import predictions

from keras_lifelong import backend

FEW = X[:16]
THREADS = 8
TIMES = 40 if backend.NAME == "torch" else 300  # there Python takes turns in each


@pytest.fixture(scope="session")
def _models(_learned):
    return functools.cache(lambda case: _learned(case).load())


@pytest.fixture
def model(learned, _models):
    """A model of this file's own, for if reading did write to it."""
    return _models(learned.case)


def test_eight_threads_read_what_one_reads(model, tmp_path):
    expected = predictions(model, FEW)
    model.save_to_preset(tmp_path / "before/preset")

    def read(thread):
        name = model.task_names[thread % 2]
        return [model.predict(FEW, task=name) for _ in range(TIMES)]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(read, range(THREADS)))
    for thread, answers in enumerate(found):
        assert len(answers) == TIMES
        same = expected[model.task_names[thread % 2]]
        assert all(np.array_equal(answer, same) for answer in answers)
    model.save_to_preset(tmp_path / "after/preset")
    before = small.digests(tmp_path / "before/preset")
    assert len(before) > 3 and small.digests(tmp_path / "after/preset") == before


def compiled(function):
    if backend.NAME == "jax":
        import jax

        return jax.jit(function)
    if backend.NAME == "torch":  # `torch.compile` needs a C++ compiler
        return function
    import tensorflow as tf

    return tf.function(function)


def test_compiled_calls_of_two_tasks_answer_for_their_own(learned, model):
    predictions(model)  # ARI makes a task's set when it is first used
    calls = {
        name: compiled(lambda x, name=name: model(x, task=name))
        for name in model.task_names
    }
    x = ops.convert_to_tensor(X)
    for _ in range(2):  # traced one after the other, then called in turn
        for name, call in calls.items():
            found = ops.convert_to_numpy(call(x))
            np.testing.assert_allclose(found, learned.tasks[name], atol=1e-6)
    # an array that is not traced itself is asked for within what is
    asks = compiled(lambda x: model.forward("t1", FEW) + 0 * x)
    found = ops.convert_to_numpy(asks(ops.zeros(())))
    np.testing.assert_allclose(found, learned.tasks["t1"][: len(FEW)], atol=1e-6)
    assert_same(predictions(model), learned.tasks)


def test_a_callback_that_reads_changes_nothing(learned):
    model, read = learned.load(), []

    class Reads(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for name in ("t0", "t1"):
                read.append(model.predict(FEW, task=name))

    plain = learned.load()
    learn(plain, 2)
    learn(model, 2, callbacks=[Reads()])
    assert len(read) >= 4  # two epochs at least
    assert_same(predictions(model), predictions(plain))
    assert_same_state(model.get_state(), plain.get_state())


def test_validation_scores_the_task_as_it_is_used(learned):
    model, scored, found = learned.load(), [], []
    x, y = small.task(2).validation

    class Scores(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if "val_loss" in logs:
                scored.append(logs["val_loss"])
                found.append(self.model.evaluate(x, y, task="t2")["loss"])

    learn(model, 2, callbacks=[Scores()])
    np.testing.assert_allclose(scored, found, rtol=1e-5)


def test_another_thread_reads_the_model_as_it_was(learned):
    """Until the task is learned; and it can't learn one itself meanwhile."""
    model, found, refused = learned.load(), [], []

    class Asks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ask = pool.submit(lambda: (model.task_names, predictions(model, FEW)))
            found.append(ask.result())
            try:
                pool.submit(learn, model, 3).result()
            except RuntimeError as error:
                refused.append(str(error))

    before = predictions(model, FEW)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        learn(model, 2, callbacks=[Asks()])
    assert len(found) >= 2 and len(refused) == len(found)
    for names, answers in found:
        assert names == ["t0", "t1"]
        assert_same(answers, before)
    assert all("is learning task 't2'" in text for text in refused)
    assert model.task_names == ["t0", "t1", "t2"]


def test_an_interrupt_while_reading_leaves_every_answer(learned, model, monkeypatch):
    """Before every conversion to and from a tensor, one after the other."""
    counter = {"calls": 0, "stop": None}

    def interrupting(function):
        def wrapped(*args, **kwargs):
            counter["calls"] += 1
            if counter["calls"] == counter["stop"]:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return wrapped

    assert_same(predictions(model), learned.tasks)  # all is compiled
    state = model.get_state()
    for name in ("convert_to_numpy", "convert_to_tensor"):
        monkeypatch.setattr(ops, name, interrupting(getattr(ops, name)))
    stops = 0
    while True:
        model.predict(X, task="t0")
        counter.update(calls=0, stop=stops + 1)
        try:
            model.predict(X, task="t1")
            break
        except KeyboardInterrupt:
            stops += 1
        finally:
            counter["stop"] = None
        if stops < 20:
            assert_same(predictions(model), learned.tasks)
    assert stops >= 1
    assert_same(predictions(model), learned.tasks)
    assert_same_state(model.get_state(), state)


def test_no_task_is_active_after_reading(learned, model):
    model.predict(X, task="t1")
    assert model.active_task is None
    model.evaluate(X, small.labels(0), task="t0")
    assert model.active_task is None
    with pytest.raises(ValueError, match="must be the name of a learned task"):
        model.predict(X, task="t9")
    assert model.active_task is None


def test_each_row_can_be_of_a_task_of_its_own(learned, model):
    names = [f"t{i % 3 % 2}" for i in range(48)]  # t0, t1, t0, t0, t1, t0, …
    found = model.predict(X, task=names)
    expected = np.stack([learned.tasks[name][i] for i, name in enumerate(names)])
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError):
        model.predict(X, task=names[:-1])
    with pytest.raises(ValueError, match="t9"):
        model.predict(X, task=[*names[:-1], "t9"])


def test_a_batch_is_predicted_as_all_are(learned, model):
    for name, expected in learned.tasks.items():
        found = ops.convert_to_numpy(model.predict_on_batch(X, task=name))
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_forward_gives_a_tensor_of_the_same(learned, model):
    for name, expected in learned.tasks.items():
        found = model.forward(name, ops.convert_to_tensor(X))
        assert ops.is_tensor(found)
        found = ops.convert_to_numpy(found)
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_weights_of_examples_count_in_the_loss_that_is_measured():
    """The mean of each row's -log p, times its weight, as Keras has it."""
    model = small.learned("Finetune", tasks=1)
    x, y = small.X, small.labels(0)
    weight = np.arange(len(y)) % 3
    p = model.predict(x, task="t0")[np.arange(len(y)), y]
    found = model.evaluate(x, y, task="t0", sample_weight=weight)
    np.testing.assert_allclose(found["loss"], (-np.log(p) * weight).mean(), rtol=1e-5)
