"""Tuners of grow sequences and of thresholds: each trial is a run like any other."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import two_branch_shared

import keras_lifelong as kl
from keras_lifelong.metrics import multi_task_gain
from keras_lifelong.search import GrowSequenceTuner
from keras_lifelong.search import ThresholdTuner
from keras_lifelong.search.grow_sequence import Recall

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 6)).astype("float32")


def tasks(count=3):
    found = []
    for i in range(count):
        y = (X[:, i] * X[:, i + 1] > 0).astype("int32")
        held = X[:40], y[:40]
        found.append(kl.Task(f"t{i}", train=(X, y), validation=held, test=held))
    return found


def body():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu"),
            layers.Dense(6, activation="relu"),
        ]
    )


def build(**kwargs):
    model = kl.BindAndGrow(body(), **kwargs)
    model.compile(keras.optimizers.Adam(0.02), metrics=["accuracy"])
    return model


def grown(path, trials=6, **kwargs):
    settings = {"epochs": 3, "batch_size": 20, "max_trials": trials, **kwargs}
    tuner = GrowSequenceTuner(
        build, tasks(), directory=str(path), project_name="p", **settings
    )
    tuner.search(verbose=0)
    return tuner


def test_a_trial_is_a_run_of_its_own_but_for_its_time(tmp_path):
    """What is recalled is bit for bit what would have been learned."""
    tuner = grown(tmp_path, trials=8)
    assert tuner.model.recall.hits > 8
    assert tuner.model.trainer.compile_count <= 2
    rows = tuner.rows()
    for row in (rows[0], rows[3], rows[7]):
        model = build(grow_coefficient=row["delta"])
        for task in tasks():
            model.fit(task, epochs=3, batch_size=20, verbose=0)
        scores = [model.evaluate(t, split="validation")["accuracy"] for t in tasks()]
        alone = model.single_task_scores("validation")
        single = [alone[t.name] for t in tasks()]
        assert row["accuracy"] == pytest.approx(np.mean(scores))
        assert row["gain"] == pytest.approx(multi_task_gain(scores, single))
        assert row["params"] == model.count_params()
        assert row["points"] == pytest.approx(100 * (np.mean(scores) - np.mean(single)))
        trial = tuner.oracle.trials[row["trial"]]
        again = tuner.retrain(trial)
        assert again.routing == model.routing
        for task in tasks():
            np.testing.assert_array_equal(
                again.predict(X, task=task.name), model.predict(X, task=task.name)
            )


def test_a_network_of_branches_is_searched(eager, tmp_path):
    """What is kept of a trial is, to the last bit, what that trial alone learns."""

    def of_branches():
        model = kl.BindAndGrow(two_branch_shared(), samples=20)
        model.compile(keras.optimizers.Adam(0.02), metrics=["accuracy"])
        return model

    tuner = GrowSequenceTuner(
        of_branches,
        tasks(2),
        batch_size=40,
        max_trials=2,
        curated=[0.0, 1.0],
        directory=str(tmp_path),
        project_name="p",
    )
    tuner.search(verbose=0)
    sizes = [row["params"] for row in sorted(tuner.rows(), key=lambda r: r["delta"])]
    grown = 2 * (6 * 4 + 4) + (4 * 4 + 4) + (8 * 5 + 5)  # all four layers, once more
    assert sizes[1] - sizes[0] == grown
    kept = tuner.load_model(tuner.front()[0])
    again = tuner.retrain(tuner.front()[0])
    assert again.routing == kept.routing
    np.testing.assert_array_equal(
        again.predict(X, task="t1"), kept.predict(X, task="t1")
    )


def test_models_on_the_front_can_be_loaded(tmp_path):
    tuner = grown(tmp_path)
    front = tuner.front()
    assert front
    for trial in front:
        model = tuner.load_model(trial)
        assert isinstance(model, kl.BindAndGrow)
        assert model.count_params() == tuner.oracle.measured(trial)["params"]
        scores = [model.evaluate(t, split="validation")["accuracy"] for t in tasks()]
        assert np.mean(scores) == pytest.approx(
            trial.metrics.get_last_value("accuracy")
        )
    worst = tuner.oracle.get_best_trials(6)[-1]
    worst.trial_id = "none"
    with pytest.raises(ValueError, match="not kept. Call `retrain"):
        tuner.load_model(worst)


def test_each_task_can_have_its_own_coefficient_place_and_partner(tmp_path):
    tuner = grown(tmp_path, space="per_task", order=True, bind_ranks=1, trials=8)
    names = {hp.name for hp in tuner.oracle.hyperparameters.space}
    expected = {f"{kind}/t{i}" for kind in ("delta", "order", "bind") for i in range(3)}
    assert names == expected
    rows = tuner.rows()
    assert [r["delta/t1"] for r in rows[:5]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    sequences = {tuple(tuner.sequence(row)) for row in rows}
    assert len(sequences) > 1 and all(
        sorted(s) == ["t0", "t1", "t2"] for s in sequences
    )
    row = rows[-1]
    model = tuner.retrain(tuner.oracle.trials[row["trial"]])
    assert model.task_names == tuner.sequence(row)
    assert model.count_params() == row["params"]


def test_a_staged_search_goes_from_one_coefficient_to_one_for_each(tmp_path):
    settings = {"space": "staged", "shared_trials": 7, "trials": 12}
    tuner = grown(tmp_path / "1", order=True, bind_ranks=1, **settings)
    rows = tuner.rows()
    deltas = [[r[f"delta/t{i}"] for i in range(3)] for r in rows]
    assert [d[0] for d in deltas[:5]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert all(len({*d}) == 1 for d in deltas[:7])
    assert any(len({*d}) > 1 for d in deltas[7:])
    for row in rows[:7]:
        assert tuner.sequence(row) == ["t0", "t1", "t2"]
        assert all(row[f"bind/t{i}"] == 0 for i in range(3))
    assert any(row[f"bind/t{i}"] for row in rows[7:] for i in range(3))
    # its first stage is what a search of one δ finds there
    shared = grown(tmp_path / "2", trials=1, initial_points=[{"delta": 0.25}])
    keys = ("gain", "params", "accuracy")
    assert [shared.rows()[0][k] for k in keys] == [rows[1][k] for k in keys]


def test_pytorch_samples_beside_a_model_that_has_learned_already(tmp_path):
    """The two libraries in one process, the other way round than is feared."""
    pytest.importorskip("torch", reason="the sampler 'gp' needs PyTorch")
    settings = {"sampler": "gp", "start": 2, "space": "per_task"}
    tuner = grown(tmp_path / "1", trials=9, **settings)
    again = grown(tmp_path / "2", trials=7, **settings)
    again = grown(tmp_path / "2", trials=9, **settings)
    assert again.rows() == tuner.rows() and len(tuner.rows()) == 9


def test_curated_coefficients_are_the_only_ones(tmp_path):
    tuner = grown(tmp_path, curated=[0.0, 0.4, 1.0], trials=9)
    assert sorted(r["delta"] for r in tuner.rows()) == [0.0, 0.4, 1.0]


def test_thresholds_of_par(tmp_path):
    def par(alpha, beta):
        model = kl.PAR(body(), alpha=alpha, beta=beta, schedule=None)
        model.compile(keras.optimizers.Adam(0.02), metrics=["accuracy"])
        return model

    tuner = ThresholdTuner(
        par,
        tasks(),
        epochs=2,
        max_trials=4,
        directory=str(tmp_path),
        project_name="p",
    )
    tuner.search(verbose=0)
    rows = tuner.rows()
    assert (rows[0]["alpha"], rows[0]["gap"]) == (0.5, 0.25)
    assert all(1 <= row["experts"] <= 3 for row in rows)
    for trial in tuner.oracle.pareto_trials():
        model = tuner.load_model(trial)
        values = trial.hyperparameters.values
        assert model.options.alpha == values["alpha"]
        assert model.options.beta <= 1


def test_an_error_is_to_be_small(tmp_path):
    """A gain over networks whose error is greater is positive."""

    def regression():
        found = []
        for i in range(2):
            data = X[:40], X[:40, i : i + 1]
            spec = kl.TaskSpec(1, kind="regression", input_shape=(6,))
            parts = {"train": data, "validation": data, "test": data}
            found.append(kl.Task(f"t{i}", spec, **parts))
        return found

    def build(*thresholds):
        kind = kl.PAR if thresholds else kl.BindAndGrow
        model = kind(body())
        model.compile(keras.optimizers.Adam(0.02), metrics=["mse"])
        return model

    tuner = ThresholdTuner(build, regression(), directory=str(tmp_path / "a"))
    assert tuner.oracle.signs == [1, 1]
    tuner = GrowSequenceTuner(build, regression(), directory=str(tmp_path / "b"))
    found, model = tuner.measure({"delta": 0.5})
    alone = np.array(list(model.single_task_scores("validation").values()))
    scores = [model.evaluate(t, split="validation")["mse"] for t in regression()]
    better = 100 * np.mean((alone - scores) / alone)
    assert found["gain"] == pytest.approx(better)
    assert found["points"] == pytest.approx(100 * np.mean(alone - scores))


def test_what_is_recalled_stays_within_its_limit():
    recall = Recall(limit=1000)
    for i in range(5):
        recall.put(i, [np.zeros(50), {"a": np.zeros(50)}])  # 800 bytes
    assert recall.get(0) is None and recall.get(4) is not None
    assert recall.held == 800 and (recall.hits, recall.misses) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "all"}, "`space` must be one of.*'all'"),
        ({"split": "train"}, "`split`.*'train'"),
        ({"bind_ranks": -1}, "`bind_ranks`.*-1"),
        ({"space": "staged", "shared_trials": 0}, "`shared_trials`.*0"),
        (
            {"space": "staged", "shared_trials": 20},
            r"`shared_trials`.*`max_trials` \(20\).*20",
        ),
        ({"stream": tasks(1)}, "two tasks or more"),
        (
            {
                "stream": [
                    kl.Task(t.name, train=t.train, validation_split=0) for t in tasks(2)
                ]
            },
            "no validation data for",
        ),
    ],
)
def test_bad_arguments(arguments, message, tmp_path):
    arguments = {"stream": tasks(), **arguments}
    with pytest.raises(ValueError, match=message):
        GrowSequenceTuner(build, directory=str(tmp_path), **arguments)
