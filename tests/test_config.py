"""What a configuration may say, and what is said to one that may not."""

from __future__ import annotations

import copy
from pathlib import Path

import keras
import pytest

from keras_lifelong import config as config_lib

ZOO = Path(__file__).parents[1] / "zoo_configs"

RAW = {
    "method": {"name": "FakeMethod", "growth": 4},
    "backbone": {"name": "mlp", "units": [8]},
    "stream": {"name": "digits", "num_tasks": 2},
    "training": {"epochs": 3},
    "seed": 5,
}

pytestmark = pytest.mark.usefixtures("fake_method")


def resolve(*overrides, **sections):
    return config_lib.resolve({**RAW, **sections}, overrides)


def test_precedence_is_defaults_then_yaml_then_set():
    training = resolve("training.batch_size=64").resolved["training"]
    assert training == {
        "epochs": 3,  # YAML
        "batch_size": 64,  # --set
        "learning_rate": 1e-3,  # default
        "optimizer": "adam",
        "loss": None,
        "metrics": ["accuracy"],
        "evaluate_every": 1,
        "evaluate_last": 1,
    }
    assert resolve("training.epochs=9").resolved["training"]["epochs"] == 9


def test_everything_is_resolved():
    resolved = resolve().resolved
    assert list(resolved) == list(config_lib.SECTIONS)
    assert resolved["method"] == {
        "name": "FakeMethod",
        "growth": 4,
        "l1": 1e-5,
        "expansion": "dynamic",
    }
    assert resolved["backbone"]["activation"] == "relu"
    assert resolved["stream"]["num_tasks"] == 2
    assert "standardize" in resolved["stream"]
    assert (resolved["seed"], resolved["search"]) == (5, {})


def test_input_is_not_changed():
    raw = copy.deepcopy(RAW)
    config_lib.resolve(raw, ["stream.num_tasks=1", "search.max_trials=3"])
    assert raw == RAW


def test_later_overrides_win_and_values_are_yaml():
    resolved = resolve(
        "backbone.units=[16, 8]",
        "training.learning_rate=1e-2",
        "training.loss=sigmoid",
        "training.loss=null",
        "method.expansion=constant",
    ).resolved
    assert resolved["backbone"]["units"] == [16, 8]
    assert resolved["training"]["learning_rate"] == 0.01
    assert resolved["training"]["loss"] is None
    assert resolved["method"]["expansion"] == "constant"


def test_a_section_may_be_made_by_set_alone():
    raw = {key: value for key, value in RAW.items() if key != "training"}
    config = config_lib.resolve(raw, ["training.epochs=2"])
    assert config.resolved["training"]["epochs"] == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "training.epoch=3",
            "Unknown key `training.epoch`. Received: training.epoch=3. "
            "Nearest: `training.epochs`.",
        ),
        ("epochs=3", "Unknown key `epochs`. Received: epochs=3. Nearest: `train"),
        (
            "method.epochs=3",
            "Received: method.epochs=3. Nearest: `training.epochs`",
        ),
        ("method.groth=3", "Nearest: `method.growth`. Accepted in method: growth, l1"),
        (
            "method.seed=3",
            "Received: method.seed=3. Nearest: `seed`",
        ),
        ("stream.seed=3", "Nearest: `seed`"),
        ("backbone.unit=3", "Nearest: `backbone.units`"),
        ("sede=3", "Nearest: `seed`. Accepted: method, backbone, stream, training"),
        ("stream.num_task=3", "Nearest: `stream.num_tasks`"),
        (
            "training.epochs=three",
            "`training.epochs` must be an integer of at least 1. Received: 't",
        ),
        (
            "training.epochs=1.5",
            "`training.epochs` must be an integer of at least 1. Received: 1.5",
        ),
        (
            "training.epochs=0",
            "`training.epochs` must be an integer of at least 1. Received: 0",
        ),
        ("training.batch_size=-1", "must be an integer of at least 1. Received: -1"),
        (
            "training.learning_rate=.nan",
            "`training.learning_rate` must be a number above 0 or a mapping. Rec",
        ),
        (
            "training.learning_rate=.inf",
            "must be a number above 0 or a mapping. Received: inf (not finite)",
        ),
        ("training.loss=sigmoids", "Received: 'sigmoids'. Nearest: sigmoid"),
        ("training.metrics=accuracy", "`training.metrics` must be a list, each a stri"),
        ("training.metrics=[]", "`training.metrics` must be one or more names"),
        ("training.metrics=[auroc, auroc]", "each once"),
        ("training.metrics=[acuracy]", "`training.metrics`: "),
        ("training.optimizer=adan", "`training.optimizer.name` must be"),
        ("training.optimizer={momentum: 0.9}", "`training.optimizer.name` is required"),
        (
            "training.optimizer={name: sgd, momentun: 0.9}",
            "Nearest: `training.optimizer.momentum`",
        ),
        (
            "training.optimizer={name: sgd, learning_rate: 0.1}",
            "`training.optimizer.learning_rate` is set as `training.learning_rate`",
        ),
        *(
            (
                f"training.optimizer={{name: {name}, {key}: {value}}}",
                f"`training.optimizer.{key}` must be a",
            )
            for name, key, value in (
                ("adam", "clipnorm", -1),
                ("sgd", "clipvalue", -0.5),
                ("adam", "global_clipnorm", 0),
                ("adamw", "weight_decay", -0.1),
                ("muon", "adam_weight_decay", -1),
                ("adam", "beta_1", 1),
                ("rmsprop_from_one", "epsilon", -1),
                ("sgd", "momentum", 2),
                ("adam", "ema_overwrite_frequency", -1),
                ("adam", "gradient_accumulation_steps", 0),
                ("adam", "loss_scale_factor", -1),
            )
        ),
        (
            "training.learning_rate={name: cosine_decay, initial_learning_rate: -1, "
            "decay_steps: 9}",
            "`training.learning_rate.initial_learning_rate` must be a number of at lea",
        ),
        (
            "training.learning_rate={name: cosine_decay, initial_learning_rate: 1, "
            "decay_steps: 0}",
            "`training.learning_rate.decay_steps` must be a number above 0",
        ),
        (
            "training.learning_rate={name: piecewise_constant_decay, boundaries: [5], "
            "values: [0.1, -0.1]}",
            "`training.learning_rate.values` must be a list, each a number of at least",
        ),
        ("method.growth=many", "`method.growth` must be an integer. Received: 'many'"),
        ("method.expansion=static", "must be one of 'dynamic', 'constant' or None"),
        ("method.name=FakeMethd", "Received: 'FakeMethd'. Nearest: FakeMethod"),
        ("stream.name=digit", "Received: 'digit'. Nearest: digits"),
        ("backbone.name=mlpp", "Received: 'mlpp'. Nearest: mlp"),
        ("backbone={name: mlp}", "`backbone.units` is required and must be a list, ea"),
        ("backbone={}", "`backbone.name` is required"),
        ("backbone=mlp", "`backbone` must be a mapping. Received: 'mlp'"),
        ("backbone={layers: [], name: mlp}", "Unknown key `backbone.name`"),
        (
            "backbone={layers: dense}",
            "`backbone.layers` must be a list, each a",
        ),
        ("seed=-1", r"`seed` must be an integer in [0, 2**32). Received: -1"),
        (
            "seed=one",
            "`seed` must be an integer in [0, 2**32). Received: 'one' (a string)",
        ),
        ("search=3", "`search` must be a mapping"),
        ("seed.x=3", "`seed.x` can't be set: `seed` is 5, not a mapping"),
        ("training.epochs", "--set takes KEY=VALUE"),
        ("training.epochs=", "--set takes KEY=VALUE"),
        ("=3", "--set takes KEY=VALUE"),
        ("training..epochs=3", "--set takes KEY=VALUE"),
        ("training.epochs=[1", "not YAML"),
    ],
)
def test_errors_name_the_key(override, words):
    with pytest.raises(ValueError) as error:
        resolve(override)
    assert words in str(error.value)


@pytest.mark.parametrize("missing", ["method", "backbone", "stream"])
def test_a_missing_section_is_named(missing):
    raw = {key: value for key, value in RAW.items() if key != missing}
    with pytest.raises(ValueError, match=f"`{missing}` must be a mapping.*no such key"):
        config_lib.resolve(raw)


@pytest.mark.parametrize("raw", [None, [], "method"])
def test_a_configuration_is_a_mapping(raw):
    with pytest.raises(ValueError, match="must be a mapping of method, backbone"):
        config_lib.resolve(raw)


def test_load_names_the_file(tmp_path):
    path = tmp_path / "a.yaml"
    with pytest.raises(FileNotFoundError, match="a.yaml"):
        config_lib.load(path)
    for text in (b"seed: 1\nseed: 2", b"seed: [", b"\xff\xfe", b"", b"sed: 1"):
        path.write_bytes(text)
        with pytest.raises(ValueError, match="a.yaml: "):
            config_lib.load(path)


def test_yaml_round_trip(tmp_path):
    config = resolve("method.l1=1e-7", "search.space={a: [1, 2]}")
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    again = config_lib.load(path)
    assert again == config
    assert again.differences(config) == {}


def test_differences_name_key_and_values():
    here, there = resolve(), resolve("training.epochs=4", "search.trials=2")
    assert there.differences(here) == {
        "training.epochs": (4, 3),
        "search.trials": (2, None),
    }


def test_build_model_and_stream():
    config = resolve(
        "training.optimizer={name: sgd, momentum: 0.9}",
        "training.learning_rate=0.5",
        "training.metrics=[auroc, accuracy]",
        "training.loss=sigmoid",
    )
    stream = config.build_stream()
    assert len(stream) == 2
    model = config.build_model((8, 8, 1))
    assert (model.growth, model.seed, model.loss) == (4, 5, "sigmoid")
    assert model.metrics == ["auroc", "accuracy"]
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert model.optimizer.momentum == 0.9
    assert float(model.optimizer.learning_rate) == 0.5
    assert [layer.name for layer in model.backbone.layers] == ["flatten", "dense"]
    testing = {"evaluate_every": 1, "evaluate_last": 1}
    assert config.fit_arguments == {"epochs": 3, "batch_size": 32, **testing}


def test_backbone_of_layers():
    layers = [
        {"class_name": "Flatten"},
        {"class_name": "Dense", "config": {"units": 3}},
    ]
    config = resolve(backbone={"layers": layers})
    assert config.build_backbone((8, 8, 1)).output_shape == (None, 3)


def test_stream_alone():
    config = config_lib.resolve_stream("digits", ["stream.num_tasks=3", "seed=2"])
    assert (len(config.build_stream()), config.seed) == (3, 2)
    with pytest.raises(ValueError, match="`num_tasks`.*Nearest: `stream.num_tasks`"):
        config_lib.resolve_stream("digits", ["num_tasks=3"])
    with pytest.raises(ValueError, match="Received: 'digit'. Nearest: digits"):
        config_lib.resolve_stream("digit")


# === The configurations we ship ===

ALL = sorted(p for p in ZOO.rglob("*.yaml") if "papers" not in p.parts)


def test_every_method_has_every_stream():
    found = {(path.parent.name, path.stem) for path in ALL}
    methods = ["den", "finetune", "independent", "joint", "l2", "ewc"]
    streams = ["digits", "permuted_mnist", "mnist_variation", "split_cifar100"]
    assert found >= {(method, stream) for method in methods for stream in streams}


@pytest.mark.parametrize(
    "path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_shipped_configuration(path):
    config = config_lib.load(path)
    folder, stem = path.parent.name, path.stem
    assert config.resolved["method"]["name"].lower() == folder.replace("_", "")
    assert stem.startswith(config.resolved["stream"]["name"])
    head = path.read_text().partition("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in head)
    verb = "tune" if config.resolved["search"] else "run"
    command = f"keras-lifelong {verb} --config zoo_configs/{folder}/{stem}.yaml"
    assert any(command in line for line in head)
    assert any(line.startswith("# Cost:") for line in head)
    assert any(line.startswith("# Expected:") for line in head)


def test_a_learning_rate_may_be_a_schedule():
    schedule = "{name: inverse_time_decay, initial_learning_rate: 0.1, decay_steps: 10"
    resolved = config_lib.load(
        ZOO / "den" / "digits.yaml",
        [f"training.learning_rate={schedule}, decay_rate: 1.0}}"],
    )
    optimizer = resolved.build_optimizer()
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    optimizer.iterations.assign(30)
    assert float(optimizer.learning_rate) == pytest.approx(0.1 / 4)
    with pytest.raises(ValueError, match="training.learning_rate.decay_rate"):
        config_lib.load(
            ZOO / "den" / "digits.yaml", [f"training.learning_rate={schedule}}}"]
        )
    with pytest.raises(ValueError, match="inverse_time_decay"):
        config_lib.load(
            ZOO / "den" / "digits.yaml",
            ["training.learning_rate={name: inverse_time_decy}"],
        )
