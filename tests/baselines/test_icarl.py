"""ICaRL: the nearest mean of exemplars, and a step of its loss by hand."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.training import buffers

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 5)).astype("float32")
RATE = 0.1


def new(optimizer=None, hidden=None, **kwargs):
    hidden = hidden or layers.Dense(2, use_bias=False)
    model = kl.ICaRL(keras.Sequential([keras.Input((5,)), hidden]), **kwargs)
    model.compile(optimizer or keras.optimizers.SGD(RATE))
    return model


def labels(i):
    return (X[:, i] > 0).astype("int32")


def fit(model, name, i, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 16, "verbose": 0, **kwargs}
    model.fit(kl.Task(name, train=(X, labels(i)), validation_split=0), **kwargs)


def nearest(model, name, x):
    """The mean whose distance is least, and the distances, from the exemplars."""
    w = model.network.get_weights()[0]

    def unit(a):
        return a / np.linalg.norm(a, axis=-1, keepdims=True)

    kept, y = (model.memory[buffers.KEY, name, k] for k in ("x", "y"))
    means = [unit(unit(kept[y == c] @ w).mean(0)) for c in range(2)]
    return ((unit(x @ w)[:, None] - np.array(means)) ** 2).sum(-1)


def test_a_task_is_used_by_the_nearest_mean_of_its_exemplars():
    model = new(budget=12)
    for i, name in enumerate("ab"):
        fit(model, name, i, epochs=3)
    assert model.buffered() == {"a": 6, "b": 6}
    for name in "ab":  # a's means are by the features of today
        distances = nearest(model, name, X)
        found = model.predict(X, task=name)
        np.testing.assert_array_equal(found.argmax(1), distances.argmin(1))
        z = np.exp(-distances)
        np.testing.assert_allclose(found, z / z.sum(1, keepdims=True), atol=1e-5)
        plain = model.task_model(name)
        np.testing.assert_allclose(plain.predict(X, verbose=0), found, atol=1e-5)


def test_exemplars_are_the_first_of_the_herd():
    model = new(budget=6)
    fit(model, "a", 0)
    phi = X @ model.network.get_weights()[0]
    phi /= np.linalg.norm(phi, axis=1, keepdims=True)
    ranks = buffers.herded_ranks(phi.astype("float64"), labels(0))
    kept = {tuple(x) for x in model.memory[buffers.KEY, "a", "x"]}
    assert kept == {tuple(x) for x in X[ranks < 3]}


def test_a_step_distils_old_outputs_by_cross_entropy():
    """One exemplar a class of the old task; of both the same is drawn, by design."""
    model = new(budget=4, replay_batch=8)
    fit(model, "a", 0)
    for key in ("x", "y"):  # all exemplars are alike, so that it is known what is drawn
        kept = model.memory[buffers.KEY, "a", key]
        model.memory[buffers.KEY, "a", key] = np.repeat(kept[:1], len(kept), 0)
    # an old head that has moved since, so that there is something to distil
    w0 = model.network.get_weights()[0].astype("float64")
    old = [model.memory["head", "own", "a", k].astype("float64") for k in PARTS]
    x1 = model.memory[buffers.KEY, "a", "x"][:1].astype("float64")
    seen, learn = {}, model.learn

    def spy(task):
        seen["head"] = [v.astype("float64") for v in model.get_active()[1:3]]
        for phase in [next(generator := learn(task))]:
            teacher = [w0 + 0.5]
            phase.arguments["network"] = [w.astype("float32") for w in teacher]
            generator_result = yield phase
        with pytest.raises(StopIteration):
            generator.send(generator_result)

    model.learn = spy
    fit(model, "b", 1)
    every = np.concatenate([X.astype("float64"), np.repeat(x1, 8, 0)])

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    kernel, bias = seen["head"]
    slope = (sigmoid(X @ w0 @ kernel + bias) - np.eye(2)[labels(1)]) / 16
    apart = sigmoid(every @ w0 @ old[0] + old[1])
    apart = (apart - sigmoid(every @ (w0 + 0.5) @ old[0] + old[1])) / 24
    expected = w0 - RATE * (X.T @ slope @ kernel.T + every.T @ apart @ old[0].T)
    np.testing.assert_allclose(model.network.get_weights()[0], expected, atol=1e-5)
    found = model.memory["head", "own", "a", "kernel"]
    expected = old[0] - RATE * (every @ w0).T @ apart
    np.testing.assert_allclose(found, expected, atol=1e-5)


PARTS = ("kernel", "bias")


def test_a_loss_that_is_asked_for_is_taken():
    heads = []
    for loss in (None, "softmax"):
        model = new()
        model.compile(keras.optimizers.SGD(RATE), loss)
        fit(model, "a", 0)
        heads.append(model.memory["head", "own", "a", "kernel"])
    assert (heads[0] != heads[1]).any()


def test_means_are_new_while_another_task_is_learned(tmp_path):
    model, found = new(budget=8), []
    fit(model, "a", 0)

    class Reads(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            said = self.model.predict(X, task="a").argmax(1)
            found.append((said == nearest(self.model, "a", X).argmin(1)).all())
            self.model.save_to_preset(tmp_path / "preset")
            again = kl.LifelongModel.from_preset(tmp_path / "preset")
            for name in "ab":
                now = self.model.predict(X, task=name)
                np.testing.assert_array_equal(again.predict(X, task=name), now)

    fit(model, "b", 1, epochs=2, callbacks=[Reads()])
    assert found == [True, True]


def test_what_it_cannot_learn_is_refused_before():
    model = new(budget=3)
    fit(model, "a", 0)
    with pytest.raises(
        ValueError, match=r"each of the 4 classes.*Received: room for 3"
    ):
        fit(model, "b", 1)
    assert model.task_names == ["a"]
    with pytest.raises(ValueError, match="ICaRL learns categorical tasks"):
        model.fit(kl.Task("b", kl.TaskSpec(2, "binary"), train=(X, labels(1))))
    with pytest.raises(ValueError, match="a head of its own"):
        model.fit(kl.Task("b", kl.TaskSpec(2, head="shared"), train=(X, labels(1))))


def test_it_forgets_less():
    lost = {}
    for method, options in (("Finetune", {}), ("ICaRL", {"budget": 16})):
        backbone = keras.Sequential([keras.Input((5,)), layers.Dense(4, "tanh")])
        model = getattr(kl, method)(backbone, **options)
        model.compile(keras.optimizers.Adam(0.05))
        fit(model, "a", 0, epochs=30)
        before = model.evaluate(X, labels(0), task="a")["accuracy"]
        fit(model, "b", 1, epochs=30)
        lost[method] = before - model.evaluate(X, labels(0), task="a")["accuracy"]
        assert model.evaluate(X, labels(1), task="b")["accuracy"] > 0.9
    assert lost["ICaRL"] < lost["Finetune"]


def test_a_class_without_exemplars_is_never_the_answer():
    model = new(budget=8)
    y = np.where(labels(0) == 1, 2, 0)  # nothing is of class 1
    task = kl.Task("a", kl.TaskSpec(3), train=(X, y), validation_split=0)
    model.fit(task, epochs=1, batch_size=16, verbose=0)
    assert not model.predict(X, task="a")[:, 1].any()
    assert np.isfinite(ops.convert_to_numpy(model(ops.convert_to_tensor(X)))).all()
