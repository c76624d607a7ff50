"""BindAndGrow: what is bound, what is grown, and what stays as it was."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.methods.bind_and_grow import similarity as rsa

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 6)).astype("float32")


def task(name, i, head="per_task"):
    y = (X[:, i] * X[:, i + 1] > 0).astype("int32")
    spec = kl.TaskSpec(2, head=head)
    held = X[:30], y[:30]
    return kl.Task(name, spec, train=(X, y), validation=held, test=held)


def body(norm=False, width=4):
    network = [keras.Input((6,))]
    network.append(layers.Dense(2 * width, activation="relu", name="low"))
    if norm:
        network.append(layers.BatchNormalization(name="norm"))
    network += [layers.Dense(2 * width, name="middle"), layers.ReLU()]
    network.append(layers.Dense(width, activation="relu", name="high"))
    return keras.Sequential(network)


def new(norm=False, optimizer=None, width=4, **kwargs):
    model = kl.BindAndGrow(body(norm, width), **kwargs)
    optimizer = optimizer or keras.optimizers.Adam(0.02)
    model.compile(optimizer, metrics=["accuracy"])
    return model


def fit(model, *tasks, epochs=3):
    for one in tasks:
        model.fit(one, epochs=epochs, batch_size=16, verbose=0)


def kinds(model, task):
    return [(e["layer"], e["kind"]) for e in model.growth if e["task"] == task]


def owners(model, name):
    return model.routing[name]


TASKS = [task(f"t{i}", i) for i in range(4)]


# Growing


def test_nothing_is_grown_for_0_and_everything_for_1():
    model = new(grow_coefficient={"t1": 0.0, "t2": 1.0})
    fit(model, *TASKS[:3])
    assert owners(model, "t0") == owners(model, "t1") == ["t0"] * 3
    assert owners(model, "t2") == ["t2"] * 3
    body_size = 7 * 8 + 9 * 8 + 9 * 4
    assert model.count_params() == 2 * body_size + 3 * 5 * 2
    assert kinds(model, "t0") == [(n, "initial") for n in ("low", "middle", "high")]
    assert kinds(model, "t1") == [("joint_net", "bind")]
    assert [k for _, k in kinds(model, "t2")] == ["bind", "grow", "grow", "grow"]


@pytest.mark.parametrize("grow_score", ["similarity", "dissimilarity"])
def test_the_nucleus_of_the_logged_scores_is_grown(grow_score):
    model = new(grow_coefficient=0.5, grow_score=grow_score)
    fit(model, *TASKS[:3])
    for name in ("t1", "t2"):
        bind = next(e for e in model.growth if (e["task"], e["kind"]) == (name, "bind"))
        why = bind["why"]
        scores = np.array(why["conflicts"][why["to"]]["conflict"])
        if grow_score == "similarity":
            scores = 1 - scores
        grown = rsa.nucleus(scores, 0.5)
        expected = [
            name if u in grown else owners(model, why["to"])[u] for u in range(3)
        ]
        assert owners(model, name) == expected and 0 < len(grown) < 3
        np.testing.assert_allclose(why["probability"], scores / scores.sum())
        rho = why["conflicts"][why["to"]]["rho"]
        np.testing.assert_allclose(
            why["conflicts"][why["to"]]["conflict"], rsa.conflict(rho)
        )


def test_the_two_orders_grow_different_layers():
    grown = {}
    for score in ("similarity", "dissimilarity"):
        model = new(grow_coefficient=0.01, grow_score=score)
        fit(model, *TASKS[:2])
        grown[score] = [e["layer"] for e in model.growth if e["kind"] == "grow"]
        why = model.growth[3]["why"]
        rho = why["conflicts"]["t0"]["rho"]
        best = np.argmax(rho) if score == "similarity" else np.argmin(rho)
        assert grown[score] == [why["units"][best]]
    assert grown["similarity"] != grown["dissimilarity"]


def test_random_growth_binds_and_grows_at_random():
    """The paper's ablation: which task, how many layers and which of them."""
    counts, bound = set(), set()
    for seed in range(5):
        model = new(random_growth=True, seed=seed)
        fit(model, *TASKS[:3], epochs=1)
        for name in ("t1", "t2"):
            why = next(
                e["why"]
                for e in model.growth
                if (e["task"], e["kind"]) == (name, "bind")
            )
            assert why["random"] and "coefficient" not in why
            grown = [o == name for o in owners(model, name)]
            counts.add(sum(grown))
            norms = {k: v["norm"] for k, v in why["conflicts"].items()}
            if name == "t2":
                bound.add(why["to"] == min(norms, key=norms.get))
    assert len(counts) > 2 and bound == {False, True}


def test_random_layers_are_as_many_as_the_nucleus_holds():
    """An ablation of which layers are grown: bound as ever, drawn at random."""
    drawn = set()
    for seed in range(5):
        grown = {}
        for by_chance in (False, True):
            model = new(grow_coefficient=0.3, random_layers=by_chance, seed=seed)
            fit(model, *TASKS[:2], epochs=1)
            grown[by_chance] = [o == "t1" for o in owners(model, "t1")]
        assert sum(grown[True]) == sum(grown[False]) > 0
        drawn.add(grown[True] == grown[False])
    assert False in drawn


# Binding


def test_it_binds_to_the_smallest_conflict():
    model, released = (new(bind=bind) for bind in ("similar", "released"))
    for m in (model, released):
        fit(m, *TASKS)
    for m, key in ((model, "norm"), (released, "similarity_norm")):
        for e in m.growth:
            if e["kind"] == "bind":
                found = e["why"]["conflicts"]
                assert e["why"]["to"] == min(found, key=lambda t: found[t][key])
    last = [e for e in model.growth if e["kind"] == "bind"][-1]["why"]["conflicts"]
    assert list(last) == ["t0", "t1", "t2"]
    for found in last.values():
        norm = np.linalg.norm(found["conflict"])
        assert found["norm"] == pytest.approx(norm)


def test_nodes_go_with_the_task_that_is_bound_to():
    """t2 is bound to t1, which uses t0's layers where it has none of its own."""
    model = new(
        bind_to={"t1": "t0", "t2": "t1", "t3": "t2"},
        grow_coefficient={"t1": 0.01, "t2": 0.0, "t3": 1.0},
    )
    fit(model, *TASKS)
    one = owners(model, "t1")
    assert sorted(one) == ["t0", "t0", "t1"]
    assert owners(model, "t2") == one and owners(model, "t3") == ["t3"] * 3
    grown = one.index("t1")
    assert model.joint_net.users(grown, "t1") == ["t1", "t2"]
    assert model.joint_net.users((grown + 1) % 3, "t0") == ["t0", "t1", "t2"]


def test_candidates_are_kept_to():
    model = new(candidates={"t2": ["t0"], "t3": ["t1", "t2"]})
    fit(model, *TASKS, epochs=1)
    binds = [list(e["why"]["conflicts"]) for e in model.growth if e["kind"] == "bind"]
    assert binds == [["t0"], ["t0"], ["t1", "t2"]]


def test_ranks_bind_to_the_next_best():
    model = new(bind_rank={"t2": 1, "t3": 5})
    fit(model, *TASKS, epochs=1)
    for name, rank in (("t1", 0), ("t2", 1), ("t3", 2)):
        why = next(
            e["why"] for e in model.growth if (e["task"], e["kind"]) == (name, "bind")
        )
        found = why["conflicts"]
        assert why["to"] == sorted(found, key=lambda t: found[t]["norm"])[rank]


@pytest.mark.parametrize(
    "arguments",
    [
        {"bind_to": {"t1": "t9"}},
        {"candidates": {"t1": []}},
        {"candidates": {"t1": ["t3"]}},
    ],
)
def test_tasks_to_bind_to_must_be_known(arguments):
    model = new(**arguments)
    fit(model, TASKS[0], epochs=1)
    out = model.predict(X, task="t0")
    with pytest.raises(ValueError, match=r"'t1' must be bound to one of \['t0'\]"):
        fit(model, TASKS[1], epochs=1)
    assert model.task_names == ["t0"] and list(model.routing) == ["t0"]
    np.testing.assert_array_equal(model.predict(X, task="t0"), out)


def test_a_task_without_a_coefficient_is_named():
    model = new(grow_coefficient={"t2": 0.5})
    fit(model, TASKS[0], epochs=1)  # the first needs none
    with pytest.raises(ValueError, match="no δ for task 't1'"):
        fit(model, TASKS[1], epochs=1)


# Retention


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
        keras.optimizers.Adam(0.02),
    ],
)
def test_frozen_layers_leave_other_tasks_bit_identical(norm, optimizer):
    model = new(norm, optimizer, retention="freeze", grow_coefficient=0.3)
    fit(model, *TASKS[:2])
    out = [model.predict(X, task=name) for name in ("t0", "t1")]
    memory = {k: v.copy() for k, v in model.memory.items()}
    fit(model, *TASKS[2:])
    for name, was in zip(("t0", "t1"), out, strict=True):
        np.testing.assert_array_equal(model.predict(X, task=name), was)
    for key, value in memory.items():
        np.testing.assert_array_equal(model.memory[key], value)


def moved(retention, **kwargs):
    """How far the layers of t0 moved while t1 was learned, and those of t1 since."""
    model = new(
        retention=retention,
        grow_coefficient=0.3,
        bind_to={"t1": "t0"},
        optimizer=keras.optimizers.SGD(0.05),
        **kwargs,
    )
    fit(model, TASKS[0])
    before = [model.joint_net.node(u, "t0") for u in range(3)]
    fit(model, TASKS[1])
    old = [u for u in range(3) if owners(model, "t1")[u] == "t0"]
    return np.sum(
        [np.abs(model.joint_net.node(u, "t0")[0] - before[u][0]).sum() for u in old]
    )


def test_slow_moves_less_than_same_and_freeze_not_at_all():
    same, slow, slower = moved("same"), moved("slow"), moved("slow", slow_ratio=0.01)
    assert moved("freeze") == 0 < slower < slow < same
    assert slower == pytest.approx(slow / 10, rel=0.2)
    assert slow == pytest.approx(same / 10, rel=0.4)


def test_slow_is_two_optimizers_of_which_one_has_a_smaller_rate():
    """One step of Adam by hand on shared and grown layers."""
    model = new(
        retention="slow",
        slow_ratio=0.1,
        optimizer=keras.optimizers.Adam(0.02),
        grow_coefficient=0.3,
        bind_to={"t1": "t0"},
    )
    fit(model, TASKS[0])
    start = [model.joint_net.node(u, "t0") for u in range(3)]
    y = TASKS[1].train[1]
    one = kl.Task("t1", train=(X, y), validation_split=0)
    model.fit(one, epochs=1, batch_size=80, verbose=0)  # a single step
    for u, owner in enumerate(owners(model, "t1")):
        step = np.abs(model.joint_net.node(u, owner)[0] - start[u][0])
        moved = step[step > 1e-9]
        rate = 0.02 if owner == "t1" else 0.002  # Adam's first step is the rate
        np.testing.assert_allclose(moved, rate, rtol=0.05)


def test_a_shared_head_is_shared_under_retention_too():
    tasks = [task(f"t{i}", i, head="shared") for i in range(2)]
    model = new(retention="freeze", grow_coefficient=0.0)
    fit(model, tasks[0])
    out = model.predict(X, task="t0")
    fit(model, tasks[1])  # there is nothing to train: it is no error
    np.testing.assert_array_equal(model.predict(X, task="t0"), out)
    np.testing.assert_array_equal(model.predict(X, task="t1"), out)
    slow = new(retention="slow", grow_coefficient=0.0)
    fit(slow, *tasks)
    assert (slow.predict(X, task="t0") != out).any()


# What a grown layer begins with


@pytest.mark.parametrize("grow_init", ["bound", "root", "independent", "fresh"])
def test_a_grown_layer_begins_as_said(grow_init):
    model = new(
        grow_init=grow_init,
        retention="freeze",
        bind_to={"t2": "t1"},
        grow_coefficient=1.0,
    )
    fit(model, *TASKS[:2])
    one, root = (
        [model.joint_net.node(u, t)[0] for u in range(3)] for t in ("t1", "t0")
    )
    begun = {}

    class Watch(keras.callbacks.Callback):
        """Each of the two phases has two epochs."""

        begins = ends = 0

        def nodes(self):
            return [node[0] for node in self.model.joint_net.active_nodes()]

        def on_epoch_begin(self, epoch, logs=None):
            begun[self.begins] = self.nodes()
            self.begins += 1

        def on_epoch_end(self, epoch, logs=None):
            self.ends += 1
            if self.ends == 2:
                begun["alone"] = self.nodes()

    model.fit(TASKS[2], epochs=2, batch_size=16, verbose=0, callbacks=[Watch()])
    expected = {"bound": one, "root": root, "independent": begun["alone"]}
    grown = begun[2]
    for u in range(3):
        if grow_init == "fresh":
            for other in (*expected.values(), begun[0]):
                assert (grown[u] != other[u]).any()
        else:
            np.testing.assert_array_equal(grown[u], expected[grow_init][u])


# Sizes and groups


def test_sizes_of_the_published_network():
    """Reference, section 1.9: ten tasks, the same layers grown for nine of them."""
    backbone = kl.backbones.get("l2bg_cifar100", (32, 32, 3))
    model = kl.BindAndGrow(backbone)
    for t in range(10):
        model.add_task(f"t{t}", kl.TaskSpec(10, input_shape=(32, 32, 3)))
    expected = {
        (): 6_708_772,
        (0,): 6_736_996,
        (0, 1): 7_401_700,
        (0, 1, 2): 8_583_652,
        (0, 1, 2, 3): 27_476_452,
        (0, 1, 2, 3, 4): 65_243_620,
        (4,): 44_475_940,
        (3, 4): 63_368_740,
    }
    for grown, count in expected.items():
        for t in range(10):
            model.routing[f"t{t}"] = [f"t{t}" if u in grown else "t0" for u in range(5)]
        assert model.count_params() == count
    assert model.base_params() == 6_524_362
    digits = kl.backbones.get("l2bg_mnist", (28, 28, 1))
    assert digits.count_params() + 301 * 10 == 491_110


def test_groups_of_channels_are_grown_by_themselves():
    model = new(norm=True, width=16, groups=2, grow_coefficient=0.4, retention="freeze")
    assert [u.name for u in model.units][:4] == ["low/0", "low/1", "norm/0", "norm/1"]
    fit(model, *TASKS[:2])
    size = model.count_params()
    grown = [e for e in model.growth if e["kind"] == "grow"]
    assert 0 < len(grown) < len(model.units)
    initial = sum(e["count"] for e in model.growth if e["kind"] == "initial")
    heads = 2 * 17 * 2
    assert size == initial + sum(e["count"] for e in grown) + heads
    out = model.predict(X, task="t0")
    fit(model, TASKS[2])
    np.testing.assert_array_equal(model.predict(X, task="t0"), out)


def test_groups_of_one_network_are_the_network():
    whole = new(width=16, grow_coefficient=1.0)
    divided = new(width=16, grow_coefficient=1.0, groups=2)
    for model in (whole, divided):
        fit(model, *TASKS[:2])
    assert whole.count_params() == divided.count_params()
    for name in ("t0", "t1"):
        np.testing.assert_array_equal(
            whole.predict(X, task=name), divided.predict(X, task=name)
        )


def test_norms_can_be_grown():
    model = new(norm=True, grow_coefficient=1.0)
    fit(model, *TASKS[:2])
    grown = {e["layer"]: e["count"] for e in model.growth if e["kind"] == "grow"}
    assert grown["norm"] == 16  # scale and shift, not the statistics
    means = [model.joint_net.node(1, t)[2] for t in ("t0", "t1")]
    assert (means[0] != means[1]).any()


# The conflict model


def test_conflict_is_that_of_the_networks_it_names():
    """ρ of the log, computed again from the weights of then."""
    model = new(grow_coefficient=0.0, samples=20, bind_to={"t1": "t0"})
    fit(model, TASKS[0])
    before = [model.joint_net.node(u, "t0") for u in range(3)]
    seen = {}
    compared = model.representations
    original = compared.conflicts

    def conflicts(task, alone, others):
        seen["alone"], seen["x"] = alone, compared.probes(task)
        return original(task, alone, others)

    compared.conflicts = conflicts
    fit(model, TASKS[1])
    assert seen["x"].shape == (20, 6)
    matrices = [compared.matrices(n, seen["x"]) for n in (seen["alone"], before)]
    rho = [rsa.similarity(a, b) for a, b in zip(*matrices, strict=True)]
    bind = next(e for e in model.growth if e["kind"] == "bind")
    np.testing.assert_allclose(bind["why"]["conflicts"]["t0"]["rho"], rho, atol=1e-9)


def test_single_task_scores_are_those_of_networks_alone():
    model = new()
    fit(model, *TASKS[:2], epochs=20)
    scores = model.single_task_scores()
    assert list(scores) == ["t0", "t1"]
    assert model.evaluate(TASKS[0])["accuracy"] == pytest.approx(scores["t0"], abs=0.2)
    assert all(0.4 < s <= 1 for s in model.single_task_scores("validation").values())


# As every model


def test_one_compilation_serves_all_tasks():
    model = new(grow_coefficient=0.4)
    fit(model, *TASKS, epochs=1)
    assert model.trainer.compile_count == 1


def test_a_task_that_comes_back_keeps_its_nodes():
    model = new(retention="freeze", grow_coefficient=0.3)
    fit(model, *TASKS[:2])
    table, log = json.dumps(model.routing), len(model.growth)
    out = model.predict(X, task="t0")
    fit(model, TASKS[1])
    assert json.dumps(model.routing) == table and len(model.growth) == log
    np.testing.assert_array_equal(model.predict(X, task="t0"), out)


def test_saved_routes_are_followed(tmp_path):
    model = new(width=16, grow_coefficient=0.4, groups=2)
    fit(model, *TASKS[:3])
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    assert again.routing == model.routing
    assert again.single_task_scores() == model.single_task_scores()
    for m in (model, again):
        fit(m, TASKS[3])
    for name in model.task_names:
        np.testing.assert_array_equal(
            model.predict(X, task=name), again.predict(X, task=name)
        )
        plain = model.task_model(name).predict(X, verbose=0)
        np.testing.assert_allclose(plain, model.predict(X, task=name), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"grow_coefficient": 1.5},
            r"`grow_coefficient` must be a number in \[0, 1\].*1.5",
        ),
        ({"grow_coefficient": {"a": -1}}, "`grow_coefficient`"),
        ({"retention": "keep"}, "`retention` must be one of.*'keep'"),
        ({"slow_ratio": 0}, "`slow_ratio`.*0"),
        ({"grow_score": "size"}, "`grow_score`.*'size'"),
        ({"bind": "first"}, "`bind`.*'first'"),
        ({"grow_init": "zero"}, "`grow_init`.*'zero'"),
        ({"groups": 1}, "`groups`.*1"),
        ({"bind_rank": -1}, "`bind_rank`.*-1"),
        ({"groups": 3}, "`groups` must divide.*3 and layer 'low'"),
        ({"samples": 2}, "`samples`.*2"),
        ({"random_growth": "yes"}, "`random_growth`.*'yes'"),
        ({"random_growth": True, "random_layers": True}, "one of it and"),
        ({"center": 1}, "`center`.*1"),
        ({"candidates": {"a": "b"}}, "`candidates` must be a mapping, each a list"),
        ({"bind_to": "a"}, "`bind_to` must be a mapping, each a string"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        new(**arguments)


def test_a_backbone_without_weights_is_refused():
    flat = keras.Sequential([keras.Input((6,)), layers.Flatten()])
    with pytest.raises(ValueError, match="layer with weights"):
        kl.BindAndGrow(flat)


def test_recurrent_layers_can_be_grown():
    network = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Embedding(9, 4, name="words"),
            layers.LSTM(5, name="lstm"),
        ]
    )
    model = kl.BindAndGrow(network, grow_coefficient=1.0)
    model.compile("adam")
    x = np.abs(X * 3).astype("int32") % 9
    for i in range(2):
        model.fit(x, (x[:, i] > 2).astype("int32"), task=f"t{i}", verbose=0)
    assert {e["layer"] for e in model.growth if e["kind"] == "grow"} == {
        "words",
        "lstm",
    }
