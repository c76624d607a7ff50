"""What the constructors accept, how they say so, and options that stay as they are."""

from __future__ import annotations

import copy
import inspect
import pickle

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong import checks
from keras_lifelong.model import registry
from keras_lifelong.model.options import Options

NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")

# Of every kind of argument what it must not be, and how what it may be begins.
KINDS = {
    "switch": ("True", ["no", 1, 0.0, None]),
    "switch or None": ("True, False or None", ["no", 0]),
    "count": ("an integer of at least 1", [0, -1, 1.7, True, "2", NAN, INF, None]),
    "count or None": ("an integer of at least 1 or None", [0, 2.0, False, "2"]),
    "natural": ("an integer of at least 0", [-1, 0.0, True, "0", None]),
    "natural or None": ("an integer of at least 0 or None", [-1, 0.5, False, "0"]),
    "amount": ("a number of at least 0", [-1e-9, INF, -INF, NAN, True, "0", None]),
    "amount or None": ("a number of at least 0 or None", [-1, INF, NAN, True, "0"]),
    "positive": ("a number above 0", [0, 0.0, -1, INF, NAN, True, "1", None]),
    "part": ("a number in [0, 1]", [-0.1, 1.1, INF, NAN, False, "0.5", None]),
    "part or None": ("a number in [0, 1], or None", [-0.1, 1.1, NAN, True, "0.5"]),
    "some part": ("a number in (0, 1]", [0, 1.1, NAN, True, "a", None]),
}
ARGUMENTS = {
    "DEN": {
        "count": "growth bucket",
        "count or None": "head_epochs",
        "amount": "l1 l2 group_lasso drift loss_threshold split_threshold",
        "amount or None": "head_l1",
        "switch": "selective split timestamps prune_first prox_scaled_by_lr pretrained",
    },
    "LASEM": {
        "count": "m_steps",
        "amount": "orthogonality",
        "switch": "continue_schedule pretrained",
    },
    "BindAndGrow": {
        "some part": "slow_ratio",
        "switch": "random_growth random_layers center pretrained",
    },
    "PAR": {
        "part": "alpha beta",
        "part or None": "freeze_ratio",
        "count or None": "search_epochs patience",
        "natural or None": "tiny",
        "positive": "temperature",
        "amount": "distillation clip_norm",
        "switch": "search pretrained",
    },
    "ARI": {
        "count": "memory_budget training_budget initial exemplars interval "
        "storing_steps estimator_epochs",
        "count or None": "outputs horizon",
        "natural": "adaptation",
        "amount": "weight_decay function",
        "positive": "storing_rate",
        "some part": "adaptation_scale",
        "switch": "head_bias rehearse pretrained",
        "switch or None": "at_once",
    },
    "L2": {"amount": "strength", "switch": "pretrained"},
    "EWC": {"amount": "strength", "count": "fisher_samples", "switch": "pretrained"},
    "OnlineEWC": {
        "amount": "strength",
        "part": "decay",
        "count": "fisher_samples",
        "switch": "pretrained",
    },
    "SI": {"amount": "strength", "positive": "damping", "switch": "pretrained"},
    "MAS": {"amount": "strength", "count": "samples", "switch": "pretrained"},
    **{
        method: {
            "count": "budget" if method == "GEM" else "budget replay_batch",
            "count or None": "max_bytes",
            "amount": amounts,
            "switch": "pretrained",
        }
        for method, amounts in (
            ("ExperienceReplay", ""),
            ("DERPP", "alpha beta"),
            ("AGEM", ""),
            ("GEM", "margin"),
            ("ICaRL", ""),
        )
    },
    "GPM": {
        "part": "threshold",
        "amount": "increase",
        "count": "samples",
        "switch": "pretrained",
    },
    "TRGP": {
        "part": "threshold trust",
        "amount": "increase",
        "count": "samples related",
        "switch": "pretrained",
    },
    "HAT": {"amount": "strength", "switch": "pretrained"},
    "CAT": {
        "amount": "strength tolerance",
        "count": "similar inner",
        "count or None": "transfer_epochs",
        "switch": "pretrained",
    },
    "CPG": {
        "some part": "growth pick_rate",
        "count": "prune_steps",
        "count or None": "prune_epochs",
        "switch": "pretrained",
    },
    "PackNet": {"count or None": "retrain_epochs", "switch": "pretrained"},
    "WSN": {"some part": "capacity", "switch": "pretrained"},
    "SupSup": {"some part": "capacity", "switch": "pretrained"},
    "APD": {"amount": "sparsity", "positive": "strength", "switch": "pretrained"},
    "DARTSTransfer": {
        "count": "held_out_batch",
        "count or None": "search_epochs",
        "amount": "orthogonality",
        "switch": "retrain continue_schedule pretrained",
    },
    "SGF": {"count": "gate_units", "switch": "pretrained"},
    "LMC": {
        "positive": "threshold temperature",
        "amount": "strength",
        "count": "projection_epochs batch samples",
        "switch": "compete pretrained",
    },
    "ProgressiveNetwork": {"switch": "pretrained"},
    "LwF": {"amount": "strength", "positive": "temperature", "switch": "pretrained"},
    "LearnToGrow": {
        "count": "search_batch samples rank",
        "count or None": "search_epochs",
        "positive": "search_rate",
        "switch": "pretrained",
    },
    "MNTDP": {"count": "neighbours samples", "switch": "pretrained"},
    "PathNet": {
        "count": "modules active generations trial_epochs",
        "switch": "pretrained",
    },
    "Finetune": {"switch": "pretrained"},
    "Independent": {"switch": "pretrained"},
    "Joint": {"switch": "pretrained"},
}
CHOICES = {
    "DEN": {"expansion": "one of 'dynamic', 'constant' or None"},
    "LASEM": {
        "sharing": "one of 'hps', 'tf' or 'dfcnn'",
        "likelihood": "'mean' or 'joint'",
        "prior": "'running_mean' or 'count'",
        "m_step": "'exact' or 'sampled'",
        "search": "'em' or 'brute_force'",
        "posterior": "one of 'exact', 'factorised' or 'auto'",
        "configuration": "'all', 'top2', 'bottom2', 'alternating', a list, each 0 or 1",
    },
    "BindAndGrow": {
        "retention": "one of 'slow', 'freeze' or 'same'",
        "grow_score": "'similarity' or 'dissimilarity'",
        "bind": "'similar' or 'released'",
        "grow_init": "one of 'bound', 'root', 'independent', 'fresh' or 'pretrained'",
        "normalization": "'per_task' or 'shared'",
    },
    "PAR": {
        "reference": "one of 'paper', 'code' or 'leave_one_out'",
        "rule": "'difference' or 'softmax'",
        "schedule": "one of 'cosine', 'plateau' or None",
    },
    "ARI": {
        "hypernetwork": "'chunked', 'structured' or a mapping",
        "rate": "'area' or 'steps'",
        "selection": "one of 'estimator', 'random', 'exemplar_loss' or 'drawn'",
        "keep": "one of 'one', 'each' or 'sum'",
    },
    "ProgressiveNetwork": {"lateral": "'joint' or 'apart'"},
    "PathNet": {"combine": "'sum' or 'mean'"},
    "DARTSTransfer": {"sharing": "one of 'hps', 'tf' or 'dfcnn'"},
    "EWC": {"fisher": "'sampled' or 'empirical'"},
    "OnlineEWC": {
        "fisher": "'sampled' or 'empirical'",
        "running": "'sum' or 'mean'",
    },
    "ExperienceReplay": {
        "policy": "one of 'reservoir', 'balanced' or 'herding'",
    },
}
OTHERS = [
    (
        "PackNet",
        "prune",
        "a number in (0, 1), or a list, each a number in [0, 1)",
        [0, 1, 1.5, NAN, True, "a", None, [0.5, 1], [NAN], {"a": 1}],
    ),
    *(
        (
            method,
            "threshold",
            "a number in [0, 1], or a list, each a number in [0, 1]",
            [[1.5], [None], NAN],
        )
        for method in ("GPM", "TRGP")
    ),
    ("HAT", "s_max", "a number of at least 1", [0, 0.5, INF, NAN, True, "a", None]),
    ("CAT", "s_max", "a number of at least 1", [0, 0.5, INF, NAN, True, "a", None]),
    ("CPG", "max_width", "a number of at least 1", [0, 0.5, INF, NAN, True, "a", None]),
    ("CPG", "prune", "a number in [0, 1)", [1, 1.0, -0.1, NAN, "a", True, None]),
    ("CPG", "target", "a number or None", [NAN, INF, "a", True]),
    ("LASEM", "prune", "a number in [0, 1)", [1, 1.0, -0.1, NAN, "a", True, None]),
    ("LASEM", "probability", "a number in (0, 1], or None", [0, 1.5, "a", True]),
    *(
        (method, *wrong)
        for method in ("LASEM", "DARTSTransfer")
        for wrong in (
            ("searched", "a list, each a string, or None", ["a", [1]]),
            ("groups", "a list, each an integer of at least 1", [2, [0], [True]]),
        )
    ),
    ("DARTSTransfer", "held_out", "a number in [0, 1)", [1, -0.1, NAN, "a", True]),
    ("LASEM", "configuration", "'all', 'top2'", [[2, 0], [True], [0.0], 1]),
    (
        "BindAndGrow",
        "grow_coefficient",
        "a number in [0, 1], or a mapping, each a number in [0, 1]",
        [1.5, NAN, True, "a", None, {"a": -1}, {"a": NAN}, {1: 0.5}, [0.5]],
    ),
    (
        "BindAndGrow",
        "bind_rank",
        "an integer of at least 0 or a mapping, each an integer of at least 0",
        [-1, 0.5, True, None, {"a": -1}, {"a": False}],
    ),
    ("PathNet", "population", "an integer of at least 2", [1, 2.0, True, None]),
    ("BindAndGrow", "groups", "an integer of at least 2 or None", [1, 2.0, True]),
    *(
        (
            method,
            "parts",
            "a mapping, each a list, each a string, a list, each a list, each a "
            "string, or None",
            ["a", ["a"], {"a": "b"}, [[1]]],
        )
        for method in ("BindAndGrow", "LearnToGrow", "MNTDP")
    ),
    ("BindAndGrow", "samples", "an integer of at least 3", [2, 3.0, None]),
    ("BindAndGrow", "candidates", "a mapping, each a list", [["a"], {"a": "b"}]),
    ("BindAndGrow", "bind_to", "a mapping, each a string, or None", ["a", {"a": 1}]),
    ("PAR", "search_filters", "an integer of at least 2 or None", [1, 2.5, True]),
    (
        "PAR",
        "weight_decay",
        "a number of at least 0 or a list, each a number of at least 0",
        [-1, INF, "a", True, None, [0.1, -1], [NAN], {"a": 1}],
    ),
    ("PAR", "plateau", "a mapping of factor, patience, least", [1, {"a": 1}]),
    ("PAR", "augmentation", "a mapping of padding, flip, br", [{"flip": "no"}, "a"]),
    ("PAR", "extractor", "a string, a mapping, a function or None", [3, ["pca"]]),
    ("ARI", "extractor", "a string, a mapping or a function", [3, None]),
    ("ARI", "initializer", "a string", [3, None]),
    ("ARI", "storing_batch", "an integer of at least 4", [3, 4.0, None]),
    ("ARI", "signature", "an integer of at least 64", [63, None]),
    ("ARI", "hypernetwork", "'chunked', 'structured' or a mapping", [3, None, {1: 2}]),
]
METHODS = sorted({*ARGUMENTS})
SEED = ("seed", "an integer in [0, 2**32)", [-1, 2**32, 1.7, True, "1", NAN, None])
NAME = ("name", "a string or None", [3, True])


def wrong() -> list:
    """Every (method, argument, what is accepted, wrong values)."""
    table = [
        (method, argument, *KINDS[kind])
        for method, by_kind in ARGUMENTS.items()
        for kind, arguments in by_kind.items()
        for argument in arguments.split()
    ]
    for method, by_argument in CHOICES.items():
        for argument, accepted in by_argument.items():
            table.append((method, argument, accepted, ["anything", 7, True]))
    table += OTHERS
    return table + [(m, *both) for m in METHODS for both in (SEED, NAME)]


def backbone():
    return keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu", name="d")])


@pytest.fixture(scope="module")
def given():
    """A backbone for all refusals: none of them comes to change it."""
    return backbone()


def refusal(call) -> str:
    with pytest.raises(ValueError) as error:
        call()
    return str(error.value)


def test_every_argument_is_in_the_table():
    listed = {(method, argument) for method, argument, *_ in wrong()}
    for name in registry.names():
        method = registry.get(name)
        if not method.__module__.startswith("keras_lifelong."):
            continue  # of another test
        for argument in inspect.signature(method).parameters:
            known = argument in ("backbone", "options") or (name, argument) in listed
            assert known, (name, argument)


@pytest.mark.parametrize(("method", "argument", "accepted", "values"), wrong())
def test_wrong_values_are_refused_by_name(given, method, argument, accepted, values):
    cls = registry.get(method)
    for value in values:
        message = refusal(lambda value=value: cls(given, **{argument: value}))
        assert message.startswith(f"`{argument}` must be {accepted}")
        assert f"Received: {value!r}" in message
        section = {argument: value}
        of_yaml = refusal(lambda s=section: checks.arguments("method", s, cls))
        assert of_yaml == message.replace("`", "`method.", 1)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("LASEM", {"probability": 0.5}, "`probability` needs a `conf.*Received: 0.5"),
        (
            "LASEM",
            {"configuration": "all", "search": "brute_force"},
            "`configuration` leaves nothing to search. Received: 'all'",
        ),
        ("PAR", {"weight_decay": []}, r"`weight_decay` must be one or more.*\[\]"),
        ("PAR", {"extractor": "resnet"}, "no extractor 'resnet'.*Known: application"),
        ("ARI", {"initial": 21}, "`initial` must be at most `memory_budget`.*20.*21"),
        ("ARI", {"initializer": "he"}, "`initializer` must be 'generated' or.*'he'"),
        ("ARI", {"hypernetwork": {"name": []}}, "`hypernetwork` must be one of.*name"),
        ("ARI", {"hypernetwork": {}}, "`hypernetwork` must be one of.*chunked"),
    ],
)
def test_what_does_not_go_together_is_refused(method, arguments, message):
    with pytest.raises(ValueError, match=message):
        registry.get(method)(backbone(), **arguments)


def test_a_choice_has_a_nearest_and_none_is_said():
    message = refusal(lambda: kl.DEN(backbone(), expansion="dynamik"))
    assert message.endswith("Received: 'dynamik'. Nearest: dynamic")
    message = refusal(lambda: kl.DEN(backbone(), expansion="None"))
    assert message.endswith("'None' (a string; YAML's word for None is null)")
    message = refusal(lambda: kl.DEN(backbone(), l1=INF))
    assert message.endswith("a number of at least 0. Received: inf (not finite)")


def test_numbers_of_numpy_become_those_of_python():
    model = kl.DEN(
        backbone(),
        growth=np.int64(3),
        l1=np.float32(0.5),
        split=np.bool_(False),
        seed=np.uint32(7),
    )
    options = model.options
    assert (options.growth, options.l1, options.split, model.seed) == (3, 0.5, False, 7)
    found = [type(v) for v in (options.growth, options.l1, options.split, model.seed)]
    assert found == [int, float, bool, int]
    many = kl.PAR(backbone(), extractor="pca", weight_decay=np.array([0.5, 1]))
    assert many.options.weight_decay == [0.5, 1.0]
    one_each = {"a": np.float64(0.5)}
    model = kl.BindAndGrow(backbone(), grow_coefficient=one_each)
    one_each["a"] = 0.75
    assert model.options.grow_coefficient == {"a": 0.5}


@pytest.mark.parametrize("method", METHODS)
def test_a_configuration_makes_the_same_options(method):
    model = registry.get(method)(backbone())
    again = type(model).from_config(model.get_config())
    assert again.options == model.options
    assert again.get_config() == model.get_config()


def test_options_are_frozen():
    options = Options({"growth": 4, "units": (1, 2)})
    message = r"use `model.with_options\(growth=5\)`"
    with pytest.raises(AttributeError, match=message):
        options.growth = 5
    with pytest.raises(AttributeError, match="with_options"):
        options.other = 5
    with pytest.raises(AttributeError, match="frozen"):
        del options.growth
    with pytest.raises(AttributeError, match="no option 'depth'"):
        _ = options.depth
    options.as_dict()["units"].append(3)
    assert options.as_dict() == {"growth": 4, "units": [1, 2]}
    assert options == Options({"growth": 4, "units": [1, 2]})
    assert options != Options({"growth": 5, "units": [1, 2]}) and options != 4
    assert "growth" in dir(options) and repr(options).startswith("Options({'growth'")
    for again in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert again == options


def learned(method, **arguments):
    model = getattr(kl, method)(backbone(), **arguments)
    model.compile(keras.optimizers.Adam(0.02), "sigmoid", metrics=[accuracy, "auroc"])
    model.fit(X, Y, task="a", epochs=2, verbose=0)
    return model


def accuracy(y, predictions):
    return float(np.mean(predictions.argmax(-1) == y))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("DEN", {"l1": 0.125, "growth": 2}),
        ("EWC", {"strength": 5.0}),
        ("LASEM", {"m_steps": 2}),
        ("LASEM", {"posterior": "factorised"}),
        ("BindAndGrow", {"grow_coefficient": {"b": 1.0}}),
    ],
)
def test_another_model_goes_on_with_other_options(method, changes):
    model = learned(method, seed=3)
    before, state = model.options.as_dict(), model.get_state()
    other = model.with_options(**changes)
    assert type(other) is type(model) and other is not model
    assert other.options.as_dict() == {**before, **changes}
    assert other.seed == 3 and other.name == model.name
    assert other.get_compile_config() == model.get_compile_config()
    assert [m.name for m in other._scored_by] == [m.name for m in model._scored_by]
    np.testing.assert_array_equal(
        other.predict(X, task="a"), model.predict(X, task="a")
    )
    other.fit(X, 1 - Y, task="b", verbose=0)
    assert model.task_names == ["a"] and model.options.as_dict() == before
    assert model.get_state()[0] == state[0]
    for key, array in model.get_state()[1].items():
        np.testing.assert_array_equal(array, state[1][key])


@pytest.mark.usefixtures("eager")
def test_what_depends_on_an_option_follows_it():
    model = kl.DEN(backbone(), l1=0.5)
    assert model.options.head_l1 is None  # `l1`, of whatever model
    assert model.with_options(l1=0.25).options.head_l1 is None
    model = kl.PAR(backbone(), extractor=lambda images: images)
    other = model.with_options(alpha=0.25)
    assert other.options.extractor == "function"
    assert other.extractor is model.extractor
    assert model.with_options(extractor="pca").options.extractor["name"] == "pca"


@pytest.mark.usefixtures("eager")
def test_given_weights_and_data_at_hand_go_along():
    given = backbone()
    model = kl.L2(given, pretrained=True).with_options(strength=2.0)
    assert model.pretrained and not model.compiled
    for ours, theirs in zip(
        model.network.get_weights(), given.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    joint = learned("Joint").with_options()
    joint.fit(X, 1 - Y, task="b", verbose=0)  # needs the data of the first
    assert joint.task_names == ["a", "b"]


@pytest.mark.usefixtures("eager")
def test_other_options_are_checked():
    model = learned("DEN", bucket=8)
    with pytest.raises(ValueError, match="`l1` must be a number of at least 0.*-1"):
        model.with_options(l1=-1)
    with pytest.raises(ValueError, match="key `growht`.*Nearest: `growth`"):
        model.with_options(growht=3)
    with pytest.raises(ValueError, match="Unknown key `seed`"):
        model.with_options(seed=3)
    model = learned("LASEM")
    with pytest.raises(ValueError, match="sizes of it do not. Received: .*'tf'"):
        model.with_options(sharing="tf")
