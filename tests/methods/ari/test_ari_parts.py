"""The parts of ARI, each alone: made without a model, of what it is handed."""

import gc
import types

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_lifelong.layers.head import HeadSlot
from keras_lifelong.methods.ari import exemplars
from keras_lifelong.methods.ari import rates
from keras_lifelong.methods.ari import signatures
from keras_lifelong.methods.ari import storing
from keras_lifelong.methods.ari.estimator import AdaptationEstimator
from keras_lifelong.methods.ari.estimator import adaptation_rate
from keras_lifelong.methods.ari.estimator import rank_correlation
from keras_lifelong.methods.ari.exploration import Exploration
from keras_lifelong.methods.ari.exploration import Trial
from keras_lifelong.methods.ari.keeping import worth_keeping
from keras_lifelong.methods.ari.knowledge_base import KnowledgeBase
from keras_lifelong.methods.ari.parameters import Candidate
from keras_lifelong.methods.ari.parameters import Form
from keras_lifelong.methods.ari.parameters import accuracy
from keras_lifelong.methods.ari.rates import RateEstimator
from keras_lifelong.methods.ari.remembered import ByMemory
from keras_lifelong.methods.ari.signatures import WIDTH
from keras_lifelong.methods.ari.signatures import Signer
from keras_lifelong.methods.ari.signatures import parameter_signature
from keras_lifelong.methods.ari.signatures import task_signature
from keras_lifelong.methods.ari.workbench import Adaptation
from keras_lifelong.methods.ari.workbench import FineTuning
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.task_memory import TaskRecord
from keras_lifelong.streams import TaskSpec

SMALL = {"name": "chunked", "chunk": 7, "units": [4]}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype("float32")
Y = np.arange(12) % 2


def new_form(head_bias=True):
    hidden = [layers.Dense(4, use_bias=False), layers.BatchNormalization()]
    return Form(keras.Sequential([keras.Input((3,)), *hidden]), head_bias)


def new_base(form):
    base = KnowledgeBase(form, budget=3, hypernetwork=SMALL, seed=0)
    base.make(outputs=2)
    return base


def new_memory(*names):
    memory = TaskMemory((*exemplars.FORMS, *rates.FORMS))
    memory.records.update({name: TaskRecord(TaskSpec(2)) for name in names})
    return memory


def finished(phases, result=None):
    """The phases of a generator, none of them run, and what it returns."""
    found = []
    try:
        found.append(next(phases))
        while True:
            found.append(phases.send(result))
    except StopIteration as stop:
        return found, stop.value


class Trainer:
    """Answers at once, and trains nothing."""

    def forward(self, function, x, variables):
        assert variables
        return ops.convert_to_numpy(function(x))


# Sets and their form


def test_a_form_answers_under_any_set_and_keeps_its_own():
    form = new_form()
    kernel, gamma, beta = (RNG.normal(size=v.shape) for v in form.trained)
    head, bias = RNG.normal(size=(4, 2)), RNG.normal(size=2)
    base = new_base(form)
    given = base.drawn("a")
    given.values = [v.astype("float32") for v in (kernel, gamma, beta, head, bias)]
    before = form.network.get_weights()
    hidden = gamma * (X @ kernel) / np.sqrt(1 + 1e-3) + beta
    found = form.answers(given, X)
    np.testing.assert_allclose(found, hidden @ head + bias, atol=1e-5)
    for a, b in zip(before, form.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(Y, found)
    loss = form.loss(given, X, Y, units=2, kind="softmax")
    assert loss == pytest.approx(float(expected), rel=1e-5)
    other = form.twin()
    np.testing.assert_array_equal(other.answers(given, X), found)
    assert not {id(v) for v in other.trained} & {id(v) for v in form.trained}


def test_what_was_computed_goes_with_its_memory():
    computed, one, other = ByMemory(), new_memory(), new_memory()
    computed.of(one)["a"] = 1
    computed.of(other)["a"] = 2
    assert computed.of(one) == {"a": 1} and len(computed._found) == 2
    del one
    gc.collect()
    assert len(computed._found) == 1
    computed.clear()
    assert computed.of(other) == {}


# The knowledge base


def test_a_base_remembers_what_it_stores_and_recalls_it():
    form, memory = new_form(), new_memory("a")
    base = new_base(form)
    sets = [base.drawn("set", i) for i in range(2)]
    kept = [Candidate(s, np.zeros(8), task="a") for s in sets]
    base.computed.of(memory)["knowledge"] = "of what was there before"
    how = storing.Storing(steps=20, rate=0.01, batch=8, function=1.0)
    phases = base.store(memory, kept, [TaskSpec(2)] * 2, [X, X], [False, True], how)
    (phase,), _ = finished(phases)
    assert phase.name == "storing" and phase.data[0].shape == (80, 1 + 2)
    assert base.slots == [{"task": "a", "source": "drawn"}] * 2
    assert not base.computed.of(memory)
    assert memory["statistics", 0].shape == (3, 4)
    assert len(memory) == len(base.variables()) + len(form.statistics)
    for slot, given in enumerate(sets):  # from its own embeddings, with no step taken
        found = base.generated(memory, slot)
        for a, b in zip(found.values, given.values, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    retained = base.retention(memory, 1, sets[1], X, Y, TaskSpec(2))
    assert retained["error"] < 1e-9 and 0 <= retained["score"] <= 1
    other = KnowledgeBase(form, 3, SMALL, seed=1)
    other.recall(memory, outputs=2)
    for a, b in zip(
        other.generated(memory, 1).values,
        base.generated(memory, 1).values,
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    other.recall(new_memory(), outputs=None)
    assert not other.is_made and other.count_params() == 0 and other.variables() == {}
    with pytest.raises(ValueError, match="made when the first task is learned"):
        other.drawn("a")


def test_a_base_hands_sets_over_and_checks_them():
    base, memory = new_base(new_form()), new_memory()
    base.slots = [{"task": name, "source": ""} for name in "aba"]
    base.hand_over("a", {0: "b", 2: "c"})
    assert [slot["task"] for slot in base.slots] == ["b", "b", "c"]
    for i in range(2):
        memory["statistics", i] = np.zeros((3, 4))
    base.check(memory)
    memory["statistics", 1] = np.zeros((3, 5))
    with pytest.raises(ValueError, match="statistics of slot 0"):
        base.check(memory)
    base.hand_over("d", {})
    assert len(base.slots) == 3
    base.hand_over("b", {})  # and there is none left
    assert base.slots == []


def test_a_known_set_that_was_trained_gets_embeddings_of_its_own():
    base = new_base(new_form())
    drawn = base.drawn("x")
    starts = [Candidate(drawn, np.zeros(8), task=task) for task in (None, "a")]
    fresh, known = (base.as_new(drawn, start, "b", 0) for start in starts)
    assert fresh.source == known.source == "drawn, b"
    assert np.array_equal(fresh.embeddings[0], drawn.embeddings[0])
    assert not np.array_equal(known.embeddings[0], drawn.embeddings[0])


def test_every_probe_of_a_set_comes_equally_often():
    rows = storing._rows(slots=3, probes=100, n=50, count=60, seed=0)
    assert np.bincount(rows[:, 0]).tolist() == [20, 20, 20]
    assert (np.bincount(rows[:, 1:].ravel(), minlength=300) == 10).all()


# Signatures and estimator


def labelled():
    """Two classes about centres of their own, (40, 10)."""
    rng = np.random.default_rng(5)
    centres, y = rng.normal(size=(2, 10)), np.repeat([0, 1], 20)
    x = centres[y] + 0.6 * rng.normal(size=(40, 10))
    return x.astype("float32"), y.astype("int32")


def test_sizes_and_shapes_of_the_estimator():
    estimator = AdaptationEstimator()
    assert estimator.count_params() == 560_445
    x = np.zeros((3, WIDTH), "float32")
    assert estimator(x, x).shape == (3,)
    assert estimator(x[None], x[None]).shape == (1, 3)


def test_rates():
    assert adaptation_rate([0.5, 0.9, 1.0]) == pytest.approx(0.8)
    assert adaptation_rate([1.0, 1.0]) == 1.0
    assert adaptation_rate([0.2, 1.0, 1.0, 1.0, 1.0], "steps") == 0.75
    assert adaptation_rate([1.0, 0.9], "steps") == 1.0


def test_rank_correlation():
    assert rank_correlation([1, 2, 3], [2, 4, 9]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [9, 4, 2]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [9, 4, 2]) is None


def test_signatures_of_tasks_tell_permutations_and_labels_apart():
    x, y = labelled()
    other = np.random.default_rng(0).permutation(10)
    found = [
        task_signature(x, y, 2),
        task_signature(x + 1e-4, y, 2),
        task_signature(x[:, other], y, 2),
        task_signature(x, 1 - y, 2),
    ]
    like = np.array(found) @ found[0]
    assert like[1] > 0.999 and like[2] < 0.8 and like[3] < -0.999
    assert all(np.linalg.norm(s) == pytest.approx(1) for s in found)


def test_wide_features_are_projected_and_stay_as_far_apart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3000)).astype("float32")
    y = np.arange(40) % 10
    a, b = task_signature(x, y, 10), task_signature(x[::-1], y, 10)
    assert a.shape == (WIDTH,) and abs(a @ b) < 0.35
    assert task_signature(x, y, 10, width=256).shape == (256,)
    np.testing.assert_array_equal(a, task_signature(x, y, 10))


def test_signatures_of_parameters_are_of_unit_length():
    logits = np.random.default_rng(0).normal(size=(200, 10))
    signature = parameter_signature(logits)
    assert np.linalg.norm(signature) == pytest.approx(1)
    assert (signature[2000:] == 0).all()
    np.testing.assert_allclose(parameter_signature(3 * logits), signature, rtol=1e-5)
    noise = signatures.noise(4, (2, 2), 1)
    np.testing.assert_array_equal(noise, signatures.noise(4, (2, 2), 1))


def test_a_signer_describes_tasks_and_sets():
    form = new_form()
    signer, base = Signer(form, lambda x: 2 * x, width=64, seed=0), new_base(form)
    parameters = base.drawn("a")
    found = signer.of_set(parameters)
    expected = form.answers(parameters, signatures.noise(32, (3,), 0))
    np.testing.assert_array_equal(found, parameter_signature(expected, 64))
    wider = KnowledgeBase(form, 3, SMALL, seed=0)
    wider.make(outputs=4)  # as after a first task that failed
    assert signer.of_set(wider.drawn("a")).shape == (64,)
    task = types.SimpleNamespace(train=(X, Y), spec=TaskSpec(2))
    expected = task_signature(2 * X, Y, 2, seed=0, width=64)
    np.testing.assert_array_equal(signer.of_task(task), expected)


def new_estimator(*names):
    """One of 64 numbers, and a memory in which it knows these tasks."""
    memory, estimator = new_memory(*names), RateEstimator(width=64, seed=0)
    for name in names:
        estimator.describe(memory, name, RNG.normal(size=64).astype("float32"))
    return estimator, memory


def sets(count):
    signs = RNG.normal(size=(count, 64)).astype("float32")
    return [Candidate(None, sign) for sign in signs]


def test_an_estimator_learns_from_the_pairs_it_remembers():
    estimator, memory = new_estimator("a", "b")
    known = sets(3)
    assert not estimator.predict(memory, known, ["a", "b"]).any()  # nothing is known
    for i, c in enumerate(known):
        estimator.add(memory, c.signature, "ab"[i % 2], i / 2)
    more = [(known[0].signature, 1, 0.5)]
    (phase,), _ = finished(estimator.fit(memory, 40, more))
    assert phase.epochs == 2 and len(phase.data[0]) == 20 * rates.BATCH
    mean, deviation = memory["rates", "mean"], memory["rates", "deviation"]
    assert mean == 0.5 and deviation == pytest.approx(np.std([0, 0.5, 1, 0.5]))
    predicted = estimator.predict(memory, known, ["a", "b"])
    assert predicted.shape == (3, 2)
    wanted = np.array([[0.0, 0.5], [np.nan, 0.5], [1.0, np.nan]])
    errors = np.square((predicted - wanted) / deviation)
    rows = np.arange(4)
    loss = estimator.loss(rows, None, np.ones(4, "float32"), phase.arguments)
    assert float(loss) == pytest.approx(np.nansum(errors) / 4, rel=1e-4)
    best = estimator.best_task(memory, known[0], ["a", "b", "only added"])
    assert best == "ab"[int(np.argmax(predicted[0]))]


def test_an_estimator_recalls_what_it_remembers():
    estimator, memory = new_estimator("a")
    (known,) = sets(1)
    estimator.add(memory, known.signature, "a", 0.5)
    fresh = RateEstimator(width=64, seed=0)
    first = estimator.network.last.kernel
    first.assign(first + 1)
    finished(estimator.fit(memory, 20))
    fresh.recall(memory)
    found = [e.predict(memory, [known], ["a"]) for e in (estimator, fresh)]
    np.testing.assert_array_equal(*found)
    fresh.recall(new_memory())  # as before the first task
    same = RateEstimator(width=64, seed=0).network.last.kernel
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(k) for k in (fresh.network.last.kernel, same))
    )


def test_an_estimator_forgets_a_task_and_the_oldest_pairs(monkeypatch):
    estimator, memory = new_estimator("a", "b", "c")
    monkeypatch.setattr(rates, "PAIRS", 4)
    for i, name in enumerate("cabcab"):
        estimator.add(memory, np.full(64, i), name, i / 10)
    assert memory["pairs", "tasks"].tolist() == [1, 2, 0, 1]
    estimator.check(memory, ["a", "b", "c"])
    estimator.forget(memory, "a")
    assert memory["pairs", "tasks"].tolist() == [0, 1, 0]
    assert memory["pairs", "signatures"][:, 0].tolist() == [2, 3, 5]
    np.testing.assert_allclose(memory["pairs", "values"], [0.2, 0.3, 0.5])
    memory["pairs", "values"] = np.zeros(2)
    with pytest.raises(ValueError, match="'pairs/values' has shape"):
        estimator.check(memory, ["b", "c"])


# Exploring, keeping, adapting


@pytest.mark.parametrize("at_once", [False, True])
def test_sets_are_tried_from_where_they_begin(at_once):
    """With no step taken, each is what it was, and its curve begins with its own."""
    form = new_form()
    base, exploration = new_base(form), Exploration(Trainer(), form, seed=0)
    head = HeadSlot(2)
    head.build((None, form.width))
    bench = exploration.bench(head, "softmax")
    assert exploration.bench(head, "softmax") is bench
    starts = [base.drawn("set", i) for i in range(3)]
    task = types.SimpleNamespace(name="a", train=(X, Y), spec=TaskSpec(2))
    trial = Trial(at_once, interval=5, horizon=1, rate="area", weight_decay=0.1)
    scores = [[0.5, 0.5, 0.5], [1.0, 1.0, 1.0]] if at_once else [0.5, 1.0]
    result = types.SimpleNamespace(history={"accuracy": scores})
    phases, tried = finished(exploration.explore(task, bench, starts, trial), result)
    assert [p.observe_every for p in phases] == [5] * (1 if at_once else 3)
    assert len({p.seed for p in phases}) == 1
    for start, one in zip(starts, tried, strict=True):
        first = accuracy(form.answers(start, X), Y)
        assert one.curve == [first, 0.5, 1.0]
        assert one.rate == pytest.approx((first + 0.5) / 2)
        for a, b in zip(one.parameters.values, start.values, strict=True):
            np.testing.assert_array_equal(a, b)


def test_adapting_leaves_the_network_that_others_use():
    form = new_form()
    adaptation, start = Adaptation(Trainer(), form, seed=0), new_base(form).drawn("a")
    before = form.network.get_weights()
    bench = adaptation.bench(2, "softmax")
    assert adaptation.bench(2, "softmax") is bench
    tuning = FineTuning(epochs=0, scale=1.0, weight_decay=0.0)
    found = adaptation.adapt("a", bench, start, X, Y, tuning)
    np.testing.assert_array_equal(form.answers(found, X), form.answers(start, X))
    for a, b in zip(before, form.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_examples_are_shared_out_between_tasks_and_classes():
    memory = new_memory("a", "b", "only added")
    exemplars.keep(memory, "a", X, Y, budget=8, seed=0)
    assert len(exemplars.of(memory, "a")[0]) == 8
    exemplars.keep(memory, "b", X, Y, budget=8, seed=0)
    for name in "ab":
        x, y = exemplars.of(memory, name)
        assert np.bincount(y).tolist() == [2, 2]
        exemplars.check(memory, name, (3,))
    assert exemplars.kept(memory, "b") and not exemplars.kept(memory, "only added")
    with pytest.raises(ValueError, match="examples of task 'a' have shapes"):
        exemplars.check(memory, "a", (4,))


@pytest.mark.parametrize("keep", ["one", "each"])
def test_of_more_sets_than_there_is_room_for_those_go_that_are_missed_least(keep):
    """Not those of the newest task: it would have been learned for nothing."""
    rates = np.array([[0.9, 0.8, 0.2], [0.5, 0.9, 0.1], [0.1, 0.2, 0.9], [0, 0.7, 0]])
    learned = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]], bool)
    kept = {b: worth_keeping(rates, learned, b, keep) for b in (1, 2, 3, 4)}
    assert kept[1] == [0] and kept[2] == [0, 2]  # the first serves the second, too
    assert kept[3] == [0, 3, 2]  # what learned a task comes first, whatever its rate
    assert kept[4] == [0, 3, 2] + [1] * (keep == "each")
