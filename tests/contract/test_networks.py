"""Which networks each method carries: each cell is learned, or refused by name.

docs/networks.md is the table of these cases. `python tests/contract/test_networks.py`
writes it.
"""

import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program
from networks import FROM_HUB
from networks import NETWORKS
from networks import examples
from networks import labels
from small import OPTIONS
from small import assert_same

import keras_lifelong as kl
from keras_lifelong.model import registry

TABLE = Path(__file__).parents[2] / "docs" / "networks.md"
ROWS = 24
# Predictions of a first task are then to the last bit what they were.
EXACT = """CPG Independent LearnToGrow MNTDP PackNet PathNet ProgressiveNetwork SGF
    SupSup WSN""".split()

# (method, network) -> what the refusal says
REFUSED = {
    **{
        (method, "two_inputs"): "takes one input"
        for method in registry.names()
        if not registry.get(method).carries_inputs
    },
    **{
        (method, network): f"it {does} Dense, Conv1D and Conv2D layers"
        for method, does in (
            ("GPM", "projects the steps of"),
            ("TRGP", "projects the steps of"),
            ("HAT", "gates the units of"),
            ("CAT", "gates the units of"),
        )
        for network in (
            "mobilenet_like",
            "squeeze_excite",
            "embedding_lstm",
            "vit_small",
        )
    },
    **{
        ("LMC", network): "it composes Dense, Conv1D, Conv2D and Conv3D layers"
        for network in (
            "mobilenet_like",
            "squeeze_excite",
            "embedding_lstm",
            "vit_small",
        )
    },
    ("DEN", "embedding_lstm"): "layer that can grow",
    **{
        (method, "embedding_lstm"): "of `keras.ops` it takes what is done element by"
        for method in ("LASEM", "DARTSTransfer")
    },
}
ALL = {**NETWORKS, **FROM_HUB}
CELLS = [(method, network) for method in registry.names() for network in ALL]


def made(method, network):
    model = registry.get(method)(ALL[network](), **OPTIONS.get(method, {}))
    model.compile(keras.optimizers.Adam(0.01))
    return model


def learn(model, x, i):
    task = kl.Task(f"t{i}", train=(x, labels(ROWS, i)), validation_split=0)
    model.fit(task, epochs=1, batch_size=8, verbose=0)


def plain(x):
    """Inputs as a plain Keras model takes them."""
    return keras.tree.map_structure(keras.ops.convert_to_tensor, x)


@pytest.mark.parametrize(("method", "network"), CELLS)
def test_a_cell_is_learned_or_refused(eager, method, network, tmp_path):
    if network in FROM_HUB:
        pytest.importorskip("keras_hub", reason="gives the backbone")
    if (method, network) in REFUSED:
        with pytest.raises(ValueError, match=re.escape(REFUSED[method, network])):
            made(method, network)
        return
    model, x = made(method, network), examples(ALL[network](), ROWS)
    learn(model, x, 0)
    first = model.predict(x, task="t0")
    learn(model, x, 1)
    found = {name: model.predict(x, task=name) for name in model.task_names}
    assert found["t1"].shape == (ROWS, 2) and np.isfinite(found["t1"]).all()
    if method in EXACT:
        assert_same({"t0": found["t0"]}, {"t0": first})
    assert 0 <= model.evaluate(x, labels(ROWS), task="t0")["accuracy"] <= 1
    tensors = model(plain(x), task="t1")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(tensors), found["t1"], atol=1e-5
    )
    single = model.task_model("t0")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(single(plain(x))), found["t0"], atol=1e-5
    )
    model.save_to_preset(tmp_path / "preset")
    loaded = kl.LifelongModel.from_preset(tmp_path / "preset")
    assert_same({name: loaded.predict(x, task=name) for name in found}, found)
    loaded.remove_task("t0")
    assert loaded.task_names == ["t1"]
    assert_same({"t1": loaded.predict(x, task="t1")}, {"t1": found["t1"]})


@pytest.mark.parametrize("network", NETWORKS)
def test_an_interrupted_stream_goes_on(eager, network, tmp_path):
    x = examples(NETWORKS[network](), ROWS)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if self.model.active_task == "t1":
                raise KeyboardInterrupt

    def run(directory, *callbacks):
        model = made("EWC", network)
        tasks = [
            kl.Task(f"t{i}", train=(x, labels(ROWS, i)), validation_split=0)
            for i in range(2)
        ]
        model.fit_stream(
            kl.TaskStream(tasks, name="two"),
            batch_size=8,
            verbose=0,
            checkpoint_dir=directory,
            callbacks=list(callbacks),
        )
        return {name: model.predict(x, task=name) for name in model.task_names}

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop())
    assert_same(run(tmp_path / "stopped"), run(tmp_path / "whole"))


# The table


def table():
    """docs/networks.md."""
    methods = registry.names()
    lines = [
        "# Which networks which method carries",
        "",
        "Each cell is a test (`tests/contract/test_networks.py`): two tasks are",
        "learned, the first is kept as the method promises, saved and loaded to the",
        "last bit, given out as a plain Keras model, and removed; or the network is",
        "refused before anything is trained, with the reason that stands below. The",
        "networks are those of `tests/networks.py`, a few hundred weights each. Those",
        "named `hub_…` are tested where keras-hub is installed.",
        "",
        f"| network | {' | '.join(methods)} |",
        f"|---{'|---' * len(methods)}|",
    ]
    reasons = list(dict.fromkeys(REFUSED.values()))
    for network in ALL:
        cells = [
            f"no ({reasons.index(REFUSED[m, network]) + 1})"
            if (m, network) in REFUSED
            else "yes"
            for m in methods
        ]
        what = ALL[network].__doc__.splitlines()[0].rstrip(".")
        lines.append(f"| `{network}`: {what} | {' | '.join(cells)} |")
    lines += ["", "Refused, by what the message says:", ""]
    lines += [f"{i}. {reason}" for i, reason in enumerate(reasons, 1)]
    return "\n".join(lines) + "\n"


def test_the_table_is_of_these_cells():
    assert TABLE.read_text("utf-8") == table()


if __name__ == "__main__":
    TABLE.write_text(table(), "utf-8")
