"""The second backend: the same methods learn, save and go on."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

LEARN = """
    import sys
    import keras
    import numpy as np
    import keras_lifelong as kl

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6)).astype("float32")

    def backbone():
        return keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(8, activation="relu", name="lower"),
                keras.layers.Dense(5, activation="relu", name="upper"),
            ]
        )

    def learned(name, tasks=3, **kwargs):
        model = getattr(kl, name)(backbone(), **kwargs)
        model.compile(keras.optimizers.Adam(0.01))
        for i in range(tasks):
            more(model, i)
        return model

    def more(model, i):
        y = (X[:, i] * X[:, i - 1] > 0).astype("int32")
        model.fit(X, y, task=f"t{i}", epochs=3, batch_size=16, verbose=0)
"""

JAX = (
    LEARN
    + """
    assert keras.backend.backend() == "jax"
    den = {"growth": 3, "loss_threshold": 0.0, "split_threshold": 0.0}
    ari = {"memory_budget": 3, "training_budget": 2, "initial": 2, "adaptation": 1}
    ari |= {"storing_steps": 50, "estimator_epochs": 20}
    ari["hypernetwork"] = {"name": "chunked", "chunk": 20, "units": [8]}
    for name, kwargs in (
        ("DEN", den), ("LASEM", {}), ("EWC", {}), ("LwF", {}),
        ("PAR", {"alpha": 1.0}), ("BindAndGrow", {}), ("ARI", ari),
    ):
        model = learned(name, tasks=2, **kwargs)
        again = learned(name, tasks=2, **kwargs)
        for task in model.task_names:
            expected = model.predict(X, task=task)
            assert np.array_equal(again.predict(X, task=task), expected), name
        model.save_to_preset(sys.argv[1] + "/" + name)
        loaded = kl.LifelongModel.from_preset(sys.argv[1] + "/" + name)
        for either in (model, loaded):
            more(either, 2)
        for task in model.task_names:
            expected = model.predict(X, task=task)
            assert np.array_equal(loaded.predict(X, task=task), expected), name
        if name == "DEN":
            kinds = {e["kind"] for e in model.growth}
            assert {"add", "split"} <= kinds, kinds
    print("learned on jax")
"""
)

SAME = (
    LEARN
    + """
    model = kl.Finetune(backbone())
    model.compile(keras.optimizers.SGD(0.1))
    model.add_task("t1", kl.TaskSpec(2, "categorical", (6,)))
    draw = np.random.default_rng(1).normal
    model.network.set_weights(
        [draw(0, 0.5, w.shape).astype("float32") for w in model.network.get_weights()]
    )
    model.memory["head", "own", "t1", "kernel"] = draw(0, 0.5, (5, 2)).astype("float32")
    more(model, 1)
    np.save(sys.argv[1], model.predict(X, task="t1"))
"""
)


def run(code, backend, argument):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(argument)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_methods_learn_save_and_go_on(tmp_path):
    pytest.importorskip("jax")
    assert "learned on jax" in run(JAX, "jax", tmp_path)


@pytest.mark.slow
def test_both_backends_learn_the_same_from_the_same_weights(tmp_path):
    pytest.importorskip("jax")
    pytest.importorskip("tensorflow")
    predictions = []
    for backend in ("jax", "tensorflow"):
        run(SAME, backend, tmp_path / f"{backend}.npy")
        predictions.append(np.load(tmp_path / f"{backend}.npy"))
    np.testing.assert_allclose(*predictions, atol=1e-4)
    assert np.ptp(predictions[0][:, 0]) > 0.2  # it did learn something
