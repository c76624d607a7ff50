"""`keras-lifelong tune`: from a configuration to the front, interrupted or not."""

import csv
import importlib.util

import pytest

import keras_lifelong as kl
from keras_lifelong import cli
from keras_lifelong import config as config_lib
from keras_lifelong import tune

CONFIG = """
method: {name: BindAndGrow}
backbone: {name: mlp, units: [8, 6]}
stream: {name: digits, num_tasks: 3}
training: {epochs: 2, batch_size: 64, metrics: [accuracy]}
search: {max_trials: 4, start: 2}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return path


def run(path, out, *words):
    return cli.main(["tune", "--config", str(path), "--output_dir", str(out), *words])


def hparams(directory):
    """Of the runs that TensorBoard finds there: delta and gain."""
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    from tensorboard.plugins.hparams import plugin_data_pb2
    from tensorboard.util import tensor_util

    found = []
    for path in sorted(directory.iterdir()):
        events = event_accumulator.EventAccumulator(str(path)).Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info")
        data = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
        delta = data.session_start_info.hparams["delta"].number_value
        (gain,) = events.Tensors("gain")
        value = float(tensor_util.make_ndarray(gain.tensor_proto))
        found.append((pytest.approx(delta), pytest.approx(value, rel=1e-6)))
    return found


def test_a_search_leaves_its_table_figures_and_models(path, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(path, out) == 0
    printed = capsys.readouterr().out
    assert "gain" in printed and "trials.csv" in printed
    with (out / "search" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {"trial", "delta", "gain", "params", "on_front"} <= set(rows[0])
    assert {p.name for p in (out / "figures").iterdir()} == {
        "front.png",
        "hypervolume.png",
    }
    assert hparams(out / "tensorboard") == [
        (float(row["delta"]), float(row["gain"])) for row in rows
    ]
    front = [row for row in rows if row["on_front"] == "True"]
    model = kl.LifelongModel.from_preset(
        out / "search" / f"trial_{front[0]['trial']}" / "preset"
    )
    assert model.count_params() == float(front[0]["params"])
    # the same again finds it finished; another configuration is refused
    before = (out / "search" / "trials.csv").read_bytes()
    assert run(path, out) == 0
    assert (out / "search" / "trials.csv").read_bytes() == before
    assert run(path, out, "--set", "training.epochs=3") == 2
    assert "training.epochs is 2 there, 3 here" in capsys.readouterr().err
    assert run(path, out, "--set", "search.max_trials=2", "--overwrite") == 0
    assert len((out / "search" / "trials.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "search",
    [
        "{max_trials: 4, start: 2}",
        "{max_trials: 7, space: staged, shared_trials: 6, start: 2}",
    ],
    ids=["shared", "staged"],
)
def test_an_interrupted_search_goes_on(search, path, tmp_path, capsys, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    words = ["--set", f"search={search}"]
    assert run(path, whole, *words) == 0
    from keras_lifelong.search import GrowSequenceTuner

    measure, calls = GrowSequenceTuner.measure, []

    def stopping(self, values):
        calls.append(values)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(self, values)

    monkeypatch.setattr(GrowSequenceTuner, "measure", stopping)
    assert run(path, out, *words) == 130
    assert "keras-lifelong tune" in capsys.readouterr().err
    assert run(path, out, *words) == 0
    tables = [(d / "search" / "trials.csv").read_bytes() for d in (whole, out)]
    assert tables[0] == tables[1]


def test_par_is_tuned_by_its_thresholds(tmp_path):
    config = config_lib.resolve(
        {
            "method": {"name": "PAR"},
            "backbone": {"name": "mlp", "units": [4]},
            "stream": {"name": "digits", "num_tasks": 2},
            "training": {"metrics": ["accuracy"], "optimizer": "sgd"},
            "search": {"max_trials": 1},
        }
    )
    tuner = tune.make_tuner(config, tmp_path)
    assert type(tuner).__name__ == "ThresholdTuner"
    tuner.search(verbose=0)
    lines = tune.table(tuner).splitlines()
    assert len(lines) == 2 and "alpha=0.5, gap=0.25" in lines[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.max_trails=3", "search.max_trails"),
        ("search.sampler=best", "no sampler 'best'. Known: ehvi"),
        ("search.space=all", "`space` must be one of"),
        ("search.max_trials=0", "`max_trials`"),
        ("training.evaluate_every=2", "`training.evaluate_every` must be 1"),
        ("search={space: staged, max_trials: 4}", "`shared_trials` must be"),
        ("method={name: DEN}", "`tune` knows what to search for BindAndGrow and PAR"),
    ],
)
def test_bad_searches_are_refused(override, message, path, tmp_path, capsys):
    assert run(path, tmp_path / "out", "--set", override) == 2
    assert message in capsys.readouterr().err


def test_a_sampler_that_is_not_installed_is_refused(
    path, tmp_path, capsys, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "torch" else find(n)
    )
    assert run(path, tmp_path / "out", "--set", "search.sampler=gp") == 2
    message = capsys.readouterr().err
    assert "`sampler='gp'` needs optuna and torch" in message
    assert "pip install torch" in message


def test_a_storage_is_shared_and_gives_the_same_table(path, tmp_path, capsys):
    pytest.importorskip("optuna")
    assert run(path, tmp_path / "1") == 0
    expected = (tmp_path / "1/search/trials.csv").read_text()
    storage = ("--storage", str(tmp_path / "journal.log"))
    for out in ("2", "3"):  # of which the latter finds all trials there
        assert run(path, tmp_path / out, *storage) == 0
        assert (tmp_path / out / "search/trials.csv").read_text() == expected
        assert (tmp_path / out / "figures/front.png").is_file()
    assert not list((tmp_path / "3/search").glob("trial_*"))
    assert run(path, tmp_path / "4", "--set", "search.max_trials=5", *storage) == 2
    assert "is another search" in capsys.readouterr().err
    assert run(path, tmp_path / "5", "--storage", "nothing://place") == 2
    assert not (tmp_path / "5/config.yaml").exists()


def test_a_metric_for_no_task_of_the_search_is_refused(path, tmp_path, capsys):
    given = ("--set", "training.metrics=[character_error_rate]")
    assert run(path, tmp_path / "out", *given) == 2
    assert "character_error_rate" in capsys.readouterr().err
    assert not (tmp_path / "out/config.yaml").exists()
