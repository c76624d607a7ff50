"""ARI: Algorithm 1, what is stored, what is estimated, and what stays as it was."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.methods.ari.parameters import Candidate
from keras_lifelong.methods.ari.parameters import accuracy
from keras_lifelong.methods.ari.storing import Storing
from keras_lifelong.training import distillation

CENTRES = np.random.default_rng(5).normal(size=(12, 10)).astype("float32")
QUICK = {
    "memory_budget": 6,
    "training_budget": 3,
    "initial": 2,
    "exemplars": 24,
    "interval": 2,
    "horizon": None,
    "storing_steps": 30,
    "estimator_epochs": 10,
    "hypernetwork": {"name": "chunked", "chunk": 20, "units": [24, 24]},
}
# Where the subject is how well a set is kept, and how well it is found again.
KEPT_WELL = {"storing_steps": 400, "estimator_epochs": 200}


def data(classes, each=20, seed=0):
    rng = np.random.default_rng([seed, *classes])
    y = np.repeat(np.arange(len(classes)), each).astype("int32")
    x = CENTRES[np.array(classes)[y]] + 0.6 * rng.normal(size=(len(y), 10))
    return x.astype("float32"), y


def task(name, classes, seed=0):
    train, test = data(classes, seed=seed), data(classes, seed=seed + 50)
    return kl.Task(name, train=train, validation=test, test=test)


TASKS = [task("a", [0, 1]), task("b", [2, 3]), task("c", [4, 5])]


def new(hidden=None, **kwargs):
    hidden = hidden or [layers.Dense(8, activation="relu", use_bias=False)]
    backbone = keras.Sequential([keras.Input((10,)), *hidden])
    model = kl.ARI(backbone, **{**QUICK, **kwargs})
    model.compile(keras.optimizers.Adam(0.02), metrics=["accuracy"])
    return model


def fit(model, *tasks):
    for one in tasks:
        model.fit(one, epochs=3, batch_size=10, verbose=0)
    return model


@pytest.fixture(scope="module")
def learned():
    return fit(new(**KEPT_WELL), *TASKS)


@pytest.fixture(scope="module")
def _two():
    """Two tasks, learned once: a copy of it costs no training."""
    return fit(new(), *TASKS[:2]).get_state()


@pytest.fixture
def two(_two):
    """Two tasks, by the quick settings, in a model that a test may change."""
    model = new()
    model.set_state(*_two)
    return model


def entries(model, kind, name=None):
    found = [e for e in model.growth if e["kind"] == kind]
    return [e for e in found if name in (None, e["task"])]


# Algorithm 1


def test_budgets(learned):
    """Two drawn, then three of known and drawn; two, five, then six are kept."""
    assert [len(entries(learned, "explore", t.name)) for t in TASKS] == [2, 3, 3]
    assert [len(entries(learned, "keep", t.name)) for t in TASKS] == [2, 5, 6]
    assert len(learned.slots) == 6


def test_the_papers_budgets_fill_as_it_says():
    """3 initial, Q = 10, B = 20: 3, 6, 10 and 10 are trained; 3, 9, 19 and 20 kept."""
    model = new(
        memory_budget=20,
        training_budget=10,
        initial=3,
        storing_steps=50,
        estimator_epochs=20,
        rehearse=False,
    )
    four = [*TASKS, task("d", [6, 7])]
    for one in four:
        model.fit(one, epochs=1, batch_size=40, verbose=0)
    assert [len(entries(model, "explore", t.name)) for t in four] == [3, 6, 10, 10]
    assert [len(entries(model, "keep", t.name)) for t in four] == [3, 9, 19, 20]


def normalised():
    return [
        layers.Dense(8, use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
        layers.Dropout(0.2, seed=3),
    ]


def convolutional():
    return [
        layers.Reshape((5, 2, 1)),
        layers.Conv2D(4, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
        layers.Flatten(),
    ]


@pytest.mark.parametrize(
    "hidden, head_bias", [(None, False), (normalised, True), (convolutional, False)]
)
def test_all_at_once_is_as_one_after_another(hidden, head_bias):
    """Stacked, every set has its own gradients, statistics, decay and curve."""
    found, phases = [], []
    for at_once in (False, True):
        model = new(hidden and hidden(), at_once=at_once, head_bias=head_bias)

        def learn(task, model=model):
            model.knowledge_base.make(model.outputs_per_set)
            sets = [model.knowledge_base.drawn("test", i) for i in range(3)]
            candidates = [Candidate(p, model.signer.of_set(p)) for p in sets]
            explored = yield from model.explore(task, candidates)
            found.append((*explored, [e["why"]["curve"] for e in model.growth]))

        seen = keras.callbacks.LambdaCallback()
        seen.on_phase_begin = lambda task, phase: phases.append(phase)
        model.fit(
            TASKS[0], epochs=3, batch_size=10, verbose=0, learn=learn, callbacks=[seen]
        )
    (trained, rates, curves), (stacked, again, as_stacked) = found
    assert phases == [*(f"exploration {i} of 3" for i in (1, 2, 3)), "exploration of 3"]
    assert rates == again and curves == as_stacked and len(set(rates)) == 3
    for one, other in zip(trained, stacked, strict=True):
        a, b = one.parameters, other.parameters
        pairs = zip([*a.values, *a.statistics], [*b.values, *b.statistics], strict=True)
        for value, same in pairs:
            np.testing.assert_allclose(value, same, atol=1e-5)


def test_optimizers_that_look_at_whole_tensors_explore_one_after_another():
    def at_once(model):
        optimizer = model.optimizer_config()
        return model.exploration.goes_at_once(model.options.at_once, optimizer)

    model, convolution = new(), new(convolutional())
    assert at_once(model) and not at_once(convolution)
    model.compile(keras.optimizers.Adam(0.02, clipnorm=1.0))
    assert not at_once(model)
    model.compile(keras.optimizers.Lamb(0.02))
    assert not at_once(model)
    asked = new(at_once=True)
    asked.compile(keras.optimizers.Lamb(0.02))
    with pytest.raises(ValueError, match="`at_once`.*Received: at_once=True and Lamb"):
        asked.fit(TASKS[0], epochs=1, batch_size=10, verbose=0)


def test_interrupted_after_exploring_at_once_goes_on_the_same(tmp_path):
    """The statistics of all sets are recorded, too."""

    class Stop(keras.callbacks.Callback):
        def on_phase_begin(self, task, phase):
            if phase == "estimator":
                raise KeyboardInterrupt

    def run(where, callbacks=()):
        model = new(
            normalised(),
            at_once=True,
            storing_steps=20,
            estimator_epochs=20,
            rehearse=False,
        )
        model.fit_stream(
            [TASKS[0]],
            epochs=2,
            batch_size=10,
            verbose=0,
            checkpoint_dir=tmp_path / where,
            callbacks=list(callbacks),
        )
        return model

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("stopped", [Stop()])
    resumed = run("stopped")
    x = TASKS[0].test[0]
    np.testing.assert_array_equal(whole.predict(x, "a"), resumed.predict(x, "a"))
    for key, value in whole.memory.items():
        np.testing.assert_array_equal(value, resumed.memory[key])


def test_every_task_has_a_set_of_its_own(learned):
    assert {slot["task"] for slot in learned.slots} == {"a", "b", "c"}


def test_most_promising_are_trained(learned):
    """The candidates of a task are those of the highest estimates, best first."""
    found = [e["why"]["predicted"] for e in entries(learned, "explore", "c")]
    assert found == sorted(found, reverse=True)


def test_rates_are_of_the_accuracies_that_were_seen(learned):
    for entry in entries(learned, "explore"):
        why = entry["why"]
        assert len(why["curve"]) == 1 + 6  # forty images, batches of ten, every second
        assert why["rate"] == pytest.approx(np.mean(why["curve"]))
    first = entries(learned, "explore", "a")
    assert all(e["why"]["curve"][-1] > 0.9 for e in first)


def test_what_was_learned_is_found_again(learned):
    """Chosen sets know their task before any example is seen; random ones do not."""
    expected = learned.predict(TASKS[0].test[0], task="a")
    rows = learned.compare_selections(TASKS, epochs=(0, 10))
    scores = {(r["selection"], r["epochs"]): r["accuracy"] for r in rows}
    assert len(scores) == 8
    assert scores["estimator", 0] > 0.85
    assert scores["exemplar_loss", 0] > 0.85
    assert scores["estimator", 0] > scores["random", 0] + 0.1
    assert scores["estimator", 0] > scores["drawn", 0] + 0.1
    assert scores["drawn", 10] > scores["drawn", 0] + 0.1
    again = learned.predict(TASKS[0].test[0], task="a")
    np.testing.assert_array_equal(again, expected)


def test_retention_is_in_the_log(learned):
    """Right after it was stored, a set does what it did: by slot, with the error."""
    whys = [e["why"] for e in entries(learned, "keep")]
    assert all(0 <= w["accuracy"] <= 1 and w["error"] >= 0 for w in whys)
    assert np.mean([w["drop"] for w in whys]) < 0.1


def test_fine_tuning_is_not_written_back(learned):
    before = {k: v.copy() for k, v in learned.memory.items()}
    first = learned.predict(TASKS[0].test[0], task="a")
    learned.predict(TASKS[1].test[0], task="b")
    again = learned.predict(TASKS[0].test[0], task="a")
    np.testing.assert_array_equal(first, again)
    assert before.keys() == learned.memory.keys()
    for key, value in before.items():
        np.testing.assert_array_equal(value, learned.memory[key])


def test_stored_sets_are_fine_tuned_by_shorter_steps(learned):
    """One step of Adam, by a tenth of it; newly drawn sets go the whole step."""
    moved = {}
    for scale in (0.1, 1.0):
        model = learned.with_options(adaptation_scale=scale)
        for start in (model.choose("a"), model.knowledge_base.drawn("x")):
            kernel = model.adapt("a", start, epochs=1).values[0]
            moved[scale, start.source] = np.abs(kernel - start.values[0]).max()
    assert (
        len(learned.exemplars("a")[0]) == 8
    )  # so that an epoch is one step, of the learning rate at most
    stored = learned.choose("a").source
    assert moved[1.0, stored] == pytest.approx(0.02, rel=0.01)
    assert moved[0.1, stored] == pytest.approx(0.002, rel=0.01)
    assert moved[0.1, "drawn"] == moved[1.0, "drawn"] > 0.019


def test_examples_are_shared_out(learned):
    for one in TASKS:
        x, y = learned.exemplars(one.name)
        assert len(x) == 24 // 3 and np.bincount(y).tolist() == [4, 4]
        assert all((row == one.train[0]).all(1).any() for row in x)


def test_sets_go_with_the_last_task_that_was_learned(two):
    """One that was only added has no use for them, and nothing to tell them by."""
    two.add_task("only added", TASKS[2].spec)
    two.remove_task("a")
    assert {slot["task"] for slot in two.slots} == {"b"}
    two.remove_task("b")
    assert two.task_names == ["only added"] and two.slots == []


def test_memory_does_not_grow_with_tasks_but_for_signatures():
    model = fit(new(), *TASKS)
    before = model.sizes()
    fit(model, task("d", [6, 7]))
    after = model.sizes()
    assert after["hypernetwork"] == before["hypernetwork"] == model.count_params()
    assert after["estimator"] == before["estimator"] == 560_445
    assert after["exemplars"] <= 24 * 11
    assert not [key for key in model.memory if key[0] == "head"]  # sets have heads


def test_a_failed_task_leaves_everything_as_it_was(learned):
    before = learned.predict(TASKS[1].test[0], task="b")

    def stop(*args):
        raise RuntimeError("stop")

    callback = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    with pytest.raises(RuntimeError, match="stop"):
        learned.fit(task("d", [6, 7]), epochs=1, verbose=0, callbacks=[callback])
    assert learned.task_names == ["a", "b", "c"]
    np.testing.assert_array_equal(learned.predict(TASKS[1].test[0], task="b"), before)


def test_a_plain_network_of_a_task(learned):
    plain = learned.task_model("b")
    x = TASKS[1].test[0]
    expected = learned.predict(x, task="b")
    np.testing.assert_allclose(plain.predict(x, verbose=0), expected, atol=1e-6)
    assert [type(x).__name__ for x in plain.layers] == ["Dense", "Dense"]


def test_statistics_of_normalisation_are_kept_by_slot():
    hidden = [layers.Dense(8, use_bias=False), layers.BatchNormalization(momentum=0.5)]
    kind = {"name": "structured", "units": [12]}
    model = fit(new(hidden, hypernetwork=kind), *TASKS[:2])
    assert model.sizes()["statistics"] == 6 * 2 * 8
    means = model.memory["statistics", 0][: len(model.slots)]
    assert np.unique(means.round(6), axis=0).shape[0] > 2
    assert model.evaluate(TASKS[0])["accuracy"] > 0.85


def test_initial_sets_by_the_hypernetwork_or_by_an_initializer():
    model = new()
    model.fit(TASKS[0], epochs=1, verbose=0)
    generated = model.knowledge_base.drawn("x").values
    drawn = model.knowledge_base.drawn("x", initializer="he_normal").values
    assert np.corrcoef(generated[0].ravel(), drawn[0].ravel())[0, 1] < 0.5
    expected = np.sqrt(2 / drawn[0].shape[0])
    assert drawn[0].std() == pytest.approx(expected, rel=0.3)
    again = model.knowledge_base.drawn("x", initializer="he_normal").values
    for a, b in zip(drawn, again, strict=True):
        np.testing.assert_array_equal(a, b)
    other = fit(new(initializer="glorot_uniform"), TASKS[0])
    assert other.evaluate(TASKS[0])["accuracy"] > 0.85


def test_keep_by_sum_and_by_steps():
    model = fit(new(keep="sum", rate="steps"), *TASKS[:2])
    rates = [e["why"]["rate"] for e in entries(model, "explore")]
    assert all(0 <= r <= 1 for r in rates)
    known = model.knowledge()
    rates = model.estimator.predict(model.memory, known, model.task_names)
    sums = rates.sum(1)
    kept = model.best(known)
    assert list(sums[kept]) == sorted(sums, reverse=True)[: len(kept)]


def test_keep_one_set_of_each_task():
    model = fit(new(keep="one"), *TASKS[:3])
    assert [slot["task"] for slot in model.slots] == [t.name for t in TASKS[:3]]
    assert len(fit(new(keep="each"), *TASKS[:3]).slots) == 6


def test_sets_are_stored_from_embeddings_of_their_own(eager):
    """One that grew from a known set would else be told from it by little."""
    given = []

    class Watched(kl.ARI):
        def store(self, task, kept):
            given.append(np.stack([c.parameters.embeddings[0] for c in kept]))
            return super().store(task, kept)

    backbone = keras.Sequential([keras.Input((10,)), layers.Dense(8, use_bias=False)])
    quick = {"storing_steps": 1, "estimator_epochs": 20, "rehearse": False}
    model = Watched(backbone, **{**QUICK, **quick})
    model.compile(keras.optimizers.Adam(0.02))
    fit(model, *TASKS[:2])
    from_known = [e for e in entries(model, "explore", "b") if e["why"]["learned"]]
    assert from_known and len(given) == 2
    distances = np.linalg.norm(given[1][:, None] - given[1], axis=-1)
    assert distances[~np.eye(len(distances), dtype=bool)].min() > 0.5


def test_few_shapes_are_asked_of_the_network_and_the_estimator(learned, monkeypatch):
    """JAX compiles every operation for every shape, and frees nothing."""
    known, names, shapes = learned.knowledge(), learned.task_names, set()
    estimator, memory, form = learned.estimator, learned.memory, learned.form
    whole = estimator.predict(memory, known, names)
    rate, outputs = estimator.network.rate, form.outputs

    def watch(function):
        def watched(*args):
            shapes.add(tuple(tuple(np.shape(a)) for a in args if hasattr(a, "shape")))
            return function(*args)

        return watched

    monkeypatch.setattr(estimator.network, "rate", watch(rate))
    monkeypatch.setattr(form, "outputs", watch(outputs))
    x = TASKS[0].test[0]
    of_all = form.answers(known[0].parameters, x[:16])
    for n in range(1, 4):
        rates = estimator.predict(memory, known[:n], names[:n])
        np.testing.assert_allclose(rates, whole[:n, :n], atol=1e-6)
        found = form.answers(known[0].parameters, x[:n])
        np.testing.assert_allclose(found, of_all[:n], atol=1e-6)
    assert len(shapes) == 2


def stored_now(model, tasks):
    """The phase that stores again what a model holds, and the sets."""
    kept = model.knowledge()[:3]
    sets = [dataclasses.replace(c.parameters) for c in kept]
    old = [c.task != tasks[-1].name for c in kept]
    probes = model.probes(kept, tasks[-1].train[0], old)
    phase = next(model.store(tasks[-1], kept))
    return phase, sets, probes, old


def test_the_loss_of_storing_is_of_values_and_of_answers():
    """Each set's mean squared error, and its divergence on its probes, weighted."""
    model = fit(new(outputs=3), *TASKS[:2])
    phase, sets, probes, old = stored_now(model, TASKS[:2])
    h, expected = model.knowledge_base.hypernetwork, []
    rng = np.random.default_rng(0)
    h.slot_embeddings.assign(h.slot_embeddings + 0.1 * rng.normal(size=(6, 8)))
    rows = phase.data[0][:3]
    assert rows[:, 0].tolist() == [0, 1, 2] and rows.shape == (3, 51)
    assert np.array_equal(rows[:, 1:] // 1000, rows[:, :1].repeat(50, 1))

    def log_probabilities(values, x):
        logits = (np.maximum(x @ values[0], 0) @ values[1])[
            :, :2
        ]  # the third: no class
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    for slot, row in enumerate(rows):
        now = h.generate(slot)
        error = np.mean((h.standard(now) - h.standard(sets[slot].values)) ** 2)
        x = probes[slot][row[1:] % 1000]
        p, q = log_probabilities(sets[slot].values, x), log_probabilities(now, x)
        divergence = np.mean((np.exp(p) * (p - q)).sum(1))
        assert divergence > 1e-4
        weights = (30, 30) if old[slot] else (1, 10)
        expected.append(weights[0] * error + weights[1] * divergence)
    found = phase.loss(rows, None, np.ones(3, "float32"), phase.arguments)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-3)


def test_probes_are_training_images_and_then_what_examples_are_made_of(two):
    model = two
    kept = model.knowledge()
    old = [c.task == "a" for c in kept]
    assert 0 < sum(old) < len(old)
    for c, was, probes in zip(
        kept, old, model.probes(kept, TASKS[1].train[0], old), strict=True
    ):
        x = model.exemplars("a")[0] if was else TASKS[1].train[0]
        assert probes.shape == (1000, 10)
        whole = (probes[:, None] == x[None]).all(-1).any(1)
        assert c.task == ("a" if was else "b")
        if was:  # three in ten are examples, in the others any value is from any
            assert 0.25 < whole.mean() < 0.45
            assert all(np.isin(probes[:, k], x[:, k]).all() for k in range(10))
        else:
            assert whole.all() and len(np.unique(probes, axis=0)) == len(x)


def normalized_images():
    """A model of a network with batch normalisation, and two tasks of images."""
    hidden = [
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(momentum=0.5),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
    ]
    backbone = keras.Sequential([keras.Input((8, 8, 1)), *hidden])
    kind = {"name": "structured", "units": [12]}
    model = kl.ARI(backbone, **{**QUICK, "hypernetwork": kind, "storing_batch": 48})
    model.compile(keras.optimizers.Adam(0.02), metrics=["accuracy"])
    rng, tasks = np.random.default_rng(0), []
    for name in ("a", "b"):
        y = np.repeat([0, 1], 20).astype("int32")
        x = rng.normal(size=(40, 8, 8, 1)).astype("float32")
        tasks.append(kl.Task(name, train=(x + y[:, None, None, None], y)))
    return model, tasks


def test_probes_of_normalised_networks_are_images_too():
    model, tasks = normalized_images()
    fit(model, *tasks)
    kept = [c for c in model.knowledge() if c.task == "a"][:1]
    (probes,) = model.probes(kept, tasks[1].train[0], [True])
    x = model.exemplars("a")[0]
    assert probes.shape == (1000, 8, 8, 1)
    middle = probes[:, 2:-2, 2:-2]  # shifted by a pixel at most, so never a border
    both = np.concatenate([x, x[:, :, ::-1]])
    windows = [
        both[:, 2 + i : 6 + i, 2 + j : 6 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)
    ]
    known = {w.tobytes() for window in windows for w in np.ascontiguousarray(window)}
    assert {m.tobytes() for m in np.ascontiguousarray(middle)} <= known
    how, base = Storing(50, 3e-3, batch=48, function=10.0), model.knowledge_base
    phase = next(
        base.store(model.memory, kept, [kl.TaskSpec(2)], [probes], [True], how)
    )
    rows = phase.data[0]
    assert rows.shape[1] == 1 + 12  # a quarter of `storing_batch`


def test_a_stored_set_does_what_it_did_when_it_was_trained():
    """Before any fine-tuning, on test data: 95 % of it, and still after more tasks."""
    model, trained = new(adaptation=0, **KEPT_WELL), []
    for one in TASKS:
        fit(model, one)
        explored = entries(model, "explore", one.name)
        trained.append(max(e["why"]["curve"][-1] for e in explored))
        assert model.evaluate(one)["accuracy"] > 0.95 * trained[-1]
    held = [model.evaluate(one)["accuracy"] for one in TASKS]
    assert np.mean(held) > 0.95 * np.mean(trained)


def test_yes_or_no_is_stored():
    """The one output of a binary task is an answer beside a constant 0."""
    model = new(adaptation=0, **KEPT_WELL)
    for name, classes in (("a", [0, 1]), ("b", [2, 3])):
        x, y = data(classes)
        spec = kl.TaskSpec(2, "binary")
        one = kl.Task(name, spec, train=(x, y.astype("float32")))
        model.fit(one, epochs=6, batch_size=10, verbose=0)
    for name, classes in (("a", [0, 1]), ("b", [2, 3])):
        x, y = data(classes, seed=50)
        right = (model.predict(x, task=name).ravel() > 0.5) == y
        assert right.mean() > 0.9


def test_storing_outputs_keeps_what_a_set_does():
    """By values alone, a small hypernetwork keeps less of a set than by its outputs."""
    drops, longer = {}, {"adaptation": 0, **KEPT_WELL}
    for function in (0.0, 1.0):
        small = {"name": "chunked", "chunk": 20, "units": [6]}
        model = fit(new(function=function, hypernetwork=small, **longer), *TASKS)
        scores = []
        for one in TASKS:
            x, y = one.test
            for slot, of in enumerate(model.slots):
                if of["task"] == one.name:
                    stored = model.knowledge_base.generated(model.memory, slot)
                    scores.append(accuracy(model.form.answers(stored, x), y))
        drops[function] = np.mean(scores)
    assert drops[1.0] > drops[0.0]


# Bad input


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"memory_budget": 0}, "`memory_budget`.*Received: 0"),
        ({"initial": 7}, "`initial` must be at most `memory_budget`.*Received: 7"),
        ({"selection": "best"}, "`selection`.*Received: 'best'"),
        ({"keep": "all"}, "`keep`.*Received: 'all'"),
        ({"rate": "time"}, "`rate`.*Received: 'time'"),
        ({"weight_decay": -1.0}, "`weight_decay`.*Received: -1.0"),
        ({"adaptation_scale": 1.5}, "`adaptation_scale`.*Received: 1.5"),
        ({"storing_rate": 0}, "`storing_rate`.*Received: 0"),
        ({"hypernetwork": "whole"}, "`hypernetwork`.*chunked"),
        ({"at_once": "yes"}, "`at_once`.*True, False or None.*Received: 'yes'"),
        ({"rehearse": 1}, "`rehearse`.*Received: 1"),
        ({"outputs": 0}, "`outputs`.*Received: 0"),
        ({"initializer": "he_normall"}, "he_normall"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        new(**arguments)


def test_bad_tasks(monkeypatch):
    model = new()
    y = np.zeros((40, 2), "float32")
    many = kl.Task("r", kl.TaskSpec(2, "regression"), train=(data([0, 1])[0], y))
    with monkeypatch.context() as patch:  # as of a kind that somebody registered
        patch.setattr(distillation, "comparison", lambda kind: None)
        with pytest.raises(ValueError, match="compares the outputs.*regression"):
            model.fit(many, verbose=0)
    model.add_task("a", TASKS[0].spec)
    with pytest.raises(ValueError, match="have 2 outputs.*`outputs=`.*with 3"):
        model.fit(task("wide", [1, 2, 3]), verbose=0)
    assert model.task_names == ["a"]
