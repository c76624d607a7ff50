"""PAR: what is decided, what is shared, and what stays as it was."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.layers.cell import CellNetwork
from keras_lifelong.training import distillation

RNG = np.random.default_rng(0)
SHOWN = RNG.normal(size=(12, 6)).astype("float32")  # what a class looks like


def data(classes, each=20, seed=0):
    """Noisy copies of what the classes look like; labels in their order."""
    rng = np.random.default_rng([seed, *classes])
    y = np.repeat(np.arange(len(classes)), each).astype("int32")
    x = SHOWN[np.array(classes)[y]] + 0.3 * rng.normal(size=(len(y), 6))
    order = rng.permutation(len(y))
    return x[order].astype("float32"), y[order]


def task(name, classes, each=20, seed=0):
    return kl.Task(
        name,
        train=data(classes, each, seed),
        validation=data(classes, 20, seed + 100),
        test=data(classes, 20, seed + 200),
    )


def features(x):
    return x


def new(norm=True, **kwargs):
    backbone = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="relu")])
    if norm:
        backbone.add(layers.BatchNormalization())
    kwargs = {"extractor": features, "weight_decay": 0.0, **kwargs}
    model = kl.PAR(backbone, **kwargs)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), metrics=["accuracy"])
    return model


def fit(model, *tasks, **kwargs):
    for one in tasks:
        model.fit(one, epochs=4, batch_size=10, verbose=0, **kwargs)


def chosen(model):
    return [e for e in model.growth if e["kind"] != "search"]


def values(model, k):
    return [v.copy() for v in model.expert_values(k)]


NEAR, FAR = [0, 1], [6, 7]
X = data(NEAR)[0]


def test_related_tasks_share_an_expert_and_others_get_their_own():
    model = new()
    fit(
        model,
        task("a", NEAR),
        task("b", FAR),
        task("c", NEAR, seed=1),
        task("d", FAR, seed=1),
    )
    assert [e["tasks"] for e in model.experts] == [["a", "c"], ["b", "d"]]
    kinds = [e["kind"] for e in chosen(model)]
    assert kinds == ["allocate", "allocate", "reuse", "reuse"]
    why = chosen(model)[3]["why"]
    assert why["nearest"] == "expert_1" and why["distance"] < 0.5
    assert set(why["distances"]) == {"a", "b", "c"}
    assert why["distances"]["b"] < 0.5 < 0.75 < why["distances"]["a"]
    assert why["group_distances"]["expert_1"] == why["distance"]
    for name, classes in (("a", NEAR), ("b", FAR), ("c", NEAR), ("d", FAR)):
        x, y = data(classes, seed=300)
        assert model.evaluate(x, y, task=name)["accuracy"] > 0.8


def decided(model, groups, size=100, largest=100):
    """What it would do, at these distances to the groups."""
    for k in range(len(model.experts), len(groups)):
        model.experts.append({"tasks": [f"t{k}"], "genotype": None, "largest": largest})
    return model.decide(groups, size)


@pytest.mark.parametrize(
    ("groups", "arguments", "expected"),
    [
        ([], {}, ("searched", None)),
        ([], {"search": False}, ("given", None)),
        ([0.2], {}, ("share", 0)),
        ([0.5], {}, ("share", 0)),
        ([0.9, 0.6], {}, ("reused", 1)),
        ([0.75], {}, ("reused", 0)),
        ([0.76], {}, ("searched", 0)),
        ([0.76], {"search": False}, ("given", 0)),
        ([0.0], {"alpha": 0.0}, ("reused", 0)),
        ([0.0], {"alpha": 0.0, "beta": 0.0}, ("searched", 0)),
        ([1.0], {"alpha": 1.0}, ("share", 0)),
        ([1.0], {"beta": 1.0}, ("reused", 0)),
        ([0.6], {"beta": 0.5}, ("searched", 0)),
    ],
)
def test_alpha_and_beta_decide(groups, arguments, expected):
    assert decided(new(**arguments), groups) == expected


def test_tiny_tasks_go_to_an_expert_that_saw_ten_times_as_many():
    model = new(reference="code")
    assert model.tiny == 25
    assert decided(model, [0.99, 0.9], size=10) == ("share", 1)
    model.experts[1]["largest"] = 99
    assert decided(model, [0.99, 0.9], size=10) == ("share", 0)
    model.experts[0]["largest"] = 99
    assert decided(model, [0.99, 0.9], size=10) == ("searched", 1)
    assert decided(new(), [0.99, 0.9], size=10) == ("searched", 1)  # not the paper's
    assert decided(new(tiny=10), [0.99], size=10) == ("share", 0)


def test_a_small_task_freezes_what_it_shares():
    model = new()
    fit(model, task("a", NEAR, each=60))
    before, out = values(model, 0), model.predict(X, task="a")
    fit(model, task("b", NEAR, each=4, seed=1))
    assert chosen(model)[1]["kind"] == "freeze" and chosen(model)[1]["count"] == 0
    for was, value in zip(before, values(model, 0), strict=True):
        np.testing.assert_array_equal(was, value)  # batch statistics, too
    np.testing.assert_array_equal(model.predict(X, task="a"), out)
    x, y = data(NEAR, seed=300)
    assert model.evaluate(x, y, task="b")["accuracy"] > 0.8
    assert model.experts[0]["largest"] == 120


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, "reuse"),  # 12 of 120 is no less than a tenth
        ({"reference": "code"}, "freeze"),
        ({"freeze_ratio": 0.2}, "freeze"),
        ({"reference": "code", "freeze_ratio": 0.1}, "reuse"),
        ({"freeze_ratio": 0.0}, "reuse"),
    ],
)
def test_how_small_is_small(arguments, kind):
    tiny = {"tiny": 0} if arguments.get("reference") == "code" else {}
    model = new(**arguments, **tiny)
    fit(model, task("a", NEAR, each=60), task("b", NEAR, each=6, seed=1))
    assert chosen(model)[1]["kind"] == kind


def test_a_new_expert_leaves_all_else_as_it_was():
    model = new()
    fit(model, task("a", NEAR), task("b", NEAR, seed=1))
    out = [model.predict(X, task=name) for name in "ab"]
    before = values(model, 0)
    fit(model, task("c", FAR))
    assert chosen(model)[2]["kind"] == "allocate"
    for was, value in zip(before, values(model, 0), strict=True):
        np.testing.assert_array_equal(was, value)
    for name, was in zip("ab", out, strict=True):
        np.testing.assert_array_equal(model.predict(X, task=name), was)


def test_distillation_keeps_an_old_task_and_its_head():
    """On the new task's images the old head goes on saying what it said."""
    new_images = data(FAR)[0]

    def moved(strength):
        model = new(norm=False, alpha=1.0, distillation=strength, schedule=None)
        fit(model, task("a", NEAR))
        key = model.head_key("a")
        head = model.memory[*key, "kernel"].copy()
        out = model.predict(new_images, task="a")
        b = kl.Task("b", train=data(FAR), validation_split=0)  # all epochs count
        model.fit(b, epochs=20, batch_size=10, verbose=0)
        assert chosen(model)[1]["kind"] == "reuse"
        np.testing.assert_array_equal(model.memory[*key, "kernel"], head)
        return np.abs(model.predict(new_images, task="a") - out).mean()

    assert moved(10.0) < 0.5 * moved(0.0)


def test_without_alpha_every_task_has_its_expert():
    model = new(alpha=0.0)
    fit(model, task("a", NEAR), task("b", NEAR, seed=1))
    assert len(model.experts) == 2
    assert model.count_params() == 2 * (6 * 8 + 8 + 16 + 9 * 2)
    weights = values(model, 0), values(model, 1)
    assert not np.array_equal(weights[0][0], weights[1][0])
    sizes = model.sizes()
    assert sizes["experts"] + sizes["heads"] == model.count_params()
    assert sizes["prototypes"] == 2 * 2 * 6 and sizes["extractor"] == 0
    assert [e["count"] for e in model.growth] == [72, 72]


@pytest.mark.parametrize("gone", "abc")
def test_a_removed_task_takes_its_expert_alone(gone):
    """The later experts move up in memory."""
    model = new(alpha=0.0)
    tasks = {"a": NEAR, "b": FAR, "c": [2, 3]}
    fit(model, *(task(name, classes) for name, classes in tasks.items()))
    kept = [name for name in tasks if name != gone]
    out = [model.predict(X, task=name) for name in kept]
    model.remove_task(gone)
    assert [e["tasks"] for e in model.experts] == [[name] for name in kept]
    assert {key[1] for key in model.memory if key[0] == "expert"} == {0, 1}
    for name, was in zip(kept, out, strict=True):
        np.testing.assert_array_equal(model.predict(X, task=name), was)


def test_alpha_of_one_shares_one_expert():
    model = new(alpha=1.0)
    fit(model, task("a", NEAR), task("b", FAR))
    assert [e["tasks"] for e in model.experts] == [["a", "b"]]


def test_a_task_that_comes_back_stays_where_it_is():
    model = new()
    fit(model, task("a", NEAR), task("b", NEAR, seed=1))
    log = len(model.growth)
    fit(model, task("a", NEAR, seed=2))
    assert [e["tasks"] for e in model.experts] == [["a", "b"]]
    assert len(model.growth) == log


@pytest.mark.parametrize("grid", [[0.0, 10.0], [10.0, 0.0]])
def test_the_best_weight_decay_of_the_grid_is_kept(grid):
    """The second leaves nothing to tell classes by."""
    model = new(norm=False, weight_decay=grid, schedule=None)
    fit(model, task("a", NEAR), task("b", NEAR, seed=1))
    assert [model.notes(name)["weight_decay"] for name in "ab"] == [0.0, 0.0]
    x, y = data(NEAR, seed=300)
    for name in "ab":
        assert model.evaluate(x, y, task=name)["accuracy"] > 0.9
    worse = new(norm=False, weight_decay=10.0, schedule=None)
    fit(worse, task("a", NEAR))
    assert worse.evaluate(x, y, task="a")["accuracy"] < 0.9


def test_a_grid_needs_validation_data():
    model = new(weight_decay=[0.0, 0.1])
    x, y = data(NEAR)
    with pytest.raises(ValueError, match="`weight_decay` needs validation data"):
        fit(model, kl.Task("a", train=(x, y), validation_split=0))
    assert not model.task_names


@pytest.mark.parametrize("schedule", ["cosine", "plateau", None])
def test_schedules_learn(schedule):
    model = new(schedule=schedule, plateau={"patience": 1} if schedule else None)
    fit(model, task("a", NEAR))
    x, y = data(NEAR, seed=300)
    assert model.evaluate(x, y, task="a")["accuracy"] > 0.8


def test_the_first_expert_can_be_the_extractor():
    model = new(extractor="first_expert")
    fit(model, task("a", NEAR), task("b", FAR), task("c", NEAR, seed=1))
    frozen = [v for key, v in model.memory.items() if key[0] == "extractor"]
    assert len(frozen) == 6
    for kept, now in zip(frozen, values(model, 0), strict=True):
        assert kept.shape == now.shape
    assert any(
        (a != b).any() for a, b in zip(frozen, values(model, 0), strict=True)
    ) or [e["tasks"] for e in model.experts] != [["a", "c"], ["b"]]
    assert model.memory["prototypes", "a"].shape == (2, 8)


def test_dense_data_is_compared_without_being_told_how():
    model = new(extractor=None)
    assert model.options.extractor == {"name": "pca", "components": 16}
    fit(model, task("a", NEAR), task("b", FAR), task("c", NEAR, seed=1))
    assert model.expert_of("c") == model.expert_of("a")
    again = kl.PAR.from_config(model.get_config())
    assert again.options.extractor == model.options.extractor


def test_images_are_compared_by_random_convolutions():
    model = kl.PAR(kl.backbones.get("cnn", (8, 8, 1), filters=[2], units=[4]))
    assert model.options.extractor["name"] == "random_convolutions"


@pytest.mark.parametrize("extractor", ["first_expert", "pca"])
def test_saved_loaded_and_continued_is_as_never_stopped(extractor, tmp_path):
    tasks = [task("a", NEAR), task("b", FAR), task("c", NEAR, seed=1)]
    whole = new(extractor=extractor)
    fit(whole, *tasks)
    half = new(extractor=extractor)
    fit(half, *tasks[:2])
    half.save_to_preset(tmp_path / "preset")
    model = kl.PAR.from_preset(tmp_path / "preset")
    fit(model, tasks[2])
    assert json.dumps(model.growth) == json.dumps(whole.growth)
    for name in "abc":
        np.testing.assert_array_equal(
            model.predict(X, task=name), whole.predict(X, task=name)
        )


def test_a_function_is_not_saved_and_asked_for(tmp_path):
    model = new()
    fit(model, task("a", NEAR))
    model.save_to_preset(tmp_path / "preset")
    again = kl.PAR.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(
        again.predict(X, task="a"), model.predict(X, task="a")
    )
    with pytest.raises(ValueError, match="`extractor` was a function"):
        fit(again, task("b", FAR))
    assert again.task_names == ["a"] and len(again.experts) == 1
    again.extractor = features
    fit(again, task("b", FAR))
    assert len(again.experts) == 2


def test_what_goes_wrong_leaves_it_as_it_was():
    model = new(extractor=None)
    fit(model, task("a", NEAR))
    state = json.dumps(model.structure()), set(model.memory), len(model.growth)
    out = model.predict(X, task="a")

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    for other in (task("b", FAR), task("c", NEAR, seed=1)):
        with pytest.raises(KeyboardInterrupt):
            fit(model, other, callbacks=[Stop()])
        now = json.dumps(model.structure()), set(model.memory), len(model.growth)
        assert now == state
        np.testing.assert_array_equal(model.predict(X, task="a"), out)


def test_classes_without_validation_examples():
    """Distances are then measured on training data; without those, it says so."""
    x, y = data([0, 1, 2])
    held = y < 2
    model = new()
    fit(model, kl.Task("a", train=(x, y), validation=(x[held], y[held])))
    assert model.memory["prototypes", "a"].shape == (3, 6)
    spec = kl.TaskSpec(3)
    with pytest.raises(ValueError, match="example of each of its 3 classes"):
        fit(model, kl.Task("b", spec, train=(x[held], y[held])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -0.1}, "`alpha` must be a number in.*-0.1"),
        ({"beta": 2}, "`beta`.*2"),
        ({"alpha": "half"}, "`alpha`.*'half'"),
        ({"reference": "book"}, "`reference` must be one of.*'book'"),
        ({"rule": "sum"}, "`rule`.*'sum'"),
        ({"schedule": "step"}, "`schedule`.*'step'"),
        ({"search": "yes"}, "`search`.*'yes'"),
        ({"search_epochs": 0}, "`search_epochs`.*0"),
        ({"freeze_ratio": 1.5}, "`freeze_ratio`.*1.5"),
        ({"tiny": -1}, "`tiny`.*-1"),
        ({"temperature": 0}, "`temperature`.*0"),
        ({"distillation": -1}, "`distillation`.*-1"),
        ({"weight_decay": []}, r"`weight_decay`.*\[\]"),
        ({"weight_decay": [1e-3, -1.0]}, r"`weight_decay`.*each.*at least 0.*-1"),
        ({"plateau": {"patience": "long"}}, "`plateau`.*'long'"),
        ({"extractor": {"name": "pca", "width": 3}}, "Unknown key `extractor.width`"),
        ({"weight_decay": -1.0}, "`weight_decay`.*-1"),
        ({"clip_norm": -1}, "`clip_norm`.*-1"),
        ({"patience": 0}, "`patience`.*0"),
        ({"plateau": {"speed": 1}}, "`plateau`.*factor.*speed"),
        ({"augmentation": {"rotate": 1}}, "`augmentation`.*padding.*rotate"),
        ({"extractor": "resnet"}, "extractor.*'resnet'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        new(**arguments)


def test_tasks_that_it_cannot_learn(monkeypatch):
    x, y = data(NEAR)
    with monkeypatch.context() as patch:  # as of a kind that somebody registered
        patch.setattr(distillation, "comparison", lambda kind: None)
        with pytest.raises(ValueError, match="compares the outputs of heads.*'a'"):
            fit(new(), kl.Task("a", kl.TaskSpec(2), train=(x, y)))
    with pytest.raises(ValueError, match="head of its own.*'a'"):
        fit(new(), kl.Task("a", kl.TaskSpec(2, head="shared"), train=(x, y)))
    model = new()
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(keras.optimizers.SGD(rate))
    with pytest.raises(ValueError, match="learning rate is a number"):
        fit(model, task("a", NEAR))


def test_a_yes_or_no_task_can_be_shared():
    model = new(alpha=1.0)
    x, y = data(NEAR)
    for name in "ab":
        fit(model, kl.Task(name, kl.TaskSpec(2, kind="binary"), train=(x, y)))
    fit(model, task("c", [0, 1, 2]))
    assert model.experts[0]["tasks"] == ["a", "b", "c"]
    assert model.evaluate(x, y, task="a")["accuracy"] > 0.8


IMAGES = RNG.random((4, 6, 6, 3)).astype("float32")


def pictures(name, classes, seed=0, **kwargs):
    rng = np.random.default_rng([seed, *classes])
    y = np.repeat(np.arange(2), 12).astype("int32")
    x = IMAGES[np.array(classes)[y]] + 0.05 * rng.normal(size=(24, 6, 6, 3))
    x = x.astype("float32")
    return kl.Task(name, train=(x, y), validation=(x, y), test=(x, y), **kwargs)


def with_cells(**kwargs):
    backbone = kl.backbones.get("cells", (6, 6, 3), filters=2, cells=2)
    options = {"extractor": lambda x: x.reshape(len(x), -1), "search_epochs": 2}
    model = kl.PAR(backbone, **{**options, **kwargs})
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), metrics=["accuracy"])
    return model


def few(model, *tasks):
    for one in tasks:
        model.fit(one, epochs=1, batch_size=12, verbose=0)


@pytest.mark.usefixtures("eager")
def test_cells_are_searched_reused_and_kept(tmp_path):
    model = with_cells(augmentation={"padding": 1}, extractor="pca")
    few(model, pictures("a", [0, 1]))
    search = model.growth[0]
    assert search["kind"] == "search" and search["layer"] == "expert_0"
    assert len(search["why"]["accuracy"]) == 2
    model._change_options(alpha=0.0, beta=1.0)  # what is searched in stays
    few(model, pictures("b", [2, 3]))
    model._change_options(beta=0.0)
    few(model, pictures("c", [1, 2]))
    assert [e["why"]["cell"] for e in chosen(model)] == [
        "searched",
        "reused",
        "searched",
    ]
    cells = [json.dumps(e["genotype"]) for e in model.experts]
    assert cells[0] == cells[1] == json.dumps(search["why"]["genotype"])
    assert json.dumps(model.genotype(2)) == cells[2] != cells[0]
    added = [e["count"] for e in chosen(model)]
    assert sum(added) == model.sizes()["experts"]
    x = pictures("x", [0, 1]).train[0]
    out = [model.predict(x, task=name) for name in "abc"]
    model.save_to_preset(tmp_path / "preset")
    again = kl.PAR.from_preset(tmp_path / "preset")
    for name, was in zip("abc", out, strict=True):
        np.testing.assert_array_equal(again.predict(x, task=name), was)
    plain = model.task_model("c")
    np.testing.assert_allclose(plain.predict(x, verbose=0), out[2], atol=1e-5)


@pytest.mark.usefixtures("eager")
def test_without_search_cells_are_the_backbones():
    model = with_cells(search=False, alpha=0.0)
    few(model, pictures("a", [0, 1]), pictures("b", [2, 3]))
    own = next(x for x in model.backbone_copy().layers if isinstance(x, CellNetwork))
    assert [model.genotype(k) for k in range(2)] == [own.genotype] * 2
    assert {e["kind"] for e in model.growth} == {"allocate"}


def test_a_dataset_cannot_be_searched_on():
    tf = pytest.importorskip("tensorflow", reason="makes a tf.data.Dataset")

    x, y = pictures("a", [0, 1]).train
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    spec = kl.TaskSpec(2, input_shape=(6, 6, 3))
    one = kl.Task("a", spec, train=dataset, validation=(x, y))
    model = with_cells()
    with pytest.raises(ValueError, match=r"tf.data.Dataset.*`search=False`"):
        few(model, one)
    assert not model.task_names and not model.experts
